# SPDX-License-Identifier: MIT
"""A service manager with a descriptor store, as much of systemd as the daemon talks to."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import support

# Passes descriptors as systemd does: from 3 on, with their names.
LAUNCH = """
import fcntl, json, os, sys
fds, names = json.loads(sys.argv[1])
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for fd in fds]
os.closerange(3, 200)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """The notification socket and the store."""

    def __init__(self, home):
        self.path = home / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(0.1)
        self.ended = False
        self.stored = {}
        self.ready = threading.Event()
        self.messages = []
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 4096, 8)
            except TimeoutError:
                if self.ended:
                    return
                continue
            with self.lock:
                self._take(dict(line.split("=", 1) for line in data.decode().splitlines()), fds)

    def _take(self, message, fds):
        self.messages.append(message)
        name = message.get("FDNAME")
        if "FDSTORE" in message or "FDSTOREREMOVE" in message:
            if name in self.stored:
                os.close(self.stored.pop(name))
            for fd in fds:
                self.stored[name] = fd
        else:
            for fd in fds:
                os.close(fd)
        if "READY" in message:
            self.ready.set()

    def close(self):
        self.ended = True
        self.thread.join()
        self.socket.close()
        for fd in self.stored.values():
            os.close(fd)
        self.stored = {}


class Service(support.Mount):
    """A mount that is a service: start() passes to the daemon what the manager has kept."""

    def __init__(self, *arguments, **keywords):
        self.manager = None
        super().__init__(*arguments, start=False, **keywords)
        self.manager = Manager(self.home)
        self.environment["NOTIFY_SOCKET"] = str(self.manager.path)
        self.start()

    def launch(self):
        """Starts the daemon; it may have nothing, or what was kept."""
        self.manager.ready.clear()
        with self.manager.lock:
            names = sorted(self.manager.stored)
            fds = [self.manager.stored[name] for name in names]
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", LAUNCH, json.dumps([fds, names]), *self.argv],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                    pass_fds=fds,
                )  # fmt: skip

    def start(self):
        self.launch()
        if not self.manager.ready.wait(support.LIMIT):
            raise AssertionError(f"the service is not ready:\n{self.log()}")
        self.mount_id = support.mount_line(self.path)[0]

    def kill_all(self):
        """SIGKILL to all processes, none of which has the time to replace another."""
        def all_killed():
            # A process that executes the program anew has no environment for a moment.
            stopped = set()
            while (set(self.pids()) | {self.process.pid}) - stopped:
                for pid in (*self.pids(), self.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return self.process.poll() is not None and not self.pids()

        support.wait_for(all_killed, "the death of all")

    def stop(self, allowed=(), may_be_gone=False):
        try:
            super().stop(allowed, may_be_gone)
        finally:
            self.manager.close()
