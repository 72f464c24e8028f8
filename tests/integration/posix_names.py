# SPDX-License-Identifier: MIT
"""Cases about names: what a path may look like, and what each call does with it."""

import os
import stat

from posix_trace import *

NAME_255, NAME_256 = "n" * 255, "n" * 256


def _long_path(length):
    """A path to "file" of that many bytes."""
    return "./" * ((length - 4) // 2) + ("/" if length % 2 else "") + "file"


def _chain(length):
    """The end of a chain of symbolic links to "file"."""
    os.symlink("file", "chain1")
    for i in range(2, length + 1):
        os.symlink(f"chain{i - 1}", f"chain{i}")
    return f"chain{length}"


# What a path can be, beside the kinds of files, which are there under their own names.
SHAPES = {
    **{kind: kind for kind in KINDS},
    **{f"under_{kind}": f"{kind}/x" for kind in KINDS},
    "none": "none",
    "under_none": "none/x",
    "file_slash": "file/",
    "dir_slash": "dir/",
    "none_slash": "none/",
    "to_file": "to_file",
    "to_file_slash": "to_file/",
    "to_dir": "to_dir",
    "to_dir_slash": "to_dir/",
    "under_to_file": "to_file/x",
    "under_to_dir": "to_dir/x",
    "to_none_slash": "link/",
    "loop": "loop",
    "loop_slash": "loop/",
    "under_loop": "loop/x",
    "two_loop": "tic/x",
    "full": "full",
    "dot": ".",
    "dotdot": "dir/..",
    "dir_dot": "dir/.",
    "full_dotdot": "full/sub/..",
    "empty": "",
    "slashes": "dir//x",
    "name_255": NAME_255,
    "name_256": NAME_256,
    "under_name_255": NAME_255 + "/x",
    "under_name_256": NAME_256 + "/x",
    "path_4095": _long_path(4095),
    "path_4096": _long_path(4096),
    "chain_40": lambda: _chain(40),
    "chain_41": lambda: _chain(41),
    "closed": "closed/x",
    "closed_name": "closed/inside",
    "readable": "readable/inside",
    "readable_new": "readable/x",
    "searchable": "searchable/inside",
    "searchable_new": "searchable/x",
    "bytes": "\udcff\udc80 new\nline\\",
}

ONE_PATH = {
    "open": lambda t, p: t.open(p, os.O_RDONLY | os.O_NONBLOCK),
    "open_write": lambda t, p: t.open(p, os.O_WRONLY | os.O_NONBLOCK),
    "open_path": lambda t, p: t.open(p, os.O_PATH | os.O_NOFOLLOW),
    "create": lambda t, p: t.open(p, os.O_CREAT | os.O_RDWR | os.O_NONBLOCK, 0o640),
    "create_new": lambda t, p: t.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640),
    "open_dir": lambda t, p: t.open(p, os.O_DIRECTORY),
    "open_tmpfile": lambda t, p: t.open(p, os.O_TMPFILE | os.O_RDWR, 0o600),
    "mkdir": lambda t, p: t.mkdir(p, 0o750),
    "mkfifo": lambda t, p: t.mkfifo(p, 0o640),
    "mknod_file": lambda t, p: t.mknod(p, stat.S_IFREG | 0o640),
    "mknod_char": lambda t, p: t.mknod(p, stat.S_IFCHR | 0o640, os.makedev(1, 3)),
    "mknod_block": lambda t, p: t.mknod(p, stat.S_IFBLK | 0o640, os.makedev(511, 3)),
    "bind": lambda t, p: t.bind(p),
    "symlink": lambda t, p: t.symlink("aim", p),
    "link_to": lambda t, p: t.link("base", p),
    "link_from": lambda t, p: t.link(p, "new"),
    "linkat_follow": lambda t, p: t.linkat(AT_FDCWD, p, "new", 0x400),
    "rename_to": lambda t, p: t.rename("base", p),
    "rename_dir_to": lambda t, p: t.rename("basedir", p),
    "rename_from": lambda t, p: t.rename(p, "new"),
    "exchange": lambda t, p: t.rename2(p, "base", RENAME_EXCHANGE),
    "unlink": lambda t, p: t.unlink(p),
    "rmdir": lambda t, p: t.rmdir(p),
    "chmod": lambda t, p: t.chmod(p, 0o511),
    "chown": lambda t, p: t.chown(p, 65534, 65531),
    "lchown": lambda t, p: t.lchown(p, 65534, 65531),
    "truncate": lambda t, p: t.truncate(p, 5000),
    "utimensat": lambda t, p: t.utimensat(p, (1, 2), (3, 4)),
    "lutimensat": lambda t, p: t.utimensat(p, (1, 2), (3, 4), AT_SYMLINK_NOFOLLOW),
    "stat": lambda t, p: t.stat(p),
    "lstat": lambda t, p: t.lstat(p),
    "readlink": lambda t, p: t.readlink(p),
    "listdir": lambda t, p: t.listdir(p),
    "access": lambda t, p: t.access(p, os.R_OK | os.W_OK),
    "chdir": lambda t, p: t.chdir(p) == -1 or os.chdir(here),
}
here = "."


