# SPDX-License-Identifier: MIT
"""What becomes of regions: ephemeral ones, orphans, sealed ones, and the defaults of a tree."""

import contextlib
import errno
import fcntl
import json
import mmap
import os
import random
import signal
import socket
import time

import pytest

import holders
from crash_load import Daemon, state
from socket_client import Client, Refused, socket_of
from support import NOBODY, as_user, fails_with, wait_for

F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8
PAGE = 4096


class Times:
    """How long things took, for people to read: no time decides a test."""

    def __init__(self, what):
        self.what = what
        self.times = []

    @contextlib.contextmanager
    def one(self):
        start = time.monotonic()
        yield
        self.times.append(time.monotonic() - start)

    def report(self):
        if self.times:
            times = sorted(self.times)
            print(f"{self.what}: {len(times)} times, median {times[len(times) // 2] * 1e3:.1f} ms, "
                  f"worst {times[-1] * 1e3:.1f} ms")  # fmt: skip


def flush(mount, serial=[0]):  # pylint: disable=dangerous-default-value
    """Returns when the daemon has seen all that was let go of before: it sees that in order."""
    serial[0] += 1
    name = f"flush-{serial[0]}"
    path = mount.create(name, PAGE, "ephemeral")
    with holders.by_mapping(mount, name):
        pass
    holders.wait_gone(path)


def used(mount):
    return mount.stats()["iomemfs_used_bytes"]


def flags(mount, name):
    text = (mount.ctl / "regions.json").read_text()
    return next(r["flags"] for r in json.loads(text)["regions"] if r["name"] == name)


def error_text(mount, file, line, number):
    """Writes a command that fails with the errno; the text that is left for reading."""
    fd = os.open(mount.ctl / file, os.O_RDWR)
    try:
        fails_with(number, os.write, fd, line.encode() + b"\n")
        return os.read(fd, 1000).decode()
    finally:
        os.close(fd)


# Ephemeral regions


@pytest.mark.parametrize("door", holders.ALL_DOORS, ids=lambda door: door.__name__)
def test_ephemeral_by_each_door(shared_mount, folder, door):
    name = f"{folder.name}/x"
    times = Times(f"gone after {door.__name__}")
    for _ in range(2):
        path = shared_mount.create(name, PAGE, "ephemeral")
        with door(shared_mount, name):
            holders.touch_briefly(shared_mount, name)
            flush(shared_mount)
            assert path.exists() and os.stat(path).st_nlink == 1
            assert "ephemeral" in flags(shared_mount, name)
        with times.one():
            holders.wait_gone(path)
    times.report()


def test_ephemeral_created_by_the_socket(mount):
    with Client(socket_of(mount)) as client:
        with client.opened("create x 4k ephemeral") as fd:
            holders.touch_briefly(mount, "x")
            flush(mount)
            assert os.fstat(fd).st_ino and (mount / "x").exists()
        holders.wait_gone(mount / "x")


def test_ephemeral_descriptor_that_was_never_received(mount):
    """In flight from the daemon itself to a client that dies."""
    with Client(socket_of(mount)) as client:
        client.send("create x 4k ephemeral")
        wait_for((mount / "x").exists, "the region")
        flush(mount)
        assert (mount / "x").exists()
    holders.wait_gone(mount / "x")


def test_ephemeral_passed_on(mount):
    """From one to the next, by processes that end."""
    path = mount.create("x", PAGE, "ephemeral")
    pairs = [socket.socketpair() for _ in range(2)]
    try:
        with holders.in_process(holders.by_descriptor, mount, "x"), holders.by_socket(
            mount, "x"
        ) as fd:
            socket.send_fds(pairs[0][0], [b"x"], [fd])
        for (_, source), (sink, _) in zip(pairs, pairs[1:]):
            flush(mount)
            assert path.exists()
            _, (fd,), _, _ = socket.recv_fds(source, 1, 1)
            socket.send_fds(sink, [b"x"], [fd])
            os.close(fd)
        flush(mount)
        assert path.exists()
    finally:
        for pair in pairs:
            for end in pair:
                end.close()
    holders.wait_gone(path)


def test_ephemeral_with_other_names(mount):
    """All its names go; a new one that it was given keeps nothing alive."""
    path = mount.create("x", PAGE, "ephemeral")
    (mount / "d").mkdir()
    with holders.by_descriptor(mount, "x"):
        os.link(path, mount / "d/link")
        os.rename(path, mount / "y")
        flush(mount)
        assert (mount / "d/link").exists() and (mount / "y").exists()
    for name in ("y", "d/link"):
        holders.wait_gone(mount / name)
    wait_for(lambda: used(mount) == 0, "its memory")
    (mount / "d").rmdir()


