# SPDX-License-Identifier: MIT
"""Cases about times: set by hand, and moved by everything else."""

import os

from posix_trace import *

TIMES = {
    "now": ((0, UTIME_NOW), (0, UTIME_NOW)),
    "omit": ((0, UTIME_OMIT), (0, UTIME_OMIT)),
    "now_omit": ((0, UTIME_NOW), (0, UTIME_OMIT)),
    "omit_now": ((0, UTIME_OMIT), (0, UTIME_NOW)),
    "atime": ((1900000000, 123456789), (0, UTIME_OMIT)),
    "mtime": ((0, UTIME_OMIT), (1900000000, 999999999)),
    "now_mtime": ((0, UTIME_NOW), (1900000001, 1)),
    "both": ((1, 1), (2, 2)),
    "zero": ((0, 0), (0, 0)),
    "negative": ((-1, 0), (-2000000000, 999999999)),
    "y2038": ((0x7FFFFFFF, 0), (0x80000000, 0)),
    "y2106": ((0xFFFFFFFF, 0), (0x100000000, 0)),
    "y2446": ((0x37FFFFFFF, 0), (0x380000000, 0)),
    "far": ((1 << 40, 0), ((1 << 62), 5)),
    "most": (((1 << 63) - 1, 999999999), (-(1 << 63), 0)),
    "nsec_bad": ((1, 1000000000), (2, 0)),
    "nsec_negative": ((1, 0), (2, -1)),
}


def _times(t, path):
    """Exactly, but for what is now."""
    st = os.lstat(path)
    for name, value in (("atime", st.st_atime_ns), ("mtime", st.st_mtime_ns)):
        recent = abs(st.st_ctime_ns - value) < 3_600_000_000_000
        t.note(f"{name} of {path}: {'recent' if recent else value}")


@family(KINDS, TIMES, ["root", "owner", "other"], ["path", "no_follow"])
def set_times(t, kind, times, user, how):
    make(kind, "a", 0o644, OWNER)
    _utimensat = CALLS["utimensat"]
    _utimensat("a", (77, 7), (88, 8), AT_SYMLINK_NOFOLLOW)
    seen = t.look("a", atime=True)
    yield
    with t.user(USERS[user]):
        t.utimensat("a", *times, AT_SYMLINK_NOFOLLOW if how == "no_follow" else 0)
    t.moved(seen)
    _times(t, "a")


@family(["file", "dir"], TIMES, ["owner", "other"], [os.O_RDONLY, os.O_RDWR], [0o666, 0o644])
def set_times_of_fd(t, kind, times, user, flags, mode):
    make(kind, "a", mode, OWNER)
    fd = t.open("a", flags)
    os.utime("a", (77, 88))
    seen = t.look("a", fd, atime=True)
    yield
    with t.user(USERS[user]):
        t.futimens(fd, *times)
    t.moved(seen)
    _times(t, "a")


def _prepare():
    os.mkdir("d")
    for path in ("d/f", "f", "source"):
        with open(path, "w") as file:
            file.write("content")
    os.symlink("f", "link")
    os.mkfifo("fifo")
    return os.open("f", os.O_RDWR), os.open("source", os.O_RDONLY), os.open("d", os.O_RDONLY)


