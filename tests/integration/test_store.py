# SPDX-License-Identifier: MIT
"""All processes die at once, and the service manager starts the daemon anew: nothing is lost."""

import contextlib
import fcntl
import json
import mmap
import os
import random
import socket
import stat
import subprocess
import threading
import time

import crash_load
import pytest
import service_manager
import socket_client
import support
import test_crash_points
import test_lib
from support import wait_for

pytestmark = [pytest.mark.timeout(300), pytest.mark.environment(IOMEMFS_TESTING="1")]
SECONDS = float(os.environ.get("IOMEMFS_CRASH_SECONDS", "8"))
F_GET_SEALS, F_SEAL_SHRINK, F_SEAL_GROW = 1034, 2, 4
MIB = 1024 * 1024


@pytest.fixture
def services(request):
    """A function that starts a service; all are ended with the usual checks."""
    made = []

    def make(options="", **keywords):
        made.append(service_manager.Service(
            options, passthrough=keywords.pop("passthrough", "on"),
            environment={"IOMEMFS_TESTING": "1"}, **keywords))  # fmt: skip
        return made[-1]

    yield make
    gone = request.node.get_closest_marker("may_leave_mount") is not None
    for one in made:
        one.stop(may_be_gone=gone)


@pytest.fixture
def service(services):
    return services()


def revive(service):
    service.kill_all()
    service.start()


def shape(service):
    """All that must not change."""
    tree = sorted(
        (path, os.lstat(path).st_ino, os.lstat(path).st_mode, os.lstat(path).st_size)
        for path, _, names in os.walk(service.path)
        for path in [path, *(os.path.join(path, name) for name in names)]
    )
    stats = service.stats()
    names = ("inodes", "used_bytes", "open_handles", "ctl_handles")
    return {"tree": tree, **{name: stats["iomemfs_" + name] for name in names}}


def seals(service, name):
    with socket_client.Client(socket_client.socket_of(service)) as client:
        fd = client.ask_fd(f"open ro {name}")
        try:
            return fcntl.fcntl(fd, F_GET_SEALS)
        finally:
            os.close(fd)


