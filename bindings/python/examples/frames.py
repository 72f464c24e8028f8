# SPDX-License-Identifier: MIT
"""One process makes a region, another waits for it by name, and both are on the same memory."""

import os
import struct
import time

import iomem

NAME = "example-frames"


def reader():
    with iomem.open(NAME, wait=10) as region:
        while struct.unpack_from("I", region.buf) != (1,):
            time.sleep(0.001)
        print("reader sees:", bytes(region.buf[64:76]).decode(), flush=True)
        struct.pack_into("I", region.buf, 0, 2)


child = os.fork()
if child == 0:
    reader()
    os._exit(0)
with iomem.create(NAME, 4096, fixed=True, ephemeral=True) as region:
    region.buf[64:76] = b"frame number"
    struct.pack_into("I", region.buf, 0, 1)  # it is there
    os.waitpid(child, 0)
    print("writer sees: answer", struct.unpack_from("I", region.buf)[0])
