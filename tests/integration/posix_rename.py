# SPDX-License-Identifier: MIT
"""Cases about rename with its flags, links, and removal."""

import os

from posix_trace import *

FLAGS = {
    "plain": 0,
    "noreplace": RENAME_NOREPLACE,
    "exchange": RENAME_EXCHANGE,
    "whiteout": RENAME_WHITEOUT,
    "noreplace+exchange": RENAME_NOREPLACE | RENAME_EXCHANGE,
    "noreplace+whiteout": RENAME_NOREPLACE | RENAME_WHITEOUT,
    "exchange+whiteout": RENAME_EXCHANGE | RENAME_WHITEOUT,
    "unknown": 8,
}


@family((*KINDS, "full", "none"), (*KINDS, "full", "none"), FLAGS, ["here", "there"])
def rename_kinds(t, source, target, flags, where):
    """Every kind onto every kind, within a directory and from one to another."""
    target_dir = "." if where == "here" else "elsewhere"
    os.mkdir("elsewhere")
    for kind, path in ((source, "a"), (target, target_dir + "/b")):
        if kind == "full":
            os.mkdir(path)
            make("file", path + "/inside")
        elif kind != "none":
            make(kind, path)
    held = t.open(target_dir + "/b", os.O_PATH | os.O_NOFOLLOW)
    seen = t.look(".", target_dir, "a", target_dir + "/b")
    yield
    t.rename2("a", target_dir + "/b", flags)
    t.moved(seen)
    t.tree()
    if held >= 0:
        t.fstat(held)
    if source == "dir":
        for path in ("a/..", target_dir + "/b/.."):
            try:
                t.note(f"{path} is here: {os.path.samestat(os.stat(path), os.stat('.'))}")
            except OSError as error:
                t.note(f"{path}: {errno.errorcode[error.errno]}")


@family(FLAGS)
def rename_to_own_link(t, flags):
    make("file", "a")
    os.link("a", "b")
    seen = t.look(".", "a")
    yield
    t.rename2("a", "b", flags)
    t.moved(seen)
    t.tree()


@family(FLAGS, KINDS)
def rename_to_itself(t, flags, kind):
    make(kind, "a")
    seen = t.look(".", "a")
    yield
    t.rename2("a", "a", flags)
    t.moved(seen)
    t.tree()