FOLDERS = {"full": 0o755, "closed": 0, "readable": 0o444, "searchable": 0o111}
LINKS = {"to_file": "file", "to_dir": "dir", "loop": "loop", "tic": "toe", "toe": "tic"}


def _furnish(name, user):
    """What a path of that first component needs."""
    if name in KINDS:
        make(name, name, 0o755 if name == "dir" else 0o644, user)
    elif name in LINKS:
        os.symlink(LINKS[name], name)
        if not os.path.lexists(LINKS[name]):
            _furnish(LINKS[name], user)
    elif name in FOLDERS:
        os.mkdir(name)
        os.mkdir(name + "/sub")
        make("file", name + "/inside", user=user)
        os.chown(name, user[0], user[1])
        os.chmod(name, FOLDERS[name])


@family(ONE_PATH, {**{kind: kind for kind in KINDS}, "closed": "closed/inside"})
def paths_of_root(t, call, shape):
    path_shapes(t, call, shape, "root")


@family(ONE_PATH, SHAPES, ["owner"])
def path_shapes(t, call, shape, user):
    global here
    here = os.getcwd()
    path = shape() if callable(shape) else shape
    for name in {"file" if "chain" in path else "", *path.split("/")}:
        _furnish(name, USERS[user])
    make("file", "base", user=USERS[user])
    make("dir", "basedir", user=USERS[user])
    with t.user(USERS[user]):
        call(t, path)
    t.tree()


@family([1, 2, 100, 254, 255, 256], ["file", "dir", "fifo", "socket", "link"])
def name_lengths(t, length, kind):
    name = "x" * length
    call = {
        "file": lambda: t.open(name, os.O_CREAT | os.O_WRONLY, 0o600),
        "dir": lambda: t.mkdir(name, 0o700),
        "fifo": lambda: t.mkfifo(name, 0o600),
        "socket": lambda: t.bind("./" + name),
        "link": lambda: t.symlink(name, name),
    }[kind]
    call()
    call()
    t.lstat(name)
    t.rename(name, "y" * length)
    t.listdir(".")
    t.rename("y" * length, "y" * (length + 1))
    t.rename("y" * length, "z" * (length - 1))
    t.link("y" * length, "w" * length)
    t.tree()


@family([0, 1, 2, 59, 60, 100, 247, 248, 249, 495, 496, 497, 1000, 4000, 4094, 4095, 4096])
def symlink_lengths(t, length):
    t.symlink("t" * length, "link")
    t.lstat("link")
    try:
        t.note(f"whole: {os.readlink('link') == 't' * length}")
    except OSError as error:
        t.note(str(error.errno))
    t.link("link", "second")
    t.unlink("link")
    t.lstat("second")
    t.readlink("second")


@family()
def deep_directories(t):
    depth = 0
    start = os.open(".", os.O_RDONLY)
    while depth < 60:
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
        depth += 1
    t.note(f"depth {depth}")
    t.open("bottom", os.O_CREAT | os.O_WRONLY, 0o600)
    t.stat("bottom")
    t.stat("/".join([".."] * depth))
    t.stat("/".join([".."] * depth + ["d" * 200]))
    os.unlink("bottom")
    for _ in range(depth):
        os.chdir("..")
        os.rmdir("d" * 200)
    os.fchdir(start)
    os.close(start)
    t.tree()


