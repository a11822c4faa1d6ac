"""The same config.json with Debian's runc and with us: the same values in the same cgroup files.

Where we differ on purpose, the test says why.
"""

import json
import os
import random
import re

import pytest

from compare import settings, shape
from harness import read, wait_for

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def v1(cgroup_mode):
    if cgroup_mode == "v2":
        pytest.skip("looks into v1 files")


def disk():
    """(major, minor) of a whole block device of this host."""
    for name in sorted(os.listdir("/sys/block")):
        major, _, minor = read(f"/sys/block/{name}/dev").strip().partition(":")
        return int(major), int(minor)
    return pytest.skip("no block device")


def device(*, allow=True, kind="c", major=None, minor=None, access="rwm"):
    """An entry of linux.resources.devices."""
    entry = {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}
    return {key: value for key, value in entry.items() if value is not None}


DENIED = device(allow=False, kind=None)
ON_DISK = "DISK"  # stands for a real device's major and minor

RESOURCES = {
    "nothing": {},
    "memory": {"memory": {"limit": 32 * MEGABYTE}},
    "memory-odd": {"memory": {"limit": 32 * MEGABYTE + 1}},
    "memory-unlimited": {"memory": {"limit": -1}},
    "memory-0": {"memory": {"limit": 0, "swap": 0, "reservation": 0}},
    "swap": {"memory": {"limit": 32 * MEGABYTE, "swap": 48 * MEGABYTE}},
    "swap-none": {"memory": {"limit": 32 * MEGABYTE, "swap": 32 * MEGABYTE}},
    "swap-unlimited": {"memory": {"limit": 32 * MEGABYTE, "swap": -1}},
    "reservation": {"memory": {"limit": 32 * MEGABYTE, "reservation": 16 * MEGABYTE}},
    "reservation-unlimited": {"memory": {"reservation": -1}},
    "swappiness-0": {"memory": {"swappiness": 0}},
    "swappiness": {"memory": {"swappiness": 100}},
    "swappiness-unset": {"memory": {"swappiness": (1 << 64) - 1}},
    "oom-killer-off": {"memory": {"limit": 32 * MEGABYTE, "disableOOMKiller": True}},
    "oom-killer-on": {"memory": {"disableOOMKiller": False}},
    "hierarchy": {"memory": {"useHierarchy": True}},
    "kernel-memory": {"memory": {"kernel": 8 * MEGABYTE, "kernelTCP": 8 * MEGABYTE}},
    "check": {"memory": {"limit": 32 * MEGABYTE, "checkBeforeUpdate": True}},
    "shares-least": {"cpu": {"shares": 2}},
    "shares": {"cpu": {"shares": 1000}},
    "shares-most": {"cpu": {"shares": 262144}},
    "shares-0": {"cpu": {"shares": 0}},
    "quota": {"cpu": {"quota": 20000}},
    "period": {"cpu": {"period": 50000}},
    "quota-and-period": {"cpu": {"quota": 12345, "period": 67890}},
    "quota-above-period": {"cpu": {"quota": 150000, "period": 100000}},
    "quota-none": {"cpu": {"quota": -1, "period": 200000}},
    "quota-0": {"cpu": {"quota": 0, "period": 0}},
    "real-time": {"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 1000}},
    "real-time-runtime": {"cpu": {"realtimeRuntime": 2000}},
    "real-time-0": {"cpu": {"realtimePeriod": 0, "realtimeRuntime": 0}},
    "cpus": {"cpu": {"cpus": "0", "mems": "0"}},
    "cpus-range": {"cpu": {"cpus": "0-1"}},
    "pids": {"pids": {"limit": 10}},
    "pids-none": {"pids": {"limit": -1}},
    "weight": {"blockIO": {"weight": 300}},
    "weight-least": {"blockIO": {"weight": 10}},
    "weight-0": {"blockIO": {"weight": 0}},
    "throttle": {
        "blockIO": {
            "throttleReadBpsDevice": [{**{ON_DISK: 1}, "rate": 1 << 20}],
            "throttleWriteBpsDevice": [{**{ON_DISK: 1}, "rate": 1 << 21}],
            "throttleReadIOPSDevice": [{**{ON_DISK: 1}, "rate": 100}],
            "throttleWriteIOPSDevice": [{**{ON_DISK: 1}, "rate": 200}],
        }
    },
    "throttle-0": {"blockIO": {"throttleReadBpsDevice": [{**{ON_DISK: 1}, "rate": 0}]}},
    "no-lists": {"devices": None, "hugepageLimits": None, "unified": None, "memory": None},
    "unified-none": {"unified": {}},
    "devices-none": {"devices": []},
    "devices-denied": {"devices": [DENIED]},
    "devices-allowed": {"devices": [device(kind=None)]},
    "devices-any": {"devices": [DENIED, device(kind="a", major=-1, minor=-1)]},
    "devices-denied-again": {"devices": [device(kind=None), DENIED]},
    "devices-one": {"devices": [DENIED, device(major=10, minor=229)]},
    "devices-read": {"devices": [DENIED, device(major=10, minor=229, access="r")]},
    "devices-adding-up": {
        "devices": [DENIED, *(device(major=10, minor=229, access=one) for one in "wr")]
    },
    "devices-taken-back": {
        "devices": [
            DENIED,
            device(major=10, minor=229),
            device(allow=False, major=10, minor=229, access="w"),
        ]
    },
    "devices-gone": {
        "devices": [
            DENIED,
            device(kind="b", major=8, minor=0),
            device(allow=False, kind="b", major=8, minor=0),
        ]
    },
    "devices-any-minor": {"devices": [DENIED, device(kind="b", major=8, access="rm")]},
    "devices-any-major": {"devices": [DENIED, device(minor=3, access="r")]},
    "devices-default-denied": {"devices": [DENIED, device(allow=False, major=1, minor=3)]},
    "devices-order": {
        "devices": [device(major=10, minor=229), DENIED, device(kind="b", major=7, minor=0)]
    },
    "all": {
        "memory": {"limit": 64 * MEGABYTE, "swap": 128 * MEGABYTE, "reservation": 32 * MEGABYTE},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 100},
        "blockIO": {"weight": 500},
        "devices": [DENIED, device(major=10, minor=229)],
    },
}


