# SPDX-License-Identifier: MIT
"""Control files and listings: whose will is done, who is told what, and what it costs the others."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys

import pytest

import support
from beside import ATTACKER, VICTIM
from region_name import name_of
from socket_client import Client, Refused, socket_of

pytestmark = pytest.mark.environment(IOMEMFS_TESTING="1")

DEPTH, LINKS = 200, 1000
COMMANDS = {
    "create": b"planted 4096\n",
    "resize": b"secret 8192\n",
    "seal": b"secret write\n",
    "remove": b"secret\n",
    "default": b"mode=0666\n",
}
# What everybody is told of the mount as a whole; sizes and inodes are what df shows, too.
COMMON = {
    "build_info", "passthrough", "size_bytes", "used_bytes", "overcommitted_bytes", "inodes",
    "inodes_max", "own_ctl_handles", "restarts_total",
}  # fmt: skip


@contextlib.contextmanager
def opened_as(user, path, flags=os.O_RDONLY):
    """A descriptor that a user has opened, in our hands."""
    os.setegid(user[1])
    os.seteuid(user[0])
    try:
        fd = os.open(path, flags)
    finally:
        os.seteuid(0)
        os.setegid(0)
    try:
        yield fd
    finally:
        os.close(fd)


def read_all(fd):
    text = b""
    while piece := os.read(fd, 65536):
        text += piece
    return text


def names_in(text):
    return {region["name"] for region in json.loads(text)["regions"]}


def without_power(script, *arguments):
    """Runs Python as user 0 without any capability."""
    argv = ["capsh", "--drop=all", "--inh=", "--", "-c", 'exec "$0" "$@"']
    return support.run([*argv, sys.executable, "-B", "-c", script, *arguments])


# --- somebody else's will -----------------------------------------------------------------------


@pytest.fixture
def secret(mount):
    """A region that only root may change, in a directory that only root may list."""
    mount.path.chmod(0o1777)
    (mount / "hidden").mkdir(mode=0o700)
    mount.create("hidden/secret", 4096)
    return mount / "hidden/secret"


@pytest.mark.parametrize("file", COMMANDS)
def test_a_write_by_another_user_does_nothing(mount, secret, file):
    before = os.stat(secret)
    secret.parent.chmod(0o711)  # so that the attacker can open what is in there
    with opened_as(ATTACKER, secret.parent / ".ctl" / file, os.O_WRONLY) as fd:
        support.fails_with(1, os.write, fd, COMMANDS[file])
        # Nor does it matter through which user or group the writer differs.
        os.setegid(ATTACKER[1])
        try:
            support.fails_with(1, os.write, fd, COMMANDS[file])
        finally:
            os.setegid(0)
    assert os.listdir(secret.parent) == ["secret"]
    assert os.stat(secret).st_size == before.st_size
    assert (secret.parent / ".ctl/default").read_text() == "none\n"


def test_a_set_user_id_program_does_nothing(mount, secret):
    """su(1) names itself in its error message, on a descriptor of the attacker's."""
    secret.parent.chmod(0o711)
    script = '(exec -a "$1" su -Z) 2>>"$2"'
    result = support.run(
        ["bash", "-c", script, "bash", "secret\nx", secret.parent / ".ctl/remove"], user=ATTACKER
    )
    assert result.returncode != 0
    assert secret.exists()
    # The trap works where nothing is in its way: the same program, the same words.
    support.run(["bash", "-c", script, "bash", "secret\nx", mount.home / "said"])
    assert (mount.home / "said").read_text().startswith("secret\nx: ")


def test_a_writer_of_the_same_user_has_the_rights_of_the_opener(mount, secret):
    """Groups are those of the opening, whoever writes."""
    os.chown(secret.parent, 0, 4242)
    secret.parent.chmod(0o770)
    path = mount / ".ctl/create"

    def opens_and_drops():
        fd = os.open(path, os.O_WRONLY)
        code = f"import os; os.write({fd}, b'hidden/a 4096\\n')"
        argv = ["setpriv", "--clear-groups", sys.executable, "-c", code]
        os.set_inheritable(fd, True)
        try:
            return subprocess.run(argv, pass_fds=[fd], check=False).returncode
        finally:
            os.close(fd)

    # setpriv needs the right to change groups: the opener is root without its power over files.
    result = without_power(
        "import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY); os.write(fd, b'hidden/b 4096\\n')",
        path,
    )
    assert result.returncode == 0, result.stderr
    assert opens_and_drops() == 0
    assert sorted(os.listdir(secret.parent)) == ["a", "b", "secret"]