@pytest.mark.options("grace=1")
def test_grace(mount):
    """Never opened, it goes after that time; one that is in use stays."""
    start = time.monotonic()
    paths = [mount.create("never", PAGE, "ephemeral"), mount.create("held", PAGE, "ephemeral"),
             mount.create("lent", PAGE, "ephemeral"), mount.create("plain", PAGE)]  # fmt: skip
    with holders.by_mapping(mount, "held"), holders.by_socket(mount, "lent"):
        holders.wait_gone(paths[0])
        took = time.monotonic() - start
        print(f"grace=1: gone after {took:.3f} s")
        assert took > 0.9
        flush(mount)
        assert all(path.exists() for path in paths[1:])
    for path in paths[1:3]:
        holders.wait_gone(path)
    assert paths[3].exists()


@pytest.mark.options("grace=1")
def test_grace_outlives_the_worker(mount):
    path = mount.create("never", PAGE, "ephemeral")
    Daemon(mount).kill_worker()
    holders.wait_gone(path)


@pytest.mark.options("grace=0")
def test_no_grace_is_for_ever(mount):
    path = mount.create("never", PAGE, "ephemeral")
    flush(mount)
    Daemon(mount).kill_worker()
    flush(mount)
    assert path.exists()
    with holders.by_socket(mount, "never"):
        pass
    holders.wait_gone(path)


@pytest.mark.parametrize("door", holders.ALL_DOORS, ids=lambda door: door.__name__)
def test_ephemeral_outlives_the_worker(shared_mount, folder, door):
    daemon = Daemon(shared_mount)
    name = f"{folder.name}/x"
    path = shared_mount.create(name, PAGE, "ephemeral")
    with door(shared_mount, name):
        daemon.kill_worker()
        flush(shared_mount)
        assert path.exists()
    holders.wait_gone(path)


def test_let_go_of_while_there_is_no_worker(mount):
    daemon = Daemon(mount)
    names = [door.__name__ for door in holders.DOORS]
    with contextlib.ExitStack() as stack:
        for door in holders.DOORS:
            mount.create(door.__name__, PAGE, "ephemeral")
            stack.enter_context(door(mount, door.__name__))
        os.kill(daemon.keeper, signal.SIGSTOP)
        try:
            wait_for(lambda: state(daemon.keeper) == "T", "the stopped keeper")
            pid = daemon.kill_worker()
            wait_for(lambda: state(pid) in (None, "Z"), "the worker's end")
            stack.close()
        finally:
            os.kill(daemon.keeper, signal.SIGCONT)
    for name in names:
        holders.wait_gone(mount / name)
    wait_for(lambda: used(mount) == 0, "their memory")


# Random mixtures


class Member:
    """One of many processes: does as it is told, and holds what it was told to hold."""

    def __init__(self, mount, index, inboxes, lifeline):
        self.commands, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.commands.settimeout(30)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                holders.die_with_parent()
                self.commands.close()
                os.close(lifeline[1])
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                self._serve(mount, theirs, index, inboxes, lifeline[0])
            finally:
                os._exit(1)
        theirs.close()

    @staticmethod
    def _serve(mount, commands, index, inboxes, lifeline):
        inbox = inboxes[index][1]
        for other, (_, receiver) in enumerate(inboxes):
            if other != index:
                receiver.close()
        held = {}

        def fork(_):
            pid = os.fork()
            if pid == 0:
                commands.close()
                inbox.close()
                os.read(lifeline, 1)  # until the test ends, however it does
                os._exit(0)
            return pid

        def hold(words):
            kind, name, access, key = words
            if kind == "open":
                fd = os.open(mount / name, os.O_RDWR if access == "rw" else os.O_RDONLY)
            else:
                with Client(socket_of(mount)) as client:
                    fd = client.ask_fd(f"open {access} {name}")
            held[key] = ("fd", fd)

        def take_map(words):
            old, key = words
            held[key] = ("map", holders.map_fd(held[old][1]))

        def drop(words):
            kind, value = held.pop(words[0])
            os.close(value) if kind == "fd" else holders.unmap(value)

        def send(words):
            socket.send_fds(inboxes[words[1]][0], [b"x"], [held[words[0]][1]])

        def receive(words):
            held[words[0]] = ("fd", socket.recv_fds(inbox, 1, 1)[1][0])

        actions = {"fork": fork, "hold": hold, "map": take_map, "drop": drop, "send": send,
                   "receive": receive}  # fmt: skip
        while True:
            line = commands.recv(4096)
            if not line:
                return
            action, *words = json.loads(line)
            try:
                answer = actions[action](words)
            except Exception as error:  # pylint: disable=broad-except
                answer = f"{action} {words}: {error!r}"
            commands.send(json.dumps(answer).encode())

    def tell(self, *words):
        self.commands.send(json.dumps(words).encode())

    def answer(self):
        return json.loads(self.commands.recv(4096))


