# SPDX-License-Identifier: MIT
"""What can be done with descriptors that the socket hands out."""

import ctypes
import errno
import fcntl
import mmap
import os
import signal

import pytest

import support
from beside import ATTACKER
from socket_client import Client, Refused, socket_of

PAGE = 4096
MIB = 1 << 20
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8
ALL_SEALS = (F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE)
FALLOC_FL_KEEP_SIZE = 1
OTHER = (2, 2)  # Debian's user bin
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    call = libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    if call(fd, mode, offset, length) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def create(client, line):
    os.close(client.ask_fd(f"create {line}"))


def used(mount):
    return mount.stats()["iomemfs_used_bytes"]


def takes_no_seals(fd):
    for seal in ALL_SEALS:
        support.fails_with(errno.EPERM, fcntl.fcntl, fd, F_ADD_SEALS, seal)
    return fcntl.fcntl(fd, F_GET_SEALS)


# --- what leaves takes no seals -----------------------------------------------------------------


@pytest.mark.options("mode=1777")
def test_no_descriptor_takes_seals(mount):
    """Of nobody: not of root, not of its owner, however it was opened."""
    path = socket_of(mount)

    def own():
        with Client(path) as client:
            with client.opened(f"create mine {PAGE} mode=0644") as fd:
                assert takes_no_seals(fd) == F_SEAL_SEAL
            with client.opened("open rw mine") as fd:
                assert takes_no_seals(fd) == F_SEAL_SEAL
            client.ask(f"resize mine {2 * PAGE}")
            with client.opened("open ro mine") as fd:
                takes_no_seals(fd)

    support.as_user(ATTACKER, own)
    with Client(path) as client, client.opened("open rw mine") as fd:
        assert takes_no_seals(fd) == F_SEAL_SEAL
        create(client, f"roots {PAGE} mode=0600")
        with client.opened("open rw roots") as other:
            assert takes_no_seals(other) == F_SEAL_SEAL


@pytest.mark.options("mode=1777")
def test_what_others_may_write_to_keeps_its_size(mount):
    path = socket_of(mount)
    mount.create("shared", 2 * PAGE, "mode=0666")
    mount.command("resize", f"shared {PAGE}")

    def borrow():
        with Client(path) as client, client.opened("open rw shared") as fd:
            assert takes_no_seals(fd) == F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
            for size in (0, 2 * PAGE):
                support.fails_with(errno.EPERM, os.ftruncate, fd, size)
            support.fails_with(errno.EPERM, fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, MIB)
            support.fails_with(errno.EPERM, os.pwrite, fd, b"x", PAGE)
            os.pwrite(fd, b"x", 0)

    with open(mount.ctl / "events", "rb", buffering=0) as events:
        support.as_user(ATTACKER, borrow)
        assert b" seal shared seals=6 " in os.read(events.fileno(), 65536)
    for size in (0, 2 * PAGE):
        support.fails_with(errno.EPERM, os.truncate, mount / "shared", size)
        support.fails_with(errno.EPERM, mount.command, "resize", f"shared {size}")
    with Client(path) as client:
        assert client.stat("shared")["seals"] == ["shrink", "grow"]
        # The same where its owner got it first.
        with client.opened(f"create second {PAGE} mode=0620") as fd:
            assert takes_no_seals(fd) == F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
        # What its owner got when nobody else could write to it does not leave any more.
        create(client, f"private {PAGE} mode=0600")
        os.chmod(mount / "private", 0o666)

    def ask():
        with Client(path) as client:
            with pytest.raises(Refused) as caught:
                client.ask("open rw private")
            assert caught.value.errno == errno.EPERM
            os.close(client.ask_fd("open ro private"))

    support.as_user(ATTACKER, ask)


@pytest.mark.options("mode=1777")
def test_one_for_reading_does_not_become_one_for_writing(mount):
    """That would be one without seals."""
    path = socket_of(mount)
    mount.create("shared", PAGE, "mode=0666")
    fd = os.open(mount / "file", os.O_CREAT | os.O_RDWR)
    os.fchmod(fd, 0o666)
    os.close(fd)

    def reopen():
        for name in ("shared", "file"):
            with Client(path) as client, client.opened(f"open ro {name}") as fd:
                for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
                    support.fails_with(errno.EACCES, os.open, f"/proc/self/fd/{fd}", flags)
                os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY))
                support.fails_with(errno.EPERM, os.fchmod, fd, 0o666)

    support.as_user(ATTACKER, reopen)
    with Client(path) as client, client.opened("open ro shared") as fd:
        assert fcntl.fcntl(fd, F_GET_SEALS) == 0


# --- a sealed region does not change ------------------------------------------------------------


def try_write_seal(mount, client):
    """The error by each door."""
    with pytest.raises(Refused) as caught:
        client.ask("seal shared write")
    support.fails_with(caught.value.errno, mount.command, "seal", "shared write")
    return caught.value.errno