def test_what_is_read_is_what_the_opener_may_see(mount, secret):
    mount.create("open", 4096)
    for name in ("regions", "regions.json", "stats"):
        with opened_as(ATTACKER, mount.ctl / name) as fd:
            text = read_all(fd)
        assert b"secret" not in text
        assert (b"open" in text) == (name != "stats")
        assert b"_pid{" not in text
        # The other way round: what root opened for somebody is root's.
        with open(mount.ctl / name, "rb", buffering=0) as stream:
            text = support.as_user(ATTACKER, read_all, stream.fileno())
        assert b"secret" in text or b"_pid{" in text
    with opened_as(ATTACKER, mount.ctl / "events") as fd:
        os.truncate(secret, 8192)
        mount.create("last", 4096)
        text = b""
        while b" last " not in text:
            text += os.read(fd, 65536)
        assert b"secret" not in text and text.startswith(b"1 create last ")


def test_defaults_of_a_stranger(beside):
    """They take rights away, and hold in the directories of who set them."""
    folder = beside.attackers
    os.chmod(folder, 0o755)
    with opened_as(ATTACKER, folder / ".ctl/default", os.O_WRONLY) as fd:
        os.seteuid(ATTACKER[0])
        try:
            with pytest.raises(PermissionError):
                os.write(fd, b"mode=0666\n")  # of another group
        finally:
            os.seteuid(0)

    def set_default():
        fd = os.open(folder / ".ctl/default", os.O_WRONLY)
        os.write(fd, b"mode=0666\n")
        os.close(fd)

    support.as_user(ATTACKER, set_default)
    old = os.umask(0)
    try:
        os.close(os.open(folder / "root's", os.O_CREAT | os.O_RDWR, 0o600))
        assert os.stat(folder / "root's").st_mode & 0o7777 == 0o600
        os.mkdir(folder / "sub", 0o755)
        os.close(os.open(folder / "sub/file", os.O_CREAT | os.O_RDWR, 0o644))
        assert os.stat(folder / "sub/file").st_mode & 0o7777 == 0o644
        assert (folder / "sub/.ctl/default").read_text() == "none\n"
        os.mkdir(folder / "own", 0o755)
        os.chown(folder / "own", *ATTACKER)
        assert (folder / "own/.ctl/default").read_text() == "mode=0666\n"
    finally:
        os.umask(old)


# --- who is told what ---------------------------------------------------------------------------


def test_user_0_without_capabilities(mount, secret):
    script = """if True:
        import os, sys
        ctl = sys.argv[1]
        try:
            os.open(ctl + "/admin", os.O_WRONLY)
            print("admin")
        except PermissionError:
            pass
        for name in ("regions", "stats"):
            print(open(f"{ctl}/{name}").read())
        fd = os.open(ctl + "/events", os.O_RDONLY)
        os.write(os.open(ctl + "/create", os.O_WRONLY), b"seen 4096\\n")
        print(os.read(fd, 65536).decode())
    """
    os.chown(secret.parent, *VICTIM)
    with open(mount.ctl / "events", "rb", buffering=0) as events:
        os.truncate(secret, 8192)
        result = without_power(script, mount.ctl)
        told = os.read(events.fileno(), 65536)
    assert result.returncode == 0, result.stderr
    assert "admin" not in result.stdout and "secret" not in result.stdout
    assert "_pid{" not in result.stdout and " create seen " in result.stdout
    assert b" resize hidden/secret " in told


def test_stats_are_of_what_everybody_sees(mount):
    def found():
        text = (mount.ctl / "stats").read_text()
        lines = [line for line in text.splitlines() if line[0] != "#"]
        return {line.removeprefix("iomemfs_").partition(" ")[0].partition("{")[0] for line in lines}

    assert support.as_user(ATTACKER, found) == COMMON
    assert found() > COMMON


def test_events_number_what_is_told(mount, secret):
    """A gap in the numbers would tell that something happened."""
    del secret
    with opened_as(ATTACKER, mount.ctl / "events") as fd:
        for number in range(5):
            mount.create(f"hidden/h{number}", 4096)
            mount.create(f"seen{number}", 4096)
        lines = []
        while len(lines) < 5:
            lines += os.read(fd, 65536).decode().splitlines()
    assert [line.split()[:3] for line in lines] == [
        [str(number + 1), "create", f"seen{number}"] for number in range(5)
    ]


