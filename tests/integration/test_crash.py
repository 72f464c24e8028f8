# SPDX-License-Identifier: MIT
"""The mount outlives its processes: killed workers, killed keepers, signals, restarts that fail."""

import contextlib
import errno
import mmap
import os
import pathlib
import resource
import signal
import socket
import time

import pytest

import crash_load
import support

SECONDS = float(os.environ.get("IOMEMFS_CRASH_SECONDS", "8"))
PERIOD = 0.020  # seconds between kills

# The log says so at every restart.
pytestmark = [
    pytest.mark.timeout(SECONDS * 3 + 150),
]


def start_load(loads, mount):
    board = mount.create("board", 4096)
    for index in range(3):
        loads.add(crash_load.share_counters, board, index, 3)
    for seed in range(2):
        loads.add(crash_load.change_tree, mount / f"tree{seed}", seed)
    loads.add(crash_load.write_commands, mount / "commands", 7)
    for index in range(2):
        loads.add(crash_load.names_beside, mount, index)
    loads.add(crash_load.commands_beside, mount, 0)


def state_now(mount, daemon):
    stats = mount.stats()
    return (
        stats["iomemfs_inodes"],
        stats["iomemfs_used_bytes"],
        stats["iomemfs_open_handles"],
        daemon.descriptors(),
    )


def state_before(mount, daemon):
    """The state of an empty mount, once it has what is made with the first file."""
    (mount / "first").touch()
    os.unlink(mount / "first")
    return state_now(mount, daemon)


def settled(mount, daemon, before):
    """Waits until nothing of the load is left: no node, no byte, no descriptor."""
    try:
        support.wait_for(lambda: state_now(mount, daemon) == before, "the state before the load")
    except AssertionError as error:
        fds = sorted(
            os.readlink(path) for path in pathlib.Path(f"/proc/{daemon.worker()}/fd").iterdir()
        )
        now = state_now(mount, daemon)
        raise AssertionError(f"{error}: {before}, now {now}; descriptors: {fds}") from None


def run_under_fire(mount, title, strike, seconds):
    """The load, while strike(daemon) is called every PERIOD."""
    daemon = crash_load.Daemon(mount)
    before = state_before(mount, daemon)
    kills = 0
    with crash_load.Loads() as loads:
        start_load(loads, mount)
        end = time.monotonic() + seconds
        due = time.monotonic()
        while time.monotonic() < end:
            strike(daemon)
            kills += 1
            due = max(due + PERIOD, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))
    crash_load.report(title, loads.times, kills=kills)
    assert all(loads.times.values())
    stats = mount.stats()
    assert stats["iomemfs_poisoned_total"] == 0
    assert stats["iomemfs_restarts_total"] >= 1
    mount.command("remove", "board")
    settled(mount, daemon, before)
    return kills, stats


def test_worker_killed_under_load(mount, mode):
    kills, stats = run_under_fire(
        mount, f"worker killed, {mode}", crash_load.Daemon.kill_worker, SECONDS
    )
    assert 1 <= stats["iomemfs_restarts_total"] <= kills
    assert stats["iomemfs_takeovers_total"] == 0


@pytest.mark.may_leave_mount
def test_keeper_killed_under_load(mount, mode):
    kills, stats = run_under_fire(
        mount, f"keeper killed, {mode}", crash_load.Daemon.kill_keeper, SECONDS / 2
    )
    assert stats["iomemfs_takeovers_total"] == kills


@pytest.mark.may_leave_mount
def test_both_killed_in_turn_under_load(mount, mode):
    turn = [0]

    def strike(daemon):
        turn[0] += 1
        if turn[0] % 2:
            daemon.kill_worker()
        else:
            daemon.kill_keeper()

    run_under_fire(mount, f"both in turn, {mode}", strike, SECONDS / 2)


@pytest.mark.may_leave_mount
def test_both_killed_at_once(mount):
    """The one way to lose the mount: then it must not hang."""
    daemon = crash_load.Daemon(mount)
    worker = daemon.worker()
    fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.kill(daemon.keeper, signal.SIGSTOP)
        support.wait_for(lambda: crash_load.state(daemon.keeper) == "T", "the stopped keeper")
        os.kill(worker, signal.SIGKILL)
        os.kill(daemon.keeper, signal.SIGKILL)
        support.wait_for(lambda: not mount.pids(), "the end of both")
        for function in (os.listdir, os.stat):
            with pytest.raises(OSError) as caught:
                function(mount / "x")
            assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    finally:
        os.close(fd)
    mount.unmount()
    assert not support.is_mounted(mount.path)


