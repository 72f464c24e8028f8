# SPDX-License-Identifier: MIT
"""Of what all share, nobody can take everything: connections of the socket, and descriptors."""

import contextlib
import os
import socket
import time

import pytest

import support
from socket_client import Client

DESCRIPTORS = 1024  # of the daemon
ATTACKERS = [(uid, uid) for uid in range(20001, 20007)]
PAGE = 4096


# They are many on some machines.
pytestmark = pytest.mark.descriptors(DESCRIPTORS)


def ask(connection):
    """The answer to a request, or what was said to it instead before the connection was ended."""
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(b"stat nothing\n")
    return connection.recv(200)


def connect_all(hit, path, least):
    """Takes as many connections as it gets."""
    held = []
    while True:
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(support.LIMIT)
        one.connect(path)
        answer = ask(one)
        if not answer.startswith(b"error ENOENT"):
            assert answer.startswith(b"error EUSERS"), answer
            assert len(held) >= least
            one.close()
            break
        held.append(one)
    hit()
    while True:
        time.sleep(3600)


def test_connections(beside):
    """Six users who take what they get: another user and root still get theirs."""
    with contextlib.ExitStack() as attacks:
        for user in ATTACKERS:
            attacks.enter_context(
                beside.attack(connect_all, beside.socket_path, 1, user=user)
            )
            beside.wait_hits(1)
        beside.serve(hits=0)
        with contextlib.ExitStack() as held:
            for _ in range(5):  # root's reserve
                client = held.enter_context(Client(beside.socket_path))
                assert client.list("victim")


def make_regions(hit, path):
    """Takes as many descriptors as it gets, a region each."""
    with Client(path) as client:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                number += 1
                client.send(f"create attacker/r{number} {PAGE}")
                answer = client.receive()
                for fd in client.fds:
                    os.close(fd)
                client.fds = []
                if not answer.startswith("ok"):
                    assert answer.startswith("error ENOSPC"), answer
                    break
        assert number > DESCRIPTORS // 2
    with contextlib.ExitStack() as held:
        while True:
            one = held.enter_context(socket.socket(socket.AF_UNIX))
            one.settimeout(support.LIMIT)
            one.connect(path)
            if not ask(one).startswith(b"error ENOENT"):
                break
        hit()
        while True:
            time.sleep(3600)


def test_descriptors(beside):
    """Regions up to the limit, and then connections: others are still served by the socket."""
    with beside.attack(make_regions, beside.socket_path):
        beside.wait_hits(1)

        def names():
            with Client(beside.socket_path) as client:
                return [region["name"] for region in client.list("victim")]

        assert support.as_user(support.DAEMON, names) == ["kept"]
        with Client(beside.socket_path) as client:
            assert client.stat("victim/kept")["size"] > 0
        assert (beside.mount.ctl / "stats").read_text()