class Crowd:
    """Many processes that share few regions, and who holds what.

    Steps come in rounds: all of a round are done at the same time.  Only what nobody lets go of in
    the same round is opened in it, so that what must be is known at its end.
    """

    SIZE = 50
    REGIONS = 24
    PHASE = 12  # rounds of mostly taking, then of mostly letting go

    def __init__(self, mount, seed):
        self.mount = mount
        self.random = random.Random(seed)
        self.times = Times("gone after the last of many")
        inboxes = [socket.socketpair() for _ in range(self.SIZE)]
        self.lifeline = os.pipe()
        self.members = {i: Member(mount, i, inboxes, self.lifeline) for i in range(self.SIZE)}
        for sender, receiver in inboxes:
            receiver.close()
            sender.close()
        self.children = {}  # pid: names held
        self.held = {i: {} for i in self.members}  # key: (kind, name)
        self.mail = {i: [] for i in self.members}  # names in flight to it
        self.fresh = set()
        self.serial = 0
        self.steps = self.rounds = 0
        self.busy = set()  # whose mail is not to be touched any more in this round
        for number in range(self.REGIONS):
            self.make(f"r{number}")

    def make(self, name):
        self.mount.create(name, PAGE, "ephemeral")
        self.fresh.add(name)

    def key(self):
        self.serial += 1
        return str(self.serial)

    def references(self):
        """How many each region has."""
        names = [name for held in self.held.values() for _, name in held.values()]
        names += [name for mail in self.mail.values() for name in mail]
        names += [name for held in self.children.values() for name in held]
        return {f"r{n}": names.count(f"r{n}") for n in range(self.REGIONS)}

    def letting_go(self, member):
        """A step that lets go of something; how to make it, or None."""
        choice = self.random.random()
        keys = list(self.held[member])
        if choice < 0.02 and len(self.members) > self.SIZE // 2:
            # What it holds is not to be opened in this round.
            del self.held[member], self.mail[member]
            return lambda: self.kill(member)
        if choice < 0.3 and self.children:
            pid = self.random.choice(list(self.children))
            del self.children[pid]
            os.kill(pid, signal.SIGKILL)
        elif self.mail[member] and choice < 0.5:
            # Received and closed: two steps, of which the second comes in another round.
            key = self.key()
            self.members[member].tell("receive", key)
            self.held[member][key] = ("fd", self.mail[member].pop(0))
            return lambda: self.expect(member, None)
        elif keys:
            key = self.random.choice(keys)
            del self.held[member][key]
            self.members[member].tell("drop", key)
            return lambda: self.expect(member, None)
        return None

    def kill(self, member):
        os.kill(self.members[member].pid, signal.SIGKILL)
        self.bury(member)

    def bury(self, member):
        one = self.members.pop(member)
        os.waitpid(one.pid, 0)
        one.commands.close()

    def expect(self, member, wanted):
        answer = self.members[member].answer()
        assert answer == wanted, f"{answer}; {self.references()}, new: {self.fresh}"

    def taking(self, member, stable):
        """A step that holds more; how to end it, or None."""
        one, held = self.members[member], self.held[member]
        descriptors = [key for key, (kind, name) in held.items() if kind == "fd" and name in stable]
        action = self.random.choice(["hold", "hold", "map", "map", "send", "receive", "fork"])
        key = self.key()
        if action == "hold":
            name = self.random.choice(sorted(stable))
            kind, access = self.random.choice(["open", "ask"]), self.random.choice(["ro", "rw"])
            one.tell("hold", kind, name, access, key)
            held[key] = ("fd", name)
            self.fresh.discard(name)
        elif action == "map" and descriptors:
            old = self.random.choice(descriptors)
            one.tell("map", old, key)
            held[key] = ("map", held[old][1])
        elif action == "send" and descriptors:
            old, other = self.random.choice(descriptors), self.random.choice(list(self.members))
            if other in self.busy or len(self.mail[other]) > 2:
                return None
            self.busy.add(other)
            one.tell("send", old, other)
            self.mail[other].append(held[old][1])
        elif action == "receive" and self.mail[member] and member not in self.busy:
            one.tell("receive", key)
            held[key] = ("fd", self.mail[member].pop(0))
        elif action == "fork" and len(self.children) < 20:
            one.tell("fork")
            return lambda: self.forked(member)
        else:
            return None
        return lambda: self.expect(member, None)

    def forked(self, member):
        pid = self.members[member].answer()
        assert isinstance(pid, int), pid
        self.children[pid] = [name for _, name in self.held[member].values()]

    def round(self):
        members = self.random.sample(list(self.members), min(12, len(self.members)))
        share = 2 if self.rounds // self.PHASE % 2 == 0 else 9
        self.rounds += 1
        leaving = [m for m in members if self.random.randrange(10) < share]
        self.busy = set()
        endings = [self.letting_go(m) for m in leaving]
        stable = {n for n, count in self.references().items() if count} | self.fresh
        # The dying do not count, and those whom they would send to are none to send to.
        self.busy.update(leaving)
        if stable:
            endings += [self.taking(m, stable) for m in members if m not in leaving]
        for end in endings:
            if end:
                end()
                self.steps += 1

    def settle(self):
        """What nobody holds goes, and is made anew; all else is there."""
        for name, count in self.references().items():
            if count == 0 and name not in self.fresh:
                with self.times.one():
                    holders.wait_gone(self.mount / name)
                self.make(name)
        names = set(os.listdir(self.mount))
        assert names == set(self.references()), f"{names} of {self.references()}"

    def stop(self):
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for member in list(self.members):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.members[member].pid, signal.SIGKILL)
            self.bury(member)
        for end in self.lifeline:
            os.close(end)
        self.times.report()


