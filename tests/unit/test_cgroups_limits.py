"""linux.resources -> what is written to which file; the files are ordinary ones here."""

import os

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import fs, limits, limits_v1, limits_v2, place
from pyrunc.errors import Error

CONTROLLERS = "cpuset devices memory cpu pids blkio hugetlb net_cls net_prio rdma".split()


class Tree:
    """A directory per controller; every file that may be written exists, empty or as given."""

    def __init__(self, folder, v2, **contents):
        self.folder = str(folder)
        self.v2 = v2
        self.paths = {"": self.folder}
        if not v2:
            self.paths = {name: os.path.join(self.folder, name) for name in CONTROLLERS}
            for path in self.paths.values():
                os.mkdir(path)
        self.present = {}

    def file(self, name, content=""):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(content)
        self.present[name] = content
        return self

    def apply(self, **resources):
        """The files this changed."""
        mode = "v2" if self.v2 else "v1"
        cgroups.apply(self.paths, resources, mode, devices=False)
        changed = {}
        for name, before in self.present.items():
            with open(os.path.join(self.folder, name)) as file:
                text = file.read()
            if text != before:
                changed[name] = text
        return changed


def refused(function, *args, **options):
    with pytest.raises(Error) as caught:
        function(*args, **options)
    return caught.value.message


@pytest.fixture
def v1(tmp_path):
    return Tree(tmp_path, False)


@pytest.fixture
def v2(tmp_path):
    return Tree(tmp_path, True)


# --- conversions ---


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (1, 1), (2, 1), (3, 2), (10, 4), (50, 10), (100, 17), (128, 21), (200, 29), (256, 35)]
    + [(512, 59), (1000, 99), (1024, 100), (2048, 174), (3333, 256), (4096, 303), (8192, 532)]
    + [(10240, 639), (65536, 3023), (262143, 10000), (262144, 10000), (1 << 40, 10000)],
)
def test_shares_become_a_weight(shares, weight):
    assert limits_v2.cpu_weight(shares) == weight


@pytest.mark.parametrize(
    ("weight", "io"), [(10, 1), (11, 11), (100, 910), (500, 4950), (1000, 10000)]
)
def test_block_weight_becomes_an_io_weight(weight, io):
    assert limits_v2.io_weight(weight) == io


@pytest.mark.parametrize(
    ("memory", "swap"),
    [
        ({}, None),
        ({"limit": 100}, None),
        ({"limit": -1}, "max"),
        ({"limit": -1, "swap": 0}, "max"),
        ({"limit": 100, "swap": -1}, "max"),
        ({"swap": -1}, "max"),
        ({"limit": 100, "swap": 0}, None),
        ({"limit": -1, "swap": 50}, "50"),
        ({"limit": 100, "swap": 100}, "0"),
        ({"limit": 100, "swap": 150}, "50"),
    ],
)
def test_memory_and_swap_become_swap_alone(memory, swap):
    assert limits.swap_of(memory) == swap


@pytest.mark.parametrize(
    ("memory", "text"),
    [
        ({"swap": 100}, "unable to set swap limit without memory limit"),
        ({"limit": 0, "swap": 100}, "unable to set swap limit without memory limit"),
        ({"limit": -2, "swap": 100}, "invalid memory value: -2"),
        ({"limit": 100, "swap": 99}, "memory+swap limit should be >= memory limit"),
    ],
)
def test_impossible_swap_is_refused_early_on_v2(memory, text):
    assert refused(limits.validate, {"memory": memory}, "v2") == text
    limits.validate({"memory": memory}, "v1")


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}},
            "linux.resources.blockIO.weightDevice[0]: weight or leafWeight has to be set",
        ),
        (
            {"rdma": {"a": {"hcaHandles": 0}, "b": {}}},
            'linux.resources.rdma["b"]: hcaHandles or hcaObjects has to be set',
        ),
    ],
)
def test_an_entry_without_a_value_is_refused(resources, text):
    for mode in ("v1", "v2"):
        assert refused(limits.validate, resources, mode) == text


