#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Parent and child on one region across fork."""

import mmap
import os

MOUNT = os.environ.get("IOMEMFS", "/mnt/mem")
NAME = "example-fork"

with open(f"{MOUNT}/.ctl/create", "w", encoding="utf-8") as create:
    create.write(f"{NAME} 4096\n")
try:
    with open(f"{MOUNT}/{NAME}", "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    memory[:15] = b"from the parent"
    child = os.fork()
    if child == 0:
        print("child reads:", memory[:15].decode(), flush=True)
        memory[:15] = b"from the child!"
        os._exit(0)
    os.waitpid(child, 0)
    print("parent reads:", memory[:15].decode())
finally:
    os.unlink(f"{MOUNT}/{NAME}")
