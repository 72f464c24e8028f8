# SPDX-License-Identifier: MIT
"""A region in a program's hands: a descriptor, and its mapping."""

from __future__ import annotations

import mmap
import os
from typing import Callable, Optional, TypeVar, Union

from . import _mount
from ._closing import Closing

_ATTEMPTS = 100
_T = TypeVar("_T")


class Region(Closing):
    """An open region: map it by .buf, pass it on by its descriptor, end it by close() or `with`."""

    def __init__(self, fd: int, name: Optional[str], writable: bool) -> None:
        self._fd = fd
        self._name = name
        self._writable = writable
        self._mmap: Optional[mmap.mmap] = None
        self._buf: Optional[memoryview] = None

    @classmethod
    def from_fd(cls, fd: int) -> Region:
        """Takes over a descriptor, for example one that socket.recv_fds() returned."""
        import fcntl  # pylint: disable=import-outside-toplevel

        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        return cls(fd, None, flags & os.O_ACCMODE == os.O_RDWR)

    @property
    def name(self) -> Optional[str]:
        """The name below the mount; None for memory without one."""
        return self._name

    @property
    def size(self) -> int:
        """Bytes, now."""
        return os.fstat(self._fd).st_size

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._writable

    @property
    def buf(self) -> memoryview:
        """The memory, mapped when this is first asked for, at the size that it has then.

        numpy.frombuffer(region.buf, dtype) is an array on the memory itself.  Read-only if the
        region was opened so.
        """
        if self._buf is None:
            size = self.size
            if size == 0:
                self._buf = memoryview(bytearray())
            else:
                access = mmap.ACCESS_WRITE if self._writable else mmap.ACCESS_READ
                self._mmap = mmap.mmap(self._fd, size, access=access)
                self._buf = memoryview(self._mmap)
        return self._buf

    def remap(self) -> memoryview:
        """Maps the region at the size that it has now; what .buf gave before stays as it is."""
        self._drop_mapping()
        return self.buf

    # Since Python 3.12 this makes the region itself an object with a buffer.
    def __buffer__(self, flags: int) -> memoryview:
        return self.buf

    def _drop_mapping(self) -> None:
        buf, self._buf = self._buf, None
        mapping, self._mmap = self._mmap, None
        try:
            if buf is not None:
                buf.release()
            if mapping is not None:
                mapping.close()
        except BufferError:
            # An array is still on it: the mapping ends with that one.
            pass

    def close(self) -> None:
        """Ends the mapping and closes the descriptor.  May be called twice.

        Arrays that are still on the memory keep it mapped for as long as they live.
        """
        self._drop_mapping()
        super().close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.size} bytes"
        return f"<iomem.Region {self._name or 'without a name'}: {state}>"


def make(
    name: str,
    size: int,
    *,
    mode: Optional[int] = None,
    fixed: bool = False,
    ephemeral: bool = False,
    populate: bool = False,
    huge: bool = False,
    owner: Optional[str] = None,
) -> None:
    """The command `create`, without opening what it makes."""
    if size < 0:
        raise ValueError("a size cannot be negative")
    words = [] if mode is None else [f"mode={mode:o}"]
    options = {"fixed": fixed, "ephemeral": ephemeral, "populate": populate, "huge": huge}
    words += [word for word, wanted in options.items() if wanted]
    if owner is not None:
        words.append(f"owner={owner}")
    _mount.command("create", name, str(size), *words)


def made_and_opened(make_it: Callable[[], None], open_it: Callable[[], _T], ephemeral: bool) -> _T:
    """Makes a region, then opens it.

    Whoever opens an ephemeral region between the two and closes it again was its last user: it is
    gone, and is made once more.
    """
    for left in range(_ATTEMPTS if ephemeral else 1, 0, -1):
        make_it()
        try:
            return open_it()
        except FileNotFoundError:
            if left == 1:
                raise
    raise AssertionError


def create(
    name: str,
    size: int,
    *,
    mode: Optional[int] = None,
    fixed: bool = False,
    ephemeral: bool = False,
    populate: bool = False,
    huge: bool = False,
    owner: Optional[str] = None,
) -> Region:
    """Makes a region and opens it for reading and writing.

    mode: permissions; by default what the umask leaves of 0o666
    fixed: the size never changes, so that nobody can take pages away from those who map it
    ephemeral: the name goes with the last reference, however its holder ended
    populate: all pages are there when the name appears
    huge: the same with huge pages
    owner: "process", "service" or "container": the name goes when that one, of this process, has
        ended, and the last reference is gone
    """
    def open_it() -> Region:
        try:
            return open(name)
        except PermissionError:
            # Made with a mode that forbids its maker to write.
            if mode is None:
                raise
            return open(name, write=False)

    def make_it() -> None:
        make(name, size, mode=mode, fixed=fixed, ephemeral=ephemeral, populate=populate,
             huge=huge, owner=owner)

    return made_and_opened(make_it, open_it, ephemeral)


def open(  # pylint: disable=redefined-builtin
    name: str, *, write: bool = True, wait: Union[bool, float, None] = None
) -> Region:
    """Opens a region, for reading only with write=False.

    With wait= it may be made later: True waits for ever, a number that many seconds.
    """
    if wait is not None and wait is not False:
        _mount.wait(name, None if wait is True else wait)
    path = _mount.path_of(name)
    try:
        fd = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    return Region(fd, name, write)


def anonymous(size: int, *, fixed: bool = False) -> Region:
    """Memory without a name, which needs no mount: a memfd."""
    if size < 0:
        raise ValueError("a size cannot be negative")
    fd = os.memfd_create("iomem", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        if fixed:
            import fcntl  # pylint: disable=import-outside-toplevel

            # Names of fcntl since Python 3.8 where the C library has them.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except BaseException:
        os.close(fd)
        raise
    return Region(fd, None, True)
