# SPDX-License-Identifier: MIT
"""Regions with an owner: their names go when it has ended, however it did, and nobody uses them."""

import contextlib
import errno
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import holders
from crash_load import Daemon
from memory_jobs import Held, listed
from socket_client import Client, Refused, socket_of
from support import NOBODY, as_user, build_dir, fails_with, kernel_is_from, run, wait_for, worker_pid

MIB = 1 << 20
HIERARCHIES = {"unified": ("cgroup2", ""), "systemd": ("cgroup", "name=systemd")}
QUIET_S = 0.6  # more than two looks at an owner that has no watch


def flags(mount, name):
    return listed(mount.path, "regions")[name]["flags"]


def names(mount):
    return set(os.listdir(mount))


class Group:
    """A control group of its own in one of the hierarchies, as a context."""

    def __init__(self, hierarchy, name="iomemfs-test"):
        kind, word = HIERARCHIES[hierarchy]
        self.path = None
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            kind_here, _, options = rest.split(" ", 2)
            if kind_here == kind and word in options:
                self.path = pathlib.Path(fields.split()[4]) / f"{name}-{os.getpid()}"
        if self.path is None:
            pytest.skip(f"no hierarchy of control groups: {hierarchy}")

    def __enter__(self):
        try:
            self.path.mkdir(exist_ok=True)
            (self.path / "below").mkdir(exist_ok=True)
        except OSError as error:
            pytest.skip(f"control groups cannot be made here: {error}")
        return self

    def remove(self):
        """False: its last process is not quite gone yet."""
        for path in (self.path / "below", self.path):
            try:
                path.rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                assert error.errno == errno.EBUSY
                return False
        return True

    def kill(self):
        """Kills whoever is in it.  Version 1 keeps a list of ids for a second, so each is asked again."""
        while pids := [pid for pid in self.path.joinpath("cgroup.procs").read_text().split()
                       if self.has(pid)]:  # fmt: skip
            for pid in pids:
                if self.has(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.01)

    def has(self, pid):
        try:
            return f"/{self.path.name}\n" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False

    def __exit__(self, *_):
        wait_for(self.remove, "the group's end")

    def join(self, below=False):
        (self.path / "below" / "cgroup.procs" if below else self.path / "cgroup.procs").write_text("0")


@pytest.fixture(params=sorted(HIERARCHIES))
def group(request):
    with Group(request.param) as made:
        yield made


class Maker:
    """A process that makes regions and then waits for its end."""

    def __init__(self, make, *arguments, before=None):
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                holders.die_with_parent()
                os.close(reader)
                if before:
                    before()
                make(*arguments)
                os.write(writer, b"made")
                while True:
                    signal.pause()
            except BaseException as error:  # pylint: disable=broad-except
                os.write(writer, repr(error).encode())
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            said = stream.read(4)
            if said != b"made":
                said += stream.read()
        if said != b"made":
            self.kill()
            raise AssertionError(said.decode())

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        os.waitpid(self.pid, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            self.kill()


def by_command(mount, name, owner, *words):
    mount.create(name, 4096, f"owner={owner}", *words)


def by_socket(mount, name, owner):
    with Client(socket_of(mount)) as client:
        with client.opened(f"create {name} 4k owner={owner}"):
            pass


def by_open(mount, name, owner):
    """As a default of the directory, in a directory below."""
    os.close(os.open(mount / owner / "below" / name, os.O_CREAT | os.O_EXCL | os.O_RDWR))


def by_thread(mount, name, owner):
    """Its thread ends at once; the process is the owner all the same."""
    caught = []

    def make():
        try:
            by_command(mount, name, owner)
        except BaseException as error:  # pylint: disable=broad-except
            caught.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if caught:
        raise caught[0]


DOORS = {by_command: "{}", by_socket: "{}", by_open: "{1}/below/{0}", by_thread: "{}"}


@pytest.fixture(name="tree")
def default_tree(mount):
    """Directories whose defaults are the owners."""
    for owner in ("process", "service", "container"):
        (mount / owner / "below").mkdir(parents=True)
        (mount / owner / ".ctl/default").write_text(f"owner={owner}\n")
        text = (mount / owner / "below" / ".ctl/default").read_text()
        assert text == f"owner={owner}\n"
    return mount


def path_of(tree, door, name, owner):
    return tree / DOORS[door].format(name, owner)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_process(tree, door):
    path = path_of(tree, door, "x", "process")
    with Maker(door, tree, "x", "process") as maker:
        # Made, closed, and opened again by name, by another process: it stays.
        for _ in range(2):
            with open(path, "r+b") as file:
                file.truncate(10000)
                file.write(b"content")
        time.sleep(QUIET_S)
        assert path.read_bytes().startswith(b"content")
        name = str(path.relative_to(tree.path))
        assert flags(tree, name) == ["owner=process"]
        assert listed(tree.path, "regions")[name]["creator_pid"] == maker.pid
        maker.kill()
    holders.wait_gone(path)
    assert tree.stats()["iomemfs_used_bytes"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL])