def real(document):
    """The document with a device of this host."""
    if isinstance(document, dict):
        if ON_DISK in document:
            major, minor = disk()
            rest = {key: value for key, value in document.items() if key != ON_DISK}
            return {"major": major, "minor": minor, **rest}
        return {key: real(value) for key, value in document.items()}
    return [real(each) for each in document] if isinstance(document, list) else document


@pytest.mark.parametrize("resources", RESOURCES.values(), ids=RESOURCES)
def test_a_new_containers_limits(pair, bundle, resources):
    bundle.linux["resources"] = real(resources)
    names = pair.create(bundle)
    assert pair.differences(names) == {}


REFUSED = {
    "shares-below": {"cpu": {"shares": 1}},
    "shares-above": {"cpu": {"shares": 262145}},
    "quota-tiny": {"cpu": {"quota": 1}},
    "period-tiny": {"cpu": {"period": 1}},
    "cpus-unknown": {"cpu": {"cpus": "4095"}},
    "cpus-nonsense": {"cpu": {"cpus": "x"}},
    "mems-unknown": {"cpu": {"mems": "63"}},
    "real-time-above": {"cpu": {"realtimeRuntime": 1000001}},
    "swap-alone": {"memory": {"swap": 48 * MEGABYTE}},
    "swap-below": {"memory": {"limit": 32 * MEGABYTE, "swap": 16 * MEGABYTE}},
    "swappiness": {"memory": {"swappiness": 101}},
    "weight": {"blockIO": {"weight": 1001}},
    "leaf-weight": {"blockIO": {"leafWeight": 10}},
    "no-such-disk": {
        "blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 0, "rate": 1}]}
    },
    "unified": {"unified": {"memory.high": "1"}},
    "huge-pages": {"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 21}]},
    "class": {"network": {"classID": 1}},
    "priorities": {"network": {"priorities": [{"name": "lo", "priority": 1}]}},
    "rdma": {"rdma": {"mlx5_0": {"hcaHandles": 1}}},
    "hole": {"devices": [DENIED, device(major=7), device(allow=False, major=7, minor=1)]},
    "device-type": {"devices": [device(kind="x")]},
    "device-no-access": {"devices": [device(access="")]},
}


# We write cpusets where the other limits are written, runc before it joins; and what its names for
# rules and its own ways to open files have to say is not repeated.
OTHER_WORDS = {"cpus-unknown", "cpus-nonsense", "mems-unknown", "hole", "leaf-weight"}


@pytest.mark.parametrize("case", REFUSED)
def test_limits_that_both_refuse(pair, bundle, case):
    bundle.linux["resources"] = REFUSED[case]
    results = pair.create(bundle, code=1)
    assert [runtime.names() for runtime in pair.both] == [[], []]
    if case not in OTHER_WORDS:
        assert_same_message(pair, results)


def assert_same_message(pair, results):
    """The same words, but for the cgroup's own name; and we say what the cause is, after them."""
    texts = [
        re.sub(f"/{runtime.prefix}[0-9]+", "/CGROUP", result.message)
        for runtime, result in zip(pair.both, results, strict=True)
    ]
    assert re.sub(": no hierarchy of [a-z_]+ is mounted$", "", texts[1]) == texts[0]


def test_access_of_unknown_letters_is_refused(pair, bundle):
    """The specification has r, w and m; runc drops the others, and the rule means less."""
    bundle.linux["resources"] = {"devices": [device(access="rx")]}
    reference, ours = pair.both
    reference.create(bundle)
    assert 'access at 0 field is invalid: "rx"' in ours.create(bundle, code=1).message


# runc 1.1.5 does not know them yet; runc 1.5 does.
NEWER = {
    "burst": (
        {"cpu": {"quota": 50000, "period": 100000, "burst": 10000}},
        {"cpu.cfs_burst_us": (["0"], ["10000"])},
    ),
    "idle": ({"cpu": {"idle": 1}}, {"cpu.idle": (["0"], ["1"]), "cpu.shares": (["1024"], ["3"])}),
    "no-process-more": ({"pids": {"limit": 0}}, {"pids.max": (["max"], ["1"])}),
}


@pytest.mark.parametrize(("resources", "expected"), NEWER.values(), ids=NEWER)
def test_limits_that_came_later(pair, bundle, resources, expected):
    bundle.linux["resources"] = resources
    assert pair.differences(pair.create(bundle)) == expected


# --- update ---

LIMITED = {
    "memory": {"limit": 64 * MEGABYTE, "swap": 96 * MEGABYTE, "reservation": 32 * MEGABYTE},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 100},
    "blockIO": {"weight": 500},
    "devices": [DENIED, device(major=10, minor=229)],
}
FLAGS = {
    "nothing": "",
    "memory": "--memory 80M",
    "memory-lower": "--memory 16777216",
    "memory-words": "--memory 70MiB --memory-swap 0.125g",
    "memory-above-swap": "--memory 96M --memory-swap 128M",
    "memory-none": "--memory -1",
    "memory-and-swap-none": "--memory=-1 --memory-swap=-1",
    "swap-none": "--memory-swap -1",
    "swap": "--memory-swap 80M",
    "swap-equal": "--memory-swap 64M",
    "reservation": "--memory-reservation 24M",
    "memory-0": "--memory 0 --memory-swap 0 --memory-reservation 0",
    "shares": "--cpu-share 100",
    "shares-0": "--cpu-share 0",
    "quota": "--cpu-quota 25000",
    "period": "--cpu-period 200000",
    "quota-and-period": "--cpu-quota 30000 --cpu-period 60000",
    "quota-none": "--cpu-quota -1",
    "cpus": "--cpuset-cpus 0",
    "cpus-and-mems": "--cpuset-cpus 1 --cpuset-mems 0",
    "real-time": "--cpu-rt-period 500000 --cpu-rt-runtime 1000",
    "pids": "--pids-limit 20",
    "pids-none": "--pids-limit -1",
    "weight": "--blkio-weight 200",
    "all": "--memory 80M --memory-swap 160M --memory-reservation 40M --cpu-share 256 "
    "--cpu-quota 1000 --cpu-period 10000 --cpuset-cpus 0 --cpuset-mems 0 --pids-limit 30 "
    "--blkio-weight 300",
}