def run_crowd(mount, seed, seconds, strike=None):
    print(f"seed {seed}")
    crowd = Crowd(mount, seed)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end or crowd.rounds < 4 * crowd.PHASE:
            crowd.round()
            if strike and crowd.rounds % 5 == 0:
                strike()
            crowd.settle()
        fresh = set(crowd.fresh)
    finally:
        crowd.stop()
    print(f"{crowd.rounds} rounds, {crowd.steps} steps")
    for name in crowd.references():
        if name not in fresh:
            holders.wait_gone(mount / name)
    assert set(os.listdir(mount)) == fresh
    wait_for(lambda: used(mount) == len(fresh) * PAGE, "the memory")


@pytest.mark.timeout(120)
def test_random_mixtures(mount):
    run_crowd(mount, random.randrange(1 << 32), 4)


@pytest.mark.timeout(120)
def test_random_mixtures_while_workers_die(mount):
    run_crowd(mount, random.randrange(1 << 32), 4, Daemon(mount).kill_worker)


# Orphans


@pytest.mark.parametrize(
    "door",
    [holders.by_writable_mapping, holders.by_mapping_from_socket, holders.in_flight_from_socket],
    ids=lambda door: door.__name__,
)
def test_removed_regions_count_while_they_are_held(mount, door):
    mount.create("x", 64 * PAGE)
    with door(mount, "x"):
        os.unlink(mount / "x")
        flush(mount)
        assert used(mount) == 64 * PAGE
        Daemon(mount).kill_worker()
        flush(mount)
        assert used(mount) == 64 * PAGE
    wait_for(lambda: used(mount) == 0, "the end of the orphan")


# Seals


def test_fixed_by_every_way(mount):
    mount.create("f", 2 * PAGE, "fixed")
    for size in (0, PAGE, 3 * PAGE):
        fails_with(errno.EPERM, os.truncate, mount / "f", size)
        text = error_text(mount, "resize", f"f {size}", errno.EPERM)
        assert text == "f: its size is fixed for life\n"
    fails_with(errno.EPERM, os.open, mount / "f", os.O_RDWR | os.O_TRUNC)
    fails_with(errno.EPERM, lambda: open(mount / "f", "wb"))
    with Client(socket_of(mount)) as client, client.opened("open rw f") as fd:
        with pytest.raises(Refused) as caught:
            client.ask("resize f 4k")
        assert caught.value.errno == errno.EPERM
        assert caught.value.strerror == "f: its size is fixed for life"
        for size in (0, PAGE, 3 * PAGE):
            fails_with(errno.EPERM, os.ftruncate, fd, size)
        # Who receives it can see that.
        wanted = F_SEAL_SHRINK | F_SEAL_GROW
        assert fcntl.fcntl(fd, F_GET_SEALS) & (wanted | F_SEAL_WRITE) == wanted
    with holders.by_writable_descriptor(mount, "f") as fd:
        fails_with(errno.EPERM, os.posix_fallocate, fd, 0, 3 * PAGE)
    assert os.stat(mount / "f").st_size == 2 * PAGE


