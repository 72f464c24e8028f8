# SPDX-License-Identifier: MIT
"""Shared memory with names, lifetimes and events, on an iomemfs mount.

    import iomem

    with iomem.create("frames", 64 << 20, fixed=True) as frames:    # in one program
        frames.buf[:5] = b"hello"

    with iomem.open("frames", wait=5) as frames:                     # in any other
        bytes(frames.buf[:5])

The mount is the one that $IOMEMFS names, or /mnt/mem.  Names are paths below it.  What fails raises
OSError (FileNotFoundError, FileExistsError, PermissionError, TimeoutError, ...) with the daemon's
words; without a mount its errno is ENODEV.

iomem.SharedMemory and iomem.ShareableList are those of multiprocessing.shared_memory, without
its resource tracker.
"""

from __future__ import annotations

from ._events import Event, Events
from ._mount import (
    RegionInfo,
    events,
    list,  # pylint: disable=redefined-builtin
    mount_point,
    remove,
    resize,
    seal,
    stat,
    wait,
)
from ._region import Region, anonymous, create, open  # pylint: disable=redefined-builtin
from .shared_memory import ShareableList, SharedMemory

__version__ = "0.1.0"
__all__ = [
    "Event",
    "Events",
    "Region",
    "RegionInfo",
    "ShareableList",
    "SharedMemory",
    "anonymous",
    "create",
    "events",
    "list",
    "mount_point",
    "open",
    "remove",
    "resize",
    "seal",
    "stat",
    "wait",
]
