# SPDX-License-Identifier: MIT
"""One dialect of JSON by all doors, checked against docs/iomem.schema.json; see docs/json.md."""

import copy
import json
import os
import select
import shutil
import subprocess
import sys

import jsonschema
import pytest

from memory_jobs import Creation, Held, listed
from socket_client import Client, socket_of
from support import LIMIT, NOBODY, ROOT, as_user, build_dir, run, wait_for

SCHEMA = json.loads((ROOT / "docs" / "iomem.schema.json").read_text())
BYTES = os.fsdecode(b"not\xffutf8 \"'\\\n\xe2\x80\xae")


def validator(definition):
    schema = dict(SCHEMA, **{"$ref": f"#/$defs/{definition}"})
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check(definition, document):
    """Whether it is valid, and has no member that the schema does not name."""
    validator(definition).validate(document)
    known = set(SCHEMA["$defs"]["region"]["properties"])
    for region in document.get("regions", []) + document.get("populating", []):
        assert set(region) <= known
    return document


def iomem(mount, *arguments):
    return json.loads(run([build_dir() / "src/cli/iomem", "-m", mount, *arguments], check=True).stdout)


@pytest.fixture
def regions(mount):
    """Regions of all kinds; returns the list that the daemon gives."""
    (mount / "d").mkdir(mode=0o777)
    os.chmod(mount / "d", 0o777)
    mount.create("d/fixed", 65536, "fixed")
    mount.create("huge", 2 << 20, "populate", "huge")
    mount.create("empty", 0)
    mount.command("seal", "empty write")
    as_user(NOBODY, mount.create, "d/nobody", 4096, "ephemeral", "mode=0600")
    (mount / BYTES).write_bytes(b"x")
    os.link(mount / "huge", mount / "other")
    os.chown(mount / "empty", 12345, 54321)
    return json.loads((mount.ctl / "regions.json").read_text())


def without_names(region):
    return {k: v for k, v in region.items() if k not in ("user", "group", "creator_user")}


def by_name(document):
    return {region.get("name_escaped", region["name"]): region for region in document["regions"]}


def test_the_daemon(mount, regions):
    check("regions", regions)
    assert len(regions["regions"]) == 6
    for region in regions["regions"]:
        check("whole_region", region)
    with Client(socket_of(mount)) as client:
        socket_list = json.loads(client.ask("list"))
        stat = json.loads(client.ask("stat d/fixed"))
    assert by_name(check("regions", socket_list)) == by_name(regions)
    assert check("whole_region", stat) == by_name(regions)["d/fixed"]


def test_the_attribute(mount, regions):
    try:
        text = os.getxattr(mount / "d/fixed", "user.iomemfs")
    except OSError:
        pytest.skip("this kernel makes attributes expensive: there are none")
    attribute = check("whole_region", json.loads(text))
    assert dict(attribute, name="d/fixed") == by_name(regions)["d/fixed"]


def test_the_command(mount, regions):
    """The same as the daemon's, with names for the numbers that have some."""
    document = check("regions", iomem(mount, "ls", "-J"))
    assert {name: without_names(region) for name, region in by_name(document).items()} == by_name(regions)
    found = by_name(document)
    assert (found["d/nobody"]["uid"], found["d/nobody"]["user"]) == (65534, "nobody")
    assert (found["huge"]["user"], found["huge"]["group"]) == ("root", "root")
    assert found["empty"]["uid"] == 12345 and "user" not in found["empty"] and "group" not in found["empty"]
    assert found["empty"]["seals"] == ["write"] and found["huge"]["seals"] == []
    assert found["d/fixed"]["flags"] == ["fixed"]
    # -b changes nothing, and stat says the same.
    assert iomem(mount, "ls", "-J", "-b") == document
    assert iomem(mount, "stat", "-J", "d/fixed")["regions"] == [found["d/fixed"]]
    check("regions", iomem(mount, "stat", "-J", "d/fixed", "huge"))
    check("regions", iomem(mount, "ls", "-J", "d"))


def test_chosen_members(mount, regions):
    assert regions
    document = check("regions", iomem(mount, "ls", "-J", "-o", "name,size,user"))
    for region in document["regions"]:
        assert set(region) - {"user", "name_escaped"} == {"name", "size", "uid"}
    whole = iomem(mount, "ls", "-J")
    assert iomem(mount, "ls", "-J", "-o", "+CREATED") == whole
    (region,) = iomem(mount, "stat", "-J", "-o", "CREATOR,REFS", "huge")["regions"]
    assert set(region) == {
        "creator_uid", "creator_user", "creator_pid", "creator_command", "refs", "writers",
    }  # fmt: skip


def test_nothing(mount):
    assert check("regions", iomem(mount, "ls", "-J")) == {"regions": [], "populating": []}
    check("regions", json.loads((mount.ctl / "regions.json").read_text()))


@pytest.mark.options("size=0")
def test_what_is_being_populated(mount):
    with Held(mount):
        creation = Creation(mount.path, "x 64m populate")
        wait_for(lambda: listed(mount.path), "the population")
        document = check("regions", iomem(mount, "ls", "-J"))
        (region,) = document["populating"]
        assert document["regions"] == [] and "populating" in region["flags"]
        daemon = check("regions", json.loads((mount.ctl / "regions.json").read_text()))
        assert without_names(region) == daemon["populating"][0]
    assert creation.end() == 0