# What moves which times of f, d/f, d, the directory itself, and f by its descriptor.
ACTIONS = {
    "nothing": lambda t, f, s, d: None,
    "stat": lambda t, f, s, d: t.stat("f"),
    "open": lambda t, f, s, d: t.open("f", os.O_RDWR),
    "open_creat": lambda t, f, s, d: t.open("d/f", os.O_RDWR | os.O_CREAT, 0o600),
    "open_trunc": lambda t, f, s, d: t.open("f", os.O_WRONLY | os.O_TRUNC),
    "open_trunc_creat": lambda t, f, s, d: t.open("d/f", os.O_WRONLY | os.O_TRUNC | os.O_CREAT),
    "write": lambda t, f, s, d: t.write(f, b"x"),
    "write_nothing": lambda t, f, s, d: t.write(f, b""),
    "pwrite_far": lambda t, f, s, d: t.pwrite(f, b"x", 100000),
    "pwritev": lambda t, f, s, d: t.pwritev(f, [b"x", b"y"], 3),
    "read": lambda t, f, s, d: t.read(f, 3),
    "mmap_read": lambda t, f, s, d: t.mmap_read(f, 0, 3),
    "truncate_shorter": lambda t, f, s, d: t.truncate("f", 3),
    "truncate_longer": lambda t, f, s, d: t.truncate("f", 3000),
    "truncate_same": lambda t, f, s, d: t.truncate("f", 7),
    "truncate_bad": lambda t, f, s, d: t.truncate("f", -1),
    "ftruncate_shorter": lambda t, f, s, d: t.ftruncate(f, 3),
    "ftruncate_longer": lambda t, f, s, d: t.ftruncate(f, 3000),
    "ftruncate_same": lambda t, f, s, d: t.ftruncate(f, 7),
    "fallocate": lambda t, f, s, d: t.fallocate(f, 0, 0, 10000),
    "fallocate_within": lambda t, f, s, d: t.fallocate(f, 0, 0, 2),
    "fallocate_keep": lambda t, f, s, d: t.fallocate(f, 1, 0, 10000),
    "fallocate_punch": lambda t, f, s, d: t.fallocate(f, 3, 0, 4096),
    "copy_file_range": lambda t, f, s, d: t.copy_file_range(s, f, 4),
    "sendfile_to": lambda t, f, s, d: t.sendfile(f, s, 0, 4),
    "lseek": lambda t, f, s, d: t.lseek(f, 0, os.SEEK_DATA),
    "fsync": lambda t, f, s, d: t.fsync(f),
    "fdatasync": lambda t, f, s, d: t.fdatasync(f),
    "fsync_dir": lambda t, f, s, d: t.fsync(d),
    "chmod": lambda t, f, s, d: t.chmod("f", 0o600),
    "chmod_same": lambda t, f, s, d: t.chmod("f", 0o644),
    "chmod_dir": lambda t, f, s, d: t.chmod("d", 0o711),
    "fchmod": lambda t, f, s, d: t.fchmod(f, 0o600),
    "chown": lambda t, f, s, d: t.chown("f", 1, 1),
    "chown_keep": lambda t, f, s, d: t.chown("f", -1, -1),
    "chown_dir": lambda t, f, s, d: t.chown("d", 1, 1),
    "create": lambda t, f, s, d: t.open("d/new", os.O_CREAT | os.O_RDWR, 0o600),
    "create_fail": lambda t, f, s, d: t.open("d/f", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600),
    "tmpfile": lambda t, f, s, d: t.open("d", os.O_TMPFILE | os.O_RDWR, 0o600),
    "mkdir": lambda t, f, s, d: t.mkdir("d/new", 0o700),
    "mkfifo": lambda t, f, s, d: t.mkfifo("d/new", 0o700),
    "symlink": lambda t, f, s, d: t.symlink("aim", "d/new"),
    "bind": lambda t, f, s, d: t.bind("d/new"),
    "link": lambda t, f, s, d: t.link("f", "d/new"),
    "link_fail": lambda t, f, s, d: t.link("f", "d/f"),
    "unlink": lambda t, f, s, d: t.unlink("d/f"),
    "unlink_fail": lambda t, f, s, d: t.unlink("d/none"),
    "rename_out": lambda t, f, s, d: t.rename("d/f", "new"),
    "rename_in": lambda t, f, s, d: t.rename("f", "d/new"),
    "rename_over": lambda t, f, s, d: t.rename("f", "d/f"),
    "rename_within": lambda t, f, s, d: t.rename("d/f", "d/g"),
    "exchange": lambda t, f, s, d: t.rename2("f", "d/f", RENAME_EXCHANGE),
    "rename_dir": lambda t, f, s, d: t.rename("d", "e"),
    "rmdir_fail": lambda t, f, s, d: t.rmdir("d"),
    "utimens": lambda t, f, s, d: t.utimensat("f", (5, 5), (6, 6)),
    "utimens_omit": lambda t, f, s, d: t.utimensat("f", (0, UTIME_OMIT), (0, UTIME_OMIT)),
    "readlink": lambda t, f, s, d: t.readlink("link"),
    "listdir": lambda t, f, s, d: t.listdir("d"),
    "flock": lambda t, f, s, d: t.flock(f, 2),
}  # fmt: skip


@family(ACTIONS)
def action_moves(t, action):
    f, s, d = _prepare()
    seen = t.look("f", f, "d/f", "d", d, ".", "link", "source")
    yield
    action(t, f, s, d)
    t.moved(seen)
    t.tree()
    for fd in (f, s, d):
        os.close(fd)


@family(ACTIONS)
def action_moves_unseen(t, action):
    """Seen only through another descriptor, that no call has gone through."""
    f, s, d = _prepare()
    seen = os.open("f", os.O_RDONLY)
    first = os.stat("f")
    yield
    action(t, f, s, d)
    st = os.fstat(seen)
    t.note(f"mtime {st.st_mtime_ns != first.st_mtime_ns} ctime {st.st_ctime_ns != first.st_ctime_ns}")
    t.note(describe(st))
    for fd in (f, s, d, seen):
        os.close(fd)


@family(["read", "pread", "mmap_read", "sendfile", "read_nothing", "noatime"], ["fresh", "old"])
def read_moves(t, how, age):
    """The time of access, as relatime has it."""
    with open("f", "w") as file:
        file.write("content")
    if age == "old":  # and read since it was written
        os.utime("f", (10, 5))
    f = t.open("f", os.O_RDONLY | (os.O_NOATIME if how == "noatime" else 0))
    target = t.open("target", os.O_CREAT | os.O_WRONLY, 0o600)
    seen = t.look("f", f, atime=True)
    yield
    {
        "read": lambda: t.read(f, 3),
        "pread": lambda: t.pread(f, 3, 2),
        "mmap_read": lambda: t.mmap_read(f, 0, 3),
        "sendfile": lambda: t.sendfile(target, f, 0, 5),
        "read_nothing": lambda: t.pread(f, 3, 100),
        "noatime": lambda: t.read(f, 3),
    }[how]()
    t.moved(seen)


