# SPDX-License-Identifier: MIT
"""Cases about what is in files: sizes, holes, offsets, locks."""

import faulthandler
import hashlib
import mmap
import os
import random
import signal
import subprocess

from posix_trace import *

KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
P = 4096


def _has_holes(fd, size):
    place = os.lseek(fd, 0, os.SEEK_CUR)
    hole = os.lseek(fd, 0, os.SEEK_HOLE)
    os.lseek(fd, place, os.SEEK_SET)
    return hole < size


def _show(t, fd):
    """The whole content by read(2), by mapping, and the sizes."""
    st = os.fstat(fd)
    t.note(describe(st))
    if st.st_size > 1 << 24:
        return
    content, at = [], 0
    while piece := os.pread(fd, 1 << 20, at):
        content.append(piece)
        at += len(piece)
    content = b"".join(content)
    t.note(f"{len(content)} bytes {hashlib.md5(content).hexdigest()}")
    # A mapping that reads a hole fills it, on tmpfs; where the page cache is mapped it does not.
    if content and not _has_holes(fd, len(content)):
        with mmap.mmap(fd, len(content), prot=mmap.PROT_READ) as mapping:
            t.note(f"mapped the same: {mapping[:] == content}")


def _holes(t, fd):
    size = os.fstat(fd).st_size
    for at in (0, 1, P - 1, P, 3 * P, size - 1, size, size + 1, -1):
        t.lseek(fd, at, os.SEEK_DATA)
        t.lseek(fd, at, os.SEEK_HOLE)


@family(
    ["truncate", "ftruncate"],
    [0, 1, 7, 4095, 4096, 4097, 100000, -1, -(1 << 63), 1 << 63],
    [0, 7, 5000, 3 * P],
    ["root", "owner", "other"],
)
def truncation(t, how, size, before, user):
    with open("a", "wb") as file:
        file.write(b"x" * before)
    os.chown("a", OWNER[0], OWNER[1])
    fd = t.open("a", os.O_RDWR)
    seen = t.look("a")
    yield
    with t.user(USERS[user]):
        if how == "truncate":
            t.truncate("a", size)
        else:
            t.ftruncate(fd, size)
    t.moved(seen)
    _holes(t, fd)
    _show(t, fd)
    t.truncate("a", 6000)
    _show(t, fd)


@family(KINDS)
def truncate_kinds(t, kind):
    make(kind, "a")
    t.truncate("a", 5)
    fd = t.open("a", os.O_RDONLY | os.O_NONBLOCK)
    t.ftruncate(fd, 5)
    t.fallocate(fd, 0, 0, 5)
    t.lseek(fd, 3, 0)
    path = t.open("a", os.O_PATH)
    t.ftruncate(path, 5)
    t.read(path, 5)
    t.tree()


@family(
    {"0": 0, "keep": 1, "punch_only": 2, "punch": 3, "collapse": 8, "zero": 16, "zero_keep": 17,
     "insert": 32, "unshare": 64, "unshare_keep": 65, "unknown": 128, "hide_stale": 4, "punch_zero": 19},
    [(0, 1), (0, P), (0, 10 * P), (100, 200), (P, P), (P - 1, 2), (3 * P, 5), (0, 0), (0, -1),
     (-1, 5), (20 * P, P), ((1 << 63) - 1, 1), ((1 << 63) - P, 100), (P + 5, 3 * P)],
    [os.O_RDWR, os.O_RDONLY, os.O_WRONLY],
)  # fmt: skip
def allocation(t, mode, where, flags):
    with open("a", "wb") as file:
        file.write(b"x" * (3 * P + 7))
    seen = t.look("a")
    yield
    fd = t.open("a", flags)
    t.fallocate(fd, mode, *where)
    t.moved(seen)
    fd = t.open("a", os.O_RDONLY)
    _holes(t, fd)
    _show(t, fd)


@family([(0, 1), (0, 0), (-1, 1), (0, -1), (0, 100000), (5000, 5000), (0, 567), (20000, 3456)])
def allocation_posix(t, where):
    fd = t.open("a", os.O_CREAT | os.O_RDWR, 0o600)
    t.posix_fallocate(fd, *where)
    _show(t, fd)
    t.posix_fallocate(fd, *where)
    _show(t, fd)
    reader, writer = os.pipe()
    t.posix_fallocate(writer, 0, 5)
    os.close(reader)
    os.close(writer)


