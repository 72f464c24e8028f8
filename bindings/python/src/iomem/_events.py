# SPDX-License-Identifier: MIT
"""What happens to regions: lines of .ctl/events, understood."""

from __future__ import annotations

import dataclasses
import os
import re
import select
import time
from typing import Dict, Iterator, Optional, Union

from ._closing import Closing

_PIECE = 65536
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened.

    kind is "create", "resize", "seal", "rename", "remove", "last-close", "restart" or "overflow";
    name is None where it is not about a region; details has what else there is to say, among size,
    seals, uid, pid and lost.
    """

    sequence: int
    kind: str
    name: Optional[str]
    details: Dict[str, Union[int, str]]


def unescape(name: bytes) -> str:
    """The name behind the escapes of a listing or an event."""
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), name))


def _parse(line: bytes) -> Event:
    sequence, kind, name, *pairs = line.split(b" ")
    details: Dict[str, Union[int, str]] = {}
    for pair in pairs:
        key, _, value = pair.decode().partition("=")
        details[key] = int(value) if value.isdigit() else value
    return Event(int(sequence), kind.decode(), None if name == b"-" else unescape(name), details)


class Events(Closing):
    """What happens below a directory, from the moment at which this was made.

    An iterator without end, a context manager, and something that select, poll and
    asyncio's add_reader() take: readable when get(0) would return an event.  For one thread at a
    time.
    """

    def __init__(self, directory: str) -> None:
        self._fd = os.open(
            f"{directory}/.ctl/events", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )
        self._text = b""

    def get(self, timeout: Optional[float] = None) -> Optional[Event]:
        """The next event, or None if there is none within so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._text:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not self.wait(left):
                return None
            self._receive()
        line, _, self._text = self._text.partition(b"\n")
        return _parse(line)

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Whether there is something to read within so many seconds."""
        if b"\n" in self._text:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def drain(self) -> None:
        """Drops what is there."""
        self._receive()
        self._text = b""

    def _receive(self) -> None:
        try:
            self._text += os.read(self._fd, _PIECE)
        except BlockingIOError:
            pass

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.get()
        assert event is not None
        return event