@pytest.mark.may_leave_mount
def test_everything_open_survives(mount):
    """Mappings, open files with and without names, directories being read, locks."""
    daemon = crash_load.Daemon(mount)
    region = mount.create("region", 8192)
    (mount / "kept").write_bytes(b"kept")
    many = mount / "many"
    many.mkdir()
    for i in range(300):
        (many / f"f{i:03}").touch()
    with open(region, "r+b") as stream, open(mount / "gone", "w+b") as gone:
        memory = mmap.mmap(stream.fileno(), 8192)
        memory[:4] = b"once"
        gone.write(b"nameless")
        gone.flush()
        os.unlink(mount / "gone")
        listing = os.scandir(many)
        seen = [next(listing).name for _ in range(5)]
        for _ in range(5):
            daemon.kill_worker()
            assert (mount / "kept").read_bytes() == b"kept"
            assert memory[:4] == b"once"
            assert os.pread(gone.fileno(), 100, 0) == b"nameless"
        daemon.kill_keeper()
        memory[4:8] = b"more"
        with open(region, "rb") as other:
            assert other.read(8) == b"oncemore"
        assert os.fstat(gone.fileno()).st_size == 8
        seen += [entry.name for entry in listing]
        listing.close()
        assert sorted(seen) == [f"f{i:03}" for i in range(300)]
        memory.close()


def test_restarts_are_counted_and_logged(mount):
    daemon = crash_load.Daemon(mount)
    for n in range(1, 4):
        worker = daemon.kill_worker()
        support.wait_for(lambda: daemon.worker() != worker, "another worker")  # noqa: B023
        assert mount.stats()["iomemfs_restarts_total"] == n
    assert mount.log().count("killed by signal 9") == 3


# --- a request that kills ------------------------------------------------------------------------

TESTING = pytest.mark.environment(IOMEMFS_TESTING="1")
MKDIR = 9
CLIENT_LINE = 1000


@TESTING
@pytest.mark.log_allows("has cost . workers")
def test_poison_is_tried_twice(mount):
    (mount / "before").mkdir()
    with open(mount / "open", "w+b") as stream:
        mount.command("admin", f"crash-opcode {MKDIR}")
        with pytest.raises(OSError) as caught:
            (mount / "poison").mkdir()
        assert caught.value.errno == errno.EIO
        stats = mount.stats()
        assert stats["iomemfs_poisoned_total"] == 1
        assert stats["iomemfs_restarts_total"] == 2
        assert sorted(os.listdir(mount)) == ["before", "open"]
        mount.command("admin", "crash-opcode 0")
        (mount / "poison").mkdir()
        stream.write(b"goes on")
    assert (mount / "open").read_bytes() == b"goes on"


@TESTING
@pytest.mark.log_allows("has cost . workers")
def test_poison_among_others(mount):
    """Each poisoned request gets its EIO, and the innocent their answers."""
    daemon = crash_load.Daemon(mount)
    before = state_before(mount, daemon)

    def poisoned(stopping, clock):
        del stopping
        for i in range(5):
            with pytest.raises(OSError) as caught:
                clock(os.mkdir, mount / f"poison{i}")
            assert caught.value.errno == errno.EIO

    def innocent(stopping, clock, name):
        done = 0
        while not stopping() or done < 20:
            (mount / name).write_text(name)
            assert clock((mount / name).read_text) == name
            os.unlink(mount / name)
            done += 1

    mount.command("admin", f"crash-opcode {MKDIR}")
    with crash_load.Loads() as loads:
        loads.add(innocent, "a")
        loads.add(innocent, "b")
        guilty = [crash_load.Load(poisoned) for _ in range(2)]
        problems = []
        for load in guilty:
            try:
                load.stop()
            except AssertionError as error:
                problems.append(str(error))
        assert not problems, problems
    mount.command("admin", "crash-opcode 0")
    assert mount.stats()["iomemfs_poisoned_total"] == 10
    settled(mount, daemon, before)