@family([0, 1, P, 3 * P, 16 * P, 1 << 20])
def sparse(t, gap):
    fd = t.open("a", os.O_CREAT | os.O_RDWR, 0o600)
    _holes(t, fd)
    t.pwrite(fd, b"x", gap)
    t.pwrite(fd, b"y", 3 * gap + 5)
    t.fstat(fd)
    _holes(t, fd)
    _show(t, fd)
    t.ftruncate(fd, 2 * gap)
    _holes(t, fd)
    t.ftruncate(fd, 4 * gap)
    _holes(t, fd)
    _show(t, fd)


@family([os.O_RDONLY, os.O_WRONLY, os.O_RDWR], [0, os.O_APPEND])
def offsets(t, access, append):
    with open("a", "w") as file:
        file.write("0123456789")
    fd = t.open("a", access | append)
    t.read(fd, 3)
    t.write(fd, b"abc")
    t.lseek(fd, 0, 1)
    t.pwrite(fd, b"P", 1)
    t.pread(fd, 5, 0)
    t.lseek(fd, 2, 2)
    t.write(fd, b"Z")
    t.read(fd, 10)
    t.lseek(fd, -100, 1)
    t.lseek(fd, 0, 99)
    t.pread(fd, 5, 1 << 62)
    t.pread(fd, 5, -1)
    t.ftruncate(fd, 4)
    t.write(fd, b"end")
    t.lseek(fd, 0, 1)
    second = t.open("a", os.O_RDONLY)
    _show(t, second)


