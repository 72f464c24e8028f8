# SPDX-License-Identifier: MIT
"""The file systems that are compared: mounts them, finds their daemons, takes them off again."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

MOUNT_TIMEOUT = 30


class Unavailable(Exception):
    """This peer cannot be had here; the text says why."""


def is_mounted(directory):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == str(directory) for line in table)


def wait_until(condition, what):
    limit = time.monotonic() + MOUNT_TIMEOUT
    while not condition():
        if time.monotonic() > limit:
            raise Unavailable(f"{what}: not after {MOUNT_TIMEOUT} s")
        time.sleep(0.01)


class Peer:
    """One directory that regions can be files in.  `label` names it in tables."""

    def __init__(self, key, label, base):
        self.key, self.label = key, label
        self.directory = base / key
        self.process = None

    def mount(self):
        raise NotImplementedError

    def unmount(self):
        if is_mounted(self.directory):
            subprocess.run(["umount", "-l", self.directory], check=False)
        if self.process:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()

    def pids(self):
        """The daemon's processes."""
        if not self.process:
            return []
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        children = pathlib.Path(path).read_text(encoding="ascii").split()
        return [self.process.pid] + [int(pid) for pid in children]


class Tmpfs(Peer):
    """A private tmpfs: what /dev/shm is, without the files of others.  An ordinary user gets a
    directory of /dev/shm itself."""

    def mount(self):
        self.directory.mkdir(parents=True)
        if os.geteuid() == 0:
            subprocess.run(["mount", "-t", "tmpfs", "bench", self.directory], check=True)
        else:
            self.directory.rmdir()
            self.directory = pathlib.Path(f"/dev/shm/iomemfs-bench-{os.getpid()}")
            self.directory.mkdir()

    def unmount(self):
        super().unmount()
        if os.geteuid() != 0:
            shutil.rmtree(self.directory, ignore_errors=True)


class Daemon(Peer):
    """A FUSE file system that runs in the foreground; its messages go to a file."""

    def __init__(self, key, label, base, command):
        super().__init__(key, label, base)
        self.command = command
        self.log = base / f"{key}.log"

    def mount(self):
        program = shutil.which(self.command[0])
        if not program:
            raise Unavailable(f"no program {pathlib.Path(self.command[0]).name}")
        self.directory.mkdir(parents=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program, *self.command[1:], self.directory],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: is_mounted(self.directory) or self.process.poll() is not None,
                   self.label)
        if self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise Unavailable(lines[-1] if lines else f"exit status {self.process.returncode}")
        os.statvfs(self.directory)


class Iomemfs(Daemon):
    """iomemfs, with regions on demand through commands to .ctl/create."""

    def __init__(self, key, label, base, program, options):
        super().__init__(key, label, base, [program, "bench"])
        self.options = options

    def mount(self):
        socket = self.directory.with_suffix(".socket")
        self.command = [*self.command, "-f", "-o", f"{self.options},socket={socket}"]
        super().mount()

    def stats(self):
        """The numbers of .ctl/stats by name (labels included)."""
        text = (self.directory / ".ctl/stats").read_text(encoding="utf-8")
        pairs = [line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", "")]
        return {name: float(value) for name, value in pairs}


class PassthroughHp(Daemon):
    """libfuse's passthrough_hp, which mirrors a directory: here one of a tmpfs."""

    def __init__(self, base, program):
        super().__init__("hp", "passthrough_hp", base, [program, "--foreground"])
        self.source = Tmpfs("hp-source", "", base)

    def mount(self):
        self.source.mount()
        try:
            self.command = [*self.command, self.source.directory]
            super().mount()
        except Unavailable:
            self.source.unmount()
            raise

    def unmount(self):
        super().unmount()
        self.source.unmount()


def all_peers(base, iomemfs, examples, memfs_options):
    """Everything there is to compare, whether it can be mounted here or not."""
    def example(name):
        return str(examples / name) if examples else name

    return [
        Tmpfs("tmpfs", "tmpfs", base),
        PassthroughHp(base, example("passthrough_hp")),
        Daemon("memfs", "memfs_ll", base, [example("memfs_ll"), "-f", "-o", memfs_options]),
        Iomemfs("iomemfs", "iomemfs", base, iomemfs, "passthrough=auto"),
        Iomemfs("normal", "iomemfs, latency=normal", base, iomemfs,
                "passthrough=auto,latency=normal"),
        Iomemfs("cache", "iomemfs, page cache", base, iomemfs, "passthrough=off"),
    ]