def _latest(paths):
    """The newest stamp that anything has."""
    stats = [os.lstat(path) for path in paths if os.path.lexists(path)]
    return max(max(st.st_mtime_ns, st.st_ctime_ns) for st in stats)


# What is stamped, by the file system for names and by the kernel for memory: (what changes, how).
STAMPED = {
    "write": ("f", lambda t, f: t.write(f, b"x")),
    "truncate": ("f", lambda t, f: t.ftruncate(f, 1000)),
    "utimes": ("f", lambda t, f: t.utimensat("f", (0, UTIME_NOW), (0, UTIME_NOW))),
    "chmod": ("f", lambda t, f: t.chmod("f", 0o640)),
    "chown": ("f", lambda t, f: t.chown("f", 1, 1)),
    "link": ("f", lambda t, f: t.link("f", "g")),
    "rename": ("f", lambda t, f: t.rename("f", "e")),
    "setxattr": ("f", lambda t, f: t.setxattr("f", "user.a", b"x")),
    "mkdir": ("new", lambda t, f: t.mkdir("new", 0o700)),
    "create": ("new", lambda t, f: t.close(t.open("new", os.O_CREAT | os.O_WRONLY, 0o600))),
    "symlink": ("new", lambda t, f: t.symlink("aim", "new")),
    "mkdir_in": ("d", lambda t, f: t.mkdir("d/new", 0o700)),
    "chmod_dir": ("d", lambda t, f: t.chmod("d", 0o711)),
    "utimes_dir": ("d", lambda t, f: t.utimensat("d", (0, UTIME_NOW), (0, UTIME_NOW))),
}


@family(list(STAMPED), list(STAMPED))
def order(t, first, second):
    """Whatever comes later has no older stamp; what was looked at moves at once."""
    make("file", "f")
    make("dir", "d")
    f = t.open("f", os.O_RDWR | os.O_APPEND)
    paths = ("f", "d", "new", "e", "g", "d/new", ".")
    STAMPED[first][1](t, f)
    before = _latest(paths)
    what, act = STAMPED[second]
    act(t, f)
    what = what if os.path.lexists(what) else "e"
    st = os.lstat(what)
    after = max(st.st_mtime_ns, st.st_ctime_ns)
    t.note(f"{second} after {first} is {'older' if after < before else 'not older'}")


@family(["link", "rename", "chmod", "write", "setxattr"])
def moved_at_once(t, second):
    """Without any time in between."""
    make("file", "f")
    f = t.open("f", os.O_RDWR | os.O_APPEND)
    for _ in range(5):
        before = os.stat("f")
        STAMPED[second][1](t, f)
        after = os.fstat(f)
        t.note(f"moved: {after.st_ctime_ns > before.st_ctime_ns}")
        if second == "link":
            t.unlink("g")
        if second == "rename":
            t.rename("e", "f")


@family(["hole", "written"], ["read_first", "not_read"], ["store", "remove", "second_mapping"])
def stores_move(t, page, read, what):
    """What is done through a mapping shows in times and blocks, also of a file just looked at."""
    import mmap

    with open("a", "wb") as file:
        if page == "written":
            file.write(b"x" * 16384)
        file.truncate(16384)
    yield
    t.stat("a")
    t.stat("a")
    fd = os.open("a", os.O_RDWR)
    mapping = mmap.mmap(fd, 16384)
    if read == "read_first":
        t.note(f"{mapping[4096]}")
    if what != "store":
        mapping[4096] = 7
    if what == "second_mapping":
        mapping.close()
        mapping = mmap.mmap(fd, 16384)
    os.close(fd)
    seen = t.look("a")
    yield
    if what == "remove":
        mapping.madvise(9, 4096, 4096)
    else:
        mapping[4096:4100] = b"abcd"
    mapping.flush()
    t.moved(seen)
    t.stat("a")
    mapping.close()
    t.stat("a")


@family(["mmap", "write"], ["msync", "close", "stat"])
def mapping_moves(t, how, then):
    """A store through a mapping shows in the file by all ways, and the size stays."""
    import mmap

    make("file", "a")
    os.truncate("a", 8192)
    fd = os.open("a", os.O_RDWR)
    mapping = mmap.mmap(fd, 8192)
    if how == "mmap":
        mapping[4096:4100] = b"abcd"
    else:
        os.pwrite(fd, b"abcd", 4096)
    if then == "msync":
        mapping.flush()
    if then == "close":
        os.close(fd)
    other = t.open("a", os.O_RDONLY)
    t.pread(other, 4, 4096)
    t.note(f"{mapping[4096:4100]!r}")
    t.fstat(other)
    t.stat("a")
    mapping.close()
    if then != "close":
        os.close(fd)