@pytest.mark.options("mode=1777")
@pytest.mark.parametrize("how", ["command", "socket"])
def test_no_write_seal_while_a_stranger_can_write(mount, how):
    """A stranger opens for writing, and maps it later."""
    path = socket_of(mount)
    if how == "command":
        mount.create("shared", PAGE, "mode=0666")
    else:
        with Client(path) as client:
            create(client, f"shared {PAGE} mode=0666")
    ready, told = os.pipe()
    again, go = os.pipe()

    def stranger():
        fd = os.open(mount / "shared", os.O_RDWR)
        os.write(told, b"o")
        os.read(again, 1)
        with mmap.mmap(fd, PAGE) as memory:
            memory[:7] = b"changed"
        os.close(fd)

    child = os.fork()
    if child == 0:
        try:
            os.setgid(ATTACKER[1])
            os.setuid(ATTACKER[0])
            stranger()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"o"
    with Client(path) as client:
        with client.opened("open rw shared") as fd:
            assert takes_no_seals(fd) & F_SEAL_WRITE == 0
        assert try_write_seal(mount, client) == errno.EBUSY
        os.write(go, b"g")
        assert os.waitpid(child, 0)[1] == 0

        def sealed():
            try:
                client.ask("seal shared shrink,grow,write")
                return True
            except Refused as refused:
                assert refused.errno == errno.EBUSY
                return False

        support.wait_for(sealed, "the seal")
        assert client.stat("shared")["seals"] == ["shrink", "grow", "write"]
        for line in ("open rw shared", f"resize shared {2 * PAGE}", "resize shared 0"):
            with pytest.raises(Refused) as caught:
                client.ask(line)
            assert caught.value.errno == errno.EPERM
    support.fails_with(errno.EPERM, os.open, mount / "shared", os.O_RDWR)
    support.fails_with(errno.EPERM, os.truncate, mount / "shared", 0)
    assert (mount / "shared").read_bytes()[:7] == b"changed"
    for fd in (ready, told, again, go):
        os.close(fd)


@pytest.mark.options("mode=1777")
@pytest.mark.log_allows("killed by signal 9")
def test_an_owner_cannot_undo_a_write_seal(mount):
    """Who got it for reading: also where the kernel could take no more seals."""
    path = socket_of(mount)

    def own():
        with Client(path) as client:
            create(client, f"mine {PAGE} mode=0600")
            support.wait_for(lambda: seals(client), "the seal")
            with client.opened("open ro mine") as fd:
                support.fails_with(errno.EPERM, os.fchmod, fd, 0o666)
                support.fails_with(errno.EACCES, os.open, f"/proc/self/fd/{fd}", os.O_RDWR)
        os.chmod(mount / "mine", 0o666)
        with Client(path) as client, client.opened("open ro mine") as fd:
            support.fails_with(errno.EACCES, os.open, f"/proc/self/fd/{fd}", os.O_RDWR)
            assert client.stat("mine")["seals"] == ["write"]

    def seals(client):
        try:
            client.ask("seal mine write")
        except Refused as refused:
            assert refused.errno == errno.EBUSY
            return False
        return True

    support.as_user(ATTACKER, own)
    os.kill(support.worker_pid(mount), signal.SIGKILL)
    support.wait_for(lambda: mount.stats()["iomemfs_restarts_total"] == 1, "the next worker")
    support.fails_with(errno.EPERM, os.open, mount / "mine", os.O_RDWR)


# --- what is beyond the limit -------------------------------------------------------------------


def grow_by_size(fd):
    os.ftruncate(fd, 64 * MIB)


def grow_beyond_all(fd):
    os.ftruncate(fd, 1 << 62)


def grow_by_a_byte(fd):
    os.pwrite(fd, b"x", 1 << 40)


def grow_by_pages(fd):
    fallocate(fd, 0, 0, 64 * MIB)


def allocate_behind_the_end(fd):
    fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 64 * MIB)


def allocate_far_behind_the_end(fd):
    fallocate(fd, FALLOC_FL_KEEP_SIZE, 1 << 40, 64 * MIB)


GROWTHS = [grow_by_size, grow_beyond_all, grow_by_a_byte, grow_by_pages, allocate_behind_the_end,
           allocate_far_behind_the_end]  # fmt: skip


def grow_and_hold(hit, path, grow):
    with Client(path) as client, client.opened(f"create attacker/big {PAGE} mode=0600") as fd:
        grow(fd)
        hit()
        signal.pause()


