# SPDX-License-Identifier: MIT
"""frames.py write|read NAME: two programs, in two languages if you like, on the same memory.

The first makes a region, the other waits for it by name and answers.  docs/languages.md has the same
program for the other languages.
"""

import sys
import time

import iomem

TEXT, ANSWER, LENGTH = 64, 128, 64


def until(state, value):
    while state[0] != value:
        time.sleep(0.001)


def put(memory, offset, text):
    memory[offset:offset + len(text)] = text


def text_at(memory, offset):
    return bytes(memory[offset:offset + LENGTH]).split(b"\0", 1)[0].decode()


def write(name):
    with iomem.create(name, 4096, fixed=True, ephemeral=True) as frames:
        state = frames.buf[:4].cast("I")
        put(frames.buf, TEXT, b"hello from Python")
        state[0] = 1
        until(state, 2)
        print("Python is told:", text_at(frames.buf, ANSWER))


def read(name):
    with iomem.open(name, wait=30) as frames:
        state = frames.buf[:4].cast("I")
        until(state, 1)
        print("Python reads:", text_at(frames.buf, TEXT))
        put(frames.buf, ANSWER, b"Python has read it")
        state[0] = 2


def keep(name):
    # Nobody needs to have the region open: its name goes when this process has ended.
    iomem.create(name, 4096, owner="process").close()
    print("Python keeps it", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    roles = {"write": write, "read": read, "keep": keep}
    if len(sys.argv) != 3 or sys.argv[1] not in roles:
        sys.exit("usage: frames.py write|read|keep NAME")
    roles[sys.argv[1]](sys.argv[2])
