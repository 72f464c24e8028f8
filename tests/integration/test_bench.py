# SPDX-License-Identifier: MIT
"""bench/run works: it measures what it says.  How fast anything was is not judged here."""

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from support import ROOT, build_dir

BENCH = ROOT / "bench/run"

pytestmark = pytest.mark.alone


def bench(*arguments):
    return subprocess.run(
        [BENCH, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=280,
        check=True,
        env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_line_of_iomemfs_is_measured(tmp_path):
    run = bench("--quick", "--build", build_dir(), "--output", tmp_path)
    sys.stdout.write(run.stdout)  # the ratios, for who looks with pytest -rP
    results = json.loads((tmp_path / "bench.json").read_text())

    refused = {
        what
        for what, why in results["failures"].items()
        if what.endswith("iomemfs") and why.endswith("Operation not supported")
    }
    ours = [what for what in results["failures"] if "iomemfs" in what]
    assert set(ours) == refused, results["failures"]
    measured = 0
    for line in results["lines"]:
        for column, values in line["values"].items():
            if f"{line['title']}, {column}" in refused:
                continue
            if column.startswith(("iomemfs", "tmpfs")):
                assert len(values) == results["rounds"], line
                assert all(value > 0 for value in values), line
                measured += 1
    assert measured > 100

    checks = results["checks"]
    assert checks["requests"]["data_requests"] == 0
    assert checks["files"]["tar"]["create"] >= 1 and checks["files"]["rm"]["unlink"] >= 1
    for name in ("killed", "undisturbed"):
        assert checks[name]["calls"] > 0
        assert checks[name]["failed"] == checks[name]["lost"] == 0
    assert checks["killed"]["kills"] > 0
    for key in ("without", "during"):
        times = checks["populating"][key]
        assert times["calls"] > 0
        assert 0 < times["median_us"] <= times["p99_us"] <= times["max_us"]
    assert checks["populating"]["bytes"] == 256 << 20


@pytest.mark.slow
def test_tables_and_picture(tmp_path):
    run = bench("--quick", "--no-checks", "--only", "^io/pread-4KiB$", "--build", build_dir(),
                "--output", tmp_path)  # fmt: skip
    assert "| pread 4 KiB" in run.stdout
    assert (tmp_path / "bench.md").read_text().strip() == run.stdout.strip()
    assert [path.name for path in tmp_path.glob("*.svg")] == ["bench-memory.svg"]
    picture = (tmp_path / "bench-memory.svg").read_text()
    texts = {element.text for element in xml.etree.ElementTree.fromstring(picture).iter()}
    assert {"pread 4 KiB", "iomemfs", "1"} <= texts


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whole_programs_and_many_files(tmp_path):
    run = bench("--quick", "--no-checks", "--files", "3000", "--only", "^trees/|^names/.*-3000$",
                "--build", build_dir(), "--output", tmp_path)  # fmt: skip
    assert "tar x of 300 files" in run.stdout and "3000 regions" in run.stdout
    results = json.loads((tmp_path / "bench.json").read_text())
    ours = [line for line in results["lines"] if line["id"] != "trees/git" or shutil.which("git")]
    assert len(ours) > 8
    for line in ours:
        for column in ("tmpfs", "iomemfs"):
            assert line["values"][column][0] > 0, (line, results["failures"])


def test_list_names_each_line_once():
    ids = [line.split()[0] for line in bench("--quick", "--list").stdout.splitlines()]
    assert len(ids) == len(set(ids)) > 50


def test_build_that_fails_says_why(tmp_path):
    meson = tmp_path / "meson"
    meson.write_text("#!/bin/sh\necho 'ERROR: Dependency \"fuse3\" not found'\nexit 1\n")
    meson.chmod(0o755)
    result = subprocess.run(
        [BENCH, "--quick", "--no-checks"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}"),
    )
    assert result.returncode == 1
    assert 'Dependency "fuse3" not found\nbench/run: failed: meson ' in result.stderr
    assert "Traceback" not in result.stderr
