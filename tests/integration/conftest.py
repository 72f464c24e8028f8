# SPDX-License-Identifier: MIT
"""Fixtures: a mount for each test, in each mode, and what must be true after each of them."""

import gc
import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import socket_client  # noqa: E402  pylint: disable=wrong-import-position
import support  # noqa: E402  pylint: disable=wrong-import-position

MODES = ("passthrough", "cached")


def pytest_addoption(parser):
    parser.addoption(
        "--modes",
        default=",".join(MODES),
        help="comma-separated: passthrough, cached, tmpfs (default: the first two)",
    )


def pytest_configure(config):
    # So that ordinary users can mount, as on every system whose udev has the usual rules.
    if os.geteuid() != 0:
        pytest.exit("these tests mount and change users: run them as root", 2)
    if os.stat("/dev/fuse").st_mode & 0o666 != 0o666:
        os.chmod("/dev/fuse", 0o666)
    del config


def pytest_generate_tests(metafunc):
    if "mode" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("modes")
    wanted = metafunc.config.getoption("--modes").split(",")
    modes = [m for m in wanted if marker is None or m in marker.args]
    metafunc.parametrize("mode", modes, indirect=True, scope="module")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if support.SLOWNESS != 1:
            marker = item.get_closest_marker("timeout")
            limit = float(marker.args[0] if marker else config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(limit * support.SLOWNESS), append=False)
        if item.get_closest_marker("installed") and os.environ.get("IOMEMFS_INSTALLED") != "1":
            item.add_marker(pytest.mark.skip(reason="the program is not installed"))


@pytest.fixture(scope="module")
def mode(request):
    """How the mount under test reaches the memory: passthrough, cached (or tmpfs itself)."""
    return request.param


def make_mount(mode_name, options="", **keywords):
    """A mount in the mode."""
    if mode_name == "tmpfs":
        return support.TmpfsMount(options)
    passthrough = {"passthrough": "on", "cached": "off"}[mode_name]
    return support.Mount(options, passthrough=passthrough, **keywords)


def marked(request, name):
    marker = request.node.get_closest_marker(name)
    return marker.args if marker else ()


def time_limit(request):
    marker = request.node.get_closest_marker("timeout")
    if marker and marker.args:
        return float(marker.args[0])
    return float(request.config.getini("timeout"))


def guarded(request, mount):
    """Yields mount, watched; then ends it with all checks."""
    limit = time_limit(request)
    watchdog = support.Watchdog(mount, max(limit - 15, limit / 2))
    try:
        yield mount
    finally:
        watchdog.cancel()
        mount.stop(
            allowed=marked(request, "log_allows"),
            may_be_gone=request.node.get_closest_marker("may_leave_mount") is not None,
        )
        assert not watchdog.fired, "a call on the mount hung; its connection was ended"


@pytest.fixture
def home():
    """A folder that every user can pass through."""
    path = support.scratch_directory()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def target(home):
    """An empty directory to mount on."""
    path = home / "mnt"
    path.mkdir()
    return path


@pytest.fixture
def mount(request, mode, tmp_path):
    """A mount of this test alone; `options`, `environment` and `descriptors` marks say how."""
    options = ",".join(marked(request, "options"))
    marker = request.node.get_closest_marker("environment")
    keywords = {"environment": marker.kwargs if marker else {}}
    for number in marked(request, "descriptors"):
        keywords["binary"] = support.limited_program(tmp_path, number, number)
    if mode == "tmpfs":
        yield from guarded(request, make_mount(mode, options))
    else:
        yield from guarded(request, make_mount(mode, options, **keywords))


@pytest.fixture
def client(mount):
    """A client of the mount's socket."""
    with socket_client.Client(socket_client.socket_of(mount)) as one:
        yield one


@pytest.fixture
def mounts(request):
    """A function that makes further mounts, as support.Mount(); all end with the test."""
    made = []

    def make(*arguments, **keywords):
        made.append(support.Mount(*arguments, **keywords))
        return made[-1]

    yield make
    problems = []
    for one in reversed(made):
        try:
            one.stop(
                allowed=marked(request, "log_allows"),
                may_be_gone=request.node.get_closest_marker("may_leave_mount") is not None,
            )
        except AssertionError as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def shared_mount(request, mode):
    """One mount for all tests of a module, for those that keep to a folder of their own."""
    one = make_mount(mode)
    yield one
    one.stop()
    del request


@pytest.fixture
def folder(shared_mount, request):
    """A new folder in the shared mount, mode 0777; its content is left behind."""
    limit = time_limit(request)
    watchdog = support.Watchdog(shared_mount, max(limit - 15, limit / 2))
    number = len(os.listdir(shared_mount))
    path = shared_mount / f"t{number}"
    path.mkdir()
    path.chmod(0o777)
    yield path
    watchdog.cancel()
    assert not watchdog.fired, "a call on the mount hung; its connection was ended"


def own_descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the one of listdir() itself
    return found


@pytest.fixture(autouse=True)
def no_descriptor_leaks():
    """A test that leaves descriptors open keeps mounts busy, and its successors in the dark."""
    before = own_descriptors()
    yield
    after = own_descriptors()
    if set(after) - set(before):
        gc.collect()
        after = own_descriptors()
    leaked = {fd: target for fd, target in after.items() if fd not in before}
    assert not leaked, f"descriptors left open: {leaked}"
