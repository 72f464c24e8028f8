# SPDX-License-Identifier: MIT
"""Load for the crash tests: processes that use a mount, each against a model of what must be."""

import ctypes
import errno
import json
import mmap
import os
import pickle
import random
import re
import signal
import stat
import time
import traceback

import support

libc = ctypes.CDLL(None, use_errno=True)
RENAME_EXCHANGE = 2
AT_FDCWD = -100


def rename_exchange(one, other):
    """renameat2(RENAME_EXCHANGE)."""
    if libc.renameat2(
        AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE
    ):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one))


class Clock:
    """Times each call, for the report; no time ever decides a test."""

    def __init__(self):
        self.times = []

    def __call__(self, function, *arguments, **keywords):
        start = time.monotonic()
        try:
            return function(*arguments, **keywords)
        finally:
            self.times.append(time.monotonic() - start)


class Load:
    """A process that runs function(stopping, clock, *arguments) until stopping() is true."""

    def __init__(self, function, *arguments):
        self.name = function.__name__
        self.flag = mmap.mmap(-1, mmap.PAGESIZE)
        self.reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reader)
            self._child(writer, function, arguments)
        os.close(writer)

    def _child(self, writer, function, arguments):
        status = 1
        try:
            clock = Clock()
            try:
                function(lambda: self.flag[0], clock, *arguments)
                outcome = (None, clock.times)
            except BaseException:  # pylint: disable=broad-except
                outcome = (traceback.format_exc(), clock.times)
            with os.fdopen(writer, "wb") as stream:
                pickle.dump(outcome, stream)
            status = 0
        finally:
            os._exit(status)

    def stop(self):
        """Ends the load; the times of its calls, or AssertionError with what went wrong."""
        self.flag[0] = 1
        with os.fdopen(self.reader, "rb") as stream:
            data = stream.read()
        os.waitpid(self.pid, 0)
        self.flag.close()
        assert data, f"{self.name}: the process died"
        problem, times = pickle.loads(data)
        assert problem is None, f"{self.name}:\n{problem}"
        return times


class Loads:
    """Several of them; as a context ends them, whatever happens."""

    def __init__(self):
        self.running = []
        self.times = {}

    def add(self, function, *arguments):
        self.running.append(Load(function, *arguments))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        problems = []
        for load in self.running:
            try:
                self.times.setdefault(load.name, []).extend(load.stop())
            except AssertionError as error:
                problems.append(str(error))
        if problems and kind is None:
            raise AssertionError("\n".join(problems))
        for problem in problems:
            print(problem)


def report(title, times, **more):
    """One line for people; the same as JSON to the file that IOMEMFS_CRASH_REPORT names."""
    flat = sorted(t for part in times.values() for t in part)
    if not flat:
        return
    def at(share):
        return round(flat[min(len(flat) - 1, int(share * len(flat)))] * 1000, 3)
    line = {
        "test": title,
        **more,
        "calls": len(flat),
        "ms": {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99.9": at(0.999),
               "p99.99": at(0.9999), "max": at(1)},
    }
    print(json.dumps(line))
    path = os.environ.get("IOMEMFS_CRASH_REPORT")
    if path:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


# --- what the processes do ---------------------------------------------------------------------


def share_counters(stopping, clock, path, index, count):
    """Counts in its own word of a shared region, and watches the others' words only grow."""
    seen = [0] * count
    own = 0
    while True:
        fd = clock(os.open, path, os.O_RDWR)
        with mmap.mmap(fd, 4096) as board, memoryview(board) as raw, raw.cast("Q") as words:
            os.close(fd)  # a word of the cast is stored in one piece, as struct's are not
            for _ in range(50):
                own += 1
                words[index] = own
                now = [words[i] for i in range(count)]
                assert now[index] == own, f"own counter {now[index]}, wrote {own}"
                for other in range(count):
                    assert now[other] >= seen[other], f"counter {other} went back"
                seen = now
        if stopping():
            return


