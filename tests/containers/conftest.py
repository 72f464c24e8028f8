# SPDX-License-Identifier: MIT
"""The fixtures of the integration tests, and container engines."""

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


sys.path.insert(0, str(INTEGRATION))
shared = load(INTEGRATION / "conftest.py", "integration_conftest")
globals().update({name: value for name, value in vars(shared).items() if name[0] != "_"})
