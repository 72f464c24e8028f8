# SPDX-License-Identifier: MIT
"""What can be done with descriptors that the socket hands out."""

import errno
import fcntl
import os

import pytest

import support
from socket_client import Client, socket_of

PAGE = 4096
F_ADD_SEALS = 1033
F_SEAL_SHRINK = 2
OTHER = (2, 2)  # Debian's user bin


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
