# SPDX-License-Identifier: MIT
"""Tests run on the mount that $IOMEMFS names, and leave nothing on it."""

import gc
import os
import time

import pytest

import iomem

LIMIT = 30.0  # seconds that a condition may take


def wait_for(condition, what):
    """Waits until condition() is true and returns what it returned."""
    end = time.monotonic() + LIMIT
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        time.sleep(0.005)


def pytest_configure(config):
    del config
    if "IOMEMFS" not in os.environ:
        pytest.exit("$IOMEMFS must name a mount: see with-mount", 2)
    iomem.mount_point()


@pytest.fixture(autouse=True)
def _leaves_nothing():
    yield
    for info in iomem.list():
        if "ephemeral" not in info.flags:
            iomem.remove(info.name)
    gc.collect()
    wait_for(lambda: not iomem.list(), "an empty mount")
    for name in os.listdir(iomem.mount_point()):
        os.rmdir(os.path.join(iomem.mount_point(), name))


@pytest.fixture
def no_mount(monkeypatch, tmp_path):
    """$IOMEMFS names a directory of something else."""
    monkeypatch.setenv("IOMEMFS", str(tmp_path))
    yield
    monkeypatch.undo()
