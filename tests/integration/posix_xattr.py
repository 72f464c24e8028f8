# SPDX-License-Identifier: MIT
"""Cases about extended attributes and access lists."""

import os
import struct
import subprocess

from posix_trace import *

NAMES = {
    "user": "user.a",
    "dots": "user.a.b.c",
    "user_long": "user." + "n" * 250,
    "user_too_long": "user." + "n" * 251,
    "trusted": "trusted.a",
    "security": "security.a",
    "user_empty": "user.",
    "trusted_empty": "trusted.",
    "security_empty": "security.",
    "no_dot": "user",
    "system": "system.a",
    "unknown": "other.a",
    "empty": "",
    "strange": "user.\n\\ \x01",
}
VALUES = {"none": b"", "short": b"value", "zeros": b"\0" * 500, "most": b"x" * 65536, "more": b"x" * 65537}
CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE

USER_OBJ, A_USER, GROUP_OBJ, A_GROUP, MASK, A_OTHER = 1, 2, 4, 8, 16, 32


def acl(*entries):
    """An access list as the attribute has it: (tag, permissions, id)."""
    packed = [struct.pack("<HHI", tag, perm, id_) for tag, perm, id_ in entries]
    return struct.pack("<I", 2) + b"".join(packed)


NONE = 0xFFFFFFFF
MINIMAL = acl((USER_OBJ, 6, NONE), (GROUP_OBJ, 4, NONE), (A_OTHER, 0, NONE))
LISTS = {
    "minimal": MINIMAL,
    "masked": acl((USER_OBJ, 7, NONE), (GROUP_OBJ, 7, NONE), (MASK, 5, NONE), (A_OTHER, 1, NONE)),
    "other_may": acl(
        (USER_OBJ, 7, NONE), (A_USER, 7, 65530), (GROUP_OBJ, 0, NONE), (MASK, 7, NONE), (A_OTHER, 0, NONE)
    ),
    "other_may_not": acl(
        (USER_OBJ, 7, NONE), (A_USER, 0, 65530), (GROUP_OBJ, 7, NONE), (MASK, 7, NONE), (A_OTHER, 7, NONE)
    ),
    "mask_takes": acl(
        (USER_OBJ, 7, NONE), (A_USER, 7, 65530), (GROUP_OBJ, 7, NONE), (MASK, 1, NONE), (A_OTHER, 7, NONE)
    ),
    "mask_is_0": acl(
        (USER_OBJ, 6, NONE), (A_USER, 7, 65530), (GROUP_OBJ, 7, NONE), (MASK, 0, NONE), (A_OTHER, 5, NONE)
    ),
    "groups": acl(
        (USER_OBJ, 6, NONE), (GROUP_OBJ, 4, NONE), (A_GROUP, 2, 65530), (A_GROUP, 7, 65531),
        (MASK, 7, NONE), (A_OTHER, 0, NONE),
    ),
    "many": acl(
        (USER_OBJ, 6, NONE), *((A_USER, i % 8, 1000 + i) for i in range(200)), (GROUP_OBJ, 4, NONE),
        (MASK, 6, NONE), (A_OTHER, 0, NONE),
    ),
    "empty": struct.pack("<I", 2),
    "no_header": b"",
    "old": struct.pack("<I", 1) + MINIMAL[4:],
    "cut": MINIMAL[:-1],
    "no_mask": acl((USER_OBJ, 7, NONE), (A_USER, 7, 5), (GROUP_OBJ, 0, NONE), (A_OTHER, 0, NONE)),
    "twice": acl((USER_OBJ, 7, NONE), (USER_OBJ, 7, NONE), (GROUP_OBJ, 0, NONE), (A_OTHER, 0, NONE)),
    "no_owner": acl((GROUP_OBJ, 0, NONE), (A_OTHER, 0, NONE)),
    "unordered": acl((GROUP_OBJ, 0, NONE), (USER_OBJ, 7, NONE), (A_OTHER, 0, NONE)),
    "bits": acl((USER_OBJ, 15, NONE), (GROUP_OBJ, 0, NONE), (A_OTHER, 0, NONE)),
}  # fmt: skip
GOOD = ("minimal", "masked", "other_may", "other_may_not", "mask_takes", "mask_is_0", "groups", "many")
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


