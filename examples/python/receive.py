#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A descriptor comes over a socket, is mapped, and the answer goes back through the memory.

The parent gets it from the daemon, the child from the parent.
"""

import mmap
import os
import socket

MOUNT = os.environ.get("IOMEMFS", "/mnt/mem")


def ask(daemon, line):
    """One request: the line of the answer, and the descriptors that came with it."""
    daemon.sendall(line.encode() + b"\n")
    answer, fds, _, _ = socket.recv_fds(daemon, 4096, 1)
    while not answer.endswith(b"\n"):
        answer += daemon.recv(4096)
    return answer.decode().rstrip("\n"), fds


def child(connection):
    _, fds, _, _ = socket.recv_fds(connection, 1, 1)
    memory = mmap.mmap(fds[0], 0)
    print("child is asked:", memory[:14].decode(), flush=True)
    memory[64:66] = b"42"
    connection.sendall(b"!")  # it is there


def main():
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(os.readlink(f"{MOUNT}/.ctl/socket"))
        answer, fds = ask(daemon, "create example-receive 4096")
        if not fds:
            raise SystemExit(answer)
        memory = mmap.mmap(fds[0], 0)
        memory[:14] = b"what is 6 * 7?"

        here, there = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            here.close()
            child(there)
            os._exit(0)
        there.close()
        socket.send_fds(here, [b"\0"], fds)
        here.recv(1)
        print("parent is told:", memory[64:66].decode())
        os.waitpid(pid, 0)
        here.close()
        print("removed:", ask(daemon, "remove example-receive")[0])


main()
