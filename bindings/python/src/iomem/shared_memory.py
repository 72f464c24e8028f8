# SPDX-License-Identifier: MIT
"""multiprocessing.shared_memory on an iomemfs mount, without a resource tracker.

The standard library's tracker destroys segments that other processes still use, and there is none
here: a segment lives until unlink(), like a file.  Segments that must not outlive their users are
made with ephemeral=True: the kernel counts those, and a process that was killed counts no more.

    from iomem.shared_memory import SharedMemory

The interface is the standard library's; what is here beyond it is given by keyword.
"""

from __future__ import annotations

import functools
import mmap
import multiprocessing.shared_memory as _standard
import os
import secrets
import types
from typing import Any, Optional, Tuple, Union

from . import _mount, _region

__all__ = ["SharedMemory", "ShareableList"]

_USE_POSIX = True
_O_CREX = os.O_CREAT | os.O_EXCL
_SHM_NAME_PREFIX = "/psm_"
_RANDOM_BYTES = 6


def _make_filename() -> str:
    return _SHM_NAME_PREFIX + secrets.token_hex(_RANDOM_BYTES)


class SharedMemory:
    """A piece of shared memory with a name.

    SharedMemory(create=True, size=n) makes one, with a name of its own or the one that is given;
    SharedMemory(name) attaches to one.

    fixed: its size never changes, so that nobody can take pages away from those who map it
    ephemeral: the name goes with its last user, however that ended; unlink() is not needed
    populate, huge: all pages are there from the start; with huge pages
    owner: "process", "service" or "container": the name goes when that has ended, and its last user
    wait: attach to one that may be made later: True waits for ever, a number that many seconds
    track: accepted and ignored; there is no tracker
    """

    # As in the standard library, so that close() and unlink() work on what was never finished,
    # and subclasses can change them.
    _name: Optional[str] = None
    _fd = -1
    _mmap: Optional[mmap.mmap] = None
    _buf: Optional[memoryview] = None
    _flags = os.O_RDWR
    _mode = 0o600
    _prepend_leading_slash = True
    _size = 0

    def __init__(
        self,
        name: Optional[str] = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        fixed: bool = False,
        ephemeral: bool = False,
        populate: bool = False,
        huge: bool = False,
        owner: Optional[str] = None,
        wait: Union[bool, float, None] = None,
    ) -> None:
        del track
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create:
            self._flags = _O_CREX | os.O_RDWR
            if size == 0:
                raise ValueError("'size' must be a positive number different from zero")
        if name is None and not self._flags & os.O_EXCL:
            raise ValueError("'name' can only be None if create=True")
        self._ephemeral = ephemeral
        make = functools.partial(
            _region.make, size=size, mode=self._mode, fixed=fixed, ephemeral=ephemeral,
            populate=populate, huge=huge, owner=owner,
        )
        if name is None:
            self._make_new(make)
        else:
            self._name = "/" + name if self._prepend_leading_slash else name
            self._attach_or_make(make, wait)
        try:
            self._map()
        except OSError:
            if create:
                self.unlink()
            raise

    def _make_new(self, make: functools.partial[None]) -> None:
        while self._fd < 0:
            # The module that stands for this one may be patched, as the standard library's is.
            self._name = _make_filename()
            try:
                self._make_and_open(make)
            except FileExistsError:
                continue

    def _make_and_open(self, make: functools.partial[None]) -> None:
        _region.made_and_opened(functools.partial(make, self.name), self._open, self._ephemeral)

    def _attach_or_make(
        self, make: functools.partial[None], wait: Union[bool, float, None]
    ) -> None:
        if self._flags & os.O_EXCL:
            self._make_and_open(make)
            return
        if wait is not None and wait is not False:
            _mount.wait(self.name, None if wait is True else wait)
        try:
            self._open()
        except FileNotFoundError:
            if not self._flags & os.O_CREAT:
                raise
            self._make_and_open(make)

    def _open(self) -> None:
        try:
            self._fd = os.open(_mount.path_of(self.name), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.name) from None

    def _map(self) -> None:
        self._size = os.fstat(self._fd).st_size
        self._mmap = mmap.mmap(self._fd, self._size)
        self._buf = memoryview(self._mmap)

    def __del__(self) -> None:
        try:
            self.close()
        except (OSError, BufferError):
            pass

    def __reduce__(self) -> Tuple[Any, ...]:
        return self.__class__, (self.name, False, self.size)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.name!r}, size={self.size})"

    @property
    def buf(self) -> memoryview:
        """The memory."""
        return self._buf  # type: ignore[return-value]  # None once closed, as in the library

    @property
    def name(self) -> str:
        """The name, which other processes attach by."""
        name = self._name or ""
        return name[1:] if self._prepend_leading_slash and name.startswith("/") else name

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def close(self) -> None:
        """Ends this process's use of the memory.  BufferError if arrays are still on it."""
        if self._buf is not None:
            self._buf.release()
            self._buf = None
        if self._mmap is not None:
            self._mmap.close()
            self._mmap = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def unlink(self) -> None:
        """Removes the name.  FileNotFoundError if it has gone."""
        if self._name:
            os.unlink(_mount.path_of(self.name))


class ShareableList(_standard.ShareableList[Any]):
    """The standard library's ShareableList, on a SharedMemory of this module.

    Keywords beyond `sequence` and `name` are those of SharedMemory.
    """

    def __init__(self, sequence: Any = None, *, name: Optional[str] = None, **options: Any) -> None:
        # The list itself is the standard library's: only what it finds under the name of
        # SharedMemory is ours.
        standard: types.FunctionType = _standard.ShareableList.__init__  # type: ignore[assignment]
        scope = dict(standard.__globals__)
        scope["SharedMemory"] = functools.partial(SharedMemory, **options)
        types.FunctionType(
            standard.__code__, scope, standard.__name__, standard.__defaults__, standard.__closure__
        )(self, sequence, name=name)
