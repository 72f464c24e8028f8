# SPDX-License-Identifier: MIT
"""iomem-exporter: metrics that promtool accepts, regions and events, and who is let in."""

import contextlib
import json
import os
import re
import signal
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request

import pytest

from support import NOBODY, ROOT, build_dir, run, wait_for

pytestmark = [
    pytest.mark.modes("passthrough"),
    pytest.mark.skipif(
        not (build_dir() / "src/exporter/iomem-exporter").exists(), reason="built without libmicrohttpd"
    ),
]
PROMETHEUS = ROOT / "contrib" / "prometheus"
PAGE = ROOT / "contrib" / "dashboard" / "index.html"


def exporter_program():
    return build_dir() / "src" / "exporter" / "iomem-exporter"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Exporter:
    def __init__(self, *arguments, user=None, **keywords):
        self.port = free_port()
        keywords.update({} if user is None else {"user": user[0], "group": user[1], "extra_groups": []})
        self.process = subprocess.Popen(
            [exporter_program(), "-l", f"127.0.0.1:{self.port}", "--page", PAGE, *map(str, arguments)],
            stderr=subprocess.PIPE, text=True, **keywords,
        )
        wait_for(self.answers, "the exporter")

    def answers(self):
        assert self.process.poll() is None, self.process.stderr.read()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def request(self, path, host=None, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        if host is not None:
            request.add_header("Host", host)
        return urllib.request.urlopen(request, timeout=30)

    def get(self, path, **keywords):
        with self.request(path, **keywords) as reply:
            return reply.read().decode()

    def status(self, path, **keywords):
        try:
            with self.request(path, **keywords) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0 and errors == "", errors


@pytest.fixture
def exporter(mount):
    one = Exporter("-m", mount)
    yield one
    one.close()


def samples(text):
    """{name: {labels: value}}"""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
            found.setdefault(name, {})[labels] = float(value)
    return found


def promtool(*arguments, **keywords):
    return run(["promtool", *arguments], **keywords)


need_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def test_metrics(mount, exporter):
    mount.create("a", 65536)
    found = samples(exporter.get("/metrics"))
    label = f'mount="{mount}"'
    assert found["iomemfs_up"] == {label: 1}
    assert found["iomemfs_used_bytes"] == {label: 65536}
    assert found["iomemfs_regions"] == {label: 1}
    assert found["iomemfs_requests_total"][f'{label},opcode="LOOKUP"'] >= 1
    # As the file says, but for the label.
    plain = {name.split("{")[0] for name in mount.stats()}
    assert plain <= set(found)


def test_latencies(mount, exporter):
    """Every request that is replied to is in one bucket, and all buckets are of those below."""
    before = samples(exporter.get("/metrics"))
    for i in range(100):
        (mount / f"f{i}").touch()
    after = samples(exporter.get("/metrics"))
    name, label = "iomemfs_request_duration_seconds", f'mount="{mount}"'
    buckets = list(after[f"{name}_bucket"].items())
    counts = [count for _, count in buckets]
    assert counts == sorted(counts) and buckets[-1][0].endswith('le="+Inf"')
    assert counts[-1] == after[f"{name}_count"][label]
    grown = after[f"{name}_count"][label] - before[f"{name}_count"][label]
    assert grown >= 100
    took = after[f"{name}_sum"][label] - before[f"{name}_sum"][label]
    assert 0 < took < 30
    # Forgetting needs no reply, and is not among them.
    replied = sum(n for labels, n in after["iomemfs_requests_total"].items() if "FORGET" not in labels)
    assert after[f"{name}_count"][label] <= replied


def test_latencies_outlive_the_worker(mount):
    for i in range(50):
        (mount / f"f{i}").touch()
    count = mount.stats()["iomemfs_request_duration_seconds_count"]
    os.kill(int(mount.stats()['iomemfs_daemon_pid{role="worker"}']), signal.SIGKILL)
    wait_for(lambda: mount.stats()["iomemfs_restarts_total"] == 1, "the next worker")
    assert mount.stats()["iomemfs_request_duration_seconds_count"] >= count


def test_several_mounts(mounts):
    """Each family once, with the samples of all."""
    one, two = mounts(), mounts()
    one.create("a", 4096)
    exporter = Exporter("-m", one, "-m", two, "-m", "/nonexistent")
    try:
        text = exporter.get("/metrics")
        heads = re.findall(r"^# TYPE (\w+)", text, re.M)
        assert len(heads) == len(set(heads))
        found = samples(text)
        assert found["iomemfs_used_bytes"] == {f'mount="{one}"': 4096, f'mount="{two}"': 0}
        assert found["iomemfs_up"] == {f'mount="{one}"': 1, f'mount="{two}"': 1, 'mount="/nonexistent"': 0}
        assert json.loads(exporter.get("/api/mounts")) == {"mounts": [str(one), str(two), "/nonexistent"]}
        two.create("b", 8192)
        assert [r["name"] for r in json.loads(exporter.get(f"/api/regions?mount={two}"))["regions"]] == ["b"]
        assert [r["name"] for r in json.loads(exporter.get("/api/regions"))["regions"]] == ["a"]
    finally:
        exporter.close()


def test_all_mounts_by_default(mounts, home):
    directory = home / 'a "b\\c'
    directory.mkdir()
    mount = mounts(directory=directory)
    text = run([exporter_program(), "--once"], check=True).stdout
    escaped = str(mount).replace("\\", "\\134").replace(" ", "\\040").replace("\\", "\\\\").replace('"', '\\"')
    assert f'iomemfs_up{{mount="{escaped}"}} 1\n' in text


@need_promtool
def test_promtool_takes_the_metrics(mount, exporter):
    mount.create("a", 65536)
    for text in (exporter.get("/metrics"), run([exporter_program(), "--once", "-m", mount], check=True).stdout):
        result = promtool("check", "metrics", stdin=None, input=text)
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout + result.stderr == ""


@need_promtool
def test_rules():
    assert promtool("check", "config", PROMETHEUS / "prometheus.yml").returncode == 0
    result = promtool("test", "rules", PROMETHEUS / "alerts_test.yml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_contrib_names_what_there_is(mount, exporter):
    """Rules and dashboards ask for metrics that exist, and each alert has its line in docs/operating.md."""
    (mount / "d").mkdir()
    (mount / "d/.ctl/limit").write_text("size=1m\n")
    there = set(samples(exporter.get("/metrics")))
    grafana = json.loads((ROOT / "contrib/grafana/iomemfs.json").read_text())
    texts = [json.dumps(grafana), PAGE.read_text(), (PROMETHEUS / "alerts.yml").read_text(),
             (ROOT / "docs/operating.md").read_text()]
    asked = set(re.findall(r"\biomemfs_[a-z_]+", "\n".join(texts)))
    assert asked - there - {"iomemfs_request_duration_seconds"} == set()
    alerts = re.findall(r"alert: (\w+)", texts[2])
    assert len(alerts) > 10
    for alert in alerts:
        assert re.search(rf"^\| [^|]*\b{alert}\b", texts[3], re.M), alert


def test_every_line_of_the_log_is_explained():
    """But for those that only -v shows."""
    said = re.sub(r"[^a-z]+", " ", (ROOT / "docs/operating.md").read_text())
    pattern = re.compile(r'log_line\(\s*(LOG_\w+),\s*((?:"(?:[^"\\]|\\.)*"\s*)+)')
    lines = 0
    for source in (ROOT / "src").rglob("*.c"):
        for level, literals in pattern.findall(source.read_text()):
            text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals))
            # The first piece of some length without anything that varies.
            pieces = [re.sub(r"[^a-z]+", " ", piece).strip() for piece in re.split(r"%\w+|;|:|\(", text)]
            words = next((piece for piece in pieces if len(piece) > 11), max(pieces, key=len))
            if level == "LOG_DEBUG" or not words:
                continue
            lines += 1
            assert words in said, f"{source.name}: {text}"
    assert lines > 30