def test_names_of_a_region_that_moved(mount, secret):
    """A name in a directory that one may not list is not told, whatever becomes of it later."""
    with opened_as(ATTACKER, mount.ctl / "events") as fd:
        os.rename(secret, mount / "public")
        os.rename(mount / "public", secret)
        mount.create("last", 4096)
        text = b""
        while b" last " not in text:
            text += os.read(fd, 65536)
    assert b"secret" not in text and b" rename public" in text


def ask_all(client):
    """What each request of a read-only mount's socket comes to: an errno or None."""
    outcomes = {}
    for line in ("create n 4096", "resize r 8192", "seal r write", "remove r", "open rw r",
                 "open ro r", "list", "stat r"):  # fmt: skip
        try:
            client.ask(line)
            outcomes[line] = None
        except Refused as refused:
            outcomes[line] = refused.errno
    return outcomes


def test_a_read_only_mount_is_not_changed_by_the_socket(mount):
    mount.create("r", 4096)

    def remount(word):
        result = support.run([support.program(), "none", mount, "-o", f"remount,{word}"])
        assert result.returncode == 0, result.stderr

    erofs = 30
    for _ in range(2):
        remount("ro")
        remount("ro")
        with Client(mount.home / "socket") as client:
            outcomes = ask_all(client)
        assert {line for line, code in outcomes.items() if code is None} == {
            "open ro r", "list", "stat r"}  # fmt: skip
        assert {code for code in outcomes.values() if code} == {erofs}
        assert os.listdir(mount) == ["r"] and os.stat(mount / "r").st_size == 4096
        remount("rw")
        with Client(mount.home / "socket") as client:
            client.ask("create n 4096")
            client.ask("remove n")


@pytest.mark.options("ro")
def test_a_mount_that_is_read_only_from_the_start(mount):
    with Client(mount.home / "socket") as client:
        with pytest.raises(Refused, match="read-only"):
            client.ask("create n 4096")
        assert client.list() == []


@pytest.mark.options("ctl=control")
def test_control_files_by_another_name(mount):
    """What is copied into the mount cannot bring commands along that its copier does not expect."""
    evil = mount.home / "evil/.ctl"
    evil.mkdir(parents=True)
    (mount / "kept").write_bytes(b"kept")
    (evil / "remove").write_text("kept\n")
    support.run(["cp", "-r", f"{evil.parent}/.", f"{mount}/"], check=True)
    assert (mount / "kept").read_bytes() == b"kept"
    assert (mount / ".ctl/remove").read_text() == "kept\n"
    assert (mount / "control/socket").is_symlink()
    assert sorted(os.listdir(mount)) == [".ctl", "kept"]
    with Client(os.readlink(mount / "control/socket")) as client:
        client.ask("remove .ctl/remove")
        with pytest.raises(Refused):
            client.ask("create control 4096")


@pytest.mark.options("ctl=off")
def test_no_control_files(mount):
    assert not (mount / ".ctl").exists()
    (mount / ".ctl").mkdir()
    (mount / ".ctl/remove").write_text("kept\n")
    (mount / "admin").symlink_to("/dev/null")
    result = support.run([support.program(), "none", mount, "-o", "remount,size=1m,ctl=off"])
    assert result.returncode != 0 and "ctl=off" in result.stderr
    with Client(mount.home / "socket") as client:
        assert [region["name"] for region in client.list()] == [".ctl/remove"]


NAMES = [b"\xff", b"\\377", b"caf\xc3\xa9", b"c1\xc2\x9b31m", b"\xe2\x80\xaegnp.exe", b"\xed\xa0\x80"]
UNSAFE = ("\x9b", "\u202e", "\ufffd", "\udcff")


def test_names_that_are_no_text(mount):
    for name in NAMES:
        fd = os.open(os.fsencode(mount.path) + b"/" + name, os.O_CREAT | os.O_RDWR)
        os.close(fd)
    text = (mount.ctl / "regions.json").read_bytes().decode("utf-8")  # strict
    assert {name_of(r) for r in json.loads(text)["regions"]} == set(NAMES)
    with Client(socket_of(mount)) as client:
        client.send("list")
        answer = client.receive()
        assert answer.startswith("ok ")
        answer.encode("utf-8")  # strict: the client lets other bytes through as surrogates
        assert {name_of(r) for r in json.loads(answer[3:])["regions"]} == set(NAMES)
    table = (mount.ctl / "regions").read_bytes().decode("utf-8")
    assert not any(c in table for c in UNSAFE)
    for line in table.splitlines()[1:]:
        mount.command("remove", line.split()[0])
    assert os.listdir(mount) == []


