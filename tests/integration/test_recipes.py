# SPDX-License-Identifier: MIT
"""docs/recipes.md: what is typed there is run, and prints what is printed there.

A block is what a terminal would show: `$ ` before a command, `> ` before its further lines, and below
them what it prints.  An ellipsis stands for what differs from time to time: within a line for any
text, on a line of its own for any lines.  How many spaces separate columns does not matter.
Blocks whose prompt is `# ` need what a test must not do, and are not run.

Each section has a mount of its own on /mnt/mem, in a mount namespace that hides /mnt, /run and
/dev/shm of the machine.
"""

import contextlib
import os
import re
import signal
import subprocess

import pytest

from support import LIMIT, ROOT, build_dir

PAGE = ROOT / "docs" / "recipes.md"
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S))
END = "\1"  # printed after each command

NAMESPACE = """
set -e
for dir in /mnt /run /dev/shm; do mount -t tmpfs -o mode=1777 private $dir; done
mkdir -p /mnt/mem /run/iomemfs
mount --bind "$1" /mnt/mem
ln -s "$2" /run/iomemfs/mnt-mem.sock
cd /mnt/mem
exec bash -c "$3"
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def steps(section):
    """(command, printed) of the section, in order; both are lists of lines."""
    found, current = [], None
    for line in section.splitlines():
        if line.startswith("    $ "):
            current = ([line[6:]], [])
            found.append(current)
        elif line.startswith("    # ") or (line and not line.startswith("    ")):
            current = None
        elif current and line.startswith("    >") and not current[1]:
            current[0].append(line[6:])
        elif current and line:
            current[1].append(line[4:])
    return found


def normal(line):
    """As an interactive bash has it, with single spaces."""
    line = re.sub(r"^bash: line \d+:\s+\d+ Killed\b.*", "Killed", line)
    line = re.sub(r"^bash: line \d+: ", "bash: ", line)
    return re.sub(r"\s+", " ", line).strip()


def pattern(printed):
    """What the lines of the page match; their ellipses match anything."""
    out = []
    for line in map(normal, printed):
        if line == "…":
            out.append(r"(?:.*\n)*?")
        else:
            out.append(".*?".join(map(re.escape, line.split("…"))) + r"\n")
    return re.compile("".join(out))


def script(commands):
    return "\n".join("\n".join(command) + f"\nprintf '\\n{END}'" for command in commands)


def environment():
    build = build_dir().resolve()
    library = str(build / "src" / "lib")
    return dict(
        os.environ,
        PATH=f"{build}/src/cli:{build}/src/process:/usr/sbin:/usr/bin:/sbin:/bin",
        CPATH=str(ROOT / "src" / "lib"),
        LIBRARY_PATH=library,
        LD_LIBRARY_PATH=library,
        LC_ALL="C.UTF-8",
        TZ="UTC",
    )


def outputs(mount, commands, scratch):
    """What each of the commands prints, run one after the other by one bash."""
    values = environment()
    values.pop("IOMEMFS", None)
    with open(scratch, "w+", encoding="utf-8") as out:
        shell = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "bash", "-c", NAMESPACE, "recipes",
             str(mount), os.readlink(mount.ctl / "socket"), script(commands)],
            env=values, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
        try:
            shell.wait(3 * LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        out.seek(0)
        text = out.read()
    parts = text.split(END)
    assert len(parts) == len(commands) + 1, text
    return parts[:-1]


@pytest.mark.parametrize("title", [title for title, text in SECTIONS.items() if steps(text)])
def test_recipe(mounts, title, tmp_path):
    mount = mounts("size=1g", source="mem", passthrough="on")
    wanted = steps(SECTIONS[title])
    printed = outputs(mount, [command for command, _ in wanted], tmp_path / "output")
    for (command, expected), output in zip(wanted, printed):
        lines = [normal(line) for line in output.splitlines()]
        actual = "".join(f"{line}\n" for line in lines if line)
        assert pattern(expected).fullmatch(actual), (command, expected, output)


def test_every_complaint_has_a_recipe():
    """A section without a command that is run or typed by hand is no recipe."""
    assert len(SECTIONS) > 10
    for title, text in SECTIONS.items():
        assert re.search(r"^    [$#] ", text, re.M), title
        assert f"- [{title}](#" in PAGE.read_text(), title