CALLS.update(
    lsetxattr=lambda path, name, value, flags=0: os.setxattr(
        path, name, value, flags, follow_symlinks=False
    ),
    lgetxattr=lambda path, name: os.getxattr(path, name, follow_symlinks=False),
    llistxattr=lambda path: os.listxattr(path, follow_symlinks=False),
    lremovexattr=lambda path, name: os.removexattr(path, name, follow_symlinks=False),
)


def _all(t, path):
    """Everything that the file has, and its mode and times."""
    for name in t.llistxattr(path) if os.path.lexists(path) else ():
        t.lgetxattr(path, name)
    t.note(describe(os.lstat(path)))


@family(KINDS, NAMES, ["root", "owner", "other"])
def xattr_names(t, kind, name, user):
    make(kind, "a", 0o666, OWNER)
    seen = t.look("a")
    yield
    with t.user(USERS[user]):
        t.lgetxattr("a", name)
        t.lremovexattr("a", name)
        t.lsetxattr("a", name, b"value")
        t.moved(seen)
        t.lgetxattr("a", name)
        t.llistxattr("a")
    _all(t, "a")
    with t.user(USERS[user]):
        t.lremovexattr("a", name)
    _all(t, "a")


@family(VALUES, [0, CREATE, REPLACE, 3, 8], ["new", "old"])
def xattr_values(t, value, flags, state):
    make("file", "a")
    make("dir", "d")
    for path in "ad":
        if state == "old":
            os.setxattr(path, "user.a", b"old value")
        os.setxattr(path, "user.b", b"other")
        seen = t.look(path)
        yield
        t.lsetxattr(path, "user.a", value, flags)
        t.moved(seen)
        _all(t, path)
        t.lsetxattr(path, "user.a", b"")
        _all(t, path)


@family(["sorted", "backwards", "mixed"])
def xattr_many(t, order):
    names = [f"user.{i:03}" for i in range(100)] + ["trusted.x", "security.y", "user.zz"]
    if order != "sorted":
        names.reverse()
    if order == "mixed":
        names = names[::2] + names[1::2]
    make("file", "a", 0o666)
    for i, name in enumerate(names):
        os.setxattr("a", name, b"v" * (i * 7))
    _all(t, "a")
    with t.user(OTHER):
        t.llistxattr("a")
    for name in names[::3]:
        t.lremovexattr("a", name)
    for name in names[1::3]:
        t.lsetxattr("a", name, b"w" * 1000, REPLACE)
    _all(t, "a")


@family(["rename", "link", "unlink", "exchange", "rename_over", "truncate", "chown", "chmod", "write"])
def xattr_stay(t, action):
    for path in "ab":
        make("file", path)
        os.setxattr(path, "user." + path, path.encode() * 300)
        os.setxattr(path, "trusted.t", b"t")
    fd = t.open("a", os.O_RDWR)
    {
        "rename": lambda: t.rename("a", "c"),
        "link": lambda: t.link("a", "c"),
        "unlink": lambda: t.unlink("a"),
        "exchange": lambda: t.rename2("a", "b", RENAME_EXCHANGE),
        "rename_over": lambda: t.rename("a", "b"),
        "truncate": lambda: t.truncate("a", 0),
        "chown": lambda: t.chown("a", 1, 1),
        "chmod": lambda: t.chmod("a", 0o600),
        "write": lambda: t.write(fd, b"x"),
    }[action]()
    t.listxattr(fd)
    t.getxattr(fd, "user.a")
    for path in "abc":
        if os.path.exists(path):
            _all(t, path)


@family(["root", "owner", "other"], [0o777, 0o1777, 0o700])
def xattr_of_directories(t, user, mode):
    """In a sticky directory of somebody else nobody marks the directory."""
    make("dir", "d", mode, OWNER)
    with t.user(USERS[user]):
        t.lsetxattr("d", "user.a", b"x")
        t.lgetxattr("d", "user.a")
    _all(t, "d")