class Tree:
    """A folder and a model of it: {name: node}, node = [kind, content or target, mode, names]."""

    def __init__(self, path, seed, clock):
        self.path = str(path)
        self.random = random.Random(seed)
        self.clock = clock
        self.model = {}
        self.serial = 0

    def at(self, name):
        return f"{self.path}/{name}"

    def fresh(self):
        self.serial += 1
        return f"n{self.serial}"

    def pick(self, kind=None):
        names = sorted(n for n, node in self.model.items() if kind in (None, node["kind"]))
        return self.random.choice(names) if names else None

    def expect_error(self, code, function, *arguments):
        try:
            self.clock(function, *arguments)
        except OSError as error:
            assert error.errno == code, f"{function.__name__}{arguments}: {error}"
        else:
            raise AssertionError(f"{function.__name__}{arguments}: no error")

    # Each does one thing on both sides.

    def make_file(self):
        name, content = self.fresh(), os.urandom(self.random.randrange(1, 5000))
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        fd = self.clock(os.open, self.at(name), flags, 0o640)
        try:
            assert self.clock(os.write, fd, content) == len(content)
        finally:
            os.close(fd)
        self.model[name] = {"kind": "file", "data": content, "mode": 0o640, "links": 1}

    def make_directory(self):
        name = self.fresh()
        self.clock(os.mkdir, self.at(name), 0o750)
        self.model[name] = {"kind": "dir", "data": None, "mode": 0o750, "links": 2}

    def make_symlink(self):
        name, target = self.fresh(), "t" * self.random.randrange(1, 600)
        self.clock(os.symlink, target, self.at(name))
        self.model[name] = {"kind": "link", "data": target, "mode": 0o777, "links": 1}

    def make_again(self):
        name = self.pick()
        if name:
            self.expect_error(errno.EEXIST, os.mkdir, self.at(name))

    def link(self):
        name = self.pick("file")
        if name:
            new = self.fresh()
            self.clock(os.link, self.at(name), self.at(new))
            self.model[name]["links"] += 1
            self.model[new] = self.model[name]

    def rename(self):
        name = self.pick()
        if name:
            new = self.fresh()
            self.clock(os.rename, self.at(name), self.at(new))
            self.model[new] = self.model.pop(name)
            self.expect_error(errno.ENOENT, os.lstat, self.at(name))

    def rename_over(self):
        name, over = self.pick("file"), self.pick("file")
        if name and over and self.model[name] is not self.model[over]:
            self.clock(os.rename, self.at(name), self.at(over))
            self.model[over]["links"] -= 1
            self.model[over] = self.model.pop(name)

    def exchange(self):
        name, other = self.pick(), self.pick()
        if name and name != other:
            self.clock(rename_exchange, self.at(name), self.at(other))
            self.model[name], self.model[other] = self.model[other], self.model[name]

    def write(self):
        name = self.pick("file")
        if name:
            node = self.model[name]
            offset = self.random.randrange(0, len(node["data"]) + 1)
            piece = os.urandom(self.random.randrange(1, 3000))
            fd = self.clock(os.open, self.at(name), os.O_RDWR)
            try:
                assert self.clock(os.pwrite, fd, piece, offset) == len(piece)
            finally:
                os.close(fd)
            data = node["data"]
            node["data"] = data[:offset] + piece + data[offset + len(piece):]

    def truncate(self):
        name = self.pick("file")
        if name:
            node = self.model[name]
            size = self.random.randrange(0, 9000)
            self.clock(os.truncate, self.at(name), size)
            node["data"] = node["data"][:size].ljust(size, b"\0")

    def chmod(self):
        name = self.pick("file")
        if name:
            mode = self.random.choice([0o600, 0o644, 0o755])
            self.clock(os.chmod, self.at(name), mode)
            self.model[name]["mode"] = mode

    def unlink(self):
        name = self.pick("file") or self.pick("link")
        if name:
            self.clock(os.unlink, self.at(name))
            self.model.pop(name)["links"] -= 1
            self.expect_error(errno.ENOENT, os.unlink, self.at(name))

    def unlink_open(self):
        """An open file without a name keeps its content."""
        name, content = self.fresh(), os.urandom(300)
        fd = self.clock(os.open, self.at(name), os.O_CREAT | os.O_RDWR)
        try:
            self.clock(os.write, fd, content)
            self.clock(os.unlink, self.at(name))
            assert self.clock(os.pread, fd, 999, 0) == content
            assert self.clock(os.fstat, fd).st_nlink == 0
        finally:
            os.close(fd)

    def rmdir(self):
        name = self.pick("dir")
        if name:
            self.clock(os.rmdir, self.at(name))
            del self.model[name]

    def look(self):
        name = self.pick()
        if name:
            self.check(name)

    def check(self, name):
        node = self.model[name]
        st = self.clock(os.lstat, self.at(name))
        kinds = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK}
        assert stat.S_IFMT(st.st_mode) == kinds[node["kind"]], name
        assert stat.S_IMODE(st.st_mode) == node["mode"], name
        assert st.st_nlink == node["links"], f"{name}: {st.st_nlink}, not {node['links']} links"
        if node["kind"] == "link":
            assert self.clock(os.readlink, self.at(name)) == node["data"]
        if node["kind"] == "file":
            assert st.st_size == len(node["data"]), name
            with open(self.at(name), "rb") as stream:
                assert self.clock(stream.read) == node["data"], f"content of {name}"

    def check_all(self):
        assert sorted(self.clock(os.listdir, self.path)) == sorted(self.model)
        for name in self.model:
            self.check(name)

    def clear(self):
        for name in list(self.model):
            if self.model[name]["kind"] == "dir":
                self.clock(os.rmdir, self.at(name))
            else:
                self.clock(os.unlink, self.at(name))
            del self.model[name]

    STEPS = [make_file] * 4 + [make_directory, make_symlink, make_again, link, rename, rename,
             rename_over, exchange, write, write, truncate, chmod, unlink, unlink, unlink, rmdir,
             unlink_open, look, look]

    def step(self):
        if len(self.model) > 60:
            self.unlink()
        self.random.choice(self.STEPS)(self)