def test_unified_needs_v2():
    text = "invalid configuration: cannot use unified on cgroup v1"
    assert refused(limits.validate, {"unified": {"a.b": "1"}}, "v1") == text
    assert refused(limits.validate, {"unified": {"a.b": "1"}}, "hybrid") == text
    assert limits.validate({"unified": {}}, "v1") == []
    assert limits.validate({"unified": {"a.b": "1"}}, "v2") == []


def test_unified_keys_are_file_names():
    text = 'unified resource "../x" must be a file name (no slashes)'
    assert refused(limits.validate, {"unified": {"../x": "1"}}, "v2") == text
    text = 'unified resource "a.b\\x00" must be a file name (no slashes)'
    assert refused(limits.validate, {"unified": {"a.b\0": "1"}}, "v2") == text


def test_a_refused_value_is_quoted_whatever_its_type():
    text = 'failed to write "5": write /dev/full: no space left on device'
    assert refused(fs.write, "/dev", "full", 5) == refused(fs.write, "/dev", "full", "5") == text


def test_what_is_ignored_is_told():
    resources = {
        "memory": {"kernel": 1, "swappiness": 1, "disableOOMKiller": True},
        "network": {"classID": 1},
    }
    kernel = "Kernel memory settings are ignored and will be removed"
    assert limits.validate(resources, "v1") == [kernel]
    assert limits.validate(resources, "v2") == [
        kernel,
        "linux.resources.memory.swappiness is ignored",
        "linux.resources.memory.disableOOMKiller is ignored",
        "linux.resources.network is ignored",
    ]
    assert limits.validate({}, "v2") == []


# --- v1 ---


def test_v1_memory(v1):
    for name in ("limit_in_bytes", "memsw.limit_in_bytes", "soft_limit_in_bytes", "oom_control"):
        v1.file(f"memory/memory.{name}")
    v1.file("memory/memory.swappiness")
    memory = {"limit": 100, "reservation": 50, "disableOOMKiller": True, "swappiness": 0}
    assert v1.apply(memory=memory) == {
        "memory/memory.limit_in_bytes": "100",
        "memory/memory.soft_limit_in_bytes": "50",
        "memory/memory.oom_control": "1",
        "memory/memory.swappiness": "0",
    }


def test_v1_without_a_memory_limit_there_is_none_with_swap(v1):
    v1.file("memory/memory.limit_in_bytes").file("memory/memory.memsw.limit_in_bytes")
    assert v1.apply(memory={"limit": -1}) == {
        "memory/memory.limit_in_bytes": "-1",
        "memory/memory.memsw.limit_in_bytes": "-1",
    }


def test_v1_swap_accounting_may_be_off(v1):
    v1.file("memory/memory.limit_in_bytes")
    assert v1.apply(memory={"limit": -1}) == {"memory/memory.limit_in_bytes": "-1"}


def test_zero_is_no_memory_limit(v1, tmp_path):
    v1.file("memory/memory.limit_in_bytes")
    assert v1.apply(memory={"limit": 0, "swap": 0, "reservation": 0}) == {}
    os.mkdir(tmp_path / "v2")
    assert Tree(tmp_path / "v2", True).apply(memory={"limit": 0, "swap": 0}) == {}


def test_v1_swappiness_has_a_range(v1):
    text = refused(v1.apply, memory={"swappiness": 101})
    assert text == "invalid memory swappiness value: 101 (valid range is 0-100)"
    assert v1.apply(memory={"swappiness": (1 << 64) - 1}) == {}


@pytest.mark.parametrize("tree", ["v1", "v2"])
def test_limits_below_the_usage_are_rejected_if_asked(tree, request):
    tree = request.getfixturevalue(tree)
    if tree.v2:
        tree.file("memory.current", "200\n").file("memory.swap.current", "50\n")
    else:
        tree.file("memory/memory.usage_in_bytes", "200\n")
        tree.file("memory/memory.memsw.usage_in_bytes", "250\n")
    check = {"checkBeforeUpdate": True}
    assert refused(tree.apply, memory={"limit": 200, **check}) == (
        "rejecting memory limit 200 <= usage 200"
    )
    assert refused(tree.apply, memory={"limit": 230, "swap": 250, **check}) == (
        "rejecting memory+swap limit 250 <= usage 250"
    )


