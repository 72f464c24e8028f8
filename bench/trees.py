# SPDX-License-Identifier: MIT
"""Whole programs: tar, find, ls, cp, git and rm, over the same tree of files on each file system."""

import os
import pathlib
import shutil
import subprocess
import time

import plan

TIMEOUT = 300
GIT = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0",
       "-c", "safe.directory=*"]  # fmt: skip


def run(command, **keywords):
    """Seconds that the command takes; its output is thrown away."""
    start = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE, timeout=TIMEOUT, **keywords)
    return time.monotonic() - start


class Trees:
    """The archive, which all file systems unpack, and what is done with it on each."""

    def __init__(self, base, quick):
        self.directories, self.each, self.size, self.in_git = plan.tree_sizes(quick)
        self.files = self.directories * self.each
        self.base = base
        self.archive = base / "tree.tar"

    def make_archive(self):
        """The archive lies in memory, so that no disk is part of what is measured."""
        tree = self.make(self.base / "tree")
        if os.geteuid() == 0:
            subprocess.run(["mount", "-t", "tmpfs", "bench", tree], check=True)
        try:
            source = self.make(tree / "source")
            for i in range(self.directories):
                directory = self.make(source / f"d{i}")
                for j in range(self.each):
                    (directory / f"f{j}").write_bytes(b"x" * self.size)
            run(["tar", "-C", source, "-cf", tree / "tree.tar", "."])
            shutil.rmtree(source)
        except BaseException:
            self.close()
            raise
        self.archive = tree / "tree.tar"

    @staticmethod
    def make(path):
        path.mkdir()
        return path

    def close(self):
        if os.path.ismount(self.base / "tree"):
            subprocess.run(["umount", "-l", self.base / "tree"], check=False)

    def git_repository(self, source, directory):
        """Of some of the files, with all of them committed."""
        directory.mkdir()
        for i in range(self.in_git):
            shutil.copytree(source / f"d{i}", directory / f"d{i}")
        environment = dict(os.environ, HOME="/nonexistent", GIT_CONFIG_NOSYSTEM="1")
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
            run([*GIT, *words], cwd=directory, env=environment)
        return [*GIT, "status"], {"cwd": directory, "env": environment}

    def measure(self, peer, wanted):
        """Nanoseconds by name; only what is wanted, but what comes before that is done as well."""
        place = pathlib.Path(peer.directory) / "trees"
        first, second, repository = place / "1", place / "2", place / "git"
        place.mkdir()
        first.mkdir()
        times = {}
        try:
            times["tar"] = run(["tar", "-C", first, "-xf", self.archive])
            times["find"] = run(["find", first])
            times["ls"] = run(["ls", "-lR", first])
            if "cp" in wanted or "rm" in wanted:
                times["cp"] = run(["cp", "-a", first, second])
            if "git" in wanted and shutil.which("git"):
                command, keywords = self.git_repository(first, repository)
                times["git"] = run(command, **keywords)
                shutil.rmtree(repository)
            if "rm" in wanted:
                times["rm"] = run(["rm", "-rf", first, second])
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return {name: seconds * 1e9 for name, seconds in times.items() if name in wanted}