def change_tree(stopping, clock, path, seed):
    """Names and files, against the model."""
    os.mkdir(path)
    tree = Tree(path, seed, clock)
    while not stopping():
        for _ in range(40):
            tree.step()
        tree.check_all()
    tree.check_all()
    tree.clear()
    os.rmdir(path)


def write_commands(stopping, clock, path, seed):
    """Commands of .ctl and its listing, against a model {name: size}."""
    os.mkdir(path)
    chance = random.Random(seed)
    model = {}
    serial = 0

    def command(file, line):
        fd = clock(os.open, f"{path}/.ctl/{file}", os.O_WRONLY)
        try:
            clock(os.write, fd, line.encode() + b"\n")
        finally:
            os.close(fd)

    def remove(name):
        command("remove", name)
        del model[name]

    while not stopping():
        serial += 1
        name = f"r{serial}"
        model[name] = chance.randrange(1, 40) * 4096
        command("create", f"{name} {model[name]}")
        try:
            command("create", f"{name} 1")
        except FileExistsError:
            pass
        else:
            raise AssertionError(f"{name} was created twice")
        victim = chance.choice(sorted(model))
        model[victim] = chance.randrange(1, 40) * 4096
        command("resize", f"{victim} {model[victim]}")
        assert clock(os.stat, f"{path}/{victim}").st_size == model[victim]
        if len(model) > 20:
            remove(chance.choice(sorted(model)))
        with clock(open, f"{path}/.ctl/regions.json", "rb") as stream:
            regions = json.loads(clock(stream.read))["regions"]
        assert {r["name"]: r["size"] for r in regions} == model
    for name in sorted(model):
        remove(name)
    assert clock(os.listdir, path) == []
    os.rmdir(path)


def names_beside(stopping, clock, path, index):
    """Takes the lock of a directory for which the kernel is told of commands at the same time."""
    serial = 0
    while not stopping():
        serial += 1
        name = f"{path}/d{index}-{serial}"
        clock(os.mkdir, name)
        clock(os.rmdir, name)
        try:
            clock(os.stat, name)
        except FileNotFoundError:
            pass
        else:
            raise AssertionError(f"{name} is still there")


def commands_beside(stopping, clock, path, index):
    """Commands of which the kernel must be told, in a directory that others change."""
    serial = 0
    while not stopping():
        serial += 1
        name = f"r{index}-{serial}"
        for file, line in (("create", f"{name} 4096"), ("resize", f"{name} 8192"),
                           ("remove", name)):  # fmt: skip
            fd = clock(os.open, f"{path}/.ctl/{file}", os.O_WRONLY)
            try:
                clock(os.write, fd, line.encode() + b"\n")
            finally:
                os.close(fd)
            if file != "remove":
                clock(os.stat, f"{path}/{name}")


# --- who dies -----------------------------------------------------------------------------------


def state(pid):
    """The state letter of the process, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return None


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as stream:
            return stream.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(pid):
    """The living workers of a keeper, and nothing else that it may have been left."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
            found = [int(word) for word in stream.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [
        child
        for child in found
        if state(child) not in (None, "Z") and name_of(child) == "iomemfs-worker"
    ]


class Daemon:
    """Keeper and worker of a mount, whoever they are by now."""

    def __init__(self, mount):
        self.keeper = mount.process.pid
        self.killed = None

    def worker(self):
        """The worker's pid, as soon as there is one that we have not killed."""
        def living():
            return [pid for pid in children(self.keeper) if pid != self.killed]

        return support.wait_for(living, "a worker")[0]

    def kill_worker(self):
        """SIGKILL to the worker; its death may take a moment longer than this call."""
        self.killed = self.worker()
        os.kill(self.killed, signal.SIGKILL)
        return self.killed

    def kill_keeper(self):
        """Kills the keeper while there is a worker; the worker takes its place."""
        heir = self.worker()
        os.kill(self.keeper, signal.SIGKILL)
        self.keeper = heir
        self.worker()

    def stored(self):
        """The names of the files in the private tmpfs."""
        folder, names = f"/proc/{self.keeper}/fd", []
        for fd in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{fd}") == "/":
                    names += os.listdir(f"{folder}/{fd}")
            except FileNotFoundError:
                continue
        return sorted(set(names) - {"ballast"})

    def descriptors(self):
        """How many the daemon has, but for those that are kept or not.

        These are the name of the last creator, and the one fanotify group, which the first ephemeral
        file makes.
        """
        folder, n, groups = f"/proc/{self.keeper}/fd", 0, 0
        for fd in os.listdir(folder):
            try:
                target = os.readlink(f"{folder}/{fd}")
            except FileNotFoundError:
                continue
            if target == "anon_inode:[fanotify]":
                groups += 1
            elif not re.fullmatch(r"/proc/\d+/comm", target):
                n += 1
        return n + max(0, groups - 1)
