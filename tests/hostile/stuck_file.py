# SPDX-License-Identifier: MIT
"""FUSE file systems of one file, with a request that is never answered: its caller waits for ever."""

import contextlib
import ctypes
import os
import struct
import threading

import support

libc = ctypes.CDLL(None, use_errno=True)
LOOKUP, FORGET, GETATTR, OPEN, READ, FLUSH, INIT = 1, 2, 3, 14, 15, 25, 26
INTERRUPT, BATCH_FORGET = 36, 42
IN_HEADER = struct.Struct("IIQQIIIHH")
ENOSYS = 38


PAGE = 4096
KEEP_CACHE = 2  # opening does not wait for pages
PROT_READ, PROT_WRITE, MAP_SHARED = 1, 2, 1


def attributes(node, size):
    mode = 0o040755 if node == 1 else 0o100666
    return struct.pack("QQQQQQIIIIIIIIII", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


class StuckFile:
    """Mounted on a folder of its own as long as the context lasts; path is the file.

    Whoever closes it waits."""

    stuck = FLUSH
    size = 0

    def __init__(self):
        self.home = support.scratch_directory()
        self.flushes = 0
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        mounted = libc.mount(b"stuck", os.fsencode(self.home), b"fuse", 0, options.encode())
        assert mounted == 0, os.strerror(ctypes.get_errno())
        self.path = self.home / "file"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def let_go(self):
        """Whoever waits is answered, by an error; nobody can use the file any more."""
        support.abort_connection(self.home)

    def __exit__(self, *_):
        self.let_go()
        support.run(["umount", "-l", self.home], check=True)
        self.thread.join()
        os.close(self.fd)
        os.rmdir(self.home)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                self._answer(os.read(self.fd, 1 << 18))

    def _answer(self, request):
        _, opcode, unique, node, *_ = IN_HEADER.unpack_from(request)
        error, body = 0, b""
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        if opcode == self.stuck:
            self.flushes += opcode == FLUSH
            return
        if opcode == INIT:
            body = struct.pack("IIIIHHIIHHI7I", 7, 31, 0, 0, 12, 10, 65536, 1, 16, 0, 0, *[0] * 7)
        elif opcode == LOOKUP:
            body = struct.pack("QQQQII", 2, 0, 3600, 3600, 0, 0) + attributes(2, self.size)
        elif opcode == GETATTR:
            body = struct.pack("QII", 3600, 0, 0) + attributes(node, self.size)
        elif opcode == OPEN:
            body = struct.pack("QII", 1, KEEP_CACHE, 0)
        else:
            error = -ENOSYS
        os.write(self.fd, struct.pack("IiQ", 16 + len(body), error, unique) + body)


class StuckPage(StuckFile):
    """Whoever reads the file waits, and whoever touches a mapping of it."""

    stuck = READ
    size = PAGE

    def map(self):
        """The address of a mapping; a system call that is given it waits in the kernel."""
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [
            ctypes.c_long
        ]
        fd = os.open(self.path, os.O_RDWR)
        address = libc.mmap(None, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
        return ctypes.c_void_p(address)