@family(KINDS, [0, 0o22, 0o77, 0o151, 0o501, 0o777], ["root", "owner"], [0o777, 0o2777, 0o6777, 0o1777])
def births(t, kind, mask, user, parent_mode):
    """Mode, owner, group of what is made; what it does to the parent."""
    os.mkdir("parent")
    os.chown("parent", 65533, 65531)
    os.chmod("parent", parent_mode)
    makers = {
        "file": lambda p, m: t.open(p, os.O_CREAT | os.O_WRONLY, m),
        "dir": lambda p, m: t.mkdir(p, m),
        "fifo": lambda p, m: t.mkfifo(p, m),
        "block": lambda p, m: t.mknod(p, stat.S_IFBLK | m, os.makedev(511, 7)),
        "char": lambda p, m: t.mknod(p, stat.S_IFCHR | m, os.makedev(1, 3)),
        "socket": lambda p, m: t.mknod(p, stat.S_IFSOCK | m),
        "link": lambda p, m: t.symlink("aim", p),
    }
    with t.umask(mask), t.user(USERS[user]):
        for i, mode in enumerate((0o755, 0o151, 0o345, 0o666, 0o4711, 0o2755, 0o1777, 0o7777)):
            makers[kind](f"parent/{i}", mode)
    seen = t.look("parent")
    yield
    with t.user(USERS[user]):
        makers[kind]("parent/last", 0o644)
    t.moved(seen)
    seen = t.look("parent")
    yield
    with t.user(USERS[user]):
        makers[kind]("parent/last", 0o644)
    t.moved(seen)
    t.stat("parent")
    t.tree()


@family(KINDS)
def births_times(t, kind):
    """All three times of a new file are now."""
    import time

    yield
    before = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    make(kind, "new")
    st = os.lstat("new")
    after = time.clock_gettime_ns(time.CLOCK_REALTIME)
    for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns"):
        t.note(f"{name}: {before <= getattr(st, name) <= after}")


@family(KINDS, KINDS)
def births_over(t, kind, other):
    """Making something where something is: EEXIST, and nothing moves."""
    make(other, "there")
    seen = t.look("there", ".")
    yield
    try:
        if kind == "file":
            os.close(os.open("there", os.O_CREAT | os.O_EXCL, 0o600))
        else:
            make(kind, "there")
        t.note("made")
    except OSError as error:
        t.note(errno.errorcode[error.errno])
    t.moved(seen)
    t.tree()


@family(
    ["none", "file", "dir", "fifo", "socket", "char", "to_file", "to_dir", "link", "loop"],
    [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, 3],
    {
        "plain": 0,
        "creat": os.O_CREAT,
        "excl": os.O_CREAT | os.O_EXCL,
        "trunc": os.O_TRUNC,
        "creat_trunc": os.O_CREAT | os.O_TRUNC,
        "append": os.O_APPEND,
        "nofollow": os.O_NOFOLLOW,
        "creat_nofollow": os.O_CREAT | os.O_NOFOLLOW,
        "directory": os.O_DIRECTORY,
        "creat_directory": os.O_CREAT | os.O_DIRECTORY,
        "dir_nofollow": os.O_DIRECTORY | os.O_NOFOLLOW,
        "path": os.O_PATH,
        "tmpfile": os.O_TMPFILE,
        "sync": os.O_SYNC,
        "noatime": os.O_NOATIME,
        "direct": os.O_DIRECT,
    },
    ["owner", "other"],
)
def open_flags(t, name, access, flags, user):
    _furnish(name, OWNER)
    if not os.path.lexists("file"):
        make("file", "file", user=OWNER)
    with open("file", "w") as file:
        file.write("content")
    seen = t.look(".", "file")
    yield
    with t.user(USERS[user]):
        fd = t.open(name, access | flags | os.O_NONBLOCK, 0o640)
    t.moved(seen)
    if fd >= 0:
        t.fstat(fd)
        t.read(fd, 3)
        if name in ("none", "file", "to_file"):
            t.write(fd, b"new")
    t.tree()