@pytest.mark.options("size=16m")
@pytest.mark.parametrize("grow", GROWTHS, ids=lambda grow: grow.__name__)
def test_growth_by_a_descriptor(beside, grow):
    """It is cut back to what was reserved, and told; nobody else has less because of it."""
    before = used(beside.mount)
    with open(beside.mount.ctl / "events", "rb", buffering=0) as events:
        with beside.attack(grow_and_hold, beside.socket_path, grow):
            beside.wait_hits(1)
            support.wait_for(lambda: used(beside.mount) == before + PAGE, "what is cut back")
            assert os.lstat(beside.attackers / "big").st_size == PAGE
            assert os.lstat(beside.attackers / "big").st_blocks * 512 <= PAGE
            beside.serve(hits=0)
            beside.mount.create("victim/large", 8 * MIB)
            os.unlink(beside.victims / "large")
        told = os.read(events.fileno(), 65536).decode()
    assert f" resize attacker/big size={PAGE} cut=1\n" in told
    assert beside.mount.stats()["iomemfs_cut_back_total"] == 1


@pytest.mark.options("size=16m,mode=1777")
def test_resize_after_growth(mount):
    """What was grown by a descriptor is not charged when its size is set by a command."""
    with Client(socket_of(mount)) as client, client.opened(f"create big {PAGE} mode=0600") as fd:
        for size in (1 << 62, 64 * MIB, 1 << 40):
            os.ftruncate(fd, size)
            client.ask(f"resize big {2 * PAGE}")
            assert used(mount) == 2 * PAGE
            assert os.fstat(fd).st_size == 2 * PAGE
        # Growth that fits is charged, and stays.
        os.ftruncate(fd, 8 * MIB)
        support.wait_for(lambda: used(mount) == 8 * MIB, "what is charged")
        assert os.fstat(fd).st_size == 8 * MIB


@pytest.mark.options("size=16m,mode=1777")
def test_what_cannot_shrink_gives_back_its_pages(mount):
    """A region that was sealed against shrinking before its owner made it larger."""
    mount.create("big", PAGE, "mode=0600")
    mount.command("seal", "big shrink")
    with Client(socket_of(mount)) as client, client.opened("open rw big") as fd:
        os.pwrite(fd, b"kept", 0)
        fallocate(fd, 0, 0, 64 * MIB)
        support.wait_for(lambda: os.fstat(fd).st_blocks * 512 == PAGE, "what is given back")
        assert used(mount) == PAGE
        assert os.lstat(mount / "big").st_size == 64 * MIB
        assert os.pread(fd, 4, 0) == b"kept"
        mount.create("other", 8 * MIB)
        assert "big" in (mount.ctl / "regions").read_text()
        os.unlink(mount / "big")
    support.wait_for(lambda: used(mount) == 8 * MIB, "the end of the region")


@pytest.mark.options("size=16m,mode=1777")
def test_a_refused_fallocate_is_not_charged(mount):
    for path in (mount.create("region", PAGE), mount / "file"):
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        before = used(mount)
        for mode in (0, FALLOC_FL_KEEP_SIZE):
            for length in (1 << 62, 64 * MIB, 17 * MIB):
                with pytest.raises(OSError) as caught:
                    fallocate(fd, mode, 0, length)
                assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
                assert used(mount) == before
        os.ftruncate(fd, 15 * MIB)
        os.ftruncate(fd, 0)
        os.close(fd)
        os.unlink(path)
    assert used(mount) == 0
    vfs = os.statvfs(mount)
    assert vfs.f_bfree == vfs.f_blocks
    (mount / "all").write_bytes(bytes(16 * MIB))


@pytest.mark.options("size=16m,mode=1777")
def test_what_cannot_be_cut_back_can_be_removed(beside):
    """A region that its owner made larger than size=, and sealed against being cut back."""
    path = socket_of(beside.mount)

    def grow():
        with Client(path) as client, client.opened(f"create big {PAGE}") as fd:
            os.ftruncate(fd, 64 << 20)
            try:
                fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)
            except PermissionError:
                pass

    support.as_user(support.NOBODY, grow)
    assert os.lstat(beside.mount / "big").st_size >= PAGE
    assert "big" in [entry.name for entry in os.scandir(beside.mount) if entry.stat()]
    assert "big" in (beside.mount.ctl / "regions").read_text()
    os.unlink(beside.mount / "big")
    beside.serve()


@pytest.mark.modes("cached")
def test_a_member_of_the_daemon_s_group_gets_no_more_than_was_lent(mounts, mode):
    """An ordinary user's daemon cannot give regions to their owners; it is the owner of all."""
    del mode
    mount = mounts("mode=1777", user=support.NOBODY)
    path = f"{mount.home}/socket"
    os.chmod(mount.home, 0o755)

    def create():
        with Client(path) as client:
            client.ask(f"create shared {PAGE} mode=0664")

    def reopen():
        with Client(path) as client, client.opened("open ro shared") as fd:
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR))

    def look():
        with Client(path) as client, client.opened("open ro shared") as fd:
            return os.fstat(fd).st_mode & 0o7777

    support.as_user(support.DAEMON, create)
    assert support.as_user(OTHER, look) == 0o600
    with pytest.raises(PermissionError) as caught:
        support.as_user(OTHER, reopen, groups=[support.NOBODY[1]])
    assert caught.value.errno == errno.EACCES