@family()
def append_by_two(t):
    one = t.open("a", os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    two = t.open("a", os.O_RDWR | os.O_APPEND)
    three = t.open("a", os.O_RDWR)
    for i in range(20):
        t.write(one, b"one" * i)
        t.write(two, b"two")
        t.pwrite(three, b"!", i)
        t.fstat(three)
    _show(t, one)


@family([1, P, 2 * P])
def move_data(t, length):
    """sendfile and copy_file_range within the file system, out of it, and into it."""
    with open("a", "wb") as file:
        file.write(bytes(range(256)) * 40)
    source = t.open("a", os.O_RDWR)
    target = t.open("b", os.O_CREAT | os.O_RDWR, 0o600)
    t.copy_file_range(source, target, length)
    t.copy_file_range(source, target, length, 5, 100)
    t.sendfile(target, source, 3, length)
    t.copy_file_range(source, source, length, 0, 20000)
    t.copy_file_range(source, source, length, 0, 0)
    t.copy_file_range(source, target, 0)
    t.copy_file_range(source, target, length, 1 << 40, 0)
    reader, writer = os.pipe()
    t.splice(source, writer, length, 100)
    t.splice(reader, target, length)
    os.close(reader)
    os.close(writer)
    read_only = t.open("a", os.O_RDONLY)
    write_only = t.open("b", os.O_WRONLY)
    t.copy_file_range(read_only, write_only, 5)
    t.copy_file_range(write_only, read_only, 5)
    _show(t, source)
    _show(t, target)


@family([512, P, 3 * P], [0, P, 100])
def direct(t, length, at):
    """O_DIRECT, which tmpfs takes and ignores, aligned or not."""
    fd = t.open("a", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
    t.pwrite(fd, b"x" * length, at)
    t.fstat(fd)
    t.pread(fd, length, at)
    with mmap.mmap(-1, length) as aligned:
        aligned[:] = b"y" * length
        t.pwrite(fd, aligned, at)
        t.preadv(fd, [aligned], at)
        t.note(f"{aligned[:] == b'y' * length}")
    second = t.open("a", os.O_RDWR)
    _show(t, second)


@family()
def far_offsets(t):
    fd = t.open("a", os.O_CREAT | os.O_RDWR, 0o600)
    for at in ((1 << 63) - 1, (1 << 63) - P, 1 << 63):
        t.pwrite(fd, b"x", at)
        t.lseek(fd, at, 0)
    t.ftruncate(fd, -5)
    t.fstat(fd)


@family()
def size_limit(t):
    """RLIMIT_FSIZE: EFBIG, and a write that is cut."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fd = t.open("a", os.O_CREAT | os.O_RDWR, 0o600)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, resource.RLIM_INFINITY))
    try:
        t.write(fd, b"x" * 9000)
        t.write(fd, b"y" * 9000)
        t.write(fd, b"z")
        t.ftruncate(fd, 10001)
        t.ftruncate(fd, 10000)
        t.fallocate(fd, 0, 0, 20000)
        t.truncate("a", 20000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _show(t, fd)


@family(["a", "d"])
def syncs(t, name):
    make("file", "a")
    make("dir", "d")
    fd = t.open(name, os.O_RDONLY)
    t.fsync(fd)
    t.fdatasync(fd)
    t.lseek(fd, 0, 0)
    t.note(f"syncfs {CLIB.syncfs(fd)}")
    t.posix_fadvise(fd, 0, 0, 3)


@family()
def space(t):
    st = os.statvfs(".")
    t.note(f"bsize {st.f_bsize} frsize {st.f_frsize} namemax {st.f_namemax}")
    with open("a", "wb") as file:
        file.write(b"x" * (64 * P))
    now = os.statvfs("a")
    t.note(f"{st.f_bfree - now.f_bfree} pages, {st.f_ffree - now.f_ffree} inodes")
    t.note(f"{st.f_blocks == now.f_blocks} {st.f_files == now.f_files} {now.f_bavail == now.f_bfree}")
    os.unlink("a")
    now = os.statvfs(".")
    t.note(f"{st.f_bfree - now.f_bfree} pages, {st.f_ffree - now.f_ffree} inodes")


@family()
def locks(t):
    """flock between descriptors, record locks between processes."""
    import fcntl

    make("file", "a")
    one, two = t.open("a", os.O_RDWR), t.open("a", os.O_RDWR)
    t.flock(one, fcntl.LOCK_EX)
    t.flock(two, fcntl.LOCK_EX)
    t.flock(two, fcntl.LOCK_SH)
    t.flock(one, fcntl.LOCK_SH)
    t.flock(two, fcntl.LOCK_SH)
    t.flock(two, fcntl.LOCK_EX)
    t.flock(one, fcntl.LOCK_UN)
    t.flock(two, fcntl.LOCK_EX)
    t.flock(two, fcntl.LOCK_UN)
    t.lockf(one, fcntl.LOCK_EX, 10, 0)
    _elsewhere(t, lambda: t.lockf(two, fcntl.LOCK_EX, 10, 5))
    _elsewhere(t, lambda: t.lockf(two, fcntl.LOCK_SH, 10, 0))
    _elsewhere(t, lambda: t.lockf(two, fcntl.LOCK_EX, 10, 10))
    t.close(two)
    _elsewhere(t, lambda: t.lockf(one, fcntl.LOCK_EX, 10, 5))
    reader = t.open("a", os.O_RDONLY)
    t.lockf(reader, fcntl.LOCK_EX)
    t.lockf(reader, fcntl.LOCK_SH)


def _elsewhere(t, function):
    """Does it in a child; what it noted comes back."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        start = len(t.lines)
        function()
        os.write(write_end, "\n".join(t.lines[start:]).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        t.note("child: " + pipe.read())
    os.waitpid(pid, 0)


@family([mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_EXEC, mmap.PROT_WRITE],
        [mmap.MAP_SHARED, mmap.MAP_PRIVATE, 3], [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])  # fmt: skip
def mappings(t, prot, flags, access):
    with open("a", "wb") as file:
        file.write(b"content" * 1000)
    fd = t.open("a", access)
    try:
        with mmap.mmap(fd, 4096, flags=flags, prot=prot) as mapping:
            t.note("mapped")
            if prot & mmap.PROT_READ:
                t.note(f"{mapping[:7]!r}")
            if prot & mmap.PROT_WRITE:
                mapping[3:6] = b"XYZ"
    except OSError as error:
        t.note(errno.errorcode[error.errno])
    second = t.open("a", os.O_RDONLY)
    t.pread(second, 10, 0)


@family({"remove": 9, "dontneed": 4, "populate_read": 22, "populate_write": 23, "willneed": 3, "dump": 16})
def advice(t, advice):
    """madvise(2) on a shared mapping: MADV_REMOVE punches a hole into the file."""
    with open("a", "wb") as file:
        file.write(b"x" * (4 * P))
    fd = t.open("a", os.O_RDWR)
    with mmap.mmap(fd, 4 * P) as mapping:
        try:
            mapping.madvise(advice, P, P)
            t.note("advised")
        except OSError as error:
            t.note(errno.errorcode[error.errno])
        t.note(f"{os.pread(fd, 4 * P, 0).count(b'x')}")
        mapping[2 * P] = 7
        mapping.flush()
    _show(t, fd)


def _program(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=60)


def _tar(name):
    """Into an archive that leaves holes out, and back."""
    _program("tar", "-S", "-cf", "archive", name)
    _program("tar", "--transform", "s/a/b/", "-xf", "archive")


def _copied(t, name):
    with open(name, "rb") as file:
        content = file.read()
    t.note(f"{name}: {len(content)} bytes, stored at {content.find(b'stored')}")


HERE = 160 * P  # in a hole of the file
# What answers from the memory of a file, of which a part is only in a mapping so far.
AFTER_STORE = {
    "holes": lambda t, fd: _holes(t, fd),
    "data_from_0": lambda t, fd: t.lseek(fd, 0, os.SEEK_DATA),
    "hole_at_data": lambda t, fd: t.lseek(fd, HERE, os.SEEK_HOLE),
    "read": lambda t, fd: t.pread(fd, 10, HERE),
    "fstat": lambda t, fd: t.fstat(fd),
    "stat": lambda t, fd: t.stat("a"),
    "cp": lambda t, fd: _program("cp", "a", "b"),
    "cp_sparse": lambda t, fd: _program("cp", "--sparse=always", "a", "b"),
    "mv": lambda t, fd: _program("mv", "a", "b"),
    "tar_sparse": lambda t, fd: _tar("a"),
    "copy_file_range": lambda t, fd: t.copy_file_range(
        fd, t.open("b", os.O_CREAT | os.O_RDWR), 4096, HERE, 0
    ),
    "sendfile": lambda t, fd: t.sendfile(t.open("b", os.O_CREAT | os.O_RDWR), fd, HERE, 4096),
    "truncate_before": lambda t, fd: (t.truncate("a", HERE), t.truncate("a", 2 * HERE)),
    "truncate_within": lambda t, fd: (t.truncate("a", HERE + 3), t.truncate("a", 2 * HERE)),
    "truncate_behind": lambda t, fd: t.truncate("a", HERE + 16 * P),
    "punch_it": lambda t, fd: t.fallocate(fd, KEEP | PUNCH, HERE, P),
    "punch_part": lambda t, fd: t.fallocate(fd, KEEP | PUNCH, HERE + 2, 2),
    "punch_other": lambda t, fd: t.fallocate(fd, KEEP | PUNCH, 0, P),
    "allocate_around": lambda t, fd: t.fallocate(fd, 0, HERE - 16 * P, 32 * P),
    "allocate_end": lambda t, fd: t.fallocate(fd, 0, HERE * 2 - P, 2 * P),
    "write_beside": lambda t, fd: t.pwrite(fd, b"written", HERE + 100),
    "write_over": lambda t, fd: t.pwrite(fd, b"WRITTEN", HERE + 3),
    "remove": lambda t, fd: t.unlink("a"),
}


@family(AFTER_STORE, ["mapped", "unmapped", "closed"])
def stores(t, then, state):
    """What was stored into a hole through a mapping is there for whatever comes then."""
    make("file", "a")
    os.truncate("a", 2 * HERE)
    writer = os.open("a", os.O_RDWR)
    mapping = mmap.mmap(writer, 2 * HERE)
    fd = t.open("a", os.O_RDWR)
    mapping[HERE : HERE + 6] = b"stored"
    if state == "closed":
        os.close(writer)
    if state == "unmapped":
        mapping.close()
    then(t, fd)
    for name in "ab":
        if os.path.exists(name):
            _copied(t, name)
    t.fstat(fd)
    _holes(t, fd)
    if state != "unmapped":
        t.note(f"mapped {mapping[HERE : HERE + 10]!r}")
        mapping.close()
    if state != "closed":
        os.close(writer)


@family(["within", "beyond_page", "cut"])
def mapping_ends(t, where):
    """A page past the end is SIGBUS, also after a cut."""
    make("file", "a")
    os.truncate("a", P + 10)
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        fd = os.open("a", os.O_RDWR)
        mapping = mmap.mmap(fd, P + 10)
        mapping[0] = 1
        if where == "cut":
            os.truncate("a", 100)
        if where == "beyond_page":
            os.ftruncate(fd, 0)
        at = {"within": P + 9, "beyond_page": 0, "cut": P}[where]
        mapping[at] = 7
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    t.note(f"ended with {status}")
    t.tree()


@family(["stream", "datagram"], ["connect", "moved", "unlinked", "second_name"])
def sockets(t, kind, how):
    """A socket is found by any name of its node."""
    import socket

    kind = socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX, kind) as server, socket.socket(socket.AF_UNIX, kind) as client:
        server.bind("a")
        if kind == socket.SOCK_STREAM:
            server.listen(1)
        name = {"connect": "a", "moved": "b", "unlinked": "a", "second_name": "b"}[how]
        if how == "moved":
            t.rename("a", "b")
        if how == "unlinked":
            t.unlink("a")
        if how == "second_name":
            t.link("a", "b")
        try:
            client.connect(name)
            t.note("connected")
        except OSError as error:
            t.note(errno.errorcode[error.errno])
    t.tree()


@family(["plain", "moved", "opened_before"])
def fifos(t, how):
    """What is written to a fifo comes out of it, whatever happens to its name."""
    make("fifo", "a")
    reader = t.open("a", os.O_RDONLY | os.O_NONBLOCK)
    if how == "moved":
        t.rename("a", "b")
    writer = t.open("b" if how == "moved" else "a", os.O_WRONLY)
    if how == "opened_before":
        t.unlink("a")
    t.write(writer, b"through")
    t.read(reader, 20)
    t.fstat(reader)
    t.tree()


@family()
def running_program(t):
    """A running program is not written to: ETXTBSY."""
    import shutil
    import subprocess

    shutil.copy("/bin/sleep", "program")
    with subprocess.Popen(["./program", "1000"]) as process:
        try:
            t.open("program", os.O_RDWR)
            t.open("program", os.O_WRONLY | os.O_TRUNC)
            t.truncate("program", 0)
            t.open("program", os.O_RDONLY)
            t.chmod("program", 0o700)
            t.rename("program", "moved")
            t.unlink("moved")
        finally:
            process.kill()
    with open("writer", "wb") as file:
        file.write(b"#!/bin/sh\n")
        file.flush()
        os.chmod("writer", 0o755)
        t.execute("./writer")
    t.execute("./writer")
    t.tree()


@family(range(12))
def random_writes(t, seed):
    """Any calls in any order on one file, through three descriptors and a mapping."""
    rng = random.Random(seed)
    fds = [t.open("a", os.O_CREAT | os.O_RDWR | flags, 0o600) for flags in (0, os.O_APPEND, 0)]
    for step in range(120):
        fd = rng.choice(fds)
        at, length = rng.randrange(20 * P), rng.choice((1, 10, P, rng.randrange(1, 5 * P)))
        if rng.random() < 0.3:
            at, length = at // P * P, length // P * P or P
        data = bytes([step + 1]) * length
        rng.choice((
            lambda: t.pwrite(fd, data, at),
            lambda: t.pwrite(fd, data, at),
            lambda: t.write(fd, data),
            lambda: t.ftruncate(fd, at),
            lambda: t.truncate("a", at),
            lambda: t.fallocate(fd, 0, at, length),
            lambda: t.fallocate(fd, KEEP, at, length),
            lambda: t.fallocate(fd, KEEP | PUNCH, at, length),
            lambda: t.lseek(fd, at, rng.choice((os.SEEK_SET, os.SEEK_DATA, os.SEEK_HOLE, os.SEEK_END))),
            lambda: t.copy_file_range(fds[0], fds[2], length, at, (at + 7 * P) % (20 * P)),
            lambda: t.pread(fd, 20, at),
            lambda: t.mmap_write(fd, at // 2, data) if os.fstat(fd).st_size >= at // 2 + length else None,
            lambda: t.fsync(fd),
        ))()  # fmt: skip
        t.note(describe(os.fstat(fd)))
        t.note(describe(os.stat("a")))
        if step % 10 == 0:
            _show(t, fds[0])
    _show(t, fds[2])
