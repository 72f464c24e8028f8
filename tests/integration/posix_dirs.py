# SPDX-License-Identifier: MIT
"""Cases about directories that change while they are read, and about many names."""

import os
import random

from posix_trace import *


def _fill(count, prefix="f"):
    for i in range(count):
        make("file", f"{prefix}{i}")


def _read_changing(t, count, size, change):
    """Reads a directory in pieces, changing it between them; notes what must hold."""
    _fill(count)
    there = set(os.listdir("."))
    gone, seen = set(), []
    fd = os.open(".", os.O_RDONLY)
    step = 0
    while chunk := getdents(fd, size):
        seen += [name for name, _, _ in chunk if name not in (".", "..")]
        gone |= change(step, seen)
        step += 1
    os.close(fd)
    t.note(f"twice: {len(seen) - len(set(seen))}")
    t.note(f"missing: {sorted(there - gone - set(seen))}")
    left = set(os.listdir("."))
    t.note(f"lost: {sorted(there - gone - left)}")


@family([24, 64, 100, 1000, 32768], [0, 1, 3, 300])
def read_whole(t, size, count):
    """All entries once, with their types and inode numbers, whatever the buffer."""
    _fill(count)
    for kind in KINDS:
        make(kind, "kind_" + kind)
    fd = os.open(".", os.O_RDONLY)
    try:
        entries = listing(fd, size)
    except OSError as error:
        t.note(errno.errorcode[error.errno])
    else:
        t.note(f"{len(entries)} {sorted((name, kind) for name, _, kind in entries)[:12]}")
        t.note(f"again: {getdents(fd, size)}")
        with os.scandir(".") as scan:
            t.note(f"inodes: {all(entry.inode() == os.lstat(entry.name).st_ino for entry in scan)}")
    os.close(fd)


@family(["all", "ahead", "behind", "rename", "replace", "create", "create_many", "exchange"], [100, 500])
def read_while_changed(t, how, size):
    def change(step, seen):
        names = sorted(os.listdir("."))
        rest = [n for n in names if n not in seen and n.startswith("f")]
        mine = [n for n in seen if n in names]
        gone = set()
        if how == "all":
            gone = set(names)
        elif how == "ahead":
            gone = set(rest[:2])
        elif how == "behind":
            gone = set(mine[-2:])
        elif how == "create":
            make("file", f"new{step}")
        elif how == "create_many" and step < 20:
            for i in range(10):
                make("file", f"new{step}.{i}")
        elif how == "rename" and rest:
            os.rename(rest[0], f"renamed{step}")
            return {rest[0]}
        elif how == "exchange" and rest and mine:
            CALLS["rename2"](rest[0], mine[-1], RENAME_EXCHANGE)
            return {rest[0], mine[-1]}  # tmpfs may miss a name that moves behind the reader
        elif how == "replace":
            for name in mine[-1:]:
                os.unlink(name)
                make("file", name)
            return set(mine[-1:])
        for name in gone:
            os.unlink(name)
        return gone

    if how == "replace":  # the new one may show again: that is another file
        t.note("any")
        _read_changing(Trace(), 50, size, change)
        return
    _read_changing(t, 120, size, change)


@family([24, 200])
def remove_as_read(t, size):
    """rm -r: unlinks what each read returns, until the directory is empty."""
    _fill(200)
    fd = os.open(".", os.O_RDONLY)
    removed = 0
    while chunk := getdents(fd, max(size, 40)):
        for name, _, _ in chunk:
            if name not in (".", ".."):
                os.unlink(name)
                removed += 1
    os.close(fd)
    t.note(f"removed {removed}, left {os.listdir('.')}")


@family()
def seek(t):
    """Every cookie leads back to what followed it; 0 starts anew and shows what is new."""
    _fill(60)
    fd = os.open(".", os.O_RDONLY)
    entries = listing(fd, 200)
    good = 0
    for i, (_, cookie, _) in enumerate(entries):
        os.lseek(fd, cookie, os.SEEK_SET)
        good += [n for n, _, _ in listing(fd, 150)] == [n for n, _, _ in entries[i + 1 :]]
    t.note(f"{good} of {len(entries)} lead back")
    make("file", "late")
    os.lseek(fd, 0, os.SEEK_SET)
    t.note(f"after a rewind: {'late' in [n for n, _, _ in listing(fd)]}")
    os.unlink("f7")
    os.lseek(fd, 0, os.SEEK_SET)
    t.note(f"after a rewind: {'f7' in [n for n, _, _ in listing(fd)]}")
    t.lseek(fd, -1, os.SEEK_SET)
    os.close(fd)


@family()
def two_readers(t):
    """Two descriptors of a directory have a place each."""
    _fill(100)
    one, two = os.open(".", os.O_RDONLY), os.open(".", os.O_RDONLY)
    first = getdents(one, 300)
    rest = listing(two, 500)
    first += listing(one, 1000)
    t.note(f"{sorted(n for n, _, _ in first) == sorted(n for n, _, _ in rest)} {len(rest)}")
    copy = os.dup(one)
    os.lseek(copy, 0, os.SEEK_SET)
    t.note(f"{len(listing(one))} through a duplicate")
    for fd in (one, two, copy):
        os.close(fd)


@family(["read", "write", "mmap", "pread", "lseek_end"])
def not_a_file(t, how):
    os.mkdir("d")
    fd = t.open("d", os.O_RDONLY)
    {
        "read": lambda: t.read(fd, 10),
        "write": lambda: t.write(fd, b"x"),
        "mmap": lambda: t.mmap_read(fd, 0, 10),
        "pread": lambda: t.pread(fd, 10, 0),
        "lseek_end": lambda: t.lseek(fd, 1 << 40, os.SEEK_SET),
    }[how]()
    t.ftruncate(fd, 0)
    t.fallocate(fd, 0, 0, 10)
    t.flock(fd, 2)


@family(range(10))
def random_names(t, seed):
    """Any calls in any order on a small set of names."""
    rng = random.Random(seed)
    names = ["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b", "d", "d/e", "f", "f/a", "f/d"]
    users = list(USERS.values())
    os.makedirs("d/e")
    os.chmod("d/e", 0o1777)
    for _ in range(300):
        a, b = rng.choice(names), rng.choice(names)
        user = rng.choice(users) if rng.random() < 0.5 else ROOT
        mode = rng.choice((0o644, 0o755, 0o777, 0o1777, 0o2775, 0o4755, 0o600))
        with t.user(user):
            rng.choice((
                lambda: t.close(t.open(a, os.O_CREAT | os.O_RDWR, mode)),
                lambda: t.close(t.open(a, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)),
                lambda: t.close(t.open(a, os.O_TRUNC | os.O_RDWR)),
                lambda: t.mkdir(a, mode),
                lambda: t.mkdir(a, mode),
                lambda: t.mkfifo(a, mode),
                lambda: t.symlink(b, a),
                lambda: t.link(a, b),
                lambda: t.rename(a, b),
                lambda: t.rename2(a, b, rng.choice((1, 2, 2, 4))),
                lambda: t.unlink(a),
                lambda: t.rmdir(a),
                lambda: t.chmod(a, mode),
                lambda: t.lchown(a, rng.choice(users)[0], rng.choice((-1, 65531, 65534))),
                lambda: t.truncate(a, rng.randrange(10000)),
                lambda: t.utimensat(a, (1, 2), (3, 4)),
                lambda: t.lstat(a),
                lambda: t.stat(a),
                lambda: t.listdir(a),
            ))()  # fmt: skip
        if rng.random() < 0.1:
            t.tree()
    t.tree()
