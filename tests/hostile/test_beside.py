# SPDX-License-Identifier: MIT
"""The harness itself: that it serves beside a busy neighbour, and that it can fail."""

import os
import signal
import time

import pytest

import beside as harness
import support


def make_files(hit, folder):
    """Nothing evil, but as fast as it can."""
    number = 0
    while True:
        number += 1
        with open(f"{folder}/f{number % 50}", "wb") as stream:
            stream.write(b"x" * 5000)
        hit()


def do_nothing(hit):
    hit()
    while True:
        time.sleep(60)


def test_a_victim_is_served(beside):
    with beside.attack(make_files, beside.attackers, processes=2):
        beside.serve(hits=100)


def test_a_change_is_seen(beside):
    with beside.attack(do_nothing):
        (beside.victims / "kept").write_bytes(b"changed")
        with pytest.raises(AssertionError, match="assert stream.read"):
            beside.serve(rounds=1, hits=0)
    with pytest.raises(AssertionError):
        beside.check()
    (beside.victims / "kept").write_bytes(harness.KEPT)


def test_what_is_left_is_seen(beside, monkeypatch):
    monkeypatch.setattr(support.wait_for, "__defaults__", ("condition", 0.2))
    (beside.mount / "left").touch()
    with pytest.raises(AssertionError, match="the state of before"):
        beside.check()
    os.unlink(beside.mount / "left")
    beside.attackers.mkdir()


@pytest.mark.log_allows("killed by signal 9")
def test_a_death_is_seen(beside):
    beside.daemon.kill_worker()
    with pytest.raises(AssertionError, match="died by itself"):
        beside.check()
    beside.restarts = 1


def test_a_hang_is_seen(beside, monkeypatch):
    monkeypatch.setattr(harness, "STUCK", 0.5)
    worker = beside.daemon.worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        with pytest.raises(AssertionError, match="the victim hangs"):
            beside.serve(kinds=("files",))
    finally:
        os.kill(worker, signal.SIGCONT)
    for name in set(os.listdir(beside.victims)) - {"kept"}:
        os.unlink(beside.victims / name)


def test_a_failed_attack_is_seen(beside):
    def fails(hit):
        del hit
        raise ValueError("of its own")

    with pytest.raises(AssertionError, match="of its own"):
        with beside.attack(fails) as started:
            support.wait_for(started[0].is_over, "its end")
