# SPDX-License-Identifier: MIT
"""Completion in bash, zsh and fish offers what the programs have: commands, options, mount options, names."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from support import LIMIT, ROOT, build_dir, program, run

FILES = ROOT / "completions"
COMMON_OPTIONS = {"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"}
REGION = "frames"


def iomem_help(*command):
    return run([build_dir() / "src/cli/iomem", *command, "--help"], check=True).stdout


def commands():
    text = iomem_help().split("Commands:\n")[1].split("\nOptions:")[0]
    return re.findall(r"^ (\w+)", text, re.M)


def options(*command):
    """Of a command, or of iomem itself."""
    text = iomem_help(*command).split("\nOptions:\n")[1]
    return set(re.findall(r"--[a-z-]+", text if command else text.split("\n\n")[0]))


def columns(command):
    return set(re.findall(r"[A-Z_]+", iomem_help(command).split("Columns: ")[1].split("\n\n")[0]))


def daemon_help():
    return run([program(), "--help"], check=True).stdout


def daemon_options():
    return set(re.findall(r"--[a-z]+", daemon_help().split("Options for -o")[0]))


def mount_options():
    text = daemon_help().split("Options for -o", 1)[1]
    return set(re.findall(r"^  ([a-z_]+)", text, re.M)) | set(re.findall(r", ([a-z]+)=", text))


class Bash:
    """Completion as readline asks for it."""

    SETUP = """
        complete_line() {
            COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
            read -r -a COMP_WORDS <<<"${1//=/ = }"
            [[ $1 != *[\\ =] ]] || COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            "_${COMP_WORDS[0]}" "${COMP_WORDS[0]}" '' ''
            printf '%s\\n' "${COMPREPLY[@]}"
        }
    """

    def offers(self, line):
        files = "\n".join(f". {path}" for path in sorted(FILES.glob("*.bash")))
        result = run(
            ["bash", "-c", f"{files}\n{self.SETUP}\ncomplete_line \"$1\"", "bash", line],
            check=True, env=environment(),
        )
        assert result.stderr == ""
        return result.stdout

    def close(self):
        pass


class Fish:
    """`complete -C`, which is what fish itself does."""

    def offers(self, line):
        files = "; ".join(f"source {path}" for path in sorted(FILES.glob("*.fish")))
        result = run(
            ["fish", "--no-config", "-c", f"{files}; complete -C $argv[1]", line],
            check=True, env=environment(),
        )
        assert result.stderr == ""
        # Behind a tab there is a description.
        return "\n".join(offer.split("\t")[0] for offer in result.stdout.splitlines())

    def close(self):
        pass


class Zsh:
    """A zsh on a terminal, and the tab key."""

    SETUP = (
        f"fpath=({FILES} $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=10000; "
        "zstyle ':completion:*' verbose no; setopt no_beep no_always_last_prompt; "
        "unsetopt prompt_cr prompt_sp; PS1=; COLUMNS=200 LINES=500; "
        "mark() { print -n ' 'mark$((++marks))mark }; zle -N mark; bindkey '^Xm' mark"
    )

    def __init__(self):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvpe("zsh", ["zsh", "-f", "-i"], environment(TERM="dumb", HISTFILE=""))
        self.marks = 0
        self.send(f"{self.SETUP}\n")

    def send(self, text):
        """Types it, and returns all that is shown until zsh has dealt with it.

        The line editor stays active, because a terminal that no editor reads from edits by itself.
        """
        self.marks += 1
        os.write(self.terminal, f"{text}\x18m".encode())
        shown = b""
        end = time.monotonic() + LIMIT
        while f"mark{self.marks}mark".encode() not in shown:
            assert select.select([self.terminal], [], [], end - time.monotonic())[0], shown
            shown += os.read(self.terminal, 65536)
        return shown.decode(errors="replace")

    def offers(self, line):
        shown = self.send(f"{line}\t")
        self.send("\x15")
        return shown

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


def environment(**more):
    path = f"{build_dir() / 'src/cli'}:{os.environ['PATH']}"
    return dict(os.environ, PATH=path, LC_ALL="C.UTF-8", **more)


@pytest.fixture(params=[Bash, Fish, Zsh], ids=["bash", "fish", "zsh"])
def shell(request):
    one = request.param()
    try:
        yield one
    finally:
        one.close()


def words(text):
    return set(re.findall(r"(?<![\w-])-{0,2}[a-zA-Z_][\w-]*", text))


def test_commands(shell):
    assert len(commands()) >= 10
    assert set(commands()) <= words(shell.offers("iomem "))


def test_options_of_iomem(shell):
    assert options() <= words(shell.offers("iomem --"))
    for command in commands():
        offered = {word for word in words(shell.offers(f"iomem {command} --")) if word[:2] == "--"}
        assert offered == options(command), command
    assert "--fixed" in words(shell.offers("iomem -m /somewhere create --"))


def test_columns(shell):
    for command in ("ls", "stat", "who"):
        assert columns(command) <= words(shell.offers(f"iomem {command} -o ")), command


def test_options_of_iomemfs(shell):
    offered = {word for word in words(shell.offers("iomemfs --")) if word[:2] == "--"}
    assert offered == daemon_options()


def test_mount_options(shell):
    assert mount_options() | COMMON_OPTIONS <= words(shell.offers("iomemfs mem / -o "))
    # One more, behind a comma; and a value.
    assert mount_options() - {"size"} <= words(shell.offers("iomemfs mem / -o size=4g,"))
    assert {"auto", "low", "normal"} <= words(shell.offers("iomemfs mem / -o size=4g,latency="))


def test_names_of_regions(shell, mount):
    mount.create(REGION, 4096)
    for command in ("stat", "rm", "who", "resize", "seal", "exec"):
        assert REGION in words(shell.offers(f"iomem -m {mount} {command} fr")), command
    assert "write" in words(shell.offers(f"iomem -m {mount} seal {REGION} wri"))


def test_shells_agree_with_themselves():
    """Syntax, also of what no test above has run."""
    for path in FILES.glob("*.bash"):
        subprocess.run(["bash", "-n", path], check=True)
    for path in FILES.glob("*.fish"):
        subprocess.run(["fish", "--no-execute", path], check=True)
    for path in FILES.glob("_*"):
        subprocess.run(["zsh", "-n", path], check=True)
