# SPDX-License-Identifier: MIT
"""Cases about who may do what, and what changes of mode and owner leave behind."""

import os
import shutil

from posix_trace import *

ALL = list(USERS)


def _bits(owner, group, other):
    return owner << 6 | group << 3 | other


# One class is put to the test, the others have the opposite rights.
MODES = [
    mode
    for bits in (0, 1, 2, 4, 5, 6, 7)
    for mode in (
        _bits(bits, 7 - bits, 7 - bits),
        _bits(7 - bits, bits, 7 - bits),
        _bits(7 - bits, 7 - bits, bits),
    )
]  # fmt: skip
MODES = {f"{mode:03o}": mode for mode in MODES}


@family(MODES, ALL)
def file_rights(t, mode, user):
    with open("file", "w") as file:
        file.write("#!/bin/sh\nexit 3\n")
    os.chown("file", OWNER[0], OWNER[1])
    os.chmod("file", mode)
    with t.user(USERS[user]):
        t.open("file", os.O_RDONLY)
        t.open("file", os.O_WRONLY)
        t.open("file", os.O_RDWR)
        t.open("file", os.O_RDONLY | os.O_TRUNC)
        for bit in (os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.W_OK, os.R_OK | os.X_OK):
            t.access("file", bit)
        t.truncate("file", 17)
        t.utimensat("file", (0, UTIME_NOW), (0, UTIME_NOW))
        t.utimensat("file", (0, UTIME_OMIT), (0, UTIME_OMIT))
        t.utimensat("file", (0, UTIME_NOW), (0, UTIME_OMIT))
        t.utimensat("file", (5, 0), (6, 0))
        t.chmod("file", mode)
        t.link("file", "linked")
    t.tree()


def make_programs(mode):
    """A binary, which needs execution only; and a script, which must be readable as well."""
    shutil.copy("/bin/false", "program")
    with open("script", "w") as file:
        file.write("#!/bin/sh\nexit 3\n")
    for name in ("program", "script"):
        os.chown(name, OWNER[0], OWNER[1])
        os.chmod(name, mode)


@family(MODES, ALL)
def execute_rights(t, mode, user):
    make_programs(mode)
    with t.user(USERS[user]):
        t.access("program", os.X_OK)
        t.open("program", os.O_RDONLY)


@family([0o755, 0o644, 0o111, 0o700, 0o4755], ["root", "owner", "other"])
def execution(t, mode, user):
    make_programs(mode)
    with t.user(USERS[user]):
        t.execute("./program")
        t.execute("./script")


@family(MODES, ALL)
def directory_rights(t, mode, user):
    os.mkdir("d")
    make("file", "d/f", 0o666, OWNER)
    make("dir", "d/sub", 0o777, OWNER)
    os.symlink("f", "d/l")
    os.chown("d", OWNER[0], OWNER[1])
    os.chmod("d", mode)
    make("file", "from", 0o666, USERS[user])
    with t.user(USERS[user]):
        t.listdir("d")
        t.stat("d/f")
        t.stat("d/none")
        t.readlink("d/l")
        t.open("d/f", os.O_RDWR)
        t.open("d/new", os.O_CREAT | os.O_RDWR, 0o600)
        t.open("d", os.O_TMPFILE | os.O_RDWR, 0o600)
        t.mkdir("d/dir", 0o700)
        t.mkfifo("d/fifo", 0o600)
        t.mknod("d/node", 0o020600, 0x103)
        t.bind("d/socket")
        t.symlink("aim", "d/link")
        t.link("from", "d/hard")
        t.link("d/f", "hard")
        t.chmod("d/f", 0o600)
        t.chown("d/f", -1, -1)
        t.truncate("d/f", 1)
        t.utimensat("d/f", (1, 0), (1, 0))
        t.rename("from", "d/from")
        t.rename("d/f", "d/g")
        t.rename("d/g", "g")
        t.rename2("d/l", "d/link", RENAME_EXCHANGE)
        t.unlink("d/l")
        t.rmdir("d/sub")
    t.tree()


@family(
    ["unlink", "rename_from", "rename_to", "rename_in", "exchange"],
    {"0777": 0o777, "1777": 0o1777, "1775": 0o1775, "1755": 0o1755},
    ["root", "owner", "guest"],
    ["owner", "guest", "other"],
    ["owner", "guest", "other"],
    ["file", "dir"],
)
def sticky(t, how, mode, dir_owner, file_owner, user, kind):
    os.mkdir("d")
    os.chown("d", USERS[dir_owner][0], 65534)
    os.chmod("d", mode)
    make(kind, "d/x", 0o644, USERS[file_owner])
    make(kind, "mine", 0o644, USERS[user])
    make(kind, "d/mine", 0o644, USERS[user])
    seen = t.look("d", "d/x", "d/mine")
    yield
    with t.user(USERS[user]):
        {
            "unlink": lambda: t.rmdir("d/x") if kind == "dir" else t.unlink("d/x"),
            "rename_from": lambda: t.rename("d/x", "x"),
            "rename_to": lambda: t.rename("mine", "d/x"),
            "rename_in": lambda: t.rename("d/x", "d/y"),
            "exchange": lambda: t.rename2("d/mine", "d/x", RENAME_EXCHANGE),
        }[how]()
    t.moved(seen)
    t.tree()


@family(["owner", "other"], ["owner", "other"], [0o755, 0o555, 0o700])
def move_directory(t, dir_owner, user, mode):
    """A directory that moves to another parent is written to: its .. changes."""
    os.mkdir("a", 0o777)
    os.mkdir("b", 0o777)
    make("dir", "a/d", mode, USERS[dir_owner])
    with t.user(USERS[user]):
        t.rename("a/d", "a/e")
        t.rename("a/e", "b/d")
        t.rename("a/d", "b/d")
    t.tree()


