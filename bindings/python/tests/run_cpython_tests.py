# SPDX-License-Identifier: MIT
"""Runs CPython's own tests of multiprocessing.shared_memory on iomem.shared_memory.

    run_cpython_tests.py [fork|spawn|forkserver]...

The tests are the interpreter's (on Debian the package libpython3.11-testsuite); here they, and the
children that they start, only find another module under that name: patched/sitecustomize.py.
"""

import importlib
import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent

# They run a new interpreter, with the standard library's module, and check that its resource tracker
# destroys a segment, or says that one leaked.  There is no tracker here.
OF_THE_TRACKER = {
    "test_shared_memory_cleaned_after_process_termination",
    "test_shared_memory_tracking",
    "test_shared_memory_untracking",
}


def suite(method):
    module = importlib.import_module(f"test.test_multiprocessing_{method}")
    if not hasattr(module, "setUpModule"):  # a package since Python 3.12
        module = importlib.import_module(f"test.test_multiprocessing_{method}.test_processes")
    used = sys.modules["test._test_multiprocessing"].shared_memory
    assert used.__name__ == "iomem.shared_memory", used
    case = module.WithProcessesTestSharedMemory
    names = unittest.defaultTestLoader.getTestCaseNames(case)
    tests = unittest.TestSuite(case(name) for name in names if name not in OF_THE_TRACKER)

    class Prepared(unittest.TestSuite):
        def run(self, result, debug=False):
            module.setUpModule()
            try:
                return super().run(result, debug)
            finally:
                module.tearDownModule()

    return Prepared([tests])


def main():
    if "IOMEM_PATCHED" not in os.environ:
        path = [str(HERE / "patched"), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
        os.environ.update(IOMEM_PATCHED="1", PYTHONPATH=os.pathsep.join(filter(None, path)))
        os.execv(sys.executable, [sys.executable, "-B", *sys.argv])
    for method in sys.argv[1:] or ["fork", "spawn", "forkserver"]:
        print(f"== {method}", file=sys.stderr)
        tests = suite(method)
        assert tests.countTestCases() >= 10
        result = unittest.TextTestRunner(verbosity=2).run(tests)
        # What is skipped was not shown to work.
        if not result.wasSuccessful() or result.skipped:
            sys.exit(1)


if __name__ == "__main__":
    main()