@family(
    FLAGS,
    [("a", "a/b/new"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/b/c"), ("a/b", "b"),
     ("a", "a/new"), (".", "x"), ("a/.", "x"), ("a/..", "x"), ("a", "."), ("a", "a/b/.."),
     ("file", "a/"), ("file", "new/"), ("a", "new/"), ("a/", "new/"), ("a", "file/"), ("to_a", "a"),
     ("to_a/", "new"), ("a", "to_a"), ("a", "to_a/"), ("file", "to_a/b"), ("a/b/f", "a/b")],
)  # fmt: skip
def rename_around(t, flags, paths):
    """Directories into and out of themselves."""
    os.makedirs("a/b/c")
    make("file", "file")
    make("file", "a/b/f")
    os.symlink("a", "to_a")
    t.rename2(*paths, flags)
    t.tree()


@family(range(8))
def rename_dir_links(t, step):
    """Link counts of the parents as directories move between them."""
    os.makedirs("a/x")
    os.makedirs("b/y/z")
    make("file", "a/f")
    moves = [
        lambda: t.rename("a/x", "b/x"),
        lambda: t.rename("a/x", "b/y"),
        lambda: t.rename2("a/x", "b/y", RENAME_EXCHANGE),
        lambda: t.rename2("a/f", "b/y", RENAME_EXCHANGE),
        lambda: t.rename2("a/x", "b", RENAME_EXCHANGE),
        lambda: t.rename("a/x", "b/y/z"),
        lambda: t.rename("a/x", "a/xx"),
        lambda: t.rename2("a/x", "b/x", RENAME_WHITEOUT),
    ]
    seen = t.look("a", "b", "b/y", "b/y/z", "a/x")
    yield
    moves[step]()
    t.moved(seen)
    t.tree()


@family(["unlink", "rename", "rename_exchange", "rmdir"], KINDS, ["root", "owner"])
def removed_while_open(t, how, kind, user):
    make(kind, "a", user=USERS[user])
    make("dir" if kind == "dir" else "file", "b")
    held = t.open("a", os.O_PATH | os.O_NOFOLLOW)
    fd = t.open("a", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW) if kind == "file" else -1
    seen = t.look(held, ".")
    yield
    {
        "unlink": lambda: t.unlink("a"),
        "rename": lambda: t.rename("b", "a"),
        "rename_exchange": lambda: t.rename2("b", "a", RENAME_EXCHANGE),
        "rmdir": lambda: t.rmdir("a"),
    }[how]()
    t.moved(seen)
    t.fstat(held)
    if fd >= 0:
        t.write(fd, b"still here")
        t.pread(fd, 100, 0)
        t.fchmod(fd, 0o600)
        t.fchown(fd, 65534, 65534)
        t.ftruncate(fd, 5)
        t.futimens(fd, (1, 1), (2, 2))
        t.fstat(fd)
        t.linkat(fd, "", "back", AT_EMPTY_PATH)
        t.link(f"/proc/self/fd/{fd}", "through_proc")
        t.linkat(AT_FDCWD, f"/proc/self/fd/{fd}", "back2", 0x400)
        t.fstat(fd)
    t.tree()


@family()
def removed_directory(t):
    """A directory that is gone but still somebody's working directory."""
    os.mkdir("d")
    back = os.open(".", os.O_RDONLY)
    fd = os.open("d", os.O_RDONLY)
    os.chdir("d")
    t.rmdir("../d")
    t.stat(".")
    t.stat("..")
    t.listdir(".")
    t.open("x", os.O_CREAT, 0o600)
    t.mkdir("x", 0o700)
    t.symlink("a", "x")
    t.mkfifo("x")
    t.stat("x")
    t.fchmod(fd, 0o700)
    t.futimens(fd, (1, 0), (1, 0))
    t.fstat(fd)
    os.fchdir(back)
    t.linkat(AT_FDCWD, "d", "x", 0)
    t.open(f"/proc/self/fd/{fd}/x", os.O_CREAT, 0o600)
    make("file", "f")
    t.rename("f", f"/proc/self/fd/{fd}/x")
    t.link("f", f"/proc/self/fd/{fd}/x")
    os.close(fd)
    os.close(back)
    t.tree()


@family(KINDS, ["root", "owner", "other"])
def link_kinds(t, kind, user):
    make(kind, "a", user=OWNER)
    seen = t.look(".", "a")
    yield
    with t.user(USERS[user]):
        t.link("a", "b")
    t.moved(seen)
    seen = t.look(".", "a")
    yield
    with t.user(USERS[user]):
        t.link("a", "b")
    t.moved(seen)
    t.tree()
    seen = t.look("a", ".")
    yield
    t.unlink("b")
    t.moved(seen)
    seen = t.look("a", ".")
    yield
    t.chmod("a", 0o600)
    t.moved(seen)
    t.tree()


@family()
def link_many(t):
    make("file", "a")
    for i in range(1500):
        os.link("a", f"l{i}")
    t.stat("a")
    for i in range(0, 1500, 2):
        os.unlink(f"l{i}")
    t.stat("a")
    t.note(f"{len(os.listdir('.'))} names")


@family()
def link_directories(t):
    """Every subdirectory is a link to its parent."""
    os.mkdir("a")
    for i in range(50):
        os.mkdir(f"a/{i}")
        make("file", f"a/f{i}")
    t.stat("a")
    for i in range(0, 50, 2):
        os.rmdir(f"a/{i}")
    t.stat("a")
    os.rename("a/1", "moved")
    t.stat("a")


@family(KINDS)
def rmdir_not_empty(t, kind):
    os.mkdir("d")
    make(kind, "d/x")
    seen = t.look("d", ".")
    yield
    t.rmdir("d")
    t.moved(seen)
    t.unlink("d/x")
    seen = t.look("d", ".")
    yield
    t.rmdir("d/")
    t.moved(seen)
    t.tree()


@family(["tmpfile", "tmpfile_excl"], ["root", "owner"], ["empty_path", "proc"], [0o777, 0o2777])
def unnamed_files(t, how, user, door, mode):
    os.mkdir("d")
    os.chown("d", 0, 65531)
    os.chmod("d", mode)
    flags = os.O_TMPFILE | os.O_RDWR | (os.O_EXCL if how == "tmpfile_excl" else 0)
    seen = t.look("d")
    yield
    with t.user(USERS[user]), t.umask(0o027):
        fd = t.open("d", flags, 0o666)
        t.write(fd, b"content")
    t.moved(seen)
    t.fstat(fd)
    seen = t.look("d", fd)
    yield
    if door == "proc":
        t.linkat(AT_FDCWD, f"/proc/self/fd/{fd}", "d/name", 0x400)
    else:
        t.linkat(fd, "", "d/name", AT_EMPTY_PATH)
    t.moved(seen)
    t.fstat(fd)
    t.linkat(fd, "", "d/second", AT_EMPTY_PATH)
    t.close(fd)
    t.tree()
    fd = t.open("d/name", os.O_RDONLY)
    t.read(fd, 100)
    t.unlink("d/name")
    t.fstat(fd)
    t.linkat(fd, "", "d/third", AT_EMPTY_PATH)
    t.tree()


@family(["file", "dir"], ["rmdir", "unlink", "rename_from", "rename_to", "exchange"])
def mount_points(t, kind, how):
    """What another file system is mounted on is busy, and links do not cross."""
    import subprocess

    make("dir", "d")
    make("file", "f")
    make(kind, "other")
    make(kind, "plain")
    if kind == "dir":
        subprocess.run(["mount", "-t", "tmpfs", "none", "other"], check=True)
    else:
        subprocess.run(["mount", "--bind", "f", "other"], check=True)
    try:
        {
            "rmdir": lambda: t.rmdir("other"),
            "unlink": lambda: t.unlink("other"),
            "rename_from": lambda: t.rename("other", "new"),
            "rename_to": lambda: t.rename("plain", "other"),
            "exchange": lambda: t.rename2("plain", "other", RENAME_EXCHANGE),
        }[how]()
        t.rename("f", "other/f")
        t.link("f", "other/f")
    finally:
        subprocess.run(["umount", "other"], check=True)
    t.tree()