@pytest.fixture
def limited(pair, bundle):
    """Two running containers with limits of many kinds."""
    bundle.linux["resources"] = LIMITED
    return pair.up(bundle.sh("sleep 100"))


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_update_by_flags(pair, limited, flags):
    pair("update", limited, *flags.split())
    assert pair.differences(limited) == {}


def test_updates_that_build_on_each_other(pair, limited):
    """What one update does not mention is kept or forgotten, and the next one shows which."""
    for flags in (
        "cpu-quota",
        "period",
        "shares",
        "quota",
        "memory-none",
        "swap",
        "memory",
        "cpus",
    ):
        before = [runtime.record(name) for runtime, name in zip(pair.both, limited, strict=True)]
        results = pair("update", limited, *FLAGS.get(flags, "").split(), code=None)
        assert results[0].code == results[1].code, (flags, before)
        assert pair.differences(limited) == {}, flags


# Values that fit and values that do not, in any order and combination.
VALUES = {
    "memory": "16M 32M 64M 80M 128M 4k 0 -1",
    "memory-swap": "32M 64M 128M 256M 0 -1",
    "memory-reservation": "8M 100M 0 -1",
    "cpu-share": "1 2 100 1024 300000 0",
    "cpu-quota": "999 1000 50000 100000 200000000 0 -1",
    "cpu-period": "999 1000 50000 100000 1000000 0",
    # Both containers share the host's budget, so it must be enough for two of any.
    "cpu-rt-period": "1000 500000 1000000 0",
    "cpu-rt-runtime": "100 200 300 0",
    "cpuset-cpus": "0 1 0-1",
    "pids-limit": "10 50 -1",
    "blkio-weight": "10 500 1000 0",
}
BEGINNINGS = [{}, LIMITED, {"memory": {"limit": 32 * MEGABYTE, "swap": 32 * MEGABYTE}}]


