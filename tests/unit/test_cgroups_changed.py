"""What an update makes of the recorded resources, and how a failed one is undone."""

import pytest

from pyrunc import cgroups, update
from pyrunc.cgroups import changed, recorded, snapshot
from pyrunc.errors import Error

STORED = cgroups.record(
    {"path": "/a"},
    {
        "memory": {"limit": 100, "swap": 200, "reservation": 50, "swappiness": 7},
        "cpu": {"shares": 512, "quota": 1000, "period": 2000, "burst": 3, "cpus": "0", "mems": "0"},
        "pids": {"limit": 9},
        "blockIO": {"weight": 10},
        "unified": {"memory.high": "5"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    },
)


def differences(wanted, stored=STORED):
    new = changed.merge(stored, wanted)
    return {key: value for key, value in new.items() if value != stored[key]}


# Not a word about these, and the record forgets them: the files keep what they have.
FORGOTTEN = {
    "cpu_burst": None,
    "cpuset_cpus": "",
    "cpuset_mems": "",
    "pids_limit": None,
    "cpu_quota": 0,
    "cpu_period": 0,
    "unified": None,
}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, FORGOTTEN),
        ({"memory": {}, "cpu": {}, "pids": {}}, FORGOTTEN),
        ({"memory": {"limit": 300}}, {**FORGOTTEN, "memory": 300}),
        ({"memory": {"limit": 0}}, {**FORGOTTEN, "memory": 0}),
        ({"memory": {"limit": -1}}, {**FORGOTTEN, "memory": -1, "memory_swap": 0}),
        (
            {"memory": {"limit": -1, "swap": 5}},
            {**FORGOTTEN, "memory": -1, "memory_swap": 5},
        ),
        (
            {"memory": {"checkBeforeUpdate": True}},
            {**FORGOTTEN, "memory_check_before_update": True},
        ),
        ({"pids": {"limit": -1}}, {**FORGOTTEN, "pids_limit": -1}),
        ({"pids": {"limit": 0}}, {**FORGOTTEN, "pids_limit": 0}),
        ({"cpu": {"shares": 3}}, {**FORGOTTEN, "cpu_shares": 3}),
        ({"cpu": {"idle": 1}}, {**FORGOTTEN, "cpu_idle": 1, "cpu_shares": 0}),
        ({"cpu": {"idle": 0, "shares": 4}}, {**FORGOTTEN, "cpu_idle": 0, "cpu_shares": 4}),
        ({"cpu": {"burst": 0}}, {**FORGOTTEN, "cpu_burst": 0}),
        (
            {"cpu": {"cpus": "1", "mems": "2"}},
            {**FORGOTTEN, "cpuset_cpus": "1", "cpuset_mems": "2"},
        ),
        (
            {"cpu": {"realtimeRuntime": 1, "realtimePeriod": 2}},
            {**FORGOTTEN, "cpu_rt_quota": 1, "cpu_rt_period": 2},
        ),
        (
            {"blockIO": {"weight": 20, "leafWeight": 30}},
            {**FORGOTTEN, "blkio_weight": 20, "blkio_leaf_weight": 30},
        ),
        ({"unified": {"a.b": "1"}}, {**FORGOTTEN, "unified": {"a.b": "1"}}),
    ],
)
def test_merging(wanted, expected):
    assert differences(wanted) == expected


@pytest.mark.parametrize(
    ("cpu", "quota", "period"),
    [
        ({"quota": 5}, 5, 2000),
        ({"period": 7}, 1000, 7),
        ({"quota": 5, "period": 7}, 5, 7),
        ({"quota": -1}, -1, 2000),
        ({"quota": -1, "period": 7}, -1, 7),
        ({}, 0, 0),
        ({"quota": 0, "period": 0}, 0, 0),
        ({"shares": 1}, 0, 0),
    ],
)
def test_quota_and_period_go_together(cpu, quota, period):
    new = changed.merge(STORED, {"cpu": cpu})
    assert (new["cpu_quota"], new["cpu_period"]) == (quota, period)


@pytest.mark.parametrize(
    "wanted",
    [
        {"devices": [{"allow": True, "access": "rwm"}]},
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 9}]},
        {"network": {"classID": 5}},
        {"rdma": {"d": {"hcaHandles": 3}}},
        {"memory": {"swappiness": 9, "disableOOMKiller": True, "kernel": 5}},
    ],
)
def test_what_an_update_never_touches(wanted):
    assert differences(wanted) == FORGOTTEN


def test_devices_take_the_place_of_their_older_entry():
    key, name = "throttleReadBpsDevice", "blkio_throttle_read_bps_device"

    def limit(minor, rate):
        return {"major": 8, "minor": minor, "rate": rate}

    first = changed.merge(STORED, {"blockIO": {key: [limit(0, 1), limit(1, 2)]}})
    second = changed.merge(first, {"blockIO": {key: [limit(1, 3), limit(2, 4), limit(1, 5)]}})
    assert second[name] == [limit(0, 1), limit(1, 5), limit(2, 4)]
    assert changed.merge(second, {})[name] == second[name]
    assert first[name] == [limit(0, 1), limit(1, 2)]