def test_regions_and_events(mount, exporter):
    mount.create("a", 65536, "fixed")
    document = json.loads(exporter.get("/api/regions"))
    assert document == json.loads((mount.ctl / "regions.json").read_text())
    with exporter.request("/api/events") as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        assert reply.readline() == b": still here\n"
        mount.create("b\\040c", 4096)
        line = reply.readline()
        while not line.startswith(b"data: "):
            line = reply.readline()
        event = json.loads(line[6:])
        assert (event["event"], event["name"], event["size"], event["user"]) == ("create", "b c", 4096, "root")


def test_an_ordinary_user_sees_its_own(mount):
    """The exporter has no more rights than whoever runs it."""
    (mount / "secret").mkdir(mode=0o700)
    mount.create("secret/a", 4096)
    mount.create("b", 4096)
    exporter = Exporter("-m", mount, user=NOBODY)
    try:
        assert [r["name"] for r in json.loads(exporter.get("/api/regions"))["regions"]] == ["b"]
        found = samples(exporter.get("/metrics"))
        assert "iomemfs_used_bytes" in found and "iomemfs_regions" not in found
    finally:
        exporter.close()


def test_who_is_answered(exporter):
    for host in ("localhost", f"localhost:{exporter.port}", "127.0.0.1", "[::1]:80", "10.0.0.1", "LOCALHOST"):
        assert exporter.status("/metrics", host=host) == 200, host
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "1e100", ""):
        assert exporter.status("/metrics", host=host) == 403, host
    assert exporter.status("/", method="POST") == 405
    assert exporter.status("/", method="DELETE") == 405
    assert exporter.status("/metrics", method="HEAD") == 200
    for path in ("/nothing", "/../etc/passwd", "/api/regions?mount=/etc", "/api/events?mount=/", "/api/"):
        assert exporter.status(path) == 404, path


