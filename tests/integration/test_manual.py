# SPDX-License-Identifier: MIT
"""The manual, the help text and the program say the same."""

import re

import pytest
from support import ROOT, program, run

# Of mount(8) for every file system: in the manual, but not ours to explain in --help.
COMMON = {
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "sync", "async", "dirsync",
    "noatime", "atime", "nosymfollow", "symfollow", "relatime", "strictatime", "lazytime",
}  # fmt: skip


def manual():
    return (ROOT / "iomemfs.8").read_text()


def section(text, title):
    """The part of an mdoc text below a heading, to the next one."""
    match = re.search(rf"^\.S[hs] {title}\n(.*?)(?=^\.S[hs] |\Z)", text, re.M | re.S)
    assert match, f"no section {title}"
    return match[1]


def help_text():
    result = run([program(), "--help"], check=True)
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("page", ["iomemfs.8", "mount.iomemfs.8"])
def test_lint(page):
    result = run(["mandoc", "-T", "lint", "-W", "all", ROOT / page])
    # Which pages this machine has indexed is no fault of ours.
    complaints = [line for line in result.stdout.splitlines() if "outdated mandoc.db" not in line
                  and "referenced manual not found" not in line]
    assert complaints == []


def test_flags():
    shown = set(re.findall(r"(?<![\w-])(--?[a-zA-Z][a-z]*)(?=[,\s\]])", help_text()))
    described = set()
    for line in re.findall(r"^\.It Fl (.*)$", manual(), re.M):
        for word in re.split(r" , (?=Fl)", line):
            described.add("-" + re.match(r"(?:Fl )?(-?\w+)", word)[1])
    assert shown - {"-t"} == described  # which is mount's own


def test_flags_of_the_mount_helper(tmp_path):
    page = (ROOT / "mount.iomemfs.8").read_text()
    flags = re.findall(r"^\.It Fl (\w)(.*)$", page, re.M)
    assert {flag for flag, _ in flags} == {"f", "n", "o", "s", "t", "v"}
    words = []
    for flag, argument in flags:
        words += [f"-{flag}", *{"o": ["size=4g"], "t": ["iomemfs"]}.get(flag, [])]
        assert bool(argument) == (flag in "ot")
    helper = tmp_path / "mount.iomemfs"
    helper.symlink_to(program())
    result = run([helper, "x", tmp_path, *words])
    assert (result.returncode, result.stderr) == (0, "")
    assert run([helper, "x", tmp_path, "-f", "-x"]).returncode == 1


def test_mount_options():
    text = help_text().split("Options for -o", 1)[1]
    shown = set(re.findall(r"^  ([a-z_]+)", text, re.M)) | set(re.findall(r", ([a-z]+)=", text))
    described = set()
    for line in re.findall(r"^\.It Cm (.*)$", section(manual(), "Mount options"), re.M):
        described |= set(re.findall(r"(?:^|, (?:Cm )?)([a-z_]+)", line))
    assert shown == described


def test_common_options_are_accepted(tmp_path):
    text = section(manual(), "Mount options").split("Of the options of", 1)[1]
    named = set()
    for line in re.findall(r"^\.Cm (.*)$", text, re.M):
        named |= set(line.replace(",", " ").split())
    assert named == COMMON
    # As mount(8) would ask with -f: all but the mount itself.
    helper = tmp_path / "mount.iomemfs"
    helper.symlink_to(program())
    result = run([helper, "x", tmp_path, "-f", "-o", ",".join(sorted(named))])
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("default", ["50%", "1777", "iomemfs", "auto"])
def test_defaults(default):
    """A default that is written down twice is the same twice."""
    assert default in manual() and default in help_text()


def test_version():
    result = run([program(), "--version"], check=True)
    source = re.search(r"version: '([^']*)'", (ROOT / "meson.build").read_text())[1]
    assert result.stdout == f"iomemfs {source}\n"
    assert run([program(), "-V"], check=True).stdout == result.stdout


PAGES = sorted([*ROOT.glob("*.[1-8]"), *ROOT.glob("src/lib/*.3")])


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_page(page):
    """Each page fits a terminal of 80 columns, and has examples."""
    text = page.read_text()
    assert re.search(r"^\.Sh EXAMPLES$", text, re.M)
    result = run(["mandoc", "-T", "utf8", page], check=True)
    shown = [re.sub(".\b", "", line).expandtabs() for line in result.stdout.splitlines()]
    assert [line for line in shown if len(line) > 80] == []
    assert run(["mandoc", "-T", "lint", "-W", "warning", page]).returncode == 0