def test_v1_cpu(v1):
    for name in ("shares", "cfs_period_us", "cfs_quota_us", "cfs_burst_us", "idle"):
        v1.file(f"cpu/cpu.{name}")
    v1.file("cpu/cpu.rt_period_us").file("cpu/cpu.rt_runtime_us")
    cpu = {"shares": 512, "period": 1000, "quota": -1, "burst": 0, "idle": 1}
    assert v1.apply(cpu={**cpu, "realtimePeriod": 7, "realtimeRuntime": 5}) == {
        "cpu/cpu.shares": "512",
        "cpu/cpu.cfs_period_us": "1000",
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_burst_us": "0",
        "cpu/cpu.idle": "1",
        "cpu/cpu.rt_period_us": "7",
        "cpu/cpu.rt_runtime_us": "5",
    }


def test_v1_burst_may_be_missing_from_the_kernel(v1):
    v1.file("cpu/cpu.cfs_quota_us")
    assert v1.apply(cpu={"burst": 5, "quota": 10}) == {"cpu/cpu.cfs_quota_us": "10"}


def test_v1_cpuset_and_pids(v1):
    v1.file("cpuset/cpuset.cpus").file("cpuset/cpuset.mems").file("pids/pids.max")
    assert v1.apply(cpu={"cpus": "0-1", "mems": "0"}, pids={"limit": 5}) == {
        "cpuset/cpuset.cpus": "0-1",
        "cpuset/cpuset.mems": "0",
        "pids/pids.max": "5",
    }


@pytest.mark.parametrize(("limit", "text"), [(-1, "max"), (-5, "max"), (0, "1"), (7, "7")])
@pytest.mark.parametrize("tree", ["v1", "v2"])
def test_pids_limit(tree, limit, text, request):
    tree = request.getfixturevalue(tree)
    name = "pids.max" if tree.v2 else "pids/pids.max"
    assert tree.file(name).apply(pids={"limit": limit}) == {name: text}


BLOCK = {
    "weight": 100,
    "leafWeight": 200,
    "weightDevice": [{"major": 8, "minor": 0, "weight": 300, "leafWeight": 400}],
    "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 1}],
    "throttleWriteBpsDevice": [{"major": 8, "minor": 2, "rate": 2}],
    "throttleReadIOPSDevice": [{"major": 8, "minor": 3, "rate": 3}],
    "throttleWriteIOPSDevice": [{"major": 8, "minor": 4, "rate": 4}],
}


@pytest.mark.parametrize("prefix", ["blkio.", "blkio.bfq."])
def test_v1_block_io(v1, prefix):
    v1.file(f"blkio/{prefix}weight").file(f"blkio/{prefix}weight_device")
    v1.file("blkio/blkio.leaf_weight").file("blkio/blkio.leaf_weight_device")
    for name in ("read_bps", "write_bps", "read_iops", "write_iops"):
        v1.file(f"blkio/blkio.throttle.{name}_device")
    assert v1.apply(blockIO=BLOCK) == {
        f"blkio/{prefix}weight": "100",
        f"blkio/{prefix}weight_device": "8:0 300",
        "blkio/blkio.leaf_weight": "200",
        "blkio/blkio.leaf_weight_device": "8:0 400",
        "blkio/blkio.throttle.read_bps_device": "8:1 1",
        "blkio/blkio.throttle.write_bps_device": "8:2 2",
        "blkio/blkio.throttle.read_iops_device": "8:3 3",
        "blkio/blkio.throttle.write_iops_device": "8:4 4",
    }


