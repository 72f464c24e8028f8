# SPDX-License-Identifier: MIT
"""A user whose system calls on control files never end: all others can use the same files."""

import os
import signal

import pytest

import support
from beside import ATTACKER, VICTIM, where_is
from stuck_file import PAGE, StuckPage, libc

FILES = ("create", "resize", "seal", "remove", "default")
OTHERS = [VICTIM, (0, 0), (0x12000001, 1), (ATTACKER[0] + 0x1000000, 1)]

pytestmark = pytest.mark.options("mode=1777")


def write_for_ever(hit, path, page):
    fd = os.open(path, os.O_WRONLY)
    address = page.map()
    hit()
    libc.write(fd, address, 100)
    signal.pause()


def list_for_ever(hit, path, page):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    address = page.map()
    hit()
    libc.getdents64(fd, address, PAGE)
    signal.pause()


def is_waiting(pid):
    """Whether the kernel waits for the page in a call of that process."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as stream:
        number = stream.read().split()[0]
    return number in ("1", "217", "64", "61")  # write and getdents64 of x86-64, and of arm64


def commands(folder, uid):
    """A command by each file, as a shell writes it."""
    lines = {
        "create": f"r{uid} 4096",
        "resize": f"r{uid} 8192",
        "seal": f"r{uid} grow",
        "remove": f"r{uid}",
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(support.LIMIT))  # who waits here dies of it
    for file, line in lines.items():
        fd = os.open(f"{folder}/.ctl/{file}", flags, 0o666)
        os.write(fd, line.encode() + b"\n")
        os.close(fd)
        fd = os.open(f"{folder}/.ctl/{file}", flags | os.O_APPEND, 0o666)
        os.close(fd)
    assert "create" in os.listdir(f"{folder}/.ctl")
    signal.alarm(0)
    return True


def test_writers_whose_text_never_comes(beside):
    with StuckPage() as page:
        attacks = []
        for file in FILES:
            attack = beside.attack(write_for_ever, beside.mount.ctl / file, page)
            attacks.append((attack, attack.__enter__()))
        attack = beside.attack(list_for_ever, beside.mount.ctl, page)
        attacks.append((attack, attack.__enter__()))
        try:
            for _, (process,) in attacks:
                support.wait_for(lambda p=process: is_waiting(p.pid), where_is(process.pid))
            for user in OTHERS:
                assert support.as_user(user, commands, beside.mount, user[0])
            beside.serve(hits=0)
        finally:
            page.let_go()
            for attack, _ in attacks:
                attack.__exit__(None, None, None)


def test_each_user_sees_the_same_file(mount):
    """Whoever looks: one inode number, the same owner and mode, the same text."""

    def look():
        with open(mount.ctl / "create", encoding="utf-8") as stream:
            st = os.fstat(stream.fileno())
            return st.st_ino, st.st_uid, st.st_mode, st.st_nlink, stream.read()

    assert len({support.as_user(user, look) for user in [*OTHERS, ATTACKER, *OTHERS]}) == 1


def test_nodes_of_a_directory_that_is_gone(mount):
    """All users' nodes hold the directory's record, and give it back."""
    (mount / "d").mkdir()
    (mount / "d").chmod(0o777)
    held = []
    for user in OTHERS:
        os.seteuid(0)
        os.setegid(user[1])
        os.seteuid(user[0])
        try:
            held.append(os.open(mount / "d/.ctl/create", os.O_WRONLY))
        finally:
            os.seteuid(0)
            os.setegid(0)
    os.rmdir(mount / "d")
    for fd, user in zip(held, OTHERS):
        if user == (0, 0):
            support.fails_with(2, os.write, fd, b"x 4096\n")  # ENOENT
        os.close(fd)
    (mount / "d").mkdir()
    mount.command("create", "d/x 4096")
    os.unlink(mount / "d/x")
    os.rmdir(mount / "d")
