# SPDX-License-Identifier: MIT
"""32-bit programs, and what is and is no control file."""

import errno
import os
import stat

import pytest

from support import fails_with, run

PROGRAM = r"""
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(ino_t) == 4 && sizeof(off_t) == 4, "a program without large files");

static int look(const char *path) {
        struct dirent *entry;
        struct stat st;
        DIR *dir;
        int n = 0;

        if (stat(path, &st) < 0 || !(dir = opendir(path)))
                return printf("%s: %s\n", path, strerror(errno)), -1;
        if (chdir(path) < 0)
                return -1;
        for (errno = 0; (entry = readdir(dir)); errno = 0, n++)
                if (lstat(entry->d_name, &st) < 0)
                        printf("%s/%s: %s\n", path, entry->d_name, strerror(errno));
                else if (entry->d_name[0] != '.' && st.st_ino != entry->d_ino)
                        printf("%s/%s: %lu, not %lu\n", path, entry->d_name, st.st_ino, entry->d_ino);
        if (errno)
                printf("readdir: %s\n", strerror(errno));
        closedir(dir);
        return n;
}

int main(int argc, char **argv) {
        for (int i = 1; i < argc; i++)
                printf("%d entries\n", look(argv[i]));
        return 0;
}
"""


@pytest.fixture(scope="module")
def small_program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    (folder / "look.c").write_text(PROGRAM)
    run(["gcc", "-m32", "-o", folder / "look", folder / "look.c"], check=True)
    return folder / "look"


def test_32_bits(mount, small_program):
    (mount / "d" / "e").mkdir(parents=True)
    (mount / "d" / "f").touch()
    folders = [mount.path, mount.ctl, mount / "d", mount / "d" / ".ctl", mount / "d" / "e" / ".ctl"]
    entries = "".join(f"{len(os.listdir(folder)) + 2} entries\n" for folder in folders)
    assert run([small_program, *folders], check=True).stdout == entries


def test_numbers_are_used_once(mount):
    """No two files have the same inode number, control files included."""
    found = []
    for i in range(5):
        (mount / f"d{i}" / "e").mkdir(parents=True)
        (mount / f"d{i}" / "f").touch()
    for folder, folders, files in os.walk(mount):
        for name in [".", *files, *(f".ctl/{name}" for name in [".", *os.listdir(folder + "/.ctl")])]:
            found.append(os.lstat(os.path.join(folder, name)).st_ino)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("flags", [0, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_TRUNC])
@pytest.mark.parametrize("access", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_no_control_file(mount, flags, access):
    fails_with(errno.ENOENT, os.open, mount.ctl / "bogus", flags | access, 0o600)


def test_nothing_is_made_in_control_directories(mount):
    for call in (
        lambda: os.mkdir(mount.ctl / "x"),
        lambda: os.mkfifo(mount.ctl / "x"),
        lambda: os.symlink("aim", mount.ctl / "x"),
        lambda: os.unlink(mount.ctl / "create"),
        lambda: os.rename(mount.ctl / "create", mount / "x"),
    ):
        fails_with(errno.EPERM, call)
    assert "x" not in os.listdir(mount.ctl)
    assert stat.S_ISDIR(os.stat(mount.ctl).st_mode)


def test_chattr(mount):
    """Flags that the kernel could not enforce are refused."""
    (mount / "a").touch()
    for flag in "+i", "+a":
        result = run(["chattr", flag, mount / "a"])
        assert result.returncode != 0
        assert "Inappropriate ioctl" in result.stderr or "not supported" in result.stderr
    assert run(["lsattr", mount / "a"]).returncode != 0