@family(
    KINDS,
    ALL,
    {"own group": 65534, "guest's group": 65531, "no group": 65500},
    [0, 0o111, 0o644, 0o1644, 0o1777, 0o2644, 0o2755, 0o4644, 0o4755, 0o6777, 0o7777],
)
def chmod_kinds(t, kind, user, group, mode):
    if kind == "link":
        make("file", "aim")
        os.symlink("aim", "a")
        os.chown("a", OWNER[0], group)
    else:
        make(kind, "a", 0o640, (OWNER[0], group))
    seen = t.look("a")
    yield
    with t.user(USERS[user]):
        t.chmod("a", mode)
    t.moved(seen)
    t.tree()


@family(KINDS, ["root", "owner", "other"])
def lchmod_kinds(t, kind, user):
    make(kind, "a", 0o640, OWNER)
    seen = t.look("a")
    yield
    with t.user(USERS[user]):
        t.lchmod("a", 0o711)
    t.moved(seen)
    t.tree()


@family(["dir", "file"], ["owner", "root"], [0o7777, 0o644])
def fchmod_kinds(t, kind, user, mode):
    make(kind, "a", 0o777, OWNER)
    fd = t.open("a", os.O_RDONLY)
    seen = t.look("a", ".")
    yield
    with t.user(USERS[user]):
        t.fchmod(fd, mode)
        t.fstat(fd)
    t.moved(seen)
    path = t.open("a", os.O_PATH)
    t.fchmod(path, 0o700)
    t.chmod(f"/proc/self/fd/{path}", 0o700)
    t.tree()


IDS = {
    "keep": (-1, -1),
    "same": (65534, 65534),
    "uid": (65530, -1),
    "same_uid": (65534, -1),
    "gid_in": (-1, 65531),
    "gid_own": (-1, 65534),
    "gid_out": (-1, 65500),
    "both_in": (65534, 65531),
    "both": (65530, 65500),
    "big": (4000000000, 3999999999),
}
OWNER_WITH_GROUPS = (65534, 65533, (65534, 65531))


@family(
    KINDS,
    {"root": ROOT, "owner": OWNER, "groups": OWNER_WITH_GROUPS, "guest": GUEST},
    IDS,
    [0o777, 0o6755, 0o4711, 0o2755, 0o2745, 0o6644, 0o7777],
)
def chown_kinds(t, kind, user, ids, mode):
    make(kind, "a", mode, OWNER)
    seen = t.look("a")
    yield
    with t.user(user):
        t.lchown("a", *ids)
    t.moved(seen)
    t.lstat("a")


@family(["chown", "fchown"], ["file", "dir", "link"], IDS, [0o6755, 0o2745], ["root", "groups", "other"])
def chown_ways(t, how, kind, ids, mode, user):
    user = OWNER_WITH_GROUPS if user == "groups" else USERS[user]
    if kind == "link":
        make("file", "aim", mode, OWNER)
        os.symlink("aim", "a")
    else:
        make(kind, "a", mode, OWNER)
    fd = t.open("a", os.O_RDONLY)
    seen = t.look("a", fd)
    yield
    with t.user(user):
        if how == "chown":
            t.chown("a", *ids)
        else:
            t.fchown(fd, *ids)
    t.moved(seen)
    t.tree()


@family(
    ["write", "pwrite", "write_nothing", "append", "truncate", "ftruncate", "ftruncate_same", "fallocate",
     "fallocate_keep", "punch", "mmap", "copy_file_range", "sendfile", "splice", "open_trunc", "read"],
    [0o6777, 0o4777, 0o2777, 0o2767, 0o6767, 0o7777, 0o6666],
    ["root", "owner", "other"],
)  # fmt: skip
def write_clears_suid(t, how, mode, user):
    with open("a", "w") as file:
        file.write("content")
    with open("source", "w") as file:
        file.write("other content")
    os.chown("a", OWNER[0], OWNER[1])
    os.chmod("a", mode)
    source = os.open("source", os.O_RDONLY)
    fd = t.open("a", os.O_RDWR | (os.O_APPEND if how == "append" else 0))
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    seen = t.look("a")
    yield
    with t.user(USERS[user]):
        {
            "write": lambda: t.write(fd, b"x"),
            "pwrite": lambda: t.pwrite(fd, b"x", 3),
            "write_nothing": lambda: t.write(fd, b""),
            "append": lambda: t.write(fd, b"x"),
            "truncate": lambda: t.truncate("a", 3),
            "ftruncate": lambda: t.ftruncate(fd, 3),
            "ftruncate_same": lambda: t.ftruncate(fd, 7),
            "fallocate": lambda: t.fallocate(fd, 0, 0, 100),
            "fallocate_keep": lambda: t.fallocate(fd, 1, 0, 100),
            "punch": lambda: t.fallocate(fd, 3, 0, 4),
            "mmap": lambda: t.mmap_write(fd, 0, b"x"),
            "copy_file_range": lambda: os.copy_file_range(source, fd, 5),
            "sendfile": lambda: os.sendfile(fd, source, 0, 5),
            "splice": lambda: os.splice(reader, fd, 5),
            "open_trunc": lambda: t.open("a", os.O_WRONLY | os.O_TRUNC),
            "read": lambda: t.read(fd, 3),
        }[how]()
    t.moved(seen)
    t.lstat("a")
    for each in (source, reader, writer):
        os.close(each)