def test_who(mount, regions):
    assert regions
    with open(mount / "huge", "r+b"):
        document = check("references", iomem(mount, "who", "-J", "huge"))
        (reference,) = document["references"]
        assert (reference["pid"], reference["uid"], reference["user"]) == (os.getpid(), 0, "root")
        whole = check("references", iomem(mount, "who", "-J"))
        assert whole["references"]


def test_limits(mount):
    (mount / BYTES).mkdir()
    (mount / BYTES / ".ctl/limit").write_text("size=1m nr_inodes=10\n")
    document = check("limits", iomem(mount, "df", "-J"))
    assert [limit["size"] for limit in document["limits"]][1:] == [1 << 20]
    assert check("limits", json.loads((mount.ctl / "limits.json").read_text())) == document


def test_events(mount):
    command = [build_dir() / "src/cli/iomem", "-m", mount, "events", "-J"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        number = 0
        while not select.select([events.stdout], [], [], 0.1)[0]:
            mount.create(f"a{number}", 4096)
            number += 1
            assert number < 10 * LIMIT
        mount.command("seal", "a0 shrink,write")
        os.rename(mount / "a0", mount / BYTES)
        os.unlink(mount / BYTES)
        found = {}
        while "remove" not in found:
            event = check("event", json.loads(events.stdout.readline()))
            found[event["event"]] = event
        events.kill()
    assert (found["create"]["size"], found["create"]["uid"], found["create"]["user"]) == (4096, 0, "root")
    assert found["seal"]["seals"] == ["shrink", "write"]
    assert "name_escaped" in found["rename"]


def test_the_schema_refuses():
    """A schema that takes everything would be none."""
    region = {
        "name": "a", "size": 1, "allocated": 0, "huge": 0, "mode": "0644", "uid": 0, "gid": 0,
        "inode": 2, "links": 1, "refs": 0, "writers": 0, "flags": ["fixed"], "seals": ["shrink"],
        "created": "2026-01-01T00:00:00.000000Z", "creator_uid": 0, "creator_pid": 1,
        "creator_command": "x",
    }  # fmt: skip
    whole = validator("whole_region")
    whole.validate(region)
    for member, wrong in (
        ("size", "4K"), ("size", -1), ("flags", "fixed"), ("flags", ["fixed", "fixed"]), ("seals", "shrink"),
        ("seals", ["everything"]), ("uid", "root"), ("mode", 420), ("mode", "644"), ("created", "today"),
        ("name", 1), ("allocated", 1.5), ("name_escaped", "plain"),
    ):  # fmt: skip
        with pytest.raises(jsonschema.ValidationError):
            whole.validate(dict(copy.deepcopy(region), **{member: wrong}))
    for member in region:
        with pytest.raises(jsonschema.ValidationError):
            whole.validate({k: v for k, v in region.items() if k != member})
    with pytest.raises(jsonschema.ValidationError):
        validator("region").validate({"user": "root"})
    with pytest.raises(jsonschema.ValidationError):
        validator("regions").validate({"regions": []})


PYTHON = """
import iomem, json
print(json.dumps([region.to_json() for region in iomem.list()]))
"""
RUBY = """
require "io/memory"; require "json"
puts JSON.generate(IO::Memory.list.map { |r|
  r.transform_keys(&:to_s).merge("mode" => format("%04o", r[:mode]), "name" => r[:name].dup.force_encoding("UTF-8").scrub)
})
"""
NODE = """
const iomem = require(process.argv[1]);
iomem.list().then((all) => console.log(JSON.stringify(all.map((r) => {
  const out = {};
  for (const [key, value] of Object.entries(r)) out[key.replace(/[A-Z]/g, (c) => '_' + c.toLowerCase())] = value;
  out.mode = r.mode.toString(8).padStart(4, '0');
  out.created = r.created.toISOString().replace('Z', '000Z');
  return out;
}))));
"""


def python_package():
    environment = {"PYTHONPATH": str(ROOT / "bindings/python/src")}
    return [sys.executable, "-c", PYTHON], environment


def ruby_package():
    return ["ruby", "-I", str(ROOT / "bindings/ruby/lib"), "-e", RUBY], {}


def node_package():
    if not list((ROOT / "bindings/node").glob("build/Release/*.node")):
        pytest.skip("the package for Node.js is not built")
    return ["node", "-e", NODE, str(ROOT / "bindings/node")], {}


@pytest.mark.parametrize("package", [python_package, ruby_package, node_package])
def test_packages(mount, package):
    """What a package gives has the same members, lists and numbers."""
    command, environment = package()
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    mount.create("fixed", 65536, "fixed")
    os.chown(mount.create("plain", 4096), 12345, 54321)
    (mount / BYTES).write_bytes(b"x")
    result = run(command, env={**os.environ, **environment, "IOMEMFS": str(mount)})
    assert result.returncode == 0, result.stderr
    document = {"regions": json.loads(result.stdout), "populating": []}
    check("regions", document)
    whole = by_name(iomem(mount, "ls", "-J"))
    found = {region["name"]: region for region in document["regions"]}
    for name in ("fixed", "plain"):
        known = {k: v for k, v in whole[name].items() if k in found[name]}
        assert {k: v for k, v in found[name].items() if k != "created"} == {
            k: v for k, v in known.items() if k != "created"
        }
    if package is python_package:
        names = {"user", "group", "creator_user"}
        assert found["plain"].keys() == whole["plain"].keys() and names & found["plain"].keys() == {"creator_user"}
        assert names <= found["fixed"].keys()
        assert by_name(document).keys() >= {"fixed", "plain"} and len(document["regions"]) == 3
