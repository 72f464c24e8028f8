# SPDX-License-Identifier: MIT
"""Cases that are played on two file systems, and the transcripts that are compared.

A case is a function of a Trace and some parameters.  It works in an empty directory; every call it
makes through the Trace is written down with its outcome: a value or an errno.  What is right is
whatever tmpfs answers.  A case that wants time stamps to differ yields: it goes on when the clock
has moved, and meanwhile the others of its family have their turn.  Never: decides whether an
outcome is right.
"""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import pickle
import select
import shutil
import signal
import socket
import stat
import time
import traceback

import support

CLIB = ctypes.CDLL(None, use_errno=True)

AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
CLOCK_REALTIME_COARSE = 5  # the clock of tmpfs's time stamps; Python has no name for it
SYS_FCHMODAT2 = 452
SYS_GETDENTS64 = {"x86_64": 217}.get(os.uname().machine, 61)

KINDS = ("file", "dir", "fifo", "block", "char", "socket", "link")

# Users of the cases: uid, gid, supplementary groups.
ROOT = (0, 0, ())
OWNER = (65534, 65534, ())
MEMBER = (65533, 65534, ())  # in the owner's group
GUEST = (65532, 65532, (65534, 65531))  # in it by a supplementary group
OTHER = (65530, 65530, ())
USERS = {"root": ROOT, "owner": OWNER, "member": MEMBER, "guest": GUEST, "other": OTHER}


def _checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _path(path):
    return os.fsencode(path) if path is not None else None


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def _utimensat(path, atime, mtime, flags=0):
    """atime and mtime: (seconds, nanoseconds)."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _checked(CLIB.utimensat(AT_FDCWD, _path(path), times, flags))


def _futimens(fd, atime, mtime):
    _checked(CLIB.futimens(fd, (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))))


def _fallocate(fd, mode, offset, length):
    _checked(CLIB.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def _rename2(source, target, flags):
    _checked(CLIB.renameat2(AT_FDCWD, _path(source), AT_FDCWD, _path(target), flags))


def _linkat(source_fd, source, target, flags):
    _checked(CLIB.linkat(source_fd, _path(source), AT_FDCWD, _path(target), flags))


def _bind(path):
    """A socket's name, whose length struct sockaddr_un does not limit."""
    folder, _, name = path.rpartition("/")
    with socket.socket(socket.AF_UNIX) as sock:
        if len(path) < 100:
            sock.bind(path)
            return
        fd = os.open(folder or ".", os.O_PATH)
        try:
            sock.bind(f"/proc/self/fd/{fd}/{name}")
        finally:
            os.close(fd)


def _mmap_write(fd, offset, data):
    with mmap.mmap(fd, offset + len(data)) as mapping:
        mapping[offset:] = data


def _mmap_read(fd, offset, length):
    with mmap.mmap(fd, offset + length, prot=mmap.PROT_READ) as mapping:
        return mapping[offset:]


def _flock(fd, operation):
    fcntl.flock(fd, operation | fcntl.LOCK_NB)


def _lockf(fd, operation, length=0, start=0):
    fcntl.lockf(fd, operation | fcntl.LOCK_NB, length, start)


def _execute(path):
    """Exit status, or the errno of execve()."""
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(path, [path])
        except OSError as error:
            os._exit(error.errno)
        finally:
            os._exit(255)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, "exec")


def getdents(fd, size):
    """One getdents64() with a buffer of size bytes: [(name, cookie of what follows, type)]."""
    buffer = ctypes.create_string_buffer(size)
    count = _checked(CLIB.syscall(SYS_GETDENTS64, fd, buffer, size))
    entries, at = [], 0
    while at < count:
        offset = int.from_bytes(buffer.raw[at + 8 : at + 16], "little", signed=True)
        length = int.from_bytes(buffer.raw[at + 16 : at + 18], "little")
        name = buffer.raw[at + 19 : at + length].split(b"\0", 1)[0]
        entries.append((os.fsdecode(name), offset, buffer.raw[at + 18]))
        at += length
    return entries


