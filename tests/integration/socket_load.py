# SPDX-License-Identifier: MIT
"""Load for test_socket.py: makes and removes regions, and checks every answer.

socket_load.py SOCKET NUMBER
"""

import os
import sys

from socket_client import Client


def ask(client, tag, line):
    """Answers are told by their tags: one may come twice after a death of the worker."""
    client.send(f"@{tag} {line}")
    while True:
        answer = client.receive()
        if answer.startswith(f"@{tag} "):
            break
    while client.fds:
        os.close(client.fds.pop())
    return answer.partition(" ")[2]


def main():
    path, number = sys.argv[1:]
    with Client(path) as client:
        for turn in range(300):
            name = f"load-{number}-{turn}"
            for line, expected in (
                (f"create {name} 4k", "ok 4096"),
                (f"open rw {name}", "ok 4096"),
                (f"resize {name} 8k", "ok 8192"),
                (f"remove {name}", "ok"),
                (f"open {name}", f"error ENOENT {name}: no such region"),
            ):
                answer = ask(client, f"{turn}.{line.split()[0]}", line)
                if answer != expected:
                    sys.exit(f"{line}: {answer}")


main()