WRITERS = [holders.by_writable_descriptor, holders.by_writable_mapping, holders.by_socket_to_write,
           holders.by_mapping_from_socket]  # fmt: skip


@pytest.mark.parametrize("door", WRITERS, ids=lambda door: door.__name__)
def test_no_write_seal_while_somebody_can_write(mount, door):
    mount.create("x", PAGE)
    with door(mount, "x"):
        text = error_text(mount, "seal", "x write", errno.EBUSY)
        assert text == "x: somebody has it open or mapped for writing\n"
        with holders.in_process(door, mount, "x"):
            error_text(mount, "seal", "x write", errno.EBUSY)
    # The last close is told to the daemon a moment later.
    def seal():
        try:
            mount.command("seal", "x write")
        except OSError as error:
            assert error.errno == errno.EBUSY
            return False
        return True

    wait_for(seal, "the seal")
    fails_with(errno.EPERM, os.open, mount / "x", os.O_RDWR)
    fails_with(errno.EPERM, os.open, mount / "x", os.O_WRONLY)
    with Client(socket_of(mount)) as client:
        with pytest.raises(Refused) as caught:
            client.ask("open rw x")
        assert caught.value.errno == errno.EPERM
    for way in (holders.by_descriptor, holders.by_socket):
        with way(mount, "x") as fd:
            fails_with(errno.EACCES, holders.map_fd, fd, mmap.PROT_READ | mmap.PROT_WRITE)
    assert (mount / "x").read_bytes() == bytes(PAGE)


def add_seal(path, line, seals):
    """What a user can do with a descriptor of the socket."""
    with Client(path) as client, client.opened(line) as fd:
        try:
            fcntl.fcntl(fd, F_ADD_SEALS, seals)
            return 0
        except OSError as error:
            return error.errno


@pytest.mark.parametrize("seal", [F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL])
def test_clients_add_no_seals(mount, seal):
    """Nobody, however it was opened."""
    mount.create("x", PAGE, "mode=0666")
    for access in ("ro", "rw"):
        result = as_user(NOBODY, add_seal, socket_of(mount), f"open {access} x", seal)
        assert result == errno.EPERM
    # Lent for writing to somebody else: it keeps its size.
    fails_with(errno.EPERM, os.truncate, mount / "x", 2 * PAGE)
    fails_with(errno.EPERM, os.truncate, mount / "x", 0)
    listed = json.loads((mount.ctl / "regions.json").read_text())["regions"]
    assert [r["seals"] for r in listed] == [["shrink", "grow"]]
    text = as_user(NOBODY, error_text, mount, "seal", "x shrink", errno.EPERM)
    assert text == "x: only its owner may seal it\n"


# Defaults of a tree


def test_programs_that_know_nothing(mount):
    """Everything they make below goes with them."""
    (mount / "d/inner").mkdir(parents=True)
    (mount / "d/keep").mkdir()
    fd = os.open(mount / "d/.ctl/default", os.O_WRONLY)
    os.write(fd, b"ephemeral\n")
    os.close(fd)
    fd = os.open(mount / "d/keep/.ctl/default", os.O_WRONLY)
    os.write(fd, b"mode=0640\n")
    os.close(fd)
    names = ["d/a", "d/inner/a", "d/keep/a", "a"]

    @contextlib.contextmanager
    def program():
        with contextlib.ExitStack() as stack:
            for name in names:
                stack.enter_context(open(mount / name, "wb")).write(b"content")
            yield

    with holders.in_process(program):
        flush(mount)
        assert all((mount / name).exists() for name in names)
        assert [flags(mount, name) for name in names] == [["ephemeral"], ["ephemeral"], [], []]
    for name in names[:2]:
        holders.wait_gone(mount / name)
    assert all((mount / name).exists() for name in names[2:])
    assert os.stat(mount / "d/keep/a").st_mode & 0o777 == 0o640
