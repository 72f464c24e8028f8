# SPDX-License-Identifier: MIT
"""The programs of examples/ run, say what they should, and leave nothing behind."""

import os
import shutil

import pytest

from support import ROOT, build_dir, run

EXAMPLES = ROOT / "examples"
FORK = "child reads: from the parent\nparent reads: from the child!\n"
RECEIVE = "child is asked: what is 6 * 7?\nparent is told: 42\n"
POOL = (
    "12 strings by 3 workers\n"
    "derahs yromem sah on seipoc ot ekam dna enon ot tiaw rof\n"
)
SCRIPTS = {
    "ruby/fork.rb": FORK,
    "ruby/receive.rb": RECEIVE + "removed: ok\n",
    "ruby/pool.rb": POOL,
    "ruby/aligned.rb": "offsets: 64 128 192\ncounts: 10000 10000 10000\n",
    "ruby/batch.rb": "500 records in batches of 100\n",
    "python/fork.py": FORK,
    "python/receive.py": RECEIVE + "removed: ok\n",
    "python/pool.py": POOL,
    "go/map.go": "read(2) sees: hello from Go\n",
    "rust/map.rs": "read(2) sees: hello from Rust\n",
    "java/Map.java": "read(2) sees: hello from Java\n",
    "node/file.js": "another descriptor sees: hello from Node.js\n",
}
PROGRAMS = {"c/fork.c": FORK, "c/receive.c": RECEIVE, "c/pool.c": POOL}


def commands(example, folder):
    """What is run for an example, in order: the last one says what it should."""
    path = EXAMPLES / example
    return {
        ".rb": [["ruby", path]],
        ".py": [["python3", path]],
        ".go": [["go", "run", path]],
        ".rs": [["rustc", "-o", folder / "map", path], [folder / "map"]],
        ".java": [["java", path]],
        ".js": [["node", path]],
    }[path.suffix]


def run_example(mount, argvs, expected, **environment):
    environment = dict(os.environ, IOMEMFS=str(mount), **environment)
    for argv in argvs:
        result = run(argv, env=environment, timeout=100)
        assert result.returncode == 0, result.stderr
    assert result.stdout == expected
    assert os.listdir(mount) == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("example", SCRIPTS)
def test_script(mount, tmp_path, example):
    argvs = commands(example, tmp_path)
    if not shutil.which(argvs[0][0]):
        pytest.skip(f"{argvs[0][0]} is not installed")
    run_example(
        mount,
        argvs,
        SCRIPTS[example],
        GOCACHE=str(tmp_path / "go"),
        GOFLAGS="-mod=mod",
        HOME=os.environ.get("HOME", str(tmp_path)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("example", PROGRAMS)
def test_program(mount, tmp_path, example):
    library = build_dir() / "src" / "lib"
    program = tmp_path / "example"
    run(
        ["cc", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/src/lib", "-o", program,
         EXAMPLES / example, f"-L{library}", "-liomem"],
        check=True,
    )
    run_example(mount, [[program]], PROGRAMS[example], LD_LIBRARY_PATH=str(library))


def test_every_example_is_tested():
    found = {
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*.*")
        # frames.c is one of those that tests/languages runs against each other.
        if path.is_file() and path.name not in ("README.md", "common.rb", "frames.c")
    }
    assert found == set(SCRIPTS) | set(PROGRAMS)
