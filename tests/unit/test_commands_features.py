"""features: a document that other programs parse, and that must not promise too much."""

import json

import pytest

from pyrunc import cli, mounts
from pyrunc.commands import features


@pytest.fixture
def printed(capfd):
    assert cli.main(["pyrunc", "features"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_it_is_json_with_four_spaces_and_a_newline(printed):
    assert printed == json.dumps(json.loads(printed), indent=4) + "\n"


def test_the_order_of_the_keys(printed):
    doc = json.loads(printed)
    assert list(doc) == [
        "ociVersionMin",
        "ociVersionMax",
        "hooks",
        "mountOptions",
        "linux",
        "annotations",
        "potentiallyUnsafeConfigAnnotations",
    ]
    assert (doc["ociVersionMin"], doc["ociVersionMax"]) == ("1.0.0", "1.3.0")
    assert list(doc["linux"])[:4] == ["namespaces", "capabilities", "cgroup", "seccomp"]
    assert list(doc["annotations"]) == sorted(doc["annotations"])
    assert doc["annotations"]["org.opencontainers.runc.version"] == "1.5.1"


def test_lists_are_sorted_and_names_are_whole(printed):
    doc = json.loads(printed)
    assert doc["mountOptions"] == sorted(set(doc["mountOptions"]))
    assert doc["linux"]["namespaces"] == sorted(doc["linux"]["namespaces"])
    assert len(doc["linux"]["capabilities"]) == 41
    assert doc["linux"]["capabilities"][0] == "CAP_CHOWN"
    assert doc["linux"]["capabilities"][40] == "CAP_CHECKPOINT_RESTORE"


def test_the_mount_options_are_those_that_work():
    tables = (mounts.SET, mounts.CLEAR, mounts.PROPAGATION, mounts.RECURSIVE, mounts.IDMAP)
    known = {option for table in tables for option in table} | {"tmpcopyup"}
    assert known == set(features.MOUNT_OPTIONS)


def test_seccomp_flags_are_a_subset_of_the_known_ones(printed):
    seccomp = json.loads(printed)["linux"]["seccomp"]
    if not seccomp["enabled"]:
        pytest.skip("built without libseccomp")
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert "SECCOMP_FILTER_FLAG_TSYNC" in seccomp["supportedFlags"]
    assert json.loads(printed)["annotations"]["io.github.seccomp.libseccomp.version"]
