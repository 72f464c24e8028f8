module iomem

go 1.19
