# SPDX-License-Identifier: MIT
"""Every way to hold a region: what the tests of lifetimes open, map, pass on and let go of."""

import contextlib
import ctypes
import mmap
import os
import signal
import socket
import subprocess

from socket_client import Client, socket_of
from support import wait_for

PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def map_fd(fd, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED, size=PAGE):
    """mmap(2); unlike Python's, it keeps no descriptor."""
    address = libc.mmap(None, size, prot, flags, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return address


def die_with_parent():
    PR_SET_PDEATHSIG = 1  # pylint: disable=invalid-name
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def unmap(address, size=PAGE):
    assert libc.munmap(address, size) == 0


@contextlib.contextmanager
def by_descriptor(mount, name, flags=os.O_RDONLY):
    fd = os.open(mount / name, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def by_writable_descriptor(mount, name):
    return by_descriptor(mount, name, os.O_RDWR)


@contextlib.contextmanager
def by_mapping(mount, name, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED):
    """Its descriptor is closed."""
    with by_descriptor(mount, name, os.O_RDWR if prot & mmap.PROT_WRITE else os.O_RDONLY) as fd:
        address = map_fd(fd, prot, flags)
    try:
        yield
    finally:
        unmap(address)


def by_writable_mapping(mount, name):
    return by_mapping(mount, name, mmap.PROT_READ | mmap.PROT_WRITE)


def by_private_mapping(mount, name):
    return by_mapping(mount, name, flags=mmap.MAP_PRIVATE)


@contextlib.contextmanager
def by_socket(mount, name, access="ro"):
    """The connection that it came by is closed."""
    with Client(socket_of(mount)) as client:
        fd = client.ask_fd(f"open {access} {name}")
    try:
        yield fd
    finally:
        os.close(fd)


def by_socket_to_write(mount, name):
    return by_socket(mount, name, "rw")


@contextlib.contextmanager
def by_mapping_from_socket(mount, name):
    with by_socket(mount, name, "rw") as fd:
        address = map_fd(fd, mmap.PROT_READ | mmap.PROT_WRITE)
    try:
        yield
    finally:
        unmap(address)


@contextlib.contextmanager
def in_flight(mount, name, door=by_descriptor):
    """In a message that nobody has received."""
    ours, theirs = socket.socketpair()
    try:
        with door(mount, name) as fd:
            socket.send_fds(ours, [b"x"], [fd])
        yield
    finally:
        ours.close()
        theirs.close()


def in_flight_from_socket(mount, name):
    return in_flight(mount, name, by_socket)


class Holder:
    """A process that does what hold(), a context manager, does, until it is ended."""

    def __init__(self, hold, *arguments):
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                die_with_parent()
                os.close(reader)
                with hold(*arguments):
                    os.write(writer, b"x")
                    signal.pause()
            finally:
                os._exit(1)
        os.close(writer)
        try:
            assert os.read(reader, 1) == b"x", "the holder failed"
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(reader)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@contextlib.contextmanager
def in_process(hold, *arguments):
    """Somewhere else, and killed in the end."""
    holder = Holder(hold, *arguments)
    try:
        yield holder
    finally:
        holder.kill()


@contextlib.contextmanager
def everything(mount, name):
    with contextlib.ExitStack() as stack:
        for door in DOORS:
            stack.enter_context(door(mount, name))
        yield


def by_killed_process(mount, name):
    return in_process(everything, mount, name)


@contextlib.contextmanager
def in_mount_namespace(mount, name):
    """A process with mounts of its own, and a name of its own for the directory."""
    directory = mount.home / f"elsewhere-{name.replace('/', '-')}"
    directory.mkdir()
    script = 'mount --bind "$1" "$2" && exec 3<"$2/$3" && umount -l "$2" && echo held && read _'
    with subprocess.Popen(
        ["unshare", "--mount", "bash", "-c", script, "bash", mount.path, directory, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield
        process.stdin.close()
    directory.rmdir()


DOORS = [
    by_descriptor,
    by_writable_descriptor,
    by_mapping,
    by_writable_mapping,
    by_private_mapping,
    by_socket,
    by_socket_to_write,
    by_mapping_from_socket,
    in_flight,
    in_flight_from_socket,
]
# `everything` is made of those above, so that these are not part of it.
ALL_DOORS = [*DOORS, in_mount_namespace, by_killed_process]


def touch_briefly(mount, name):
    """Opens and lets go again by both ways: the daemon has a look whether that was the last."""
    for door in (by_writable_descriptor, by_mapping, by_socket):
        with door(mount, name):
            pass


def wait_gone(path):
    """Waits until the name is gone."""
    wait_for(lambda: not os.path.lexists(path), f"the end of {path}")