CAPS = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep
TAKES = {
    "write": lambda t, fd: t.write(fd, b"x"),
    "write_nothing": lambda t, fd: t.write(fd, b""),
    "truncate": lambda t, fd: t.ftruncate(fd, 3),
    "truncate_same": lambda t, fd: t.ftruncate(fd, os.fstat(fd).st_size),
    "open_trunc": lambda t, fd: t.open("a", os.O_RDWR | os.O_TRUNC),
    "fallocate": lambda t, fd: t.fallocate(fd, 0, 0, 100),
    "chown": lambda t, fd: t.chown("a", 1, 1),
    "chown_keep": lambda t, fd: t.chown("a", -1, -1),
    "chmod": lambda t, fd: t.chmod("a", 0o711),
    "utimens": lambda t, fd: t.utimensat("a", (5, 5), (6, 6)),
    "rename": lambda t, fd: t.rename("a", "b"),
    "read": lambda t, fd: t.pread(fd, 5, 0),
    "setxattr": lambda t, fd: t.setxattr(fd, "user.a", b"x"),
    "setfacl": lambda t, fd: t.setxattr(fd, ACCESS, LISTS["groups"]),
}


@family(TAKES, ["root", "other"], ["fresh", "written_before"])
def capabilities(t, action, user, state):
    """What takes a file's capabilities away."""
    with open("a", "w") as file:
        file.write("content")
    os.chmod("a", 0o777)
    fd = t.open("a", os.O_RDWR)
    if state == "written_before":
        os.write(fd, b"before")
    t.setxattr("a", "security.capability", CAPS)
    t.getxattr("a", "security.capability")
    with t.user(USERS[user]):
        action(t, fd)
    for path in "ab":
        if os.path.exists(path):
            _all(t, path)


# ---- access lists ----


def _may(t, path):
    """What each user may do."""
    for name in ("owner", "member", "guest", "other"):
        with t.user(USERS[name]):
            for mode in (4, 2, 1, 6, 7):
                t.access(path, mode)


@family(["file", "dir", "fifo", "link"], LISTS, [ACCESS, DEFAULT], ["root", "owner", "other"])
def acl_set(t, kind, value, which, user):
    make(kind, "a", 0o2664, OWNER)
    seen = t.look("a")
    yield
    with t.user(USERS[user]):
        t.lsetxattr("a", which, value)
    t.moved(seen)
    _all(t, "a")
    with t.user(USERS[user]):
        t.lgetxattr("a", which)
        t.lremovexattr("a", which)
    _all(t, "a")


@family(["file", "dir"], GOOD)
def acl_permits(t, kind, value):
    make(kind, "a", 0o640, OWNER)
    t.setxattr("a", ACCESS, LISTS[value])
    _may(t, "a")
    if kind == "dir":
        for name in ("owner", "member", "guest", "other"):
            with t.user(USERS[name]):
                t.listdir("a")
                t.mkdir("a/" + name, 0o700)
                t.stat("a/" + name)
    else:
        for name in ("owner", "member", "guest", "other"):
            with t.user(USERS[name]):
                t.open("a", os.O_RDONLY)
                t.open("a", os.O_WRONLY)
                t.truncate("a", 5)


@family(["file", "dir"], GOOD, [0, 0o777, 0o750, 0o607, 0o6755])
def acl_chmod(t, kind, value, mode):
    make(kind, "a", 0o640, OWNER)
    t.setxattr("a", ACCESS, LISTS[value])
    t.chmod("a", mode)
    _all(t, "a")
    _may(t, "a")


MADE = {
    "file": lambda t, mode: t.close(t.open("d/n", os.O_CREAT | os.O_RDWR, mode)),
    "dir": lambda t, mode: t.mkdir("d/n", mode),
    "fifo": lambda t, mode: t.mkfifo("d/n", mode),
    "link": lambda t, mode: t.symlink("aim", "d/n"),
    "socket": lambda t, mode: t.bind("d/n"),
}