def test_however_it_ended(mount, number):
    with Maker(by_command, mount, "x", "process") as maker:
        assert names(mount) == {"x"}
        maker.kill(number)
    holders.wait_gone(mount / "x")


def test_an_end_without_wait(mount):
    """A zombie is no owner any more."""
    with Maker(by_command, mount, "x", "process") as maker:
        os.kill(maker.pid, signal.SIGKILL)
        holders.wait_gone(mount / "x")


def test_first_thread_that_ends_is_not_the_end(mount):
    code = (
        "import ctypes, threading, time, os\n"
        f"open({str(mount.ctl / 'create')!r}, 'w').write('x 4k owner=process\\n')\n"
        "print('made', flush=True)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"made\n"
            status = pathlib.Path(f"/proc/{process.pid}/status")
            wait_for(lambda: "Z (zombie)" in status.read_text(), "the first thread's end")
            time.sleep(QUIET_S)
            assert names(mount) == {"x"}
        finally:
            process.kill()
    holders.wait_gone(mount / "x")


@pytest.mark.parametrize("door", holders.ALL_DOORS, ids=lambda door: door.__name__)
def test_stays_while_it_is_used(shared_mount, folder, door):
    """The owner has ended, but somebody has it, in whatever way."""
    name = f"{folder.name}/x"
    with Maker(by_command, shared_mount, name, "process") as maker:
        with door(shared_mount, name):
            maker.kill()
            wait_for(lambda: "owner-ended" in flags(shared_mount, name), "the owner's end")
            holders.touch_briefly(shared_mount, name)
            time.sleep(0.1)
            assert (shared_mount / name).exists()
        holders.wait_gone(shared_mount / name)


def test_all_names_go(mount):
    (mount / "d").mkdir()
    with Maker(by_command, mount, "x", "process"):
        os.link(mount / "x", mount / "d/y")
        os.rename(mount / "x", mount / "z")
    wait_for(lambda: names(mount) == {"d"} and not os.listdir(mount / "d"), "the end of all names")


def test_removed_before(mount):
    """What was removed by somebody else is not missed, and its number is another file's by then."""
    with Maker(by_command, mount, "x", "process") as maker:
        for _ in range(20):
            (mount / "x").unlink()
            mount.create("x", 4096)
        by_command(mount, "y", "process")  # ours
        maker.kill()
        time.sleep(QUIET_S)
        assert names(mount) == {"x", "y"}


def test_one_that_was_linked_from_a_temporary_name(tree):
    """As sem_open(3) does it."""

    def make():
        temporary = tree / "process" / "sem.temporary"
        temporary.write_bytes(b"semaphore")
        os.link(temporary, tree / "process" / "sem.x")
        temporary.unlink()

    with Maker(make) as maker:
        assert (tree / "process" / "sem.x").read_bytes() == b"semaphore"
        maker.kill()
    holders.wait_gone(tree / "process" / "sem.x")


# Control groups


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_service(tree, group, door):
    path = path_of(tree, door, "x", "service")
    with Maker(lambda: None, before=group.join) as other:
        with Maker(door, tree, "x", "service", before=group.join) as maker:
            assert flags(tree, str(path.relative_to(tree.path))) == ["owner=service"]
            maker.kill()
        time.sleep(QUIET_S)
        assert path.exists()
        other.kill()
    holders.wait_gone(path)


def test_service_with_a_group_below(mount, group):
    """A member of a group below is one of the service, too; one that comes later owns what it makes."""
    with Maker(by_command, mount, "x", "service", before=group.join) as maker:
        with Maker(lambda: None, before=lambda: group.join(below=True)) as below:
            maker.kill()
            time.sleep(QUIET_S)
            assert names(mount) == {"x"}
            below.kill()
        holders.wait_gone(mount / "x")
    with Maker(by_command, mount, "x", "service", before=group.join) as maker:
        assert names(mount) == {"x"}
        maker.kill()
    holders.wait_gone(mount / "x")


def test_service_that_is_removed(mount, group):
    with Maker(by_command, mount, "x", "service", before=group.join) as maker:
        maker.kill()
        wait_for(group.remove, "the group's end")
        holders.wait_gone(mount / "x")


def test_service_that_the_daemon_is_in(mount, group):
    """The daemon's own processes are no members: else what was mounted in a session would never go."""
    for pid in mount.pids():
        (group.path / "cgroup.procs").write_text(str(pid))
    try:
        with Maker(by_command, mount, "x", "service", before=group.join) as maker:
            time.sleep(QUIET_S)
            assert names(mount) == {"x"}
            maker.kill()
        holders.wait_gone(mount / "x")
    finally:
        for pid in mount.pids():
            (group.path.parent / "cgroup.procs").write_text(str(pid))


# Containers


class Container:
    """`first` runs as the first process of a PID namespace, and starts what comes on its input."""

    def __init__(self):
        command = ["unshare", "--fork", "--pid", "--mount-proc", "sh"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(wait_for(lambda: children.read_text(), "the container").split()[0])
        wait_for(lambda: pathlib.Path(f"/proc/{self.pid}/comm").read_text() == "sh\n", "its first process")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


def test_container(tree):
    with Container() as container:
        container.say(f"sh -c 'echo x 4k owner=container > {tree.ctl}/create'")
        container.say(f"sh -c ': > {tree}/container/y'")
        wait_for(lambda: (tree / "x").exists() and (tree / "container/y").exists(), "the regions")
        assert flags(tree, "container/y") == ["owner=container"]
        # A process that entered the namespace from outside is of the same owner.
        result = run(["nsenter", "-t", container.pid, "-p", "sh", "-c",
                      f"echo z 4k owner=container > {tree.ctl}/create; :"], check=True)  # fmt: skip
        if not kernel_is_from(6, 11):
            assert "Invalid argument" in result.stderr
            tree.create("z", 4096, "ephemeral")
        time.sleep(QUIET_S)
        assert {"x", "z"} <= names(tree)
        if not kernel_is_from(6, 11):
            (tree / "z").unlink()
    for name in ("x", "z", "container/y"):
        holders.wait_gone(tree / name)


def test_process_in_a_container(mount):
    """Ids of another PID namespace: the process is found all the same."""
    with Container() as container:
        container.say(f"sh -c 'echo x 4k owner=process > {mount.ctl}/create; exec sleep 60' &")
        wait_for((mount / "x").exists, "the region")
        time.sleep(QUIET_S)
        assert names(mount) == {"x"}
    holders.wait_gone(mount / "x")


# What is refused


@pytest.mark.parametrize("owner, reason", [
    ("container", "the process is in the daemon's own PID namespace"),
    ("service", "the process is in no control group but the root"),
])  # fmt: skip
def test_no_such_owner(tree, owner, reason):
    if owner == "service" and any(
        not line.endswith(":/") and re.match("0::|[0-9]+:name=systemd:", line)
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    ):
        pytest.skip("the tests run in a control group")
    fd = os.open(tree.ctl / "create", os.O_RDWR)
    try:
        fails_with(errno.EINVAL, os.write, fd, f"x 4k owner={owner}\n".encode())
        assert os.read(fd, 1000).decode().startswith(f"x: no such owner: {reason}")
    finally:
        os.close(fd)
    fails_with(errno.EINVAL, open, tree / owner / "x", "x")
    fails_with(errno.EINVAL, os.open, tree / owner, os.O_TMPFILE | os.O_RDWR)
    with Client(socket_of(tree)) as client, pytest.raises(Refused):
        client.ask(f"create x 4k owner={owner}")
    assert not (tree / "x").exists() and not (tree / owner / "x").exists()


@pytest.mark.parametrize("words, reason", [
    ("owner=nobody", "owner=nobody: owners are process, service and container"),
    ("owner=", "owner=: owners are process, service and container"),
    ("owner=process owner=service", "owner= is given twice"),
    ("owner=process ephemeral", "ephemeral and owner= exclude each other"),
])  # fmt: skip
def test_words(mount, words, reason):
    for file, line in (("create", f"x 4k {words}"), ("default", words)):
        fd = os.open(mount.ctl / file, os.O_RDWR)
        try:
            fails_with(errno.EINVAL, os.write, fd, line.encode() + b"\n")
            assert os.read(fd, 1000).decode() == reason + "\n"
        finally:
            os.close(fd)


def test_client_whose_process_has_ended(mount):
    """The one that connected is the owner; it has handed its connection on, and is gone."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        client = Client(socket_of(mount))
        socket.send_fds(theirs, [b"x"], [client.socket.fileno()])
        os._exit(0)
    _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(pid, 0)
    with socket.socket(fileno=fd) as connection, ours, theirs:
        connection.settimeout(30)
        connection.send(b"create x 4k owner=process\n")
        answer = connection.recv(1000)
    assert answer.startswith(b"error EINVAL x: no such owner"), answer
    assert names(mount) == set()


# Restarts


def test_restarts(tree, group):
    """Whatever ends while no worker looks is seen by the next one; what lives on stays."""
    daemon = Daemon(tree)
    with Container() as container, Maker(by_command, tree, "lives", "process") as alive:
        with Maker(by_command, tree, "p", "process") as process, Maker(
            by_command, tree, "s", "service", before=group.join
        ) as service:
            container.say(f"echo c 4k owner=container > {tree.ctl}/create")
            wait_for((tree / "c").exists, "the region")
            for _ in range(3):
                daemon.kill_worker()
            time.sleep(QUIET_S)
            assert {"p", "s", "c", "lives"} <= names(tree)
            worker = worker_pid(tree)
            os.kill(worker, signal.SIGSTOP)
            # Their ends may wait for the worker, so do not wait for them.
            for pid in (process.pid, service.pid, container.pid):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            os.kill(worker, signal.SIGKILL)
        for name in "psc":
            holders.wait_gone(tree / name)
        assert (tree / "lives").exists()
        alive.kill()
    holders.wait_gone(tree / "lives")


def test_upgrade(mount):
    with Maker(by_command, mount, "x", "process") as maker:
        before = worker_pid(mount)
        mount.command("admin", "upgrade")
        wait_for(lambda: worker_pid(mount) != before, "the next worker")
        time.sleep(QUIET_S)
        assert names(mount) == {"x"}
        maker.kill()
    holders.wait_gone(mount / "x")


def set_next_pid(pid):
    pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))


def test_pid_that_is_used_again(mount):
    """While no worker looks, the owner's pid becomes another process's."""
    if not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK):
        pytest.skip("pids cannot be chosen here")
    with Maker(by_command, mount, "x", "process") as maker:
        worker = worker_pid(mount)
        os.kill(worker, signal.SIGSTOP)
        maker.kill()
        for _ in range(100):
            set_next_pid(maker.pid)
            with Maker(lambda: None) as other:
                if other.pid == maker.pid:
                    os.kill(worker, signal.SIGKILL)
                    holders.wait_gone(mount / "x")
                    assert os.waitpid(other.pid, os.WNOHANG) == (0, 0)
                    return
        os.kill(worker, signal.SIGKILL)
    pytest.skip("the pid was not to be had")


# Populating


def test_owner_that_ends_while_the_region_is_populated(mount):
    """By the socket, so that the population does not end with it."""
    with Held(mount) as held:
        reader, writer = socket.socketpair()

        def begin():
            client = Client(socket_of(mount))
            client.send(f"create x {MIB} populate owner=process")
            socket.send_fds(writer, [b"x"], [client.socket.fileno()])

        with Maker(begin) as maker:
            _, (fd,), _, _ = socket.recv_fds(reader, 1, 1)
            wait_for(lambda: "x" in listed(mount.path), "the population")
            maker.kill()
            wait_for(lambda: "owner-ended" in listed(mount.path)["x"]["flags"], "the owner's end")
            assert names(mount) == set()
            held.release()
        with socket.socket(fileno=fd) as connection:
            connection.settimeout(30)
            line, fds, _, _ = socket.recv_fds(connection, 1000, 1)
            assert line.startswith(b"ok ") and (mount / "x").exists()
            os.close(fds[0])
        holders.wait_gone(mount / "x")
        reader.close()
        writer.close()


# Many


def descriptors(mount, word):
    found = 0
    for path in pathlib.Path(f"/proc/{worker_pid(mount)}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += word in os.readlink(path)
    return found


def test_one_watch_for_each_owner(mount):
    """However many regions a process has; and the end of many at once is done in pieces."""

    def make():
        for base in range(0, 3000, 500):
            mount.command("create", "\n".join(f"r{base + i} 0 owner=process" for i in range(500)))

    before = descriptors(mount, "[pidfd]")
    with Maker(make) as maker:
        assert len(names(mount)) == 3000
        assert descriptors(mount, "[pidfd]") == before + 1
        maker.kill()
    wait_for(lambda: not names(mount), "the end of all")
    assert descriptors(mount, "[pidfd]") == before


def test_more_owners_than_watches(mount):
    """A user with many processes has a bounded number of watches; others are told at once, and the end
    of the rest is seen in turns."""
    number = 600

    def many():
        """Processes of one user, each of which makes a region, and which end together."""
        for i in range(number):
            if os.fork() == 0:
                holders.die_with_parent()
                mount.command("create", f"m{i} 0 owner=process")
                while True:
                    signal.pause()
        wait_for(lambda: len(names(mount)) == number, "all regions")

    def as_nobody():
        os.setgid(NOBODY[1])
        os.setuid(NOBODY[0])

    mount.path.chmod(0o777)
    before = descriptors(mount, "[pidfd]")
    with Maker(many, before=as_nobody) as maker:
        watches = descriptors(mount, "[pidfd]") - before
        assert 0 < watches < number / 2
        with Maker(by_command, mount, "other", "process") as other:
            start = time.monotonic()
            other.kill()
            holders.wait_gone(mount / "other")
            print(f"{watches} watches; another's owner was seen after {time.monotonic() - start:.3f} s")
        maker.kill()
        start = time.monotonic()
        wait_for(lambda: not names(mount), "the end of all", limit=60)
        print(f"all {number} after {time.monotonic() - start:.1f} s")
    assert descriptors(mount, "[pidfd]") == before


def test_a_reader_sees_it(mount):
    """In the table, in JSON, in the statistics, and as an event."""
    with open(mount.ctl / "events", "rb", buffering=0) as events:
        with Maker(by_command, mount, "x", "process", "fixed"):
            assert "fixed,owner=process" in (mount.ctl / "regions").read_text()
            text = json.loads((mount.ctl / "regions.json").read_text())
            assert text["regions"][0]["flags"] == ["fixed", "owner=process"]
            assert os.getxattr(mount / "x", "user.iomemfs.flags") == b"fixed,owner=process"
            assert mount.stats()["iomemfs_owners"] == 1
        holders.wait_gone(mount / "x")
        assert b" remove x" in events.read(4096)
    wait_for(lambda: mount.stats()["iomemfs_owners"] == 0, "the end of the record")


@pytest.mark.parametrize("how", ["mount", "socket"])
def test_iomem(mount, how):
    """In a container, iomem makes regions that go with it."""
    where = mount.path if how == "mount" else os.readlink(mount.ctl / "socket")
    iomem = f"{build_dir() / 'src/cli/iomem'} -m {where}"
    with Container() as container:
        container.say(f"{iomem} create --owner container --fixed x 4K; {iomem} wait x; echo > {mount}/y")
        wait_for((mount / "y").exists, "the region")
        result = run([*iomem.split(), "ls", "-n", "-r", "-o", "NAME,FLAGS"], check=True)
        assert "x fixed,owner=container\n" in result.stdout
    holders.wait_gone(mount / "x")
    for owner, status, text in (
        ("process", 2, "the owner would be iomem itself"),
        ("nobody", 2, "not service or container: nobody"),
        ("container", None, "no such owner: the process is in the daemon's own PID namespace"),
    ):
        result = run([*iomem.split(), "create", "--owner", owner, "z", "4K"])
        assert text in result.stderr
        assert result.returncode == status if status else result.returncode != 0
    assert not (mount / "z").exists()


def test_others_see_what_they_may(mount):
    """An ordinary user's regions end with that one's process, too."""
    mount.path.chmod(0o777)

    def make():
        os.setgid(NOBODY[1])
        os.setuid(NOBODY[0])
        by_command(mount, "x", "process")

    with Maker(make) as maker:
        assert as_user(NOBODY, flags, mount, "x") == ["owner=process"]
        maker.kill()
    holders.wait_gone(mount / "x")
