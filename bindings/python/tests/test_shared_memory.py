# SPDX-License-Identifier: MIT
"""SharedMemory and ShareableList beyond what the standard library's own tests see."""

import errno
import inspect
import multiprocessing
import multiprocessing.shared_memory
import os
import pickle
import subprocess
import sys
import threading

import pytest

import iomem
from conftest import LIMIT, wait_for
from iomem import ShareableList, SharedMemory


def test_interface_is_the_standard_one():
    """Every parameter of the standard library's is here, with the same default."""
    for ours, standard in (
        (SharedMemory, multiprocessing.shared_memory.SharedMemory),
        (ShareableList, multiprocessing.shared_memory.ShareableList),
    ):
        mine = inspect.signature(ours).parameters
        for name, parameter in inspect.signature(standard).parameters.items():
            assert mine[name].default == parameter.default
            assert mine[name].kind == parameter.kind
        public = {name for name in dir(standard) if not name.startswith("_")}
        assert public <= set(dir(ours))


def test_a_segment_outlives_its_maker_and_users():
    """What the standard library's tracker ends: a child attaches and exits."""
    shm = SharedMemory("kept", create=True, size=100)
    shm.buf[:4] = b"kept"
    script = (
        "from iomem import SharedMemory; shm = SharedMemory('kept');"
        "assert bytes(shm.buf[:4]) == b'kept'; shm.buf[:4] = b'seen'; shm.close()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    assert done.stderr == ""
    shm.close()
    again = SharedMemory("kept", track=False)
    assert bytes(again.buf[:4]) == b"seen" and again.size == 100
    again.close()
    again.unlink()
    with pytest.raises(FileNotFoundError):
        SharedMemory("kept")


def test_options():
    shm = SharedMemory("a", create=True, size=8192, fixed=True, populate=True)
    info = iomem.stat("a")
    assert set(info.flags) == {"fixed", "populate"} and info.allocated == 8192
    assert info.mode == 0o600
    shm.close()
    with pytest.raises(OSError) as caught:
        SharedMemory("b", create=True, size=1, owner="nobody")
    assert caught.value.errno == errno.EINVAL and "owner=nobody" in str(caught.value)


def test_ephemeral_needs_no_unlink():
    shm = SharedMemory(create=True, size=100, ephemeral=True)
    other = SharedMemory(shm.name)
    name = shm.name
    shm.close()
    assert [info.name for info in iomem.list()] == [name]
    other.close()
    wait_for(lambda: iomem.list() == [], "its end")


def test_wait():
    with pytest.raises(TimeoutError):
        SharedMemory("late", wait=0.05)
    sizes = []
    thread = threading.Thread(target=lambda: sizes.append(SharedMemory("late", wait=LIMIT).size))
    thread.start()
    SharedMemory("late", create=True, size=5).close()
    thread.join()
    assert sizes == [5]


def test_what_does_not_fit_leaves_nothing():
    with pytest.raises(OSError) as caught:
        SharedMemory("big", create=True, size=2 << 30)
    assert caught.value.errno == errno.ENOSPC
    assert iomem.list() == []


def append(sequence, value):
    sequence[0] = value


def test_list_across_processes():
    numbers = ShareableList([1, "two", 3.0, None, b"five", True], ephemeral=True)
    assert iomem.stat(numbers.shm.name).flags == ("ephemeral",)
    child = multiprocessing.get_context("spawn").Process(target=append, args=(numbers, 7))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert list(numbers) == [7, "two", 3.0, None, b"five", True]
    copy = pickle.loads(pickle.dumps(numbers))
    assert isinstance(copy, ShareableList) and list(copy) == list(numbers)
    attached = ShareableList(name=numbers.shm.name)
    assert attached.count("two") == 1
    for one in (copy, attached, numbers):
        one.shm.close()