def test_iomem_shows_names_that_are_no_text(mount):
    iomem = support.build_dir() / "src/cli/iomem"
    for name in NAMES:
        fd = os.open(os.fsencode(mount.path) + b"/" + name, os.O_CREAT | os.O_RDWR)
        os.close(fd)
    environment = dict(os.environ, LC_ALL="C.UTF-8")

    def output(*words):
        argv = [iomem, "ls", *words, str(mount)]
        return subprocess.run(argv, env=environment, capture_output=True, check=True).stdout

    regions = json.loads(output("-J", "-o", "NAME,NAME_ESCAPED").decode("utf-8"))["regions"]
    assert {name_of(r) for r in regions} == set(NAMES)
    assert {r["name"] for r in regions if r.get("name_escaped") == "\\377"} == {"\ufffd"}
    argv = [iomem, "events", "-J", str(mount)]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as events:
        support.wait_for(lambda: mount.stats()["iomemfs_ctl_handles"] > 1, "a reader of events")
        for name in NAMES:
            os.unlink(os.fsencode(mount.path) + b"/" + name)
        told = [json.loads(events.stdout.readline().decode("utf-8")) for _ in NAMES]
        events.kill()
    assert [name_of(event) for event in told if event["event"] == "remove"] == NAMES
    for name in NAMES:
        os.close(os.open(os.fsencode(mount.path) + b"/" + name, os.O_CREAT | os.O_RDWR))
    for words in ((), ("-r",)):
        table = output(*words).decode("utf-8", "surrogateescape")
        assert not any(c in table for c in ("\x9b", "\u202e")), table


# --- what it costs the others -------------------------------------------------------------------


