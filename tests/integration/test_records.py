# SPDX-License-Identifier: MIT
"""Records of earlier releases are taken over, whole; and those of this one are what they should be."""

import base64
import gzip
import importlib.machinery
import importlib.util
import json
import os
import pathlib

import pytest
import support

HERE = support.ROOT / "tests" / "records"
RECORDED = sorted(HERE.glob("*.json.gz"))


def recorder():
    loader = importlib.machinery.SourceFileLoader("record", str(HERE / "record"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("record", loader))
    loader.exec_module(module)
    return module


def reader():
    build = pathlib.Path(os.environ.get("IOMEMFS_BUILD", support.ROOT / "build" / "plain"))
    return build / "tests" / "records" / "read_records"


def restored(record):
    """A memfd with the records."""
    fd = os.memfd_create("recorded")
    os.ftruncate(fd, record["size"])
    for offset, content in record["pages"]:
        os.pwrite(fd, base64.b64decode(content), offset)
    return fd


def read(fd):
    """What read_records says: the names and the number of inodes."""
    os.lseek(fd, 0, os.SEEK_SET)
    lines = support.run([reader()], stdin=fd, check=True).stdout.splitlines()
    names = dict(reversed(line.split("\t")) for line in lines[:-1])
    return names, int(lines[-1].split()[1])


@pytest.mark.parametrize("path", [None, *RECORDED], ids=lambda path: path.name if path else "now")
def test_records(path):
    if path:
        with gzip.open(path, "rt", encoding="ascii") as stream:
            record = json.load(stream)
    else:
        record = recorder().record()
    fd = restored(record)
    try:
        support.run([support.program(), "--convert"], stdin=fd, check=True)
        names, inodes = read(fd)
    finally:
        os.close(fd)
    assert names == record["names"]
    assert inodes == record["inodes"]


def test_what_is_not_known_is_refused():
    """Records of a later layout, and what are no records at all."""
    record = recorder().record()
    fd = restored(record)
    try:
        layout = os.pread(fd, 4, 4)
        assert int.from_bytes(layout, "little") == record["layout"]
        os.pwrite(fd, (record["layout"] + 1).to_bytes(4, "little"), 4)
        for size in (record["size"], 100, 0):
            os.ftruncate(fd, size)
            result = support.run([support.program(), "--convert"], stdin=fd)
            assert result.returncode == 2 and "converting the records" in result.stderr
    finally:
        os.close(fd)