def test_every_recorded_resource_is_kept_or_forgotten_on_purpose():
    special = {"cpu_quota", "cpu_period"}
    untouched = {"oom_kill_disable", "memory_swappiness", "net_cls_classid_u"}
    known = {*changed.KEPT, *changed.REPLACED, *changed.BY_DEVICE, *special, *untouched}
    assert {name for _, _, name, _ in recorded.PLAIN} == known


# --- undoing ---


class Files:
    """A directory whose files behave like the kernel's: a write replaces, some values are bad."""

    def __init__(self, folder, monkeypatch, bad, **contents):
        self.paths = {"": str(folder)}
        self.contents = contents
        self.bad = bad
        self.writes = []
        for module in (snapshot, update.limits, *self.versions()):
            monkeypatch.setattr(module, "read", self.read, raising=False)
            monkeypatch.setattr(module, "write", self.write, raising=False)

    @staticmethod
    def versions():
        from pyrunc.cgroups import limits_v1, limits_v2

        return limits_v1, limits_v2

    def read(self, folder, name):
        value = self.contents.get(name)
        return None if value is None else f"{value}\n"

    def write(self, folder, name, value, ignore=()):
        if (name, str(value)) in self.bad:
            raise Error(f"failed to write {value}: write {name}: invalid argument")
        if name in self.contents:
            self.contents[name] = str(value).strip()
        self.writes.append((name, str(value)))
        return 0


def test_a_failed_update_leaves_every_file_as_it_was(tmp_path, monkeypatch):
    before = {"pids.max": "max", "memory.max": "max", "memory.swap.max": "max", "cpu.max": "max 1"}
    bad = {("cpu.max", "5 100000")}
    files = Files(tmp_path, monkeypatch, bad, **before)
    wanted = {"pids": {"limit": 5}, "memory": {"limit": 10, "swap": 10}, "cpu": {"quota": 5}}
    with pytest.raises(Error, match="failed to write 5 100000"):
        update.apply(files.paths, {}, wanted)
    assert files.contents == before
    assert ("pids.max", "5") in files.writes


@pytest.mark.parametrize(
    ("name", "before", "now", "lines"),
    [
        ("pids.max", "max\n", "5\n", ["max"]),
        ("pids.max", "max\n", "max\n", []),
        ("cpuset.cpus", "\n", "0\n", [""]),
        ("cpuset.cpus", "", "0\n", [""]),
        ("blkio.throttle.read_bps_device", "", "8:0 5\n", ["8:0 0"]),
        ("blkio.throttle.read_bps_device", "8:0 5\n", "8:0 6\n8:1 7\n", ["8:0 5", "8:1 0"]),
        ("blkio.throttle.write_iops_device", "8:0 5\n8:1 7\n", "8:1 7\n", ["8:0 5"]),
        (
            "io.max",
            "8:0 rbps=5 wbps=max riops=max wiops=max\n",
            "8:1 rbps=5 wbps=max riops=max wiops=max\n",
            [
                "8:0 rbps=5 wbps=max riops=max wiops=max",
                "8:1 rbps=max wbps=max riops=max wiops=max",
            ],
        ),
        ("io.weight", "default 100\n", "default 50\n8:0 60\n", ["default 100", "8:0 default"]),
        ("io.bfq.weight", "100\n", "60\n", ["100"]),
        ("misc.max", "a 1\nb max\n", "a 2\nb max\n", ["a 1"]),
    ],
)
def test_lines_that_put_a_file_back(name, before, now, lines):
    assert snapshot.lines(name, before, now) == lines


def test_files_named_by_the_update_are_put_back(tmp_path, monkeypatch):
    before = {"memory.high": "max", "cpu.max": "max 1"}
    files = Files(tmp_path, monkeypatch, {("memory.min", "x")}, **before)
    wanted = {"unified": {"memory.high": "5", "cpu.max": "1 2", "memory.min": "x"}}
    with pytest.raises(Error, match='unable to set unified resource "memory.min"'):
        update.apply(files.paths, {}, wanted)
    assert files.contents == before
    assert ("memory.high", "5") in files.writes


def test_the_old_limits_are_applied_again(tmp_path, monkeypatch):
    files = Files(tmp_path, monkeypatch, {("cpu.weight", "1")}, **{"pids.max": "7"})
    with pytest.raises(Error):
        update.apply(files.paths, {"pids": {"limit": 7}}, {"cpu": {"shares": 2}})
    assert files.writes == [("pids.max", "7")]


def test_an_undo_that_fails_is_a_warning(tmp_path, monkeypatch, capfd):
    bad = {("cpu.weight", "1"), ("pids.max", "max")}
    files = Files(tmp_path, monkeypatch, bad, **{"pids.max": "max"})
    with pytest.raises(Error, match="failed to write 1:"):
        update.apply(files.paths, {}, {"pids": {"limit": 7}, "cpu": {"shares": 2}})
    assert "Setting back cgroup configs failed due to error: " in capfd.readouterr().err


def test_v1_refuses_unified():
    with pytest.raises(Error, match="cannot use unified on cgroup v1"):
        update.apply({"memory": "/nowhere"}, {}, {"unified": {"memory.high": "1"}})