@pytest.mark.parametrize("seed", range(int(os.environ.get("PYRUNC_SEEDS", "12"))))
def test_updates_at_random(pair, bundle, seed):
    """Until both refuse one; runc then stops half-way, and we put everything back."""
    chance = random.Random(seed)
    bundle.linux["resources"] = BEGINNINGS[seed % len(BEGINNINGS)]
    names = pair.create(bundle)
    trail = []
    for _ in range(8):
        chosen = chance.sample(sorted(VALUES), chance.randint(1, 4))
        trail.append([f"--{name}={chance.choice(VALUES[name].split())}" for name in chosen])
        results = pair("update", names, *trail[-1], code=None)
        assert results[1].code == results[0].code, trail
        if results[0].code:
            break
        assert pair.differences(names) == {}, trail


DOCUMENTS = {
    "nothing": {},
    "memory": {"memory": {"limit": 80 * MEGABYTE}},
    "swap-first": {"memory": {"limit": 128 * MEGABYTE, "swap": 256 * MEGABYTE}},
    "memory-none": {"memory": {"limit": -1}},
    "cpu": {"cpu": {"shares": 99, "quota": 1000, "period": 5000, "cpus": "0", "mems": "0"}},
    "pids": {"pids": {"limit": 12}},
    "weight": {"blockIO": {"weight": 77}},
    "ignored": {
        "devices": [device(kind=None)],
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "network": {"classID": 5},
        "rdma": {"d": {"hcaHandles": 1}},
        "memory": {"swappiness": 3, "disableOOMKiller": True},
        "unknown": 1,
    },
    "as-podman-writes-it": {
        "cpu": {"shares": 200},
        "memory": {"limit": 90 * MEGABYTE, "swap": 180 * MEGABYTE},
        "pids": {"limit": 50},
        "blockIO": {"weight": 123, "throttleReadBpsDevice": None},
    },
}


