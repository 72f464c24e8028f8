# SPDX-License-Identifier: MIT
{
  "targets": [
    {
      "target_name": "iomem",
      "sources": ["src/addon.c", "src/poller.c"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-std=gnu11", "-Wall", "-Wextra"]
    }
  ]
}