def test_nothing_is_lost(service):
    (service / "d").mkdir()
    for i in range(100):
        service.create(f"r{i}", 4096 * (i + 1)).write_bytes(f"region {i}".encode())
        (service / "d" / f"f{i}").write_bytes(f"file {i}".encode() * 100)
    os.symlink("d/f1", service / "link")
    os.link(service / "r1", service / "d" / "r1")
    service.create("fixed", 8192, "fixed")
    service.command("seal", "r2 shrink")
    service.create("empty", 0)
    service.create("temporary", 4096, "ephemeral")
    with contextlib.ExitStack() as stack:
        gone = stack.enter_context(open(service / "gone", "w+b", buffering=0))
        gone.write(b"nameless")
        os.unlink(service / "gone")
        file = stack.enter_context(open(service / "d" / "f1", "r+b", buffering=0))
        listing = stack.enter_context(open(service.ctl / "regions", "rb"))
        events = os.open(service.ctl / "events", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, events)
        with open(service / "temporary", "r+b") as stream:
            memory = mmap.mmap(stream.fileno(), 4096)
        stack.callback(memory.close)
        fcntl.flock(file, fcntl.LOCK_EX)
        before = shape(service)
        for round_number in range(5):
            memory[0:5] = b"%05d" % round_number
            revive(service)
            assert shape(service) == before
            assert memory[0:5] == b"%05d" % round_number
            with open(service / "temporary", "rb") as stream:
                assert stream.read(5) == b"%05d" % round_number
        for i in range(100):
            content = f"region {i}".encode()
            assert (service / f"r{i}").read_bytes()[: len(content)] == content
            assert (service / "d" / f"f{i}").read_bytes() == f"file {i}".encode() * 100
        assert os.pread(gone.fileno(), 100, 0) == b"nameless"
        gone.write(b", but written to")
        file.write(b"new")
        assert (service / "d" / "f1").read_bytes()[:6] == b"newe 1"
        assert b"temporary" in listing.read()
        assert os.read(events, 65536).count(b"restart") >= 5
        assert seals(service, "fixed") & (F_SEAL_SHRINK | F_SEAL_GROW) == F_SEAL_SHRINK | F_SEAL_GROW
        assert seals(service, "r2") & (F_SEAL_SHRINK | F_SEAL_GROW) == F_SEAL_SHRINK
        with open(service / "d" / "f1", "rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    wait_for(lambda: not (service / "temporary").exists(), "the end of what nobody uses")
    assert service.stats()["iomemfs_revivals_total"] == 5


def test_limits_of_directories(services):
    """Each has a private tmpfs of its own, which is kept, and dropped with the limit."""
    service = services("size=64m")
    for name in ("a", "b", "c"):
        (service / name).mkdir()
        (service / name / ".ctl" / "limit").write_text("size=4m nr_inodes=10\n")
        (service / name / "f").write_bytes(name.encode() * MIB)
    (service / "c" / "f").unlink()
    (service / "c").rmdir()
    service.create("a/r", MIB)
    for _ in range(3):
        before = shape(service)
        revive(service)
        assert shape(service) == before
        for name in ("a", "b"):
            assert (service / name / "f").read_bytes() == name.encode() * MIB
        with pytest.raises(OSError):
            (service / "a" / "g").write_bytes(b"x" * 3 * MIB)
        (service / "a" / "g").unlink()
        (service / "b" / "g").write_bytes(b"x" * 3 * MIB)
        (service / "b" / "g").unlink()
    with service.manager.lock:
        kept = {name for name in service.manager.stored if name.startswith("iomemfs-tmpfs-")}
    assert len(kept) == 3, kept


def test_what_is_made_and_removed_between_the_deaths(service):
    """A region is kept from its creation on, and its memory comes back when it is removed."""
    for number in range(6):
        service.create(f"r{number}", "8M", "populate")
        if number >= 2:
            service.command("remove", f"r{number - 2}")
        revive(service)
        assert service.stats()["iomemfs_used_bytes"] <= 3 * 8 * MIB
    before = shmem()
    service.command("remove", "r4\nr5")
    wait_for(lambda: shmem() <= before - 15 * MIB, "the memory's return")
    assert os.listdir(service) == []


def shmem():
    with open("/proc/meminfo", encoding="ascii") as stream:
        return next(int(line.split()[1]) * 1024 for line in stream if line.startswith("Shmem:"))


def test_callers_wait(service):
    """A call that comes while there is no process is carried out when there is one."""
    service.create("x", 4096)
    service.kill_all()
    with crash_load.Loads() as loads:
        loads.add(lambda stopping, clock, path: os.mkdir(path), service / "waited")
        time.sleep(0.2)
        service.start()
    assert (service / "waited").is_dir()


def test_connections_end(service):
    """Clients see the end of their connections, and can connect again; the socket is the same."""
    path = socket_client.socket_of(service)
    daemon = crash_load.Daemon(service)
    service.create("x", 4096)
    before = daemon.descriptors()
    with socket_client.Client(path) as client, socket_client.Client(path) as waiting:
        waiting.send("wait nothing 60")
        wait_for(lambda: daemon.descriptors() == before + 2, "both connections")
        service.kill_all()
        with contextlib.suppress(BrokenPipeError):
            client.send("create never 4096")
        service.start()
        for one in (client, waiting):
            with pytest.raises((EOFError, ConnectionError)):
                one.receive()
    daemon.keeper = service.process.pid
    wait_for(lambda: daemon.descriptors() == before, "the end of the connections")
    with socket_client.Client(path) as client:
        assert [region["name"] for region in client.list()] == ["x"]


@pytest.mark.slow
def test_libiomem_connects_again(service):
    """With the socket: what is asked for after the death of all is done as if nothing had been."""
    with test_lib.Connection(test_lib.load(), socket_client.socket_of(service)) as connection:
        os.close(connection.create("x", 4096, 0o600, 0))
        for number in range(3):
            revive(service)
            assert connection.stat("x").size == 4096
            revive(service)
            os.close(connection.create(f"y{number}", 4096, 0o600, 0))


def test_death_under_load(service):
    board = service.create("board", 4096)
    with crash_load.Loads() as loads:
        loads.add(crash_load.change_tree, service / "tree", 1)
        loads.add(crash_load.change_tree, service / "tree2", 2)
        loads.add(crash_load.write_commands, service / "commands", 3)
        for i in range(2):
            loads.add(crash_load.share_counters, board, i, 2)
        end = time.monotonic() + SECONDS
        kills = 0
        while time.monotonic() < end:
            time.sleep(random.uniform(0.01, 0.2))
            revive(service)
            kills += 1
    print(json.dumps({"kills of all": kills}))
    os.unlink(board)
    assert os.listdir(service) == []
    wait_for(lambda: service.stats()["iomemfs_used_bytes"] == 0, "all memory")
    assert service.stats()["iomemfs_poisoned_total"] == 0


def test_death_while_it_takes_over(service):
    """At any time after the start; the next one begins again."""
    for i in range(300):
        service.create(f"r{i}", 4096)
    with open(service / "r7", "r+b", buffering=0) as stream:
        stream.write(b"seven")
        before = shape(service)
        for number in range(40):
            service.kill_all()
            service.launch()
            time.sleep(number * 0.004)
        revive(service)
        assert shape(service) == before
        assert os.pread(stream.fileno(), 5, 0) == b"seven"
    assert (service / "r7").read_bytes()[:5] == b"seven"


class AllDie(threading.Thread):
    """Whenever the worker dies, everything dies, and the service is started again."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service = service
        self.over = threading.Event()
        self.deaths = 0
        self.problem = None
        self.freeze()

    def freeze(self):
        """A stopped keeper starts no worker."""
        pid = self.service.process.pid
        self.worker = wait_for(lambda: crash_load.children(pid), "a worker")[0]
        os.kill(pid, 19)

    def run(self):
        try:
            while not self.over.wait(0.001):
                if crash_load.state(self.worker) in (None, "Z"):
                    revive(self.service)
                    self.deaths += 1
                    self.freeze()
        except BaseException as error:  # pylint: disable=broad-except
            self.problem = error

    def end(self):
        self.over.set()
        self.join()
        os.kill(self.service.process.pid, 18)
        assert self.problem is None, self.problem


CASES = [case for case in test_crash_points.CASES if case is not test_crash_points.SocketCommands]
STRIDE = 3 * test_crash_points.STRIDE


def all_die(service, case):
    """test_crash_points.walk(), with the death of all."""
    killer = AllDie(service)
    killer.start()
    n = 1 + CASES.index(type(case)) % STRIDE
    try:
        while True:
            thing = case.prepare(service)
            deaths = killer.deaths
            service.command("admin", f"crash {n}")
            case.act(service, thing)
            service.command("admin", "crash 0")
            case.check(service, thing)
            test_crash_points.empty(service)
            if killer.deaths == deaths:
                return
            n += STRIDE
    except Exception as error:
        raise AssertionError(f"crash point {n}: {error!r}") from error
    finally:
        killer.end()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_death_at_every_point(service, case):
    daemon = crash_load.Daemon(service)
    (service / "first").touch()
    test_crash_points.empty(service)
    revive(service)
    daemon.keeper = service.process.pid
    before = test_crash_points.counts(service, daemon)
    all_die(service, case())
    daemon.keeper = service.process.pid
    wait_for(lambda: test_crash_points.counts(service, daemon) == before, "the state before")


@pytest.mark.may_leave_mount
def test_what_has_ended_is_not_continued(service):
    """Unmounted while no process was there: the next start makes a mount."""
    service.create("x", 4096)
    service.kill_all()
    support.run(["umount", "-l", service], check=True)
    service.start()
    assert os.listdir(service) == []


def test_unmount_empties_the_store(services):
    service = services()
    with service.manager.lock:
        assert set(service.manager.stored) == {
            "iomemfs-fuse", "iomemfs-records", "iomemfs-socket", "iomemfs-tmpfs-1"}  # fmt: skip
    service.unmount()
    service.wait_end()
    wait_for(lambda: not service.manager.stored, "an empty store")
    service.start()
    assert os.listdir(service) == []


def test_deaths_of_one_process(service):
    """The ordinary ones, before and after the death of all."""
    service.create("x", 4096)
    for _ in range(2):
        daemon = crash_load.Daemon(service)
        daemon.kill_worker()
        daemon.kill_keeper()
        assert (service / "x").stat().st_size == 4096
        revive(service)
    assert (service / "x").stat().st_size == 4096


def pass_descriptors():
    """Whether a process can send descriptors to another: 0 if it can."""
    program = (
        "import os, socket\n"
        "a, b = socket.socketpair()\n"
        "socket.send_fds(a, [b'x'], [0] * 100)\n"
        "data, fds, _, _ = socket.recv_fds(b, 1, 100)\n"
        "raise SystemExit(len(fds) != 100)\n"
    )
    return subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "prlimit", "--nofile=1024",
         "/usr/bin/python3", "-c", program], check=False,
    ).returncode  # fmt: skip


def test_many_regions(services):
    """12,000 regions cost the service manager four descriptors, and nobody else anything."""
    count = 12000
    service = services("size=1g")
    with socket_client.Client(socket_client.socket_of(service)) as client:
        for i in range(count):
            os.close(client.ask_fd(f"create r{i} 4096"))
    (service / "r4711").write_bytes(b"hello")
    assert pass_descriptors() == 0
    service.kill_all()
    start = time.monotonic()
    service.start()
    print(json.dumps({"regions": count, "start s": round(time.monotonic() - start, 3)}))
    assert len(service.manager.stored) == 4
    assert len(os.listdir(service)) == count
    assert (service / "r4711").read_bytes()[:5] == b"hello"
    assert stat.S_ISREG((service / f"r{count - 1}").stat().st_mode)
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(socket_client.socket_of(service))
