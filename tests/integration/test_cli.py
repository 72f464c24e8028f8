# SPDX-License-Identifier: MIT
"""iomem(1), on a mount and on a socket."""

import json
import os
import re
import select
import shutil
import subprocess
import sys

import pytest

from memory_jobs import Creation, Held, listed
from support import LIMIT, NOBODY, ROOT, build_dir, run, wait_for

COMMANDS = [
    "ls", "stat", "who", "create", "resize", "seal", "rm", "wait", "events", "exec", "top", "umount",
    "help",
]  # fmt: skip
# Exit statuses; the manual has them.
USAGE, ABSENT, DENIED, NO_ROOM, TIMED_OUT, IN_THE_WAY = 2, 3, 4, 5, 6, 7


@pytest.fixture(params=["mount", "socket"])
def iomem(request, mount):
    """Runs iomem on the mount or on its socket; returns output, or raises the message."""
    where = mount.path if request.param == "mount" else os.readlink(mount.ctl / "socket")

    def call(*arguments, status=0, **keywords):
        result = run(
            [build_dir() / "src" / "cli" / "iomem", "-m", where, *arguments], **keywords
        )
        assert result.returncode == status, (arguments, result.stderr)
        assert (result.stderr == "") == (status == 0), result.stderr
        return result.stdout if status == 0 else result.stderr

    call.where = where
    return call


def test_life_of_a_region(iomem, mount):
    assert iomem("create", "-M", "640", "frames", "64K") == ""
    assert os.stat(mount / "frames").st_size == 65536
    assert iomem("ls", "-n", "-r", "-o", "NAME,SIZE,MODE,USER,GROUP") == (
        "frames 64K 0640 root root\n"
    )
    iomem("resize", "frames", "1536")
    assert iomem("ls", "-n", "-r", "-o", "SIZE") == "1.5K\n"
    assert iomem("ls", "-n", "-r", "-b", "-o", "SIZE") == "1536\n"
    iomem("seal", "frames", "shrink,grow")
    assert "sealed" in iomem("resize", "frames", "4K", status=DENIED)
    assert "shrink,grow" in iomem("stat", "frames")
    iomem("rm", "frames")
    assert os.listdir(mount) == []


def test_json(iomem):
    iomem("create", "--fixed", "a", "4K")
    (region,) = json.loads(iomem("ls", "-J", "-b", "-o", "+CREATED,CREATOR,INODE"))["regions"]
    assert (region["name"], region["size"], region["flags"]) == ("a", 4096, ["fixed"])
    assert (region["uid"], region["user"], region["creator_command"]) == (0, "root", "iomem")
    assert re.match(r"\d{4}-\d\d-\d\dT", region["created"])
    (region,) = json.loads(iomem("stat", "--json", "a"))["regions"]
    assert region["size"] == 4096


def test_directories(iomem, mount):
    (mount / "d").mkdir()
    iomem("create", "d/a", "4K")
    iomem("create", "b", "4K")
    assert iomem("ls", "-n", "-o", "NAME").split() == ["d/a", "b"]
    assert iomem("ls", "-n", "-o", "NAME", "d") == "a\n"


@pytest.mark.options("size=0")
def test_ls_while_one_is_populated(iomem, mount):
    iomem("create", "whole", "4K")
    (mount / "d").mkdir()
    with Held(mount):
        creation = Creation(mount.path, "d/x 64m populate fixed")
        wait_for(lambda: listed(mount.path), "the population")
        assert iomem("ls", "-n", "-r", "-o", "NAME,SIZE,ALLOCATED,FLAGS") == (
            "whole 4K 0B \nd/x 64M 0B fixed,populate,populating\n"
        )
        listed_now = json.loads(iomem("ls", "-J", "d"))
        assert listed_now["regions"] == []
        (region,) = listed_now["populating"]
        assert (region["name"], region["allocated"]) == ("x", 0)
        # It is not there yet.
        for command in (["stat", "d/x"], ["exec", "d/x", "true"], ["resize", "d/x", "4K"]):
            assert iomem(*command, status=ABSENT).startswith("iomem: d/x: ")
    assert creation.end() == 0
    assert "populating" not in iomem("ls")


