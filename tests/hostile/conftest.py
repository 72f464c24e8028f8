# SPDX-License-Identifier: MIT
"""The fixtures and options of the integration tests, for the tests beside a victim."""

import importlib.util
import pathlib
import sys

INTEGRATION = pathlib.Path(__file__).resolve().parents[1] / "integration"


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


shared = load(INTEGRATION / "conftest.py", "integration_conftest")
globals().update({name: value for name, value in vars(shared).items() if name[0] != "_"})

import pytest  # noqa: E402  pylint: disable=wrong-import-position

import beside as beside_module  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture
def beside(mount, request, capsys):
    """The test's mount with an attacker and a victim; all that must hold is checked at its end."""

    def say(text):
        with capsys.disabled():
            print(text, end="", flush=True)

    both = beside_module.Beside(mount, request.node.name, say)
    yield both
    if getattr(request.node, "failed", False):
        return
    both.check()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call":
        item.failed = report.failed
