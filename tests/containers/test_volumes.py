# SPDX-License-Identifier: MIT
"""Volumes of the driver in containers of podman and of a Docker engine.

A machine on which they cannot run fails these tests.
"""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest

import support
from test_volumed import Driver

HERE = pathlib.Path(__file__).resolve().parent
PLUGIN = f"iomemfs-{os.urandom(4).hex()}"  # Docker looks for it in a folder that is the machine's
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none"]
MIB = 1 << 20

pytestmark = [pytest.mark.modes("passthrough"), pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def rootfs():
    """A small system: busybox, and the program that shares memory."""
    path = support.scratch_directory()
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "run"):
        (path / name).mkdir()
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for name in ("sh", "dd", "df", "ls", "cat", "sleep", "rm", "stat", "echo"):
        (path / "bin" / name).symlink_to("busybox")
    support.run(["gcc", "-O2", "-static", HERE / "share.c", "-o", path / "bin/share"], check=True)
    yield path
    shutil.rmtree(path)


class Podman:
    def __init__(self, driver, rootfs):
        self.home = driver.home / "podman"
        self.home.mkdir()
        self.rootfs = rootfs
        conf = self.home / "containers.conf"
        # Its usual locks are the machine's, and freed by every podman with new folders: two such that run
        # at the same time take each other's locks, and wait for ever.
        conf.write_text('[engine]\nlock_type = "file"\n'
                        f'[engine.volume_plugins]\n{PLUGIN} = "{driver.socket}"\n')  # fmt: skip
        self.environment = dict(os.environ, CONTAINERS_CONF=str(conf))
        self.base = ["podman", "--runtime", "runc", "--cgroup-manager=cgroupfs", "--storage-driver=vfs",
                     "--root", self.home / "root", "--runroot", self.home / "run",
                     "--tmpdir", self.home / "tmp"]  # fmt: skip

    def argv(self, *words):
        return [str(word) for word in [*self.base, *words]]

    def run_argv(self, *options, command):
        return self.argv("run", "--rm", *LIMITS, *options, "--rootfs", self.rootfs, *command)

    def end(self):
        for words in (["rm", "-fa", "-t", "0"], ["volume", "rm", "-fa"]):
            subprocess.run(self.argv(*words), env=self.environment, capture_output=True, check=False)