def make_deep(folder, depth=DEPTH, links=LINKS):
    """Nested directories, and in the innermost one many names of one region."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("0", os.O_CREAT | os.O_RDWR, 0o644, dir_fd=fd))
    for number in range(1, links):
        os.link("0", str(number), src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)


def read_listings(hit, path):
    while True:
        with open(path, "rb", buffering=0) as stream:
            while stream.read(65536):
                hit()


def ask_lists(hit, path, connections):
    """Asks on many connections at once, and reads what comes."""
    clients = [socket.socket(socket.AF_UNIX) for _ in range(connections)]
    poll = select.poll()
    for client in clients:
        client.connect(path)
        poll.register(client, select.POLLIN)
        client.sendall(b"list attacker\n")
    by_fd = {client.fileno(): client for client in clients}
    while True:
        for fd, _ in poll.poll():
            data = by_fd[fd].recv(65536)
            assert data
            if data.endswith(b"\n"):
                hit()
                by_fd[fd].sendall(b"list attacker\n")


def open_half(hit, path, count):
    """Reads the beginning of many listings, and keeps them."""
    for _ in range(count):
        fd = os.open(path, os.O_RDONLY)
        assert len(os.read(fd, 5000)) > 0
        hit()
    signal.pause()


def memory_of(mount):
    """Bytes of the worker that nobody else has, and of its records."""
    pid = support.worker_pid(mount)
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        fields = dict(line.split(":", 1) for line in stream)
    return 1024 * (int(fields["RssAnon"].split()[0]) + int(fields["RssShmem"].split()[0]))


def test_deep_listings_beside_others(beside):
    support.as_user(ATTACKER, make_deep, beside.attackers)
    path = beside.attackers / ".ctl/regions.json"
    with beside.attack(read_listings, path, processes=2):
        beside.wait_hits(20)
        beside.serve(hits=50)
    # A turn goes beyond its 256 records by no more than the way down to where it was.
    assert beside.mount.stats()["iomemfs_test_turn_records_max"] <= 256 + DEPTH + 32


def test_lists_of_many_connections_beside_others(beside):
    support.as_user(ATTACKER, make_deep, beside.attackers, 20)
    beside.attackers.chmod(0o755)
    with beside.attack(ask_lists, beside.socket_path, 60):
        beside.wait_hits(60)
        beside.serve(hits=60)


def test_half_read_listings_hold_little(beside):
    support.as_user(ATTACKER, make_deep, beside.attackers)
    count = 300
    path = beside.attackers / ".ctl/regions.json"
    before = memory_of(beside.mount)
    with beside.attack(open_half, path, count):
        beside.wait_hits(count)
        held = memory_of(beside.mount) - before
        beside.serve(hits=0)
    print(f"{held / count:.0f} bytes for each of {count} listings that are read half")
    # A level for each directory, one region's line, and the handle itself.
    assert held / count < 32 * 1024


@pytest.mark.log_allows("killed by signal 9")
def test_a_listing_goes_on_after_a_death(beside):
    support.as_user(ATTACKER, make_deep, beside.attackers, 20)
    expected = {"d/" * 20 + str(number) for number in range(LINKS)}
    with open(beside.attackers / ".ctl/regions.json", "rb", buffering=0) as stream:
        text = b""
        while piece := stream.read(len(text) // 2 + 100):
            text += piece
            beside.daemon.kill_worker()
            beside.restarts += 1
    found = [region["name"] for region in json.loads(text)["regions"]]
    assert len(found) == len(set(found)) and set(found) == expected
    with Client(beside.socket_path) as client:
        client.send("list attacker")
        while b"\n" not in client.buffer:
            client.buffer += client.socket.recv(30000)
            if b"\n" not in client.buffer:
                beside.daemon.kill_worker()
                beside.restarts += 1
        found = [region["name"] for region in json.loads(client.receive()[3:])["regions"]]
    assert len(found) == len(set(found)) and set(found) == expected
    support.wait_for(
        lambda: beside.mount.stats()["iomemfs_restarts_total"] == beside.restarts, "all restarts"
    )


def test_names_change_while_they_are_listed(beside):
    """A region that is there all along is listed once, whatever else comes and goes."""
    folder = beside.attackers

    def make():
        make_deep(folder, 3, 400)

    def churn(hit):
        number = 0
        while True:
            number += 1
            os.mkdir(f"{folder}/m{number}")
            with open(f"{folder}/m{number}/f", "wb"):
                pass
            os.rename(f"{folder}/m{number}", f"{folder}/d/m{number}")
            os.unlink(f"{folder}/d/m{number}/f")
            os.rmdir(f"{folder}/d/m{number}")
            hit()

    support.as_user(ATTACKER, make)
    expected = {"d/d/d/" + str(number) for number in range(400)}
    with beside.attack(churn):
        for _ in range(20):
            beside.wait_hits(1)
            with open(folder / ".ctl/regions.json", "rb", buffering=0) as stream:
                text = b"".join(iter(lambda: stream.read(1000), b""))
            found = [region["name"] for region in json.loads(text)["regions"]]
            stay = [name for name in found if name in expected]
            assert len(stay) == len(expected) and set(stay) == expected


def take_all(hit, path):
    """As many handles as there are to be had."""
    while True:
        try:
            os.open(path, os.O_RDONLY)
        except OSError as error:
            assert error.errno == 23, error  # ENFILE
            break
        hit()
    signal.pause()


def test_handles_are_shared(beside):
    """A quarter of what is left, for each: 9,830 of 49,152 for the first user who takes all."""
    with beside.attack(take_all, beside.attackers / ".ctl/events"):
        support.wait_for(lambda: beside.hits() >= 9830, "the share of the attacker")
        beside.serve(hits=0)
        assert beside.hits() == 9830
        assert beside.mount.stats()["iomemfs_ctl_handles"] >= 9830


def wait_for_events(hit, path, count):
    """Polls many events files, and reads what they have."""
    poll = select.epoll()
    for _ in range(count):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        poll.register(fd, select.EPOLLIN)
        hit()
    while True:
        for fd, _ in poll.poll():
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 65536)
            hit()


def test_those_who_wait_elsewhere_cost_nothing(beside):
    count = 8000
    with beside.attack(wait_for_events, beside.attackers / ".ctl/events", count):
        beside.wait_hits(count)
        before = beside.mount.stats()
        beside.serve(hits=0)
        after = beside.mount.stats()
    looked = after["iomemfs_test_waiters_total"] - before["iomemfs_test_waiters_total"]
    assert looked == 0, f"{looked} of those who wait for something else were looked at"


def test_those_who_may_not_know_cost_a_look_in_later_turns(beside):
    count = 4000
    with beside.attack(wait_for_events, beside.mount / ".ctl/events", count):
        beside.wait_hits(count)
        beside.serve(hits=0)
        stats = beside.mount.stats()
    assert stats["iomemfs_test_waiters_total"] > 0
    assert stats["iomemfs_test_turn_records_max"] <= 256 + 32


def test_all_who_wait_are_told(beside):
    """A few in each turn, and in the end all."""
    count = 2000
    beside.attackers.chmod(0o755)
    with beside.attack(wait_for_events, beside.attackers / ".ctl/events", count):
        beside.wait_hits(count)
        for number, line in enumerate(("create", "remove"), 1):
            beside.mount.command(line, "attacker/told 4096" if line == "create" else "attacker/told")
            support.wait_for(lambda n=number: beside.hits() >= count * (1 + n), "all to be told")
        beside.serve(hits=0)
