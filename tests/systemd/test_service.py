# SPDX-License-Identifier: MIT
"""iomemfs@.service under systemd: whatever dies, nothing is lost; stop unmounts.

tests/systemd/run starts these in a container whose init is systemd.
"""

import contextlib
import fcntl
import json
import mmap
import os
import pathlib
import re
import signal
import stat
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import crash_load  # noqa: E402  pylint: disable=wrong-import-position
import socket_client  # noqa: E402  pylint: disable=wrong-import-position

UNIT = "iomemfs@mnt-mem.service"
MOUNT = pathlib.Path("/mnt/mem")
REGIONS = 1000
MANY = 12000
LIMIT = 60
F_GET_SEALS, F_SEAL_SHRINK, F_SEAL_GROW = 1034, 2, 4


def systemctl(*words):
    return subprocess.run(["systemctl", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def show(name):
    return systemctl("show", "--value", f"--property={name}", UNIT).strip()


def wait_for(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        time.sleep(0.005)


def cgroup_directory():
    """Of the unit, in whichever hierarchy systemd has."""
    path = show("ControlGroup")
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
        procs = pathlib.Path(top + path) / "cgroup.procs"
        if procs.exists() and procs.read_text():
            return procs.parent
    return None


def pids():
    directory = cgroup_directory()
    return [int(word) for word in (directory / "cgroup.procs").read_text().split()] if directory else []


def stats():
    lines = (MOUNT / ".ctl" / "stats").read_text().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def command(file, line):
    fd = os.open(MOUNT / ".ctl" / file, os.O_WRONLY)
    try:
        os.write(fd, line.encode() + b"\n")
    finally:
        os.close(fd)


def keeper_and_worker():
    """Both, as soon as there are both."""
    found = []

    def look():
        main = int(show("MainPID") or 0)
        workers = crash_load.children(main) if main else []
        found[:] = [main, *workers[:1]]
        return len(found) == 2

    wait_for(look, "a keeper and a worker")
    return found


def kill_keeper():
    os.kill(keeper_and_worker()[0], signal.SIGKILL)


def kill_worker():
    os.kill(keeper_and_worker()[1], signal.SIGKILL)


def kill_both():
    keeper_and_worker()
    systemctl("kill", "-s", "KILL", UNIT)


@pytest.fixture
def service():
    systemctl("start", UNIT)
    assert os.path.ismount(MOUNT)
    yield
    systemctl("stop", UNIT)
    assert_stopped()


def assert_stopped():
    assert show("ActiveState") == "inactive" and show("Result") == "success"
    assert not os.path.ismount(MOUNT)
    assert show("NFileDescriptorStore") == "0"
    assert pids() == []


class Everything:
    """Regions and files of all kinds, open and mapped; check() finds them as they were."""

    def __init__(self, stack):
        for i in range(REGIONS):
            command("create", f"r{i} 8192")
            with open(MOUNT / f"r{i}", "r+b") as stream:
                stream.write(self.content(i))
        (MOUNT / "d").mkdir()
        for i in range(200):
            (MOUNT / "d" / f"f{i}").write_bytes(self.content(i))
        command("create", "fixed 4096 fixed")
        command("create", "temporary 4096 ephemeral")
        self.nameless = stack.enter_context(open(MOUNT / "nameless", "w+b", buffering=0))
        self.nameless.write(b"nameless")
        os.unlink(MOUNT / "nameless")
        with open(MOUNT / "temporary", "r+b") as stream:
            self.memory = mmap.mmap(stream.fileno(), 4096)
        stack.callback(self.memory.close)
        self.open = [stack.enter_context(open(MOUNT / f"r{i}", "rb")) for i in range(0, REGIONS, 10)]
        self.round = 0

    @staticmethod
    def content(i):
        return f"content {i} ".encode() * 10

    def check(self):
        """In about a hundredth of the regions, another one each time; and all names."""
        assert len(os.listdir(MOUNT)) >= REGIONS + 3
        for i in range(self.round % 100, REGIONS, 100):
            with open(MOUNT / f"r{i}", "rb") as stream:
                assert stream.read(len(self.content(i))) == self.content(i)
            assert os.stat(MOUNT / f"r{i}").st_size == 8192
        for number, stream in enumerate(self.open):
            assert os.pread(stream.fileno(), 200, 0)[:90] == self.content(number * 10)[:90]
        assert os.pread(self.nameless.fileno(), 100, 0) == b"nameless"
        assert self.memory[:8] == (b"%08d" % (self.round - 1) if self.round else bytes(8))
        self.memory[:8] = b"%08d" % self.round
        with open(MOUNT / "temporary", "rb") as stream:
            assert stream.read(8) == b"%08d" % self.round
        self.round += 1

    def check_all(self):
        self.check()
        for i in range(REGIONS):
            assert (MOUNT / f"r{i}").read_bytes()[: len(self.content(i))] == self.content(i)
        for i in range(200):
            assert (MOUNT / "d" / f"f{i}").read_bytes() == self.content(i)
        with socket_client.Client(os.readlink(MOUNT / ".ctl" / "socket")) as client:
            fd = client.ask_fd("open ro fixed")
            assert fcntl.fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK
            os.close(fd)


def told(title, kills, times):
    times = sorted(times)
    print(json.dumps({
        "what": title, "times": kills,
        "s": {"median": round(times[len(times) // 2], 3), "longest": round(times[-1], 3)},
    }))  # fmt: skip


def strike(everything, title, count, blow):
    """count blows; after each, all is there, and the unit active."""
    times = []
    for _ in range(count):
        blow()
        start = time.monotonic()
        os.stat(MOUNT)
        os.close(os.open(MOUNT / "r1", os.O_RDONLY))
        times.append(time.monotonic() - start)
        everything.check()
        wait_for(lambda: show("ActiveState") == "active", "the unit is active again")
    told(title, count, times)


@pytest.mark.timeout(900)
def test_nothing_is_lost(service):
    del service
    with contextlib.ExitStack() as stack:
        everything = Everything(stack)
        command("create", "board 4096")
        loads = stack.enter_context(crash_load.Loads())
        for i in range(2):
            loads.add(crash_load.share_counters, MOUNT / "board", i, 2)
        loads.add(crash_load.change_tree, MOUNT / "tree", 1)
        strike(everything, "keeper killed", 25, kill_keeper)
        strike(everything, "worker killed", 25, kill_worker)
        strike(everything, "both killed", 25, kill_both)
        strike(everything, "restart", 10, lambda: systemctl("restart", UNIT))
        strike(everything, "reload", 2, lambda: systemctl("reload", UNIT))
        strike(everything, "daemon-reexec", 1, lambda: systemctl("daemon-reexec"))
        strike(everything, "daemon-reload", 1, lambda: systemctl("daemon-reload"))
        strike(everything, "both killed after that", 2, kill_both)
        everything.check_all()
        assert stats()["iomemfs_revivals_total"] == 25 + 10 + 2
        assert stats()["iomemfs_upgrades_total"] == 2
        assert show("ActiveState") == "active"
    wait_for(lambda: not (MOUNT / "temporary").exists(), "the end of the ephemeral region")


def test_stop_while_files_are_open():
    systemctl("start", UNIT)
    with open(MOUNT / "file", "wb"):
        systemctl("stop", UNIT)
        assert_stopped()


def test_umount_and_sigterm_end_the_service():
    for end in (
        lambda: subprocess.run(["umount", MOUNT], check=True),
        lambda: os.kill(keeper_and_worker()[0], signal.SIGTERM),
        lambda: systemctl("kill", UNIT, "-s", "TERM"),
    ):
        systemctl("start", UNIT)
        (MOUNT / "file").write_text("x")
        end()
        wait_for(lambda: show("ActiveState") == "inactive", "the service's end")
        assert_stopped()


def test_dead_mount_is_cleaned_up():
    """All processes of a daemon without a store have died; the service starts over it."""
    subprocess.run(["iomemfs", "mem", MOUNT], check=True)
    names = ("iomemfs", "iomemfs-worker", "iomemfs-notify", "iomemfs-alloc")
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for entry in os.listdir("/proc"):
            if entry.isdigit() and crash_load.name_of(entry) in names:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry), number)
    wait_for(lambda: fails_with_enotconn(MOUNT), "a dead mount")
    systemctl("start", UNIT)
    (MOUNT / "file").write_text("works")
    systemctl("stop", UNIT)
    assert_stopped()


def fails_with_enotconn(path):
    try:
        os.listdir(path)
    except OSError as error:
        return error.errno == 107
    return False


def test_others_see_the_mount(service):
    """Another service, and a container's mount namespace."""
    del service
    (MOUNT / "file").write_text("seen\n")
    for words in (
        ["systemd-run", "--quiet", "--wait", "--pipe", "cat"],
        ["systemd-run", "--quiet", "--wait", "--pipe", "-p", "PrivateTmp=yes", "-p", "ProtectSystem=strict", "cat"],
        ["unshare", "--mount", "cat"],
    ):  # fmt: skip
        result = subprocess.run([*words, MOUNT / "file"], check=True, stdout=subprocess.PIPE)
        assert result.stdout == b"seen\n"


def test_set_user_id(service):
    del service
    command("create", "region 4096")
    (MOUNT / "file").touch()
    for name in ("region", "file"):
        os.chmod(MOUNT / name, 0o4755)
        assert stat.S_IMODE(os.stat(MOUNT / name).st_mode) == 0o4755


def memory_charged(pid):
    """Bytes that the memory cgroup of a process is charged for; None where there is none."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for file in (f"/sys/fs/cgroup/memory{path}/memory.usage_in_bytes",
                     f"/sys/fs/cgroup{path}/memory.current"):  # fmt: skip
            if ("memory" in controllers or controllers == "") and os.path.exists(file):
                return int(pathlib.Path(file).read_text())
    return None


def test_populate_charges_the_caller(service):
    del service
    with subprocess.Popen(
        ["systemd-run", "--quiet", "--scope", "-p", "MemoryAccounting=yes",
         "sh", "-c", f"read x; echo 'big 64M populate' >{MOUNT}/.ctl/create; echo done; read x"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as caller:  # fmt: skip
        def comm():
            return pathlib.Path(f"/proc/{caller.pid}/comm").read_text().strip()

        wait_for(lambda: comm() == "sh", "the caller in its scope")
        before = memory_charged(caller.pid)
        if before is None:
            caller.kill()
            pytest.skip("the memory controller is not given to this container")
        caller.stdin.write("\n")
        caller.stdin.flush()
        assert caller.stdout.readline() == "done\n"
        assert memory_charged(caller.pid) - before >= 60 << 20
        caller.communicate("\n")


@pytest.mark.timeout(600)
def test_many_regions(service):
    del service
    start = time.monotonic()
    with socket_client.Client(os.readlink(MOUNT / ".ctl" / "socket")) as client:
        for i in range(MANY):
            os.close(client.ask_fd(f"create r{i} 4096"))
    print(json.dumps({"regions": MANY, "made in s": round(time.monotonic() - start, 2)}))
    (MOUNT / "r4711").write_bytes(b"hello")
    for title, blow in (
        ("daemon-reexec", lambda: systemctl("daemon-reexec")),
        ("both killed", kill_both),
        ("restart", lambda: systemctl("restart", UNIT)),
    ):
        start = time.monotonic()
        blow()
        os.close(os.open(MOUNT / "r4712", os.O_RDONLY))
        took = time.monotonic() - start
        print(json.dumps({"regions": MANY, "what": title, "s": round(took, 2)}))
        assert title != "daemon-reexec" or took < 3
        wait_for(lambda: show("ActiveState") == "active", "the unit is active again")
    assert int(show("NFileDescriptorStore")) == 4
    assert (MOUNT / "r4711").read_bytes()[:5] == b"hello"
    assert len(os.listdir(MOUNT)) == MANY
    # What is kept costs nobody else anything: root without capabilities can still pass descriptors.
    program = (
        "import socket\n"
        "a, b = socket.socketpair()\n"
        "socket.send_fds(a, [b'x'], [0] * 100)\n"
        "raise SystemExit(len(socket.recv_fds(b, 1, 100)[1]) != 100)\n"
    )
    subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "prlimit", "--nofile=1024", "python3", "-c", program],
        check=True,
    )


def test_mount_unit():
    """The unit for those who prefer mount units: it survives one death at a time."""
    systemctl("start", "mnt-mem.mount")
    try:
        command("create", "x 4096")
        keeper = next(int(entry) for entry in os.listdir("/proc")
                      if entry.isdigit() and crash_load.name_of(entry) == "iomemfs" and crash_load.children(entry))  # fmt: skip
        for _ in range(5):
            heir = crash_load.children(keeper)[0]
            os.kill(keeper, signal.SIGKILL)
            wait_for(lambda: crash_load.children(heir), "the worker has taken the keeper's place")  # noqa: B023
            keeper = heir
            assert (MOUNT / "x").stat().st_size == 4096
            assert systemctl("is-active", "mnt-mem.mount").strip() == "active"
    finally:
        systemctl("stop", "mnt-mem.mount")
    assert not os.path.ismount(MOUNT)


def test_log_names_no_failure():
    log = subprocess.run(["journalctl", "--no-pager", "-u", UNIT], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "continuing with the mount" in log
    assert not re.search(r"error:|status=31/SYS|Failed with result", log)