@pytest.mark.parametrize("way", ["file", "stdin"])
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_update_by_document(pair, limited, tmp_path, document, way):
    text = json.dumps(real(document))
    path = tmp_path / "resources.json"
    path.write_text(text)
    if way == "file":
        pair("update", limited, "--resources", path)
    else:
        pair("update", limited, "-r", "-", stdin=text)
    assert pair.differences(limited) == {}


def test_what_later_updates_set(pair, limited):
    """runc 1.1.5 sets no rates by `update`; runc 1.5 does."""
    text = json.dumps(real(RESOURCES["throttle"]))
    pair("update", limited, "-r", "-", stdin=text)
    major, minor = disk()
    assert pair.differences(limited) == {
        f"blkio.throttle.{file}_device": ([], [f"{major}:{minor} {rate}"])
        for file, rate in (
            ("read_bps", 1 << 20),
            ("read_iops", 100),
            ("write_bps", 1 << 21),
            ("write_iops", 200),
        )
    }


BAD_UPDATES = {
    "quota": "--cpu-quota 1",
    "share": "--cpu-share x",
    "memory": "--memory M",
    "cpus": "--cpuset-cpus 4000",
    "weight": "--blkio-weight 5000",
    "swap": "--memory-swap 1M",
    "pids": "--pids-limit x",
    "rdt": "--l3-cache-schema L3:0=f",
    "bandwidth": "--mem-bw-schema MB:0=9",
    "no-file": "--resources /nonexistent",
}


@pytest.mark.parametrize("case", BAD_UPDATES)
def test_updates_that_both_refuse(pair, limited, case):
    before = [settings(paths) for paths in pair.paths(limited)]
    results = pair("update", limited, *BAD_UPDATES[case].split(), code=1)
    assert settings(pair.paths(limited)[1]) == before[1]
    if case != "pids":  # whose text is that of the library that parses flags
        assert_same_message(pair, results)


def test_update_of_a_stopped_container(pair, bundle):
    names = pair.up(bundle.args("true"))
    for runtime, name in zip(pair.both, names, strict=True):
        runtime.stopped(name)
    assert_same_message(pair, pair("update", names, "--pids-limit", "9", code=1))


# --- looking ---


@pytest.fixture
def busy(pair, bundle):
    """Two containers with three processes each, which have used memory, CPU time and a disk."""
    cpu = {**LIMITED["cpu"], "quota": 10000, "period": 20000}
    bundle.linux["resources"] = {**LIMITED, "cpu": cpu}
    count = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done;"
    data = "dd if=/dev/urandom of=/tmp/x bs=64k count=9 conv=fsync"
    script = f"{count} {data}; sleep 100 & sleep 101 & touch /tmp/go; wait"
    names = []
    for runtime in pair.both:
        bundle.linux["cgroupsPath"] = f"/{runtime.prefix}0"
        names.append(runtime.up(bundle.sh(script)))
        wait_for(lambda: os.path.exists(f"{bundle.rootfs}/tmp/go"), what="a busy container")
        os.unlink(f"{bundle.rootfs}/tmp/go")
    return names


def test_stats(pair, busy):
    """The same keys in the same order; a number that may be zero is left out then."""
    documents = [json.loads(result.stdout) for result in pair("events", busy, "--stats")]
    for document in documents:
        document["data"]["cpu"].pop("throttling")
        for entries in document["data"]["blkio"].values():
            for entry in entries or ():
                entry.pop("value", None)
    assert shape(documents[0]) == shape(documents[1])


def test_ps(pair, busy):
    one, other = (json.loads(result.stdout) for result in pair("ps", busy, "--format", "json"))
    assert len(one) == len(other) == 3
    results = pair("ps", busy, ..., "-o", "pid,ppid,args")
    tables = [result.stdout.splitlines() for result in results]
    assert tables[0][0] == tables[1][0]
    assert len(tables[0]) == len(tables[1]) == 4
    assert [row.split()[2:] for row in tables[0]] == [row.split()[2:] for row in tables[1]]
    headers = [result.stdout.splitlines()[0].split() for result in pair("ps", busy)]
    assert headers[0] == headers[1]
    assert_same_message(pair, pair("ps", busy, ..., "-o", "comm", code=1))


