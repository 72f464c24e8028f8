# SPDX-License-Identifier: MIT
"""The mount, reached by the files of its .ctl: commands, listings, waiting."""

from __future__ import annotations

import builtins
import dataclasses
import datetime
import errno
import grp
import json
import os
import pwd
import re
import stat as stat_module
import time
from typing import Any, Dict, List, Optional, Tuple

from ._events import Events, unescape

_DEFAULT = "/mnt/mem"
_ESCAPED = re.compile(rb"[\x00-\x20\\\x7f]")
_NOT_PLAIN = re.compile(rb"[\x00-\x20\\\x7f-\xff]")
_SURROGATE = re.compile("[\udc80-\udcff]")
_TICK_FIRST = 0.001
_TICK_LONGEST = 0.05
# Events tell of regions; this is for what they do not tell, such as directories.
_TICK_WITH_EVENTS = 0.5


@dataclasses.dataclass(frozen=True)
class RegionInfo:
    """What is known of a region; see iomemfs-ctl(7) for each member."""

    name: str
    size: int
    allocated: int
    huge: int
    mode: int
    uid: int
    gid: int
    inode: int
    links: int
    refs: int
    writers: int
    flags: Tuple[str, ...]
    seals: Tuple[str, ...]
    created: datetime.datetime
    creator_uid: int
    creator_pid: int
    creator_command: str

    @property
    def user(self) -> Optional[str]:
        """The name of the owner, or None if the number has no name."""
        return _user(self.uid)

    @property
    def group(self) -> Optional[str]:
        """The name of the group, or None."""
        try:
            return grp.getgrgid(self.gid).gr_name
        except KeyError:
            return None

    @property
    def creator_user(self) -> Optional[str]:
        """The name of the user that made it, or None."""
        return _user(self.creator_uid)

    def to_json(self) -> Dict[str, Any]:
        """As all JSON of iomemfs has it: docs/json.md."""
        members = dataclasses.asdict(self)
        members["mode"] = f"{self.mode:04o}"
        members["flags"] = [*self.flags]
        members["seals"] = [*self.seals]
        members["created"] = self.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for key in ("user", "group", "creator_user"):
            if getattr(self, key) is not None:
                members[key] = getattr(self, key)
        for key in ("name", "creator_command"):
            # A byte that is not UTF-8 is a lone surrogate here, which JSON does not have.
            text = members[key]
            if _SURROGATE.search(text):
                members[key] = _SURROGATE.sub("\ufffd", text)
                members[f"{key}_escaped"] = _escape(text, _NOT_PLAIN).decode()
        return members


def _user(uid: int) -> Optional[str]:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def mount_point() -> str:
    """The directory that names are relative to: $IOMEMFS or /mnt/mem.

    OSError with ENODEV if there is no iomemfs.
    """
    path = os.environ.get("IOMEMFS") or _DEFAULT
    if not os.path.exists(f"{path}/.ctl/create"):
        raise OSError(errno.ENODEV, "no iomemfs is mounted there", path)
    return path


def path_of(name: Optional[str]) -> str:
    """The path of a region's file, or of the mount for None."""
    mount = mount_point()
    if name is None:
        return mount
    if "\0" in name:
        raise ValueError("a name cannot have a NUL byte")
    if any(part in ("", ".", "..", ".ctl") for part in name.split("/")):
        raise OSError(errno.EINVAL, "not a path below the mount", name)
    return f"{mount}/{name}"


def _escape(name: str, what: re.Pattern[bytes] = _ESCAPED) -> bytes:
    return what.sub(lambda match: b"\\%03o" % match[0][0], os.fsencode(name))


def command(file: str, name: str, *words: str) -> None:
    """Carries out a command in one write(2).

    What the daemon says of an error is read from the same open file.
    """
    path_of(name)
    line = b" ".join([_escape(name), *(word.encode() for word in words)]) + b"\n"
    fd = os.open(f"{mount_point()}/.ctl/{file}", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, line)
    except OSError as error:
        reason = _reason(fd, name) or error.strerror
        raise OSError(error.errno, reason, name) from None
    finally:
        os.close(fd)


def _reason(fd: int, name: str) -> str:
    try:
        reason = os.pread(fd, 512, 0).decode(errors="replace").strip()
    except OSError:
        return ""
    # OSError has a place of its own for the name.
    return reason[len(name) + 2 :] if reason.startswith(f"{name}: ") else reason


def _info(members: Dict[str, Any]) -> RegionInfo:
    known = {field.name for field in dataclasses.fields(RegionInfo)}
    values = {key: value for key, value in members.items() if key in known}
    # JSON has no bytes that are not UTF-8: such a name is there a second time, escaped.
    for key in ("name", "creator_command"):
        if f"{key}_escaped" in members:
            values[key] = unescape(members[f"{key}_escaped"].encode())
    values["mode"] = int(values["mode"], 8)
    values["flags"] = tuple(values["flags"])
    values["seals"] = tuple(values["seals"])
    stamp = values["created"].rstrip("Z")
    whole, _, fraction = stamp.partition(".")
    values["created"] = datetime.datetime.fromisoformat(f"{whole}+00:00") + datetime.timedelta(
        microseconds=int(f"{fraction:0<6}"[:6])
    )
    return RegionInfo(**values)


# The built-in is shadowed on purpose: iomem.list() reads well.
def list(directory: Optional[str] = None) -> List[RegionInfo]:  # pylint: disable=redefined-builtin
    """The regions below a directory, with names relative to it (default: all of the mount)."""
    with builtins.open(f"{path_of(directory)}/.ctl/regions.json", "rb") as file:
        return [_info(members) for members in json.loads(file.read())["regions"]]


def stat(name: str) -> RegionInfo:
    """What is known of one region."""
    path = path_of(name)
    if not stat_module.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a region", name)
    try:
        members = json.loads(os.getxattr(path, "user.iomemfs"))
    except OSError:  # the mount has xattr=off
        directory, _, last = name.rpartition("/")
        for info in list(directory or None):
            if info.name == last:
                return dataclasses.replace(info, name=name)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    return dataclasses.replace(_info(members), name=name)


def resize(name: str, size: int) -> None:
    """Changes the size of a region."""
    command("resize", name, str(size))


def seal(name: str, *seals: str) -> None:
    """Forbids for good: "shrink", "grow", "write"."""
    command("seal", name, ",".join(seals))


def remove(name: str) -> None:
    """Removes the name.  Who has the region open or mapped keeps it."""
    command("remove", name)


def events(directory: Optional[str] = None) -> Events:
    """What happens to the regions below a directory, from now on."""
    return Events(path_of(directory))


def _events_beside(path: str) -> Optional[Events]:
    try:
        return Events(os.path.dirname(path))
    except OSError:
        return None


def _is_region(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat_module.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return True


def wait(name: str, timeout: Optional[float] = None) -> None:
    """Waits until there is a region of that name.  TimeoutError after so many seconds."""
    path = path_of(name)
    end = None if timeout is None else time.monotonic() + timeout
    tick = _TICK_FIRST
    seen = _events_beside(path)
    try:
        while not _is_region(path):
            left = _TICK_WITH_EVENTS if end is None else end - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "did not appear in time", name)
            if seen is None:
                time.sleep(min(left, tick))
                tick = min(2 * tick, _TICK_LONGEST)
                # The directory may have been made meanwhile.
                seen = _events_beside(path)
            elif seen.wait(min(left, _TICK_WITH_EVENTS)):
                seen.drain()
    finally:
        if seen is not None:
            seen.close()
