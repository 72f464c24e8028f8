# SPDX-License-Identifier: MIT
"""A client of the daemon's socket, with nothing but the standard library."""

import contextlib
import errno
import json
import os
import socket


class Refused(OSError):
    """An `error` answer; errno is the one that it names."""

    def __init__(self, line):
        word, _, text = line.partition(" ")
        super().__init__(getattr(errno, word), text)
        self.line = line

    def __reduce__(self):
        return Refused, (self.line,)


class Client:
    """One connection.  ask() sends a line and takes the answer."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        try:
            self.socket.connect(str(path))
        except BaseException:
            self.socket.close()
            raise
        self.buffer = b""
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def receive(self):
        """One line of answer, as it came; descriptors go to self.fds."""
        while b"\n" not in self.buffer:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 4)
            self.fds += fds
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="surrogateescape")

    def answer(self):
        """What follows `ok`; an `error` is raised."""
        line = self.receive()
        if line == "ok" or line.startswith("ok "):
            return line[3:]
        assert line.startswith("error "), line
        raise Refused(line[len("error ") :])

    def ask(self, line):
        self.send(line)
        return self.answer()

    def ask_fd(self, line):
        """The descriptor that came with the answer; the caller's."""
        self.ask(line)
        assert len(self.fds) == 1, self.fds
        return self.fds.pop()

    def list(self, directory=""):
        return json.loads(self.ask(f"list {directory}".rstrip()))["regions"]

    def stat(self, name):
        return json.loads(self.ask(f"stat {name}"))

    @contextlib.contextmanager
    def opened(self, line):
        fd = self.ask_fd(line)
        try:
            yield fd
        finally:
            os.close(fd)


def socket_of(mount):
    return os.readlink(mount.ctl / "socket")
