# SPDX-License-Identifier: MIT
"""The volume driver: what Docker and podman say to it, and what nobody should."""

import contextlib
import errno
import json
import os
import random
import re
import signal
import socket
import stat
import subprocess

import pytest

import support

PAGE = 4096
MIB = 1 << 20
PROGRAM = support.build_dir() / "src/volumed/iomemfs-volumed"
MANUAL = support.tests_dir().parent / "src/volumed/iomemfs-volumed.8"

# As podman 4.3.1 and Docker 20.10 write them.
PODMAN = "POST {path} HTTP/1.1\r\nHost: plugin\r\nUser-Agent: Go-http-client/1.1\r\n" \
    "Content-Length: {length}\r\nContent-Type: application/vnd.docker.plugins.v1.1+json\r\n" \
    "Accept-Encoding: gzip\r\n\r\n{body}"  # fmt: skip
DOCKER = "POST {path} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n" \
    "Content-Length: {length}\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n{body}"  # fmt: skip


def exchange(path, request, limit=support.LIMIT):
    """Sends the bytes; (status, body as bytes) of the answer, or None if the connection ends."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(limit)
        one.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(request)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while b"\r\n\r\n" not in data:
                piece = one.recv(65536)
                if not piece:
                    return None
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
            while len(body) < length:
                body += one.recv(65536)
            return int(head.split()[1]), body
    return None


class Driver:
    """The program, for one mount; it may be killed and started again."""

    def __init__(self, mount):
        self.home = support.scratch_directory()
        self.mount = mount
        self.socket = self.home / "sock"
        self.state = self.home / "state"
        self.views = self.home / "views"
        self.start()

    def start(self, *options, **keywords):
        argv = [PROGRAM, "-m", self.mount, "-s", self.socket, "-d", self.state, "-w", self.views]
        self.log = open(self.home / "log", "ab")
        self.process = subprocess.Popen([*argv, *options], stderr=self.log, **keywords)
        support.wait_for(self.is_ready, "the driver")

    def is_ready(self):
        assert self.process.poll() is None, (self.home / "log").read_text()
        try:
            return exchange(self.socket, PODMAN.format(path="/Plugin.Activate", length=0, body="").encode())
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        status = self.process.wait(support.LIMIT)
        self.log.close()
        return status

    def raw(self, call, body, form=PODMAN):
        text = form.format(path=f"/VolumeDriver.{call}", length=len(body), body=body)
        status, answer = exchange(self.socket, text.encode())
        return status, json.loads(answer)

    def ask(self, call, **members):
        status, answer = self.raw(call, json.dumps(members))
        assert status == 200 and answer.get("Err", "") == "", answer
        return answer

    def refused(self, call, **members):
        status, answer = self.raw(call, json.dumps(members))
        assert status == 500 and list(answer) == ["Err"], (status, answer)
        return answer["Err"]

    def folder(self, name):
        return self.mount / "volumes" / name

    def end(self):
        if self.process.poll() is None:
            assert self.kill(signal.SIGTERM) == 0
        text = (self.home / "log").read_text()
        for path in self.views.glob("*"):
            support.run(["umount", "-l", path])
        support.run(["rm", "-r", self.home], check=True)
        assert "ERROR" not in text and "runtime error" not in text, text


@pytest.fixture
def driver(mount):
    one = Driver(mount)
    yield one
    one.end()


@contextlib.contextmanager
def shown(path):
    """A bind mount of the volume in a namespace of its own, as a container has it."""
    script = f"mount --bind {path} /mnt && echo && exec cat"
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"\n"
        yield process.pid
        process.stdin.close()
        process.wait()


# --- what the runtimes say ----------------------------------------------------------------------

RECORDED = [
    # podman: volume create --opt size=1m v; run; volume rm
    (PODMAN, "/Plugin.Activate", "", {"Implements": ["VolumeDriver"]}),
    (PODMAN, "/VolumeDriver.Get", '{"Name":"v"}', 500),
    (PODMAN, "/VolumeDriver.Create", '{"Name":"v","Opts":{"size":"1m"}}', {"Err": ""}),
    (PODMAN, "/VolumeDriver.List", "", {"Volumes": [{"Name": "v"}], "Err": ""}),
    (PODMAN, "/VolumeDriver.Path", '{"Name":"v"}', {"Mountpoint": "/volumes/v", "Err": ""}),
    (PODMAN, "/VolumeDriver.Mount", '{"Name":"v","ID":"ff"}', {"Mountpoint": "/volumes/v", "Err": ""}),
    (PODMAN, "/VolumeDriver.Get", '{"Name":"v"}', {"Volume": {"Name": "v"}, "Err": ""}),
    (PODMAN, "/VolumeDriver.Unmount", '{"Name":"v","ID":"ff"}', {"Err": ""}),
    (PODMAN, "/VolumeDriver.Remove", '{"Name":"v"}', {"Err": ""}),
    (PODMAN, "/VolumeDriver.List", "", {"Volumes": [], "Err": ""}),
    # Docker: an anonymous volume; run mounts it twice
    (DOCKER, "/Plugin.Activate", "", {"Implements": ["VolumeDriver"]}),
    (DOCKER, "/VolumeDriver.Capabilities", "{}\n", {"Capabilities": {"Scope": "local"}}),
    (DOCKER, "/VolumeDriver.Get", '{"Name":"w"}\n', 500),
    (DOCKER, "/VolumeDriver.Create", '{"Name":"w","Opts":null}\n', {"Err": ""}),
    (DOCKER, "/VolumeDriver.List", "{}\n", {"Volumes": [{"Name": "w"}], "Err": ""}),
    (DOCKER, "/VolumeDriver.Mount", '{"Name":"w","ID":"a"}\n', {"Mountpoint": "/volumes/w", "Err": ""}),
    (DOCKER, "/VolumeDriver.Unmount", '{"Name":"w","ID":"a"}\n', {"Err": ""}),
    (DOCKER, "/VolumeDriver.Mount", '{"Name":"w","ID":"b"}\n', {"Mountpoint": "/volumes/w", "Err": ""}),
    (DOCKER, "/VolumeDriver.Unmount", '{"Name":"w","ID":"b"}\n', {"Err": ""}),
    (DOCKER, "/VolumeDriver.Remove", '{"Name":"w"}\n', {"Err": ""}),
    (DOCKER, "/VolumeDriver.List", "null", {"Volumes": [], "Err": ""}),
]  # fmt: skip


def matches(answer, expected, mount):
    if isinstance(expected, dict):
        return all(k in answer and matches(answer[k], v, mount) for k, v in expected.items())
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(
            matches(a, e, mount) for a, e in zip(answer, expected)
        )
    if isinstance(expected, str) and expected.startswith("/volumes/"):
        return answer == f"{mount}{expected}"
    return answer == expected


def test_recorded_exchanges(driver):
    for form, path, body, expected in RECORDED:
        text = form.format(path=path, length=len(body), body=body).encode()
        status, answer = exchange(driver.socket, text)
        answer = json.loads(answer)
        if expected == 500:
            assert status == 500 and answer["Err"] == f"no such volume: {body[9]}"
        else:
            assert status == 200 and matches(answer, expected, driver.mount), (path, answer)


def test_many_requests_by_one_connection(driver):
    text = PODMAN.format(path="/VolumeDriver.List", length=0, body="").encode()
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(support.LIMIT)
        one.connect(str(driver.socket))
        for _ in range(200):
            one.sendall(text)
            data = b""
            while not data.endswith(b"}"):
                data += one.recv(4096)
            assert b'"Volumes":[]' in data


# --- volumes ------------------------------------------------------------------------------------


@pytest.mark.options("size=16m")
def test_options_of_a_volume(driver):
    opts = {"size": "1m", "nr_inodes": "10", "mode": "2750", "uid": "1", "gid": "2",
            "default": "ephemeral,mode=0640"}  # fmt: skip
    driver.ask("Create", Name="v", Opts=opts)
    folder = driver.folder("v")
    st = os.stat(folder)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1, 2, 0o2750)
    vfs = os.statvfs(folder)
    assert (vfs.f_blocks * vfs.f_frsize, vfs.f_files) == (MIB, 10)
    assert (folder / ".ctl/default").read_text().split() == ["mode=0640", "ephemeral"]
    # It is reserved, and kept inside.
    assert driver.mount.stats()["iomemfs_used_bytes"] == MIB
    with pytest.raises(OSError) as caught:
        (folder / "large").write_bytes(bytes(2 * MIB))
    assert caught.value.errno == errno.ENOSPC
    assert os.statvfs(driver.mount).f_bavail * PAGE == 15 * MIB
    driver.ask("Remove", Name="v")
    assert driver.mount.stats()["iomemfs_used_bytes"] == 0
    assert stat.S_IMODE(os.stat(driver.mount / "volumes").st_mode) == 0o711
    driver.ask("Create", Name="plain")
    assert stat.S_IMODE(os.stat(driver.folder("plain")).st_mode) == 0o1777


@pytest.mark.options("size=16m")
@pytest.mark.parametrize(
    "name,value",
    [("size", "much"), ("size", "-1"), ("size", "17m"), ("nr_inodes", "x"), ("mode", "999"),
     ("mode", "17777"), ("uid", "root"), ("uid", "-1"), ("uid", "4294967295"), ("ro", "maybe"),
     ("default", "everything"), ("default", "a b"), ("size", "1m nr_inodes=5"), ("size", "1m\n"),
     ("Size", "1m"), ("o", "x"), ("device", "tmpfs"), ("size", "\\"), ("size", "")],
)  # fmt: skip
def test_wrong_options(driver, name, value):
    text = driver.refused("Create", Name="v", Opts={name: value})
    assert text
    assert os.listdir(driver.mount / "volumes") == [] or name not in ("size", "default")
    assert driver.refused("Get", Name="v") == "no such volume: v"
    assert os.listdir(driver.state) == []
    # Nothing is left of it.
    driver.ask("Create", Name="v")
    assert driver.mount.stats()["iomemfs_used_bytes"] == 0


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".ctl", "a/b", "../x", "/etc", "a\nb", "a b", "ä", "-x", "n" * 201, ".removed-x",
     "a\0b"],
)  # fmt: skip
def test_names_that_are_none(driver, name):
    driver.refused("Create", Name=name)
    for call in ("Mount", "Unmount", "Remove", "Get", "Path"):
        driver.refused(call, Name=name, ID="i")
    assert not (driver.mount / "volumes").exists() or os.listdir(driver.mount / "volumes") == []


def test_all_is_idempotent(driver):
    for _ in range(3):
        driver.ask("Create", Name="v", Opts={"size": "1m"})
    assert "other options" in driver.refused("Create", Name="v", Opts={"size": "2m"})
    assert "other options" in driver.refused("Create", Name="v")
    (driver.folder("v") / "file").write_text("kept")
    for _ in range(3):
        driver.ask("Mount", Name="v", ID="one")
        driver.ask("Mount", Name="v", ID="two")
    for _ in range(3):
        driver.ask("Unmount", Name="v", ID="two")
        driver.ask("Unmount", Name="v", ID="never mounted")
    assert list(json.loads((driver.state / "v.json").read_text())["ids"]) == ["one"]
    assert (driver.folder("v") / "file").read_text() == "kept"
    driver.refused("Mount", Name="v")
    driver.refused("Mount", Name="v", ID="")
    driver.refused("Mount", Name="v", ID="i" * 257)


def test_removal(driver):
    driver.ask("Create", Name="v")
    driver.ask("Create", Name="v2")
    driver.ask("Mount", Name="v", ID="of somebody whom the runtime has forgotten")
    folder = driver.folder("v")
    # A tree that is deeper than a path can be, with a link that leads out.
    (driver.mount / "precious").write_text("of others")
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("d" * 100, dir_fd=fd)
        os.symlink(driver.mount / "precious", "link", dir_fd=fd)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    with shown(folder):
        assert driver.refused("Remove", Name="v") == "v is in use"
        driver.ask("Remove", Name="v2")  # whose name only begins the same
    with shown(folder / ("d" * 100)):
        assert driver.refused("Remove", Name="v") == "v is in use"
    driver.ask("Remove", Name="v")
    assert os.listdir(driver.mount / "volumes") == []
    assert (driver.mount / "precious").read_text() == "of others"
    assert os.listdir(driver.state) == []
    driver.refused("Remove", Name="v")


def test_read_only(driver):
    driver.ask("Create", Name="v", Opts={"ro": "true", "mode": "777"})
    view = driver.views / "v"
    (driver.folder("v") / "file").write_text("of the host")
    for name in ("one", "two"):
        assert driver.ask("Mount", Name="v", ID=name)["Mountpoint"] == str(view)
    assert (view / "file").read_text() == "of the host"
    support.fails_with(errno.EROFS, os.unlink, view / "file")
    support.fails_with(errno.EROFS, os.open, view / ".ctl/remove", os.O_WRONLY)
    driver.ask("Unmount", Name="v", ID="one")
    assert view.exists()
    driver.kill()
    driver.start()
    assert (view / "file").read_text() == "of the host"
    driver.ask("Unmount", Name="v", ID="two")
    assert not view.exists()
    driver.ask("Remove", Name="v")


# --- deaths -------------------------------------------------------------------------------------


def test_volumes_are_made_again(driver, mounts, mode):
    driver.ask("Create", Name="a", Opts={"size": "1m", "mode": "700"})
    driver.ask("Create", Name="b")
    driver.kill()
    before = {n: (driver.state / n).read_text() for n in os.listdir(driver.state)}
    # Another iomemfs, which is empty.
    other = mounts("size=16m")
    driver.mount = other
    driver.start()
    assert sorted(os.listdir(other / "volumes")) == ["a", "b"]
    assert os.statvfs(driver.folder("a")).f_blocks * PAGE == MIB
    assert stat.S_IMODE(os.stat(driver.folder("a")).st_mode) == 0o700
    assert {n: (driver.state / n).read_text() for n in os.listdir(driver.state)} == before
    # And one that goes away while the driver runs.
    os.rmdir(driver.folder("b"))
    driver.ask("Mount", Name="b", ID="i")
    assert driver.folder("b").exists()
    driver.kill()
    del mode


def test_without_a_mount(driver):
    driver.ask("Create", Name="a")
    driver.kill()
    driver.mount = driver.home / "nothing"
    driver.start()
    assert "no iomemfs" in driver.refused("Create", Name="b")
    assert "no iomemfs" in driver.refused("Mount", Name="a", ID="i")
    # podman volume ls fails altogether if one Get fails.
    assert driver.ask("Get", Name="a")["Volume"]["Name"] == "a"
    assert [v["Name"] for v in driver.ask("List")["Volumes"]] == ["a"]
    driver.kill()


def test_killed_at_any_moment(driver):
    """Whatever was answered is so; whatever was not can be asked again."""
    dice = random.Random(5)
    made = set()
    for round_number in range(12):
        killer = subprocess.Popen(
            ["sh", "-c", f"sleep {dice.uniform(0.0, 0.12):.3f}; kill -9 {driver.process.pid}"]
        )
        number = 0
        with contextlib.suppress(TypeError, OSError, ValueError):
            while True:
                name = f"r{round_number}n{number}"
                driver.ask("Create", Name=name, Opts={"size": "4k"})
                made.add(name)
                driver.ask("Mount", Name=name, ID="i")
                driver.ask("Unmount", Name=name, ID="i")
                if number % 2:
                    made.discard(name)
                    driver.ask("Remove", Name=name)
                number += 1
        killer.wait()
        driver.process.wait()
        driver.start()
        names = {v["Name"] for v in driver.ask("List")["Volumes"]}
        assert made <= names
        assert names == set(os.listdir(driver.mount / "volumes"))
        for name in names - made:
            driver.ask("Remove", Name=name)
    for name in made:
        driver.ask("Remove", Name=name)
    assert driver.mount.stats()["iomemfs_used_bytes"] == 0


def test_definitions_that_are_none(driver):
    driver.ask("Create", Name="good")
    driver.kill()
    good = (driver.state / "good.json").read_text()
    bad = {
        "empty": "",
        "cut": good[: len(good) // 2],
        "list": "[]",
        "name": good.replace('"good"', '"../x"'),
        "option": good.replace('"options":{', '"options":{"x":"y"'),
        "deep": "[" * 100000,
    }
    for name, text in bad.items():
        (driver.state / f"{name}.json").write_text(text)
    (driver.state / "good.json").write_text(good)
    (driver.state / ".new").write_text("rest")
    driver.start()
    assert [v["Name"] for v in driver.ask("List")["Volumes"]] == ["good"]
    assert (driver.home / "log").read_text().count("left alone") == len(bad)
    for name, text in bad.items():
        assert (driver.state / f"{name}.json").read_text() == text


# --- what nobody should say ---------------------------------------------------------------------

BODIES = [
    b"{", b"[]", b"1", b'"x"', b"{}{}", b'{"Name":1}', b'{"Name":null}', b'{"Name":["v"]}',
    b'{"Name":"v","Opts":[]}', b'{"Name":"v","Opts":{"size":1}}', b'{"Name":"v","Opts":{"size":null}}',
    b'{"Name":"v\\u0000w"}', b'{"Name":"\xff"}', b"\0", b"nul", b"[" * 1000, b'{"a":' * 1000,
    b'{"Name":"' + b"x" * 60000 + b'"}', b'{"Name":"v","Opts":{"' + b"y" * 60000 + b'":"z"}}',
    b"{'Name':'v'}", b'{"Name":"v",}', b"// x\n{}", b"NaN",
]  # fmt: skip


def test_hostile_bodies(driver):
    for call in ("Create", "Mount", "Unmount", "Remove", "Path", "Get"):
        for body in BODIES:
            head = f"POST /VolumeDriver.{call} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            status, answer = exchange(driver.socket, head.encode() + body)
            assert status in (400, 500), (call, body[:40], status)
            assert json.loads(answer)["Err"]
    assert driver.ask("List")["Volumes"] == []
    assert not (driver.mount / "volumes").exists() or os.listdir(driver.mount / "volumes") == []


def test_hostile_requests(driver):
    long = b"x" * 100000
    requests = {
        b"GET /VolumeDriver.List HTTP/1.1\r\nHost: x\r\n\r\n": 405,
        b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n": 404,
        b"POST /VolumeDriver.List/../../etc HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n": 404,
        b"POST /VolumeDriver.List HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + long: 413,
        b"nonsense\r\n\r\n": None,
        b"\x16\x03\x01" + long: None,
        b"POST " + long + b" HTTP/1.1\r\n\r\n": None,
        b"POST / HTTP/1.1\r\nHost: " + long + b"\r\n\r\n": None,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n": None,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n": None,
    }
    for request, expected in requests.items():
        answer = exchange(driver.socket, request)
        assert answer is None or answer[0] == expected or (expected is None and answer[0] >= 400)
    assert driver.ask("List")["Volumes"] == []


def test_those_who_say_nothing(driver):
    """Connections without a request end by themselves, and keep nobody out for long."""
    text = PODMAN.format(path="/VolumeDriver.List", length=0, body="").encode()
    with contextlib.ExitStack() as held:
        for _ in range(400):
            one = held.enter_context(socket.socket(socket.AF_UNIX))
            one.connect(str(driver.socket))
            one.send(b"POST /VolumeDriver.List HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{")
        answer = support.wait_for(lambda: exchange(driver.socket, text, 60), "an answer", 90)
        assert answer[0] == 200


def test_random_bytes(driver):
    dice = random.Random(7)
    good = DOCKER.format(
        path="/VolumeDriver.Create", length=36, body='{"Name":"v","Opts":{"size":"4k"}}\n  '
    ).encode()
    for _ in range(600):
        text = bytearray(good)
        for _ in range(dice.choice([1, 1, 2, 5])):
            at = dice.randrange(len(text))
            text[at : at + dice.choice([0, 1, 1, 3])] = dice.randbytes(dice.choice([0, 1, 1, 4]))
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(support.LIMIT)
            one.connect(str(driver.socket))
            one.sendall(text)
            one.settimeout(0.02)  # most of them are not complete
            with contextlib.suppress(ConnectionResetError, TimeoutError):
                while one.recv(65536):
                    pass
    assert driver.process.poll() is None
    for volume in driver.ask("List")["Volumes"]:
        driver.ask("Remove", Name=volume["Name"])


# --- the program --------------------------------------------------------------------------------


def test_socket_of_systemd(driver):
    driver.kill()
    path = driver.home / "activated"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        one.listen()

        def hand_over():
            os.dup2(one.fileno(), 3)
            os.set_inheritable(3, True)
            os.environ["LISTEN_PID"] = str(os.getpid())

        argv = [PROGRAM, "-m", driver.mount, "-d", driver.state, "-w", driver.views, "-s", "/nowhere"]
        script = 'export LISTEN_PID=$$; exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *argv],
            env=dict(os.environ, LISTEN_FDS="1"),
            preexec_fn=hand_over,
            close_fds=False,
            stderr=subprocess.DEVNULL,
        )
        text = PODMAN.format(path="/VolumeDriver.List", length=0, body="").encode()
        assert exchange(path, text)[0] == 200
        process.terminate()
        assert process.wait(support.LIMIT) == 0


def test_socket(driver):
    assert stat.S_IMODE(os.stat(driver.socket).st_mode) == 0o600
    with pytest.raises(PermissionError):
        support.as_user(support.NOBODY, exchange, driver.socket, b"")
    argv = [PROGRAM, "-m", driver.mount, "-s", driver.socket, "-d", driver.state, "-w", driver.views]
    result = support.run(argv)
    assert result.returncode == 1 and "another process listens there" in result.stderr


def test_every_option_has_its_words():
    text = MANUAL.read_text()
    shown_options = re.findall(r"^ -(\w), --(\w+)", support.run([PROGRAM, "--help"]).stdout, re.M)
    described = re.findall(r"^\.It Fl (\w) , -(\w+)", text, re.M)
    assert sorted(shown_options) == sorted(described) and len(described) == 6
    for option in ("size=", "nr_inodes=", "mode=", "uid=", "gid=", "default="):
        assert f".It Cm {option}" in text or f", Cm {option}" in text
    assert support.run([PROGRAM, "-m", "relative"]).returncode == 2
    assert support.run([PROGRAM, "--nothing"]).returncode == 2
