# SPDX-License-Identifier: MIT
"""What objects with a descriptor have in common: they are closed by hand, by `with`, or at last."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Optional, Type, TypeVar

_Self = TypeVar("_Self", bound="Closing")


class Closing:
    """Holds a descriptor until close()."""

    _fd = -1

    def fileno(self) -> int:
        """The descriptor, for select, os.pread(), socket.send_fds() and the like."""
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._fd < 0

    def close(self) -> None:
        """Gives the descriptor up.  May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Also of an object whose __init__ failed.
        if not self.closed:
            self.close()