def test_v1_hugetlb_network_rdma(v1):
    v1.file("hugetlb/hugetlb.2MB.limit_in_bytes").file("hugetlb/hugetlb.2MB.rsvd.limit_in_bytes")
    v1.file("net_cls/net_cls.classid").file("net_prio/net_prio.ifpriomap").file("rdma/rdma.max")
    assert v1.apply(
        hugepageLimits=[{"pageSize": "2MB", "limit": 0}],
        network={"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
        rdma={"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
    ) == {
        "hugetlb/hugetlb.2MB.limit_in_bytes": "0",
        "hugetlb/hugetlb.2MB.rsvd.limit_in_bytes": "0",
        "net_cls/net_cls.classid": "1048577",
        "net_prio/net_prio.ifpriomap": "eth0 5",
        "rdma/rdma.max": "mlx5_1 hca_handle=3 hca_object=10000",
    }


@pytest.mark.parametrize(
    ("name", "resources"),
    [
        ("memory", {"memory": {"limit": 1}}),
        ("cpu", {"cpu": {"shares": 1}}),
        ("cpuset", {"cpu": {"cpus": "0"}}),
        ("pids", {"pids": {"limit": 0}}),
        ("blkio", {"blockIO": {"weight": 10}}),
        ("hugetlb", {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
        ("net_cls", {"network": {"classID": 1}}),
        ("net_prio", {"network": {"priorities": [{"name": "lo", "priority": 1}]}}),
        ("rdma", {"rdma": {"x": {"hcaHandles": 1}}}),
    ],
)
def test_v1_limit_without_a_cgroup_is_an_error(v1, name, resources):
    del v1.paths[name]
    text = f"cannot set {name} limit: container could not join or create cgroup"
    assert refused(v1.apply, **resources).startswith(text)


def test_v1_nothing_to_set_needs_no_cgroup():
    resources = {"memory": {"limit": 0}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}}
    cgroups.apply({}, resources, "v1", devices=False)


def test_write_errors_are_worded_like_runc(v1, v2):
    path = f"{v1.folder}/pids/pids.max"
    assert refused(v1.apply, pids={"limit": 1}) == f"open {path}: no such file or directory"


# --- v2 ---


def test_v2_memory(v2):
    v2.file("memory.swap.max").file("memory.max").file("memory.low")
    assert v2.apply(memory={"limit": 100, "swap": 150, "reservation": -1}) == {
        "memory.swap.max": "50",
        "memory.max": "100",
        "memory.low": "max",
    }


def test_v2_swap_accounting_may_be_off(v2):
    v2.file("memory.max")
    assert v2.apply(memory={"limit": -1}) == {"memory.max": "max"}
    assert v2.apply(memory={"limit": 100, "swap": 100})
    assert "memory.swap.max: no such file" in refused(v2.apply, memory={"limit": 1, "swap": 2})


def test_v2_cpu(v2):
    v2.file("cpu.weight").file("cpu.max").file("cpu.max.burst").file("cpu.idle")
    assert v2.apply(cpu={"shares": 2048, "quota": 500, "burst": 10, "idle": 0}) == {
        "cpu.weight": "174",
        "cpu.max": "500 100000",
        "cpu.max.burst": "10",
        "cpu.idle": "0",
    }


@pytest.mark.parametrize(
    ("cpu", "text"),
    [({"period": 5000}, "max 5000"), ({"quota": -1}, "max 100000"), ({"quota": 7}, "7 100000")]
    + [({"quota": 7, "period": 9}, "7 9"), ({"quota": 0, "period": 0}, None)],
)
def test_v2_cpu_max(v2, cpu, text):
    assert v2.file("cpu.max").apply(cpu=cpu).get("cpu.max") == text


def test_v2_cpuset_hugetlb_rdma(v2):
    v2.file("cpuset.cpus").file("cpuset.mems").file("hugetlb.1GB.max").file("rdma.max")
    assert v2.apply(
        cpu={"cpus": "1", "mems": "0-1"},
        hugepageLimits=[{"pageSize": "1GB", "limit": 1 << 40}],
        rdma={"a": {"hcaObjects": 2}},
    ) == {
        "cpuset.cpus": "1",
        "cpuset.mems": "0-1",
        "hugetlb.1GB.max": "1099511627776",
        "rdma.max": "a hca_object=2",
    }


def test_v2_block_io(v2):
    v2.file("io.weight").file("io.max")
    assert v2.apply(blockIO={"weight": 500, "weightDevice": BLOCK["weightDevice"]}) == {
        "io.weight": "4950"
    }
    for key, text in (
        ("throttleReadBpsDevice", "8:1 rbps=1"),
        ("throttleWriteBpsDevice", "8:2 wbps=2"),
        ("throttleReadIOPSDevice", "8:3 riops=3"),
        ("throttleWriteIOPSDevice", "8:4 wiops=4"),
    ):
        assert v2.apply(blockIO={key: BLOCK[key]})["io.max"] == text


def test_v2_block_io_of_the_bfq_scheduler(v2):
    v2.file("io.weight").file("io.bfq.weight", "100\n")
    entries = {"weightDevice": BLOCK["weightDevice"]}
    assert v2.apply(blockIO=entries) == {}
    v2.file("io.bfq.weight", "default 100\n")
    assert v2.apply(blockIO=entries)["io.bfq.weight"].startswith("8:0 300")
    v2.file("io.bfq.weight")
    assert v2.apply(blockIO={"weight": 500}) == {"io.bfq.weight": "500"}


def test_v2_ignores_what_it_has_no_file_for(v2):
    resources = {
        "memory": {"kernel": 5, "kernelTCP": 5, "swappiness": 5, "disableOOMKiller": True},
        "cpu": {"realtimeRuntime": 5, "realtimePeriod": 6},
        "network": {"classID": 5, "priorities": [{"name": "lo", "priority": 1}]},
        "blockIO": {"leafWeight": 10},
    }
    assert v2.apply(**resources) == {}


def test_v2_unified_comes_last(v2):
    v2.file("pids.max").file("cpuset.cpus")
    assert v2.apply(pids={"limit": 50}, unified={"pids.max": "99", "cpuset.cpus": ""}) == {
        "pids.max": "99",
        "cpuset.cpus": "\n",
    }


def test_v2_unified_errors(v2):
    v2.file("cgroup.controllers", "memory pids\n")
    word = "unified resource"
    assert refused(v2.apply, unified={"a/b": "1"}) == (
        f'{word} "a/b" must be a file name (no slashes)'
    )
    assert refused(v2.apply, unified={"ab": "1"}) == (
        f'{word} "ab" must be in the form CONTROLLER.PARAMETER'
    )
    assert refused(v2.apply, unified={"hugetlb.1GB.max": "1"}) == (
        f'{word} "hugetlb.1GB.max" can\'t be set: controller "hugetlb" not available'
    )
    missing = "no such file or directory"
    assert refused(v2.apply, unified={"pids.nope": "1"}) == (
        f'unable to set {word} "pids.nope": open {v2.folder}/pids.nope: {missing}'
    )


@pytest.mark.parametrize(("size", "shown"), [("../../x", "../../x"), ("2\0MB", "2\\x00MB")])
def test_huge_page_sizes_are_no_paths(v1, size, shown):
    entry = [{"pageSize": size, "limit": 1}]
    assert refused(v1.apply, hugepageLimits=entry) == f'invalid huge page size "{shown}"'


def test_rootless_without_a_cgroup_of_its_own_has_nothing_to_set():
    cgroups.apply({}, {}, "v2")


# --- what needs which controller ---


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({}, set()),
        ({"devices": [{"allow": False, "access": "rwm"}]}, set()),
        ({"pids": {"limit": 0}}, {"pids"}),
        ({"memory": {"limit": 0}}, set()),
        ({"memory": {"reservation": 1}}, {"memory"}),
        ({"cpu": {"cpus": "0"}}, {"cpuset"}),
        ({"cpu": {"shares": 1}}, {"cpu"}),
        ({"blockIO": {"weight": 10}}, {"io"}),
        ({"blockIO": {"weight": 0}}, set()),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, {"hugetlb"}),
    ],
)
def test_controllers_that_resources_need(resources, wanted):
    assert place.requested(resources) == wanted


def test_v1_real_time_budget_alone(v1):
    v1.file("cpu/cpu.rt_runtime_us")
    limits_v1.realtime(v1.paths["cpu"], {"realtimeRuntime": 5, "realtimePeriod": 0})
    with open(f"{v1.folder}/cpu/cpu.rt_runtime_us") as file:
        assert file.read() == "5"


def test_a_cgroup_that_is_gone_but_still_mounted(tmp_path):
    """Its directory is there, and nothing can be made in it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    fd = os.open(gone, os.O_PATH)
    try:
        gone.rmdir()
        path = f"/proc/self/fd/{fd}/c"
        with pytest.raises(Error, match=f"^mkdir {path}: no such file or directory$"):
            place.create({"pids": path}, {})
    finally:
        os.close(fd)