def listing(fd, size=32768):
    """What is left to read of a directory, as getdents()."""
    return [entry for chunk in iter(lambda: getdents(fd, size), []) for entry in chunk]


CALLS = {
    "access": lambda path, mode: _checked(CLIB.faccessat(AT_FDCWD, _path(path), mode, 0x200)),
    "bind": _bind,
    "execute": _execute,
    "fallocate": _fallocate,
    "flock": _flock,
    "futimens": _futimens,
    "lchmod": lambda path, mode: _checked(
        CLIB.syscall(SYS_FCHMODAT2, AT_FDCWD, _path(path), mode, AT_SYMLINK_NOFOLLOW)
    ),
    "lchown": os.lchown,
    "linkat": _linkat,
    "link": lambda source, target: os.link(source, target, follow_symlinks=False),
    "listdir": lambda path: sorted(os.listdir(path)),
    "lockf": _lockf,
    "mmap_read": _mmap_read,
    "mmap_write": _mmap_write,
    "mkfifo": os.mkfifo,
    "rename": os.rename,
    "rename2": _rename2,
    "utimensat": _utimensat,
}


def describe(st, blocks=True):
    """What must be the same on both file systems."""
    text = f"{stat.filemode(st.st_mode)} {st.st_uid}:{st.st_gid} links {st.st_nlink}"
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        text += f" rdev {os.major(st.st_rdev)},{os.minor(st.st_rdev)}"
    if stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode) or stat.S_ISDIR(st.st_mode):
        text += f" size {st.st_size}"
    if blocks and stat.S_ISREG(st.st_mode):
        text += f" blocks {st.st_blocks}"
    return text


def tick():
    """Waits until a time stamp taken from any clock will be later than those taken before."""
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= now:
        time.sleep(0.0005)


def make(kind, path, mode=0o644, user=ROOT):
    """A file of that kind, unrecorded: what a case starts from."""
    if kind == "file":
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    elif kind == "dir":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "block":
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(511, 7))
    elif kind == "char":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    elif kind == "socket":
        _bind(path)
    elif kind == "link":
        os.symlink("target of " + os.path.basename(path), path)
    os.lchown(path, user[0], user[1])
    if kind != "link":
        os.chmod(path, mode)


def _short(value):
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return f"{value:#o}" if value < 0o200000 else str(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:24]}..{len(value)}"