class Docker:
    def __init__(self, driver, rootfs):
        self.home = driver.home / "docker"
        self.home.mkdir()
        self.environment = dict(os.environ)
        host = f"unix://{self.home}/sock"
        plugins = pathlib.Path("/run/docker/plugins")
        plugins.mkdir(parents=True, exist_ok=True)
        self.link = plugins / f"{PLUGIN}.sock"
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(driver.socket)
        self.log = open(self.home / "log", "wb")
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", self.home / "data", "--exec-root", self.home / "exec",
             "--pidfile", self.home / "pid", "-H", host, "--storage-driver", "vfs", "--iptables=false",
             "--ip6tables=false", "--bridge=none", "--exec-opt", "native.cgroupdriver=cgroupfs"],
            stdout=self.log, stderr=self.log,
        )  # fmt: skip
        self.base = ["docker", "-H", host]
        support.wait_for(self.is_ready, "the engine", 120)
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True)
        subprocess.run(self.argv("import", "-", "small"), input=tar.stdout, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip

    def is_ready(self):
        assert self.daemon.poll() is None, (self.home / "log").read_text()
        return subprocess.run(self.argv("info"), capture_output=True, check=False).returncode == 0

    def argv(self, *words):
        return [str(word) for word in [*self.base, *words]]

    def run_argv(self, *options, command):
        return self.argv("run", "--rm", *LIMITS, *options, "small", *command)

    def end(self):
        self.daemon.terminate()
        self.daemon.wait(60)
        self.log.close()
        self.link.unlink(missing_ok=True)


@pytest.fixture
def driver(mount):
    one = Driver(mount)
    yield one
    one.end()


@pytest.fixture(params=[Podman, Docker], ids=["podman", "docker"])
def engine(request, driver, rootfs):
    one = request.param(driver, rootfs)
    one.started = []
    yield one
    one.end()
    for process in one.started:  # those that a failed test did not wait for
        process.kill()
        process.communicate()


def engine_do(engine, *words, check=True):
    result = subprocess.run(
        engine.argv(*words), env=engine.environment, capture_output=True, text=True, check=False
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def start(engine, *options, command):
    process = subprocess.Popen(
        engine.run_argv(*options, command=command), env=engine.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    engine.started.append(process)
    return process


def finish(process, status=0):
    out, err = process.communicate(timeout=90)
    assert process.returncode == status, err
    return out


def run(engine, *options, command, status=0):
    return finish(start(engine, *options, command=command), status)


def make(engine, name, **options):
    """Not with a name of one letter: docker(1) takes v:/shared for a path of Windows."""
    words = [w for key, value in options.items() for w in ("--opt", f"{key}={value}")]
    engine_do(engine, "volume", "create", "--driver", PLUGIN, *words, name)


@pytest.mark.options("size=64m")
def test_two_containers_share_memory(engine, driver):
    make(engine, "frames", size="8m")
    make(engine, "other", size="8m")
    taker = start(engine, "-v", "frames:/shared", command=["share", "take", "/shared/ring"])
    run(engine, "-v", "frames:/dev/shm", command=["share", "give", "/dev/shm/ring", "hello"])
    assert finish(taker) == "hello\n"
    # What is in one volume is not in the other, nor above it.
    out = run(engine, "-v", "other:/dev/shm", command=["sh", "-c", "ls -a /dev/shm /dev/shm/.."])
    assert "ring" not in out and "frames" not in out
    assert os.listdir(driver.folder("frames")) == ["ring"]
    engine_do(engine, "volume", "rm", "frames", "other")
    assert os.listdir(driver.mount / "volumes") == []


@pytest.mark.options("size=64m")
def test_limits_inside(engine, driver):
    make(engine, "small", size="4m")
    script = "df -k /dev/shm; dd if=/dev/zero of=/dev/shm/x bs=1M count=8; stat -c %s /dev/shm/x"
    out = run(engine, "-v", "small:/dev/shm", command=["sh", "-c", script])
    lines = out.splitlines()
    assert lines[1].split()[1] == "4096"
    assert lines[-1] == str(4 * MIB)
    vfs = os.statvfs(driver.mount)
    assert vfs.f_bavail * vfs.f_frsize == 60 * MIB  # neighbours have what they had
    (driver.mount / "neighbour").write_bytes(bytes(50 * MIB))
    result = engine_do(engine, "volume", "create", "--driver", PLUGIN, "--opt", "size=1g", "large",
                       check=False)  # fmt: skip
    assert result.returncode != 0
    result = engine_do(engine, "volume", "create", "--driver", PLUGIN, "--opt", "color=red", "red",
                       check=False)  # fmt: skip
    assert result.returncode != 0 and "unknown option" in result.stderr


@pytest.mark.options("size=64m")
def test_a_container_that_is_killed(engine, driver):
    """Its ephemeral regions go; the volume stays."""
    make(engine, "frames", size="8m", default="ephemeral")
    script = "exec 3>/dev/shm/mine; echo x >&3; echo ready; exec sleep 600"
    container = start(engine, "--name", "victim", "-v", "frames:/dev/shm", command=["sh", "-c", script])
    assert container.stdout.readline() == "ready\n"
    assert os.listdir(driver.folder("frames")) == ["mine"]
    assert engine_do(engine, "volume", "rm", "frames", check=False).returncode != 0
    engine_do(engine, "kill", "victim")
    finish(container, 128 + signal.SIGKILL)
    support.wait_for(lambda: os.listdir(driver.folder("frames")) == [], "the end of its region")
    engine_do(engine, "volume", "rm", "frames")
    assert os.listdir(driver.mount / "volumes") == []


@pytest.mark.options("size=64m")
@pytest.mark.log_allows("killed by signal 9")
def test_deaths_under_running_containers(engine, driver):
    make(engine, "frames", size="8m")
    script = "echo > /shared/here; exec share take /shared/ring"
    taker = start(engine, "-v", "frames:/shared", command=["sh", "-c", script])
    # An engine that is still asking the driver for the volume would be told that it is dead.
    support.wait_for(lambda: (driver.folder("frames") / "here").exists() or taker.poll() is not None,
                     "the first container")  # fmt: skip
    os.kill(support.worker_pid(driver.mount), signal.SIGKILL)
    driver.kill()
    driver.start()
    run(engine, "-v", "frames:/dev/shm", command=["share", "give", "/dev/shm/ring", "still"])
    assert finish(taker) == "still\n"