def test_messages(iomem):
    iomem("create", "a", "4K")
    assert iomem("create", "a", "4K", status=IN_THE_WAY) == "iomem: a: exists already\n"
    assert iomem("rm", "a", "nothing", status=ABSENT).startswith("iomem: nothing: ")
    assert iomem("wait", "-t", "0.02", "a", status=TIMED_OUT) == "iomem: a: did not appear in time\n"
    for arguments in (
        ["create", "a"],
        ["create", "a", "4X"],
        ["create", "a", "-4K"],
        ["create", "-M", "999", "a", "4K"],
        ["resize", "a"],
        ["seal", "a", "everything"],
        ["ls", "-o", "NONSENSE"],
        ["ls", "-J", "-r"],
        ["ls", "--nonsense"],
        ["ls", "--color=sometimes"],
        ["who", "a", "b"],
        ["help", "nonsense"],
        ["exec", "a"],
        ["wait", "-t", "soon", "a"],
        ["nonsense"],
        [],
    ):
        message = iomem(*arguments, status=USAGE)
        assert message.startswith("iomem: "), message
        assert message.endswith("Try 'iomem --help' for more information.\n"), message


def test_wait(iomem, mount):
    with subprocess.Popen(
        [build_dir() / "src" / "cli" / "iomem", "-m", iomem.where, "wait", "-t", str(LIMIT),
         "late"]
    ) as waiting:
        mount.create("late", 4096)
        assert waiting.wait(timeout=LIMIT) == 0


def test_exec(iomem):
    iomem("create", "a", "4K")
    script = "import os; fd = int(os.environ['IOMEM_FD']); os.pwrite(fd, b'by exec', 0)"
    iomem("exec", "a", "--", sys.executable, "-c", script)
    script = "import os; print(os.pread(int(os.environ['IOMEM_FD']), 7, 0).decode())"
    assert iomem("exec", "-r", "a", sys.executable, "-c", script) == "by exec\n"
    script = "import os; os.pwrite(int(os.environ['IOMEM_FD']), b'x', 0)"
    assert "Bad file descriptor" in iomem("exec", "-r", "a", sys.executable, "-c", script, status=1)
    assert iomem("exec", "a", "sh", "-c", "echo seven >&2; exit 7", status=7) == "seven\n"
    assert "/nonexistent" in iomem("exec", "a", "/nonexistent", status=127)
    assert "permission denied" in iomem("exec", "a", "/etc/passwd", status=126)
    assert iomem("exec", "none", "true", status=ABSENT)


HOLDER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
view = mmap.mmap(fd, 0)
if sys.argv[2] == "mem":
    os.close(fd)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["fd", "mem"])
def test_who_through_the_mount(iomem, mount, how):
    iomem("create", "a", "4K")
    iomem("create", "b", "4K")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, mount / "a", how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"ready\n"
        found = json.loads(iomem("who", "-J", "a"))["references"]
        assert {r["pid"] for r in found} == {holder.pid}
        assert "mem" in {r["use"] for r in found}
        assert all(r["access"] == ["read", "write"] for r in found)
        assert any(r["use"] == "descriptor" for r in found) or how == "mem"
        assert json.loads(iomem("who", "-J", "b"))["references"] == []
        holder.stdin.close()