STATUSES = ("created", "running", "paused", "stopped")


def bring(pair, bundle, status):
    """Two containers of that status."""
    names = pair.create(bundle.sh("sleep 100"))
    if status not in ("created", "gone"):
        pair("start", names)
    if status == "paused":
        pair("pause", names)
    if status == "stopped":
        pair("kill", names, ..., "KILL")
        for runtime, name in zip(pair.both, names, strict=True):
            runtime.stopped(name)
    if status == "gone":
        pair("delete", names, "--force")
    return names


VERBS = {
    "start": ("start",),
    "state": ("state",),
    "kill-0": ("kill", ..., "0"),
    "kill-all-0": ("kill", "--all", ..., "0"),
    "kill-unknown": ("kill", ..., "NOPE"),
    "kill": ("kill", ..., "KILL"),
    "pause": ("pause",),
    "resume": ("resume",),
    "delete": ("delete",),
    "delete-force": ("delete", "--force"),
    "update": ("update", "--pids-limit", "9"),
    "update-bad": ("update", "--cpu-quota", "1"),
    "stats": ("events", "--stats"),
    "ps": ("ps",),
    "ps-json": ("ps", "--format", "json"),
    "ps-format": ("ps", "--format", "xml"),
    "exec": ("exec", ..., "true"),
    "exec-paused": ("exec", "--ignore-paused", "--detach", ..., "true"),
    "exec-missing": ("exec", ..., "/no-such-program"),
}
# (status, verb) that cannot be compared, and why.
INCOMPARABLE = {
    ("paused", "exec-paused"): "whoever comes in waits until somebody resumes the container",
    ("paused", "kill-all-0"): "runc 1.1.5 signals all and thaws them; runc 1.5 signals the first",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", [*STATUSES, "gone"])
def test_verb_by_status(pair, bundle, status, verb):
    if (status, verb) in INCOMPARABLE:
        pytest.skip(INCOMPARABLE[status, verb])
    names = bring(pair, bundle, status)
    results = pair(VERBS[verb][0], names, *VERBS[verb][1:], code=None)
    words = []
    for runtime, name, result in zip(pair.both, names, results, strict=True):
        message = result.message.replace(name, "ID")
        message = re.sub(f"/{runtime.prefix}[0-9]+", "/CGROUP", message)
        words.append((result.code, message))
    assert words[1] == words[0]

    def same_statuses():
        left = [json.loads(runtime("list", "--format", "json").stdout) for runtime in pair.both]
        return len({json.dumps([each["status"] for each in found or []]) for found in left}) == 1

    wait_for(same_statuses, what="the same statuses: who is killed takes a moment to end")


@pytest.mark.parametrize("status", STATUSES)
def test_state_and_list(pair, bundle, status):
    bundle.config["annotations"] = {"b": "2", "a": "1"}
    names = bring(pair, bundle, status)
    states = [json.loads(result.stdout) for result in pair("state", names)]
    assert shape(states[0]) == shape(states[1])
    assert states[1]["status"] == states[0]["status"] == status
    for key in ("bundle", "rootfs", "annotations", "owner"):
        assert states[0][key] == states[1][key]
    texts = [result.stdout for result in pair("state", names)]
    assert texts[0].count("\n") == texts[1].count("\n")
    assert (texts[0][:4], texts[0][-3:]) == (texts[1][:4], texts[1][-3:])
    lists = [json.loads(runtime("list", "--format", "json").stdout) for runtime in pair.both]
    assert shape(lists[0]) == shape(lists[1])
    assert lists[0][0]["owner"] == lists[1][0]["owner"]
    tables = [runtime("list").stdout.splitlines() for runtime in pair.both]
    assert tables[0][0].split() == tables[1][0].split()
    assert len(tables[0]) == len(tables[1]) == 2
