// SPDX-License-Identifier: MIT

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** A region from Java: FileChannel.map(). */
public class Map {
    public static void main(String[] args) throws IOException {
        Path mount = Path.of(System.getenv().getOrDefault("IOMEMFS", "/mnt/mem"));
        Path region = mount.resolve("example-java");
        Files.write(
                mount.resolve(".ctl/create"),
                "example-java 4096\n".getBytes(StandardCharsets.UTF_8),
                StandardOpenOption.WRITE);
        try (FileChannel channel =
                FileChannel.open(region, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer memory = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4096);
            memory.put("hello from Java".getBytes(StandardCharsets.UTF_8));
            ByteBuffer again = ByteBuffer.allocate(15);
            channel.read(again, 0);
            System.out.println("read(2) sees: " + new String(again.array(), StandardCharsets.UTF_8));
        } finally {
            Files.deleteIfExists(region);
        }
    }
}