def test_who_through_the_socket(iomem):
    iomem("create", "a", "4K")
    with subprocess.Popen(
        [build_dir() / "src" / "cli" / "iomem", "-m", iomem.where, "exec", "a", sys.executable,
         "-c", "import sys; print('ready', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"ready\n"
        found = json.loads(iomem("who", "-J", "a"))["references"]
        assert [(r["pid"], r["access"]) for r in found] == [(holder.pid, ["read", "write"])]
        holder.stdin.close()
    assert json.loads(iomem("who", "-J", "a"))["references"] == []


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_events(mount, option):
    program = build_dir() / "src" / "cli" / "iomem"
    with subprocess.Popen(
        [program, "-m", mount, "events", *option], stdout=subprocess.PIPE, text=True
    ) as events:
        # Whether it has opened the file yet is nobody's to know: make regions until it tells.
        number = 0
        ready = False
        while not ready:
            mount.create(f"a\\040b{number}", 4096)
            number += 1
            ready = select.select([events.stdout], [], [], 0.1)[0]
            assert number < 10 * LIMIT
        line = events.stdout.readline()
        events.kill()
    if option:
        event = json.loads(line)
        assert re.fullmatch(r"a b\d+", event.pop("name"))
        assert isinstance(event.pop("sequence"), int) and event.pop("pid") > 0
        assert event.pop("event") == "create"
        assert event["size"] == 4096 and event["uid"] == 0
    else:
        assert re.match(r"\d+ create a\\040b\d+ ", line), line


def test_as_another_user(iomem, mount):
    iomem("create", "-M", "600", "a", "4K")
    assert "permission denied" in iomem("exec", "a", "true", status=DENIED, user=NOBODY)
    iomem("create", "mine", "4K", user=NOBODY)
    assert os.stat(mount / "mine").st_uid == NOBODY[0]
    assert "nobody" in iomem("ls", user=NOBODY)


def test_paths_stand_for_mount_and_name(mount):
    program = build_dir() / "src" / "cli" / "iomem"
    (mount / "d").mkdir()
    run([program, "create", mount / "d" / "a", "4K"], check=True)
    assert os.stat(mount / "d" / "a").st_size == 4096
    assert run([program, "ls", "-n", "-o", "NAME", mount], check=True).stdout == "d/a\n"
    environment = dict(os.environ, IOMEMFS=str(mount))
    assert run([program, "ls", "-n", "-o", "NAME"], check=True, env=environment).stdout == "d/a\n"
    run([program, "rm", mount / "d" / "a"], check=True)


def test_a_path_needs_no_mount(mount, tmp_path):
    """Whatever lies on an iomemfs: by a path, from within, by a symbolic link."""
    program = build_dir() / "src" / "cli" / "iomem"
    environment = {k: v for k, v in os.environ.items() if k != "IOMEMFS"}
    (mount / "d").mkdir()
    mount.create("d/a", 4096)

    def names(*arguments, cwd):
        result = run([program, *arguments, "-n", "-r", "-o", "NAME"], cwd=cwd, env=environment)
        assert (result.returncode, result.stderr) == (0, ""), arguments
        return result.stdout.split()

    for cwd, arguments, expected in (
        (mount, ["stat", "./d/a"], "a"),
        (mount, ["stat", "d/a"], "d/a"),
        (mount / "d", ["stat", "a"], "a"),
        (mount / "d", ["stat", "../d/a"], "a"),
        (tmp_path, ["stat", mount / "d/a"], "a"),
        (mount, ["ls"], "d/a"),
        (mount, ["ls", "d"], "a"),
        (mount, ["ls", "./d"], "a"),
        (mount / "d", ["ls", ".."], "d/a"),
        (tmp_path, ["ls", f"{mount}/d/"], "a"),
    ):
        assert names(*arguments, cwd=cwd) == [expected], (cwd, arguments)
    (tmp_path / "link").symlink_to(mount / "d/a")
    assert names("stat", tmp_path / "link", cwd=tmp_path) == ["a"]
    run([program, "rm", "./a"], cwd=mount / "d", env=environment, check=True)
    assert os.listdir(mount / "d") == []
    # Elsewhere a relative path is a path, too, and names no iomemfs.
    result = run([program, "stat", "./a"], cwd=tmp_path, env=environment)
    assert result.returncode == ABSENT and result.stderr.endswith("no iomemfs is mounted there\n")
    result = run([program, "-m", mount, "stat", "./a"], cwd=mount)
    assert result.returncode == USAGE and "with -m, names are relative" in result.stderr


def test_mount_option_before_and_after(mount, tmp_path):
    program = build_dir() / "src" / "cli" / "iomem"
    mount.create("a", 4096)
    for arguments in (
        ["-m", mount, "ls"], ["ls", "-m", mount], ["ls", f"--mount={mount}", "-n"],
        ["-m", tmp_path, "ls", "-m", mount], ["stat", "a", "-m", mount],
    ):  # fmt: skip
        result = run([program, *arguments], cwd=tmp_path)
        assert result.returncode == 0 and "a " in result.stdout, (arguments, result.stderr)
    # What follows the name is the command of exec.
    result = run([program, "exec", "-m", mount, "a", "echo", "-m", "x"], cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "-m x\n"), result.stderr


def test_other_words_for_commands(iomem, mount):
    iomem("create", "a", "4K")
    iomem("create", "b", "4K")
    assert iomem("list") == iomem("ls")
    iomem("remove", "a")
    iomem("del", "b")
    assert os.listdir(mount) == []
    assert iomem("help") == iomem("--help")
    assert iomem("help", "rm") == iomem("del", "--help") == iomem("rm", "-h")


@pytest.mark.parametrize(
    "word, meant",
    [("crate", "create"), ("sl", "ls"), ("resise", "resize"), ("delete", None), ("remoev", "remove"),
     ("evnets", "events"), ("x", None), ("nonsense", None), ("lst", "ls"), ("wohami" * 20, None)],
)
def test_did_you_mean(word, meant):
    result = run([build_dir() / "src" / "cli" / "iomem", word])
    hint = f"; did you mean '{meant}'?" if meant else ""
    assert result.returncode == USAGE
    assert result.stderr.splitlines()[0] == f"iomem: unknown command: {word}{hint}"


def test_did_you_mean_this_column(iomem):
    assert "did you mean 'ALLOCATED'?" in iomem("ls", "-o", "allocatd", status=USAGE)


def test_exit_statuses(iomem, mount):
    """Each kind of failure has its own, and the manual has a line for each."""
    iomem("create", "--fixed", "-M", "600", "a", "4K")
    iomem("rm", "none", status=ABSENT)
    iomem("ls", "none", status=ABSENT)
    iomem("resize", "a", "8K", status=DENIED)
    iomem("exec", "a", "true", status=DENIED, user=NOBODY)
    iomem("create", "b", "1E", status=NO_ROOM)
    iomem("wait", "-t", "0.01", "none", status=TIMED_OUT)
    iomem("create", "a", "4K", status=IN_THE_WAY)
    iomem("ls", "--nonsense", status=USAGE)
    status = (ROOT / "iomem.1").read_text().split(".Sh EXIT STATUS")[1].split(".Sh ")[0]
    numbers = [int(number) for number in re.findall(r"^\.It (\d+)$", status, re.M)]
    assert numbers == [0, 1, USAGE, ABSENT, DENIED, NO_ROOM, TIMED_OUT, IN_THE_WAY, 126, 127]


def test_colors(iomem, tmp_path):
    iomem("create", "a", "4K")
    assert "\033[1m" in iomem("ls", "--color") and "\033[1m" in iomem("ls", "--color=always")
    assert "\033" not in iomem("ls") and "\033" not in iomem("ls", "--color=auto")
    assert "\033" not in iomem("ls", "--color", "-J")
    environment = {**os.environ, "TERM": "xterm", "HOME": str(tmp_path), "IOMEMFS": str(iomem.where)}
    environment.pop("NO_COLOR", None)
    environment.pop("XDG_CONFIG_HOME", None)

    def on_a_terminal(*arguments, **more):
        command = " ".join(str(a) for a in [build_dir() / "src" / "cli" / "iomem", *arguments])
        return run(["script", "-qec", command, "/dev/null"], env={**environment, **more}).stdout

    assert "\033[1m" in on_a_terminal("ls")
    assert "\033" not in on_a_terminal("ls", "--color=never")
    assert "\033" not in on_a_terminal("ls", NO_COLOR="1")
    assert "\033" not in on_a_terminal("ls", TERM="dumb")
    (tmp_path / ".config/terminal-colors.d").mkdir(parents=True)
    (tmp_path / ".config/terminal-colors.d/iomem.disable").touch()
    assert "\033" not in on_a_terminal("ls")


def test_nothing_there(tmp_path):
    program = build_dir() / "src" / "cli" / "iomem"
    result = run([program, "-m", tmp_path, "ls"])
    assert result.returncode == ABSENT
    assert result.stderr == f"iomem: {tmp_path}: no iomemfs is mounted there\n"


def test_help_and_manual_agree():
    program = build_dir() / "src" / "cli" / "iomem"
    usage = run([program, "--help"], check=True).stdout
    manual = (ROOT / "iomem.1").read_text()
    plain = manual.replace("\\-", "-")
    for option in set(re.findall(r"--([a-z-]+)", usage)):
        assert f"Fl -{option}" in plain, option
    for command in COMMANDS:
        assert re.search(rf"^ {command}\b", usage, re.M), command
        assert re.search(rf"^\.(It|Ss) (Ic|Cm|Nm) {command}\b|^\.It Cm {command}\b", manual, re.M)
    assert run([program, "--version"], check=True).stdout.startswith("iomem from iomemfs ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(tmp_path, command):
    program = build_dir() / "src" / "cli" / "iomem"
    whole = run([program, "--help"], check=True).stdout
    for arguments in (["--help"], ["-h"], ["--help", "more"]):
        result = run([program, command, *arguments], check=True)
        assert result.stderr == ""
        assert re.search(rf"^ iomem .* {command} \[OPTIONS\] ", result.stdout, re.M)
    options = set(re.findall(r"--[a-z-]+", result.stdout))
    assert "--help" in options and options <= set(re.findall(r"--[a-z-]+", whole))
    for option in options:
        # It is one; what is wrong is something else.
        assert "unrecognized" not in run([program, "-m", tmp_path, command, option]).stderr
    for option in set(re.findall(r"--[a-z-]+", whole)) - options:
        refused = run([program, "-m", tmp_path, command, option])
        assert refused.returncode == USAGE and "unrecognized" in refused.stderr, option


def test_help_of_what_exec_runs(iomem):
    iomem("create", "a", "4K")
    assert iomem("exec", "a", "--", "printf", "%s", "--help") == "--help"
    assert iomem("exec", "a", "printf", "%s", "--help") == "--help"
    assert iomem("rm", "--", "-h", status=ABSENT).startswith("iomem: -h: ")  # behind --, a name


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_manual_is_clean():
    result = run(["mandoc", "-T", "lint", "-W", "warning", ROOT / "iomem.1"])
    assert result.returncode == 0, result.stdout