class Trace:
    """One case's hands on the file system.

    trace.NAME(...) makes a call, of CALLS or of os, and writes down what came of it.  The value is
    returned; -1 after an error.
    """

    def __init__(self):
        self.lines = []
        self._fds = []
        self._user = ""

    def note(self, text):
        self.lines.append(self._user + text)

    def __getattr__(self, name):
        function = CALLS.get(name) or getattr(os, name)
        return lambda *arguments: self._call(name, function, arguments)

    def _call(self, name, function, arguments):
        text = f"{name}({', '.join(map(_short, arguments))})"
        try:
            value = function(*arguments)
        except OSError as error:
            self.note(f"{text} = {errno.errorcode.get(error.errno, error.errno)}")
            return -1
        except OverflowError:
            self.note(f"{text} = overflow")
            return -1
        if name == "open":
            self._fds.append(value)
            self.note(f"{text} = ok")
        elif isinstance(value, os.stat_result):
            self.note(f"{text} = {describe(value)}")
        else:
            self.note(f"{text} = {'ok' if value is None else _short(value)}")
        return value

    def close(self, fd):
        if fd in self._fds:
            self._fds.remove(fd)
            self._call("close", os.close, (fd,))

    def close_all(self):
        while self._fds:
            os.close(self._fds.pop())

    @contextlib.contextmanager
    def user(self, user):
        """Makes the calls within as that user (uid, gid, groups)."""
        uid, gid, groups = user
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        before, self._user = self._user, f"[{uid}] "
        try:
            yield
        finally:
            self._user = before
            os.seteuid(0)
            os.setegid(0)
            os.setgroups([])

    @contextlib.contextmanager
    def umask(self, mask):
        before = os.umask(mask)
        try:
            yield
        finally:
            os.umask(before)

    def look(self, *paths, atime=False):
        """The times of the paths (or descriptors) as they are; then yield, act, and moved()."""

        def times(path):
            try:
                st = os.fstat(path) if isinstance(path, int) else os.lstat(path)
            except OSError:
                return None
            moments = {"m": st.st_mtime_ns, "c": st.st_ctime_ns}
            if atime:
                moments["a"] = st.st_atime_ns
            return st.st_ino, moments

        return [(path, times(path)) for path in paths], atime

    def moved(self, seen):
        """Writes down which times are not as look() saw them."""
        before, atime = seen
        after, _ = self.look(*(path for path, _ in before), atime=atime)
        for (path, old), (_, new) in zip(before, after):
            path = "fd" if isinstance(path, int) else path
            if not old or not new:
                self.note(f"{path}: {'was' if old else 'was not'}, {'is' if new else 'is not'}")
            elif old[0] != new[0]:
                self.note(f"{path} is another file")
            else:
                names = [name for name in old[1] if old[1][name] != new[1][name]]
                self.note(f"times of {path} moved: {' '.join(names) or 'none'}")

    def tree(self, top="."):
        """Writes down everything below top."""
        for name in sorted(os.listdir(top)):
            path = f"{top}/{name}"
            st = os.lstat(path)
            target = " -> " + _short(os.readlink(path)) if stat.S_ISLNK(st.st_mode) else ""
            shown = path if len(path) < 80 else f"{path[:40]}..{len(path)}"
            self.note(f"{shown}: {describe(st)}{target}")
            if stat.S_ISDIR(st.st_mode):
                self.tree(path)


# ---- families: a function and the cases that its parameters make ----

FAMILIES = {}


def family(*axes):
    """Registers a case for every combination of the axes: lists, or dicts of named values."""

    def register(function):
        named = [list(a.items()) if isinstance(a, dict) else [(v, v) for v in a] for a in axes]
        FAMILIES[function.__name__] = [
            ("-".join(str(name) for name, _ in choice), function, [value for _, value in choice])
            for choice in itertools.product(*named)
        ]
        return function

    return register


class _Play:
    """A case that is being played, in a directory of its own."""

    def __init__(self, root, number, label, function, values):
        self.label = label
        self.trace = Trace()
        self._where = os.path.join(root, str(number))
        self._act = lambda: function(self.trace, *values)
        self._rest = None
        os.mkdir(self._where)
        os.chmod(self._where, 0o777)

    def go_on(self):
        """Up to the next yield.  Whether there was one."""
        os.chdir(self._where)
        try:
            if self._rest is None:
                self._rest = self._act()
            if hasattr(self._rest, "__next__"):
                next(self._rest)
                return True
        except StopIteration:
            pass
        except Exception:  # the transcript tells, on whichever side it happened
            self.trace.note("broke: " + traceback.format_exc())
        return False

    def end(self):
        self.trace.close_all()
        os.chdir("/")
        shutil.rmtree(self._where)
        return self.trace.lines


def _play_family(root, name, at_once):
    os.umask(0)
    os.makedirs(root, exist_ok=True)
    cases, transcripts = FAMILIES[name], {}
    for start in range(0, len(cases), at_once):
        plays = [_Play(root, i, *case) for i, case in enumerate(cases[start : start + at_once])]
        going = plays
        while going := [play for play in going if play.go_on()]:
            tick()
        transcripts.update((play.label, play.end()) for play in plays)
    return transcripts


def play(root, name, at_once=100, limit=120):
    """Plays a family in its own process below root; {case: transcript}."""
    limit = round(limit * support.SLOWNESS)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(limit)
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(_play_family(root, name, at_once), pipe)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], limit)
        data = pipe.read() if ready else b""
    if not ready:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise RuntimeError(f"{name} in {root} ended with {status}")
    return pickle.loads(data)
