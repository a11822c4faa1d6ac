"""docs/spec-coverage.md: every member of the specification is there, with tests that exist."""

import json
import re

import pytest

from pyrunc.commands import features
from tables import TEST, exists, named, read, rows

DOCUMENT = "docs/spec-coverage.md"
OTHERS = ("windows", "solaris", "vm", "zos", "freebsd")


def members(cell):
    """The paths a first cell names; `.name` takes the place of the last name of the one before."""
    found = []
    for word in re.findall(r"`([^`]+)`", cell):
        if word.startswith("."):
            word = found[-1].rpartition(".")[0] + word
        found.append(word)
    return found


def schema_members():
    schema = json.loads(read("oci-spec/config.schema.json"))
    found = []

    def visit(node, path):
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        for name, below in node.get("properties", {}).items():
            if path or name not in OTHERS:
                found.append(f"{path}.{name}" if path else name)
                visit(below, found[-1])
        if "items" in node:
            visit(node["items"], f"{path}[]")
        if "additionalProperties" in node:
            visit(node["additionalProperties"], f"{path}.*")

    visit(schema, "")
    # All six kinds of hooks have the same members.
    return sorted({re.sub(r"^hooks\.\w+\[\]", "hooks.*[]", path) for path in found})


def test_there_are_rows():
    assert len(rows(DOCUMENT)) > 100
    assert all(len(row) == 3 for row in rows(DOCUMENT))


@pytest.mark.parametrize("row", rows(DOCUMENT), ids=lambda row: row[0].replace("`", "")[:60])
def test_a_row_has_tests_or_a_reason(row):
    assert TEST.findall(row[2]) or re.match(
        r"none: \w|to come with (user|time) namespaces$", row[2]
    )


@pytest.mark.parametrize(("path", "name"), named(DOCUMENT))
def test_the_tests_exist(path, name):
    assert exists(path, name)


@pytest.mark.parametrize("path", schema_members())
def test_every_member_has_a_row(path):
    assert path in {member for row in rows(DOCUMENT) for member in members(row[0])}


def test_features_are_what_is_tested():
    """What `features` promises has a row with tests."""
    document = features.document()
    proven = {member for row in rows(DOCUMENT) if TEST.search(row[2]) for member in members(row[0])}
    assert {f"hooks.{name}" for name in document["hooks"]} <= proven
    assert set(document["mountOptions"]) <= proven
    linux = document["linux"]
    for kind in {"user", "time"} & set(linux["namespaces"]):
        names = {"user": "linux.uidMappings", "time": "linux.timeOffsets"}
        assert names[kind] in proven, f"{kind} namespaces are a feature without a test"
    enabled = {"intelRdt": "enabled", "memoryPolicy": "modes", "netDevices": "enabled"}
    for name, key in enabled.items():
        assert bool(linux[name][key]) == (f"linux.{name}" in proven)
    assert linux["intelRdt"]["schemata"] == ("linux.intelRdt.schemata" in proven)
    assert linux["intelRdt"]["monitoring"] == ("linux.intelRdt.enableMonitoring" in proven)
    assert linux["mountExtensions"]["idmap"]["enabled"] == ("mounts[].uidMappings" in proven)