def test_another_name(mount):
    exporter = Exporter("-m", mount, "--host", "monitor.example")
    try:
        assert exporter.status("/metrics", host="monitor.example:9836") == 200
        assert exporter.status("/metrics", host="other.example") == 403
    finally:
        exporter.close()


def test_the_page_asks_nobody_else(exporter):
    with exporter.request("/") as reply:
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy
        assert reply.read() == PAGE.read_bytes()
    urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", PAGE.read_text()))
    assert urls == set()


def test_only_this_machine_by_default(mount):
    """Without --listen it is the loopback address."""
    process = subprocess.Popen([exporter_program(), "-m", mount], stderr=subprocess.PIPE)
    try:
        def listening():
            if process.poll() is not None:
                pytest.skip("port 9836 is taken by somebody else")
            result = run(["ss", "-Hltnp"])
            return [line.split()[3] for line in result.stdout.splitlines() if f"pid={process.pid}," in line]

        assert wait_for(listening, "the socket") == ["127.0.0.1:9836"]
    finally:
        process.terminate()
        process.communicate()


def test_a_socket_that_is_passed(mount):
    """As systemd does it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        script = f'exec 3<&{listener.fileno()} && LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -m "$1"'
        process = subprocess.Popen(
            ["bash", "-c", script, exporter_program(), str(mount)], pass_fds=[listener.fileno()]
        )
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
            assert "iomemfs_up" in reply.read().decode()
    finally:
        process.terminate()
        assert process.wait() == 0


def test_many_at_once(mount):
    """Readers of events that never go away leave room for others, and all end with the program."""
    mount.create("a", 4096)
    exporter = Exporter("-m", mount)
    streams = [exporter.request("/api/events") for _ in range(20)]
    failures = []

    def scrape():
        try:
            for _ in range(5):
                assert "iomemfs_up" in exporter.get("/metrics")
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    # Half of them go by themselves, the others are there when it ends.
    for stream in streams[:10]:
        stream.close()
    exporter.close()
    for stream in streams[10:]:
        stream.close()


def test_the_mount_goes(mounts):
    mount = mounts()
    exporter = Exporter("-m", mount)
    try:
        mount.unmount()
        assert samples(exporter.get("/metrics"))["iomemfs_up"] == {f'mount="{mount}"': 0}
        assert exporter.status("/api/regions") == 404
        mount.wait_end()
        mount.start()
        assert samples(exporter.get("/metrics"))["iomemfs_up"] == {f'mount="{mount}"': 1}
    finally:
        exporter.close()


def test_wrong_usage(mount):
    for arguments in (["-l", "nonsense"], ["-l", "127.0.0.1:"], ["-l", "no.such.host.invalid:80"]):
        result = run([exporter_program(), "-m", mount, *arguments])
        assert result.returncode == 1 and result.stderr.startswith("iomem-exporter: "), arguments
    for arguments in (["--nonsense"], ["argument"]):
        assert run([exporter_program(), *arguments]).returncode == 2
    with open("/dev/full", "w", encoding="ascii") as full:
        assert run([exporter_program(), "--once", "-m", mount], stdout=full).returncode == 1


def test_help_and_manual_agree():
    usage = run([exporter_program(), "--help"], check=True).stdout
    manual = (ROOT / "iomem-exporter.8").read_text()
    options = set(re.findall(r"--([a-z]+)", usage))
    assert options == set(re.findall(r"Fl -([a-z]+)", manual))
