"""Time namespaces: linux.timeOffsets, new and joined, for create and exec."""

import os

import pytest

from harness import read


def uptime():
    return float(read("/proc/uptime").split()[0])


@pytest.fixture
def shifted(bundle):
    """A container that has been up for a day longer."""
    bundle.namespace("time").sh("cat /proc/uptime")
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 86400, "nanosecs": 500000000}}
    return bundle


def test_offsets(pyrunc, shifted):
    before = uptime()
    inside = float(pyrunc.run(shifted).stdout.split()[0])
    assert before + 86400 <= inside + 1 and inside <= uptime() + 86402


def test_a_negative_offset_of_the_monotonic_clock(pyrunc, bundle):
    bundle.namespace("time").sh("cat /proc/self/timens_offsets")
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": -1, "nanosecs": 1}}
    rows = [line.split() for line in pyrunc.run(bundle).stdout.splitlines()]
    assert rows == [["monotonic", "-1", "1"], ["boottime", "0", "0"]]


def test_without_offsets(pyrunc, bundle):
    bundle.namespace("time").args("sleep", "60")
    pid = pyrunc.pid(pyrunc.up(bundle))
    assert os.readlink(f"/proc/{pid}/ns/time") != os.readlink("/proc/self/ns/time")


def test_with_a_user_namespace(pyrunc, shifted):
    one_to_one = [{"containerID": 0, "hostID": 0, "size": 65536}]
    shifted.namespace("user").linux.update(uidMappings=one_to_one, gidMappings=one_to_one)
    assert float(pyrunc.run(shifted).stdout.split()[0]) > uptime() + 86000


def test_exec(pyrunc, shifted):
    name = pyrunc.up(shifted.args("sleep", "60"))
    assert float(pyrunc("exec", name, "cat", "/proc/uptime").stdout.split()[0]) > uptime() + 86000


def test_join(pyrunc, shifted, make_bundle):
    pid = pyrunc.pid(pyrunc.up(shifted.args("sleep", "60")))
    other = make_bundle().namespace("time", f"/proc/{pid}/ns/time").sh("cat /proc/uptime")
    assert float(pyrunc.run(other).stdout.split()[0]) > uptime() + 86000


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ({"realtime": {"secs": 1}}, 'no clock "realtime"'),
        ({"monotonic": {"nanosecs": 10**9}}, "nanosecs must be less than 1000000000"),
        ({"monotonic": {"secs": -(2**40)}}, "timens_offsets: "),
    ],
)
def test_bad_offsets(pyrunc, bundle, offsets, words):
    bundle.namespace("time").linux["timeOffsets"] = offsets
    assert words in pyrunc.run(bundle, code=1).message


def test_offsets_without_a_namespace(pyrunc, bundle):
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 1}}
    message = pyrunc.run(bundle, code=1).message
    assert "time namespace offsets specified, but time namespace isn't enabled" in message


def test_offsets_for_a_joined_namespace(pyrunc, bundle):
    bundle.namespace("time", "/proc/self/ns/time")
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 1}}
    message = pyrunc.run(bundle, code=1).message
    assert "both namespace path and time offsets" in message