@family(MADE, GOOD, [0, 0o666, 0o777, 0o640], [0, 0o027, 0o777])
def acl_inherited(t, made, value, mode, umask):
    """A default list holds for what is made, in place of the umask."""
    make("dir", "d", 0o2777, OWNER)
    t.setxattr("d", DEFAULT, LISTS[value])
    _all(t, "d")
    with t.umask(umask), t.user(OTHER):
        made(t, mode)
    _all(t, "d/n")
    if os.path.isdir("d/n"):
        t.mkdir("d/n/m", 0o777)
        _all(t, "d/n/m")


@family(MADE, [0o777, 0o4751], [0, 0o027, 0o777])
def umask_without_acl(t, made, mode, umask):
    make("dir", "d", 0o777)
    with t.umask(umask):
        made(t, mode)
        fd = t.open("d", os.O_TMPFILE | os.O_RDWR, mode & 0o777)
        t.fstat(fd)
    _all(t, "d/n")


@family(GOOD, [0o666, 0o600], [0, 0o077])
def acl_of_unnamed(t, value, mode, umask):
    make("dir", "d", 0o777)
    t.setxattr("d", DEFAULT, LISTS[value])
    with t.umask(umask):
        fd = t.open("d", os.O_TMPFILE | os.O_RDWR, mode)
    t.fstat(fd)
    t.listxattr(fd)
    t.linkat(AT_FDCWD, f"/proc/self/fd/{fd}", "d/n", 0x400)
    _all(t, "d/n")


@family(["-m u:65530:rwx", "-m g:65531:rx,m::r", "-m d:u:65530:rwx", "-b", "-k", "-x u:65530", "-n -m u:7:x"])
def acl_tools(t, options):
    make("dir", "d", 0o750, OWNER)
    for step in ("-m u:65530:rw,g:65531:x,d:g:65531:rwx", options):
        subprocess.run(["setfacl", *step.split(), "d"], check=False)
        t.note(subprocess.run(["getfacl", "-n", "d"], check=True, text=True, capture_output=True).stdout)
        _all(t, "d")
    make("file", "d/f")
    _all(t, "d/f")


@family(range(6))
def random_attributes(t, seed):
    """Any calls in any order on some files."""
    import random

    rng = random.Random(seed)
    for path in "ab":
        make("file", path)
        make("dir", "d" + path)
    paths = ["a", "b", "da", "db"]
    for step in range(300):
        path, other = rng.choice(paths), rng.choice(paths)
        name = rng.choice(("user.a", "user.b", "trusted.a", "security.a", "user." + "l" * 200, ACCESS, DEFAULT))
        value = LISTS[rng.choice(GOOD)] if name in (ACCESS, DEFAULT) else b"v" * rng.choice((0, 1, 200, 248, 5000))
        rng.choice((
            lambda: t.lsetxattr(path, name, value, rng.choice((0, 0, 0, CREATE, REPLACE))),
            lambda: t.lsetxattr(path, name, value),
            lambda: t.lremovexattr(path, name),
            lambda: t.lgetxattr(path, name),
            lambda: t.chmod(path, rng.choice((0o600, 0o755, 0o070, 0o777))),
            lambda: t.rename2(path, other, RENAME_EXCHANGE),
        ))()  # fmt: skip
        if step % 20 == 0:
            for path in paths:
                _all(t, path)


@family(["fill_one", "fill_many", "replace"])
def xattr_space(t, how):
    """Attributes count as inodes do."""
    make("file", "a")
    free = os.statvfs(".").f_ffree
    for i in range(60):
        name = "user.same" if how == "replace" else f"user.{i}"
        if how == "fill_many":
            make("file", f"f{i}") if i < 5 else None
        if t.lsetxattr("a", name, b"x" * 3000) == -1:
            break
        t.note(f"{free - os.statvfs('.').f_ffree} inodes")
    t.note(f"{len(os.listxattr('a'))} attributes")
    t.lsetxattr("a", "user.large", b"x" * 60000)
    for name in os.listxattr("a"):
        t.lremovexattr("a", name)
    t.note(f"{free - os.statvfs('.').f_ffree} inodes")