@TESTING
@pytest.mark.log_allows("has cost . workers")
def test_poison_by_the_socket(mount):
    (mount / "before").mkdir()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(support.LIMIT)
        client.connect(str(mount.home / "socket"))
        mount.command("admin", f"crash-opcode {CLIENT_LINE}")
        client.sendall(b"remove before\n")
        assert client.recv(4096).startswith(b"error EIO ")
        stats = mount.stats()
        assert stats["iomemfs_poisoned_total"] == 1
        assert stats["iomemfs_restarts_total"] == 2
        mount.command("admin", "crash-opcode 0")
        client.sendall(b"create region 4096\n")
        assert client.recv(4096).startswith(b"ok")
    assert sorted(os.listdir(mount)) == ["before", "region"]


def test_killed_requests_are_not_suspected(mount):
    """SIGKILL says nothing of the request, however often it strikes."""
    daemon = crash_load.Daemon(mount)
    with crash_load.Loads() as loads:
        loads.add(crash_load.change_tree, mount / "tree", 3)
        for _ in range(20):
            daemon.kill_worker()
    assert mount.stats()["iomemfs_poisoned_total"] == 0


@pytest.mark.may_leave_mount
@pytest.mark.log_allows("too many open files", "giving up")
def test_worker_that_cannot_start(mount):
    daemon = crash_load.Daemon(mount)
    resource.prlimit(daemon.keeper, resource.RLIMIT_NOFILE, (4, 4))
    daemon.kill_worker()
    assert mount.process.wait(support.LIMIT) not in (0, None)
    support.wait_for(lambda: not support.is_mounted(mount.path), "the unmount")
    log = mount.log()
    assert log.count("cannot start: too many open files") == 5
    assert "giving up and unmounting" in log


# --- signals, and what systemd is told ------------------------------------------------------------


@pytest.mark.may_leave_mount
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whom", ["keeper", "worker", "both"])
def test_signals_unmount(mount, number, whom):
    daemon = crash_load.Daemon(mount)
    worker = daemon.worker()
    fd = os.open(mount / "open", os.O_CREAT | os.O_RDWR)
    try:
        if whom in ("worker", "both"):
            os.kill(worker, number)
        if whom in ("keeper", "both"):
            os.kill(daemon.keeper, number)
        assert mount.process.wait(support.LIMIT) == 0
        support.wait_for(lambda: not mount.pids(), "the worker's end")
        assert not support.is_mounted(mount.path)
    finally:
        with contextlib.suppress(OSError):  # nobody is there to be told of the close
            os.close(fd)
    assert "unmounting" in mount.log()


@pytest.fixture
def notify():
    """A socket as systemd has it."""
    home = support.scratch_directory()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(home / "notify"))
        sock.settimeout(support.LIMIT)
        yield sock
    os.unlink(home / "notify")
    os.rmdir(home)


@pytest.mark.may_leave_mount
def test_service_manager_is_told(mounts, notify):
    def expect(*words):
        while True:
            message = notify.recv(4096).decode()
            if all(word in message for word in words):
                return message

    mount = mounts(environment={"NOTIFY_SOCKET": notify.getsockname()})
    daemon = crash_load.Daemon(mount)
    expect("READY=1", f"MAINPID={daemon.keeper}", "STATUS=serving")
    daemon.kill_worker()
    expect("STATUS=", "1 restarts")
    daemon.kill_keeper()
    expect(f"MAINPID={daemon.keeper}")
    mount.unmount()
    expect("STOPPING=1")
    support.wait_for(lambda: not mount.pids(), "the end of all")


def test_background_logs_to_syslog(notify):
    """Without -f lines go to syslog; this system has none, so the test is one."""
    assert notify
    if os.path.exists("/dev/log"):
        pytest.skip("there is a syslog daemon here, and its lines are not ours to read")
    home = support.scratch_directory()
    path = home / "mnt"
    path.mkdir()
    mark = f"IOMEMFS_TEST_MARK={home}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        log.settimeout(support.LIMIT)
        try:
            result = support.run(
                [support.program(), "background", path, "-o", f"socket={home}/socket"],
                env=dict(os.environ, IOMEMFS_TEST_MARK=str(home)),
            )
            assert result.returncode == 0, result.stderr
            pids = support.processes_with_environment(mark)
            keeper = next(pid for pid in pids if crash_load.children(pid))
            os.kill(crash_load.children(keeper)[0], signal.SIGKILL)
            while b"killed by signal 9" not in log.recv(4096):
                pass
            assert os.listdir(path) == []
        finally:
            support.run(["umount", path])
            os.unlink("/dev/log")
    support.wait_for(lambda: not support.processes_with_environment(mark), "the daemon's end")
    path.rmdir()
    support.run(["rm", "-rf", home])
