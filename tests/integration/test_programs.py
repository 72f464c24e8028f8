# SPDX-License-Identifier: MIT
"""Programs that people run on a file system without thinking of it."""

import hashlib
import mmap
import os
import random
import sqlite3
import stat
import subprocess
import sys

import lmdb
import numpy
import pytest
from support import run

GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "safe.directory=*")


@pytest.fixture
def source(tmp_path):
    """A tree with a bit of everything that archivers care for."""
    rng = random.Random(5)
    top = tmp_path / "source"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir()
    for i in range(40):
        path = top / ("deep" if i % 2 else "deep/er") / f"file {i}"
        path.write_bytes(rng.randbytes(rng.randrange(20000)))
        path.chmod(rng.choice((0o644, 0o600, 0o755, 0o4711, 0o2640)))
        os.utime(path, ns=(10**18 + i, 10**18 + 12345678 * i))
    with open(top / "sparse", "wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"island")
    os.link(top / "sparse", top / "deep" / "hard link")
    os.symlink("deep/er", top / "soft link")
    os.symlink("nowhere", top / "dangling")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(top / "deep" / "file 1", 1234, 5678)
    os.lchown(top / "dangling", 1234, 5678)
    (top / "empty").chmod(0o1777)
    os.utime(top / "deep", ns=(10**18, 10**18 + 1))
    return top


def described(top):
    """{path: all that an archive must keep} of a tree."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            content = None
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.md5(file.read()).hexdigest()
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            times = st.st_mtime_ns if stat.S_ISREG(st.st_mode) else 0
            links = st.st_nlink if not stat.S_ISDIR(st.st_mode) else 0
            found[os.path.relpath(path, top)] = (
                st.st_mode, st.st_uid, st.st_gid, st.st_rdev, times, links, content
            )  # fmt: skip
    return found


COPIES = {
    "cp": "cp -a {source}/. {target}/",
    "cp_sparse": "cp -a --sparse=always {source}/. {target}/",
    "tar": "tar -C {source} --format=posix -cf - . | tar -C {target} -xpf - --same-owner",
    "rsync": "rsync -aHX --specials --devices {source}/ {target}/",
}


@pytest.mark.parametrize("how", ["cp", "cp_sparse", "tar", "rsync"])
def test_copies(how, source, folder, tmp_path):
    """Into the mount, within it, and out of it again."""
    back = tmp_path / "back"
    steps = [(source, folder / "a"), (folder / "a", folder / "b"), (folder / "b", back)]
    for origin, target in steps:
        target.mkdir()
        command = COPIES[how].format(source=origin, target=target)
        result = run(["sh", "-ec", command])
        assert result.returncode == 0, result.stderr
        assert described(target) == described(source)
    assert run(["diff", "-r", "--no-dereference", source / "deep", folder / "b/deep"]).returncode == 0
    assert "." not in run(["rsync", "-aHnc", "--itemize-changes", f"{source}/", f"{back}/"]).stdout
    assert run(["rm", "-rf", folder / "a", folder / "b"]).returncode == 0
    assert os.listdir(folder) == []


def test_tar_file_within(source, folder):
    """An archive that is itself in the mount, compressed, and grown by rewriting in place."""
    archive = folder / "archive.tar"
    run(["tar", "-C", source, "-cf", archive, "deep"], check=True)
    run(["tar", "-C", source, "-rf", archive, "soft link"], check=True)
    listed = run(["tar", "-tf", archive], check=True).stdout.splitlines()
    assert len(listed) == 44 and "soft link" in listed
    run(["gzip", archive], check=True)
    run(["gzip", "-t", f"{archive}.gz"], check=True)


def test_editing_in_place(folder):
    (folder / "text").write_text("".join(f"line {i}\n" for i in range(1000)))
    run(["sed", "-i", "s/line 7$/changed/", folder / "text"], check=True)
    run(["sort", "-r", "-o", folder / "text", folder / "text"], check=True)
    assert "changed\n" in (folder / "text").read_text()
    assert len((folder / "text").read_text().splitlines()) == 1000
    overwrite = ["dd", "if=/dev/zero", f"of={folder}/text", "bs=1", "seek=4", "count=2"]
    run([*overwrite, "conv=notrunc"], check=True)
    assert (folder / "text").read_bytes()[3:7] == b"e\0\0" + b"9"


def test_disk_usage(folder):
    (folder / "full").write_bytes(b"x" * 100000)
    with open(folder / "sparse", "wb") as file:
        file.truncate(100000)
    usage = run(["du", "-k", "--apparent-size", folder / "full", folder / "sparse"], check=True)
    assert [line.split()[0] for line in usage.stdout.splitlines()] == ["98", "98"]
    usage = run(["du", "-k", folder / "full", folder / "sparse"], check=True)
    assert [line.split()[0] for line in usage.stdout.splitlines()] == ["100", "0"]


def test_git(folder, tmp_path):
    def git(where, *words):
        return run([*GIT, "-C", where, *words], check=True).stdout

    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    for i in range(50):
        (origin / f"file{i}").write_text(f"content {i}\n" * i)
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "first")
    run([*GIT, "clone", "-q", origin, folder / "clone"], check=True)
    clone = folder / "clone"
    assert git(clone, "status", "--porcelain") == ""
    (clone / "file7").write_text("changed\n")
    (clone / "new").write_text("new\n")
    assert git(clone, "status", "--porcelain") == " M file7\n?? new\n"
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "second")
    git(clone, "mv", "file8", "moved")
    git(clone, "stash")
    git(clone, "stash", "pop")
    git(clone, "gc", "-q")
    git(clone, "fsck", "--strict")
    run([*GIT, "clone", "-q", clone, folder / "second"], check=True)
    assert (folder / "second" / "file7").read_text() == "changed\n"


def test_compiler(folder):
    (folder / "hello.c").write_text('#include <stdio.h>\nint main(void) { return puts("hi") < 0; }\n')
    run(["gcc", "-g", "-o", folder / "hello", folder / "hello.c"], check=True, cwd=folder)
    assert run([folder / "hello"]).stdout == "hi\n"
    (folder / "part.c").write_text("int part(void) { return 42; }\n")
    run(["gcc", "-shared", "-fPIC", "-o", folder / "libpart.so", folder / "part.c"], check=True)
    loaded = run([sys.executable, "-c", f"import ctypes; print(ctypes.CDLL('{folder}/libpart.so').part())"])
    assert loaded.stdout == "42\n"


def in_processes(function, *arguments):
    """Calls function(i, *arguments) for i = 0, 1 in two processes at once; both must succeed."""
    pids = []
    for i in range(2):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                function(i, *arguments)
                status = 0
            except BaseException as error:  # pylint: disable=broad-except
                print(f"process {i}: {error!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]


def test_sqlite_two_writers(folder):
    path = folder / "data.db"
    base = sqlite3.connect(path)
    assert base.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    base.execute("create table t (who, n, text)")
    base.commit()
    base.close()

    def write(who):
        with sqlite3.connect(path, timeout=60) as own:
            for n in range(150):
                with own:
                    own.execute("insert into t values (?, ?, ?)", (who, n, "x" * n))

    in_processes(write)
    base = sqlite3.connect(path)
    counts = base.execute("select who, count(*), sum(length(text)) from t group by who").fetchall()
    assert counts == [(0, 150, 11175), (1, 150, 11175)]
    assert base.execute("pragma integrity_check").fetchone() == ("ok",)
    base.close()
    result = run(["sqlite3", path, "pragma journal_mode=delete; vacuum; select count(*) from t"])
    assert result.stdout == "delete\n300\n"


@pytest.mark.parametrize("writemap", [False, True])
def test_lmdb_two_writers(folder, writemap):
    path = str(folder / "env")

    def write(who):
        with lmdb.open(path, map_size=16 << 20, writemap=writemap) as own:
            for n in range(200):
                with own.begin(write=True) as change:
                    change.put(f"{who}-{n:04}".encode(), bytes([n]) * n * 5)

    in_processes(write)
    with lmdb.open(path, readonly=True) as base, base.begin() as view:
        entries = dict(view.cursor())
    assert len(entries) == 400
    assert all(value == bytes([int(key[2:])]) * int(key[2:]) * 5 for key, value in entries.items())


def test_appending_to_one_log(folder):
    def write(who):
        with open(folder / "log", "ab", buffering=0) as log:
            for n in range(1000):
                log.write(f"{who} {n}\n".encode())

    in_processes(write)
    lines = (folder / "log").read_text().splitlines()
    for who in "01":
        assert [line for line in lines if line[0] == who] == [f"{who} {n}" for n in range(1000)]
    assert len(lines) == 2000


def test_mmap_between_processes(folder):
    path = folder / "shared"
    path.write_bytes(bytes(1 << 20))

    def ping_pong(who):
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
            for turn in range(who, 2000, 2):
                while int.from_bytes(mapping[:4], "little") != turn:
                    os.sched_yield()
                mapping[4096 + turn] = turn % 251
                mapping[:4] = (turn + 1).to_bytes(4, "little")

    in_processes(ping_pong)
    content = path.read_bytes()
    assert content[4096:6096] == bytes(turn % 251 for turn in range(2000))


def test_numpy_memmap(folder):
    written = numpy.memmap(folder / "array", dtype="float64", mode="w+", shape=(500, 500))
    written[:] = numpy.arange(250000).reshape(500, 500)
    written.flush()
    seen = numpy.memmap(folder / "array", dtype="float64", mode="r", shape=(500, 500))
    assert float(seen.sum()) == 249999 * 250000 / 2
    written[0, 0] = -1.0
    assert seen[0, 0] == -1.0
    assert os.stat(folder / "array").st_size == 2000000
    numpy.save(folder / "saved.npy", seen)
    assert numpy.array_equal(numpy.load(folder / "saved.npy", mmap_mode="r"), seen)
    # The garbage collector would end the mappings at a time of its own.
    for array in (written, seen):
        array._mmap.close()


@pytest.mark.parametrize("engine", ["psync", "mmap"])
@pytest.mark.parametrize("pattern", ["write", "randrw"])
def test_fio_verify(folder, engine, pattern):
    argv = [
        "fio", "--name=job", f"--directory={folder}", "--size=8M", "--bs=8k", f"--rw={pattern}",
        f"--ioengine={engine}", "--verify=crc32c", "--verify_fatal=1", "--numjobs=2", "--thread",
        "--randseed=7", "--minimal",
    ]  # fmt: skip
    # fio leaves its verification state where it runs.
    result = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "verify" not in result.stderr
