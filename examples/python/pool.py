#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Three workers reverse strings in shared memory.  Only slot numbers go through the pipe."""

import mmap
import os

MOUNT = os.environ.get("IOMEMFS", "/mnt/mem")
NAME = "example-pool"
SLOT = 64  # bytes: the length of the string, then the string
WORKERS = 3
WORDS = b"shared memory has no copies to make and none to wait for".split()


def read_slot(memory, slot):
    start = slot * SLOT + 1
    return memory[start : start + memory[slot * SLOT]]


def write_slot(memory, slot, text):
    start = slot * SLOT + 1
    memory[slot * SLOT] = len(text)
    memory[start : start + len(text)] = text


def work(memory, jobs):
    while slot := os.read(jobs, 1):
        write_slot(memory, slot[0], read_slot(memory, slot[0])[::-1])


def main():
    with open(f"{MOUNT}/{NAME}", "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    for slot, word in enumerate(WORDS):
        write_slot(memory, slot, word)
    jobs_out, jobs_in = os.pipe()
    for _ in range(WORKERS):
        if os.fork() == 0:
            os.close(jobs_in)
            work(memory, jobs_out)
            os._exit(0)
    os.close(jobs_out)
    os.write(jobs_in, bytes(range(len(WORDS))))
    os.close(jobs_in)
    for _ in range(WORKERS):
        os.wait()
    print(f"{len(WORDS)} strings by {WORKERS} workers")
    print(b" ".join(read_slot(memory, slot) for slot in range(len(WORDS))).decode())


with open(f"{MOUNT}/.ctl/create", "w", encoding="utf-8") as create:
    create.write(f"{NAME} 4096\n")
try:
    main()
finally:
    os.unlink(f"{MOUNT}/{NAME}")
