"""What `events` prints of a container's usage, from files as the kernel writes them."""

import json
import os

import pytest

from pyrunc.cgroups import hierarchies, stats, stats_v1, stats_v2
from pyrunc.errors import Error


def tree(folder, text):
    """Files out of `name: content` paragraphs; `|` stands for a line break."""
    for row in text.strip().splitlines():
        name, _, content = row.strip().partition(": ")
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "w") as file:
            file.write(content.replace("|", "\n") + "\n")


def compact(value):
    return json.dumps(value, separators=(",", ":"))


V1 = """
    cpuacct/cpuacct.stat: user 10|system 5
    cpuacct/cpuacct.usage: 160000123
    cpuacct/cpuacct.usage_percpu: 100000000 60000123
    cpuacct/cpuacct.usage_all: cpu user system|0 70000000 30000000|1 40000123 20000000
    cpu/cpu.stat: nr_periods 8|nr_throttled 3|throttled_time 900|nr_bursts 0|burst_time 0
    cpuset/cpuset.cpus: 0-2,5
    cpuset/cpuset.mems: 0
    cpuset/cpuset.cpu_exclusive: 1
    cpuset/cpuset.mem_hardwall: 0
    cpuset/cpuset.memory_pressure: 7
    cpuset/cpuset.sched_load_balance: 1
    cpuset/cpuset.sched_relax_domain_level: -1
    memory/memory.stat: cache 4096|rss 8192|pgfault 3
    memory/memory.usage_in_bytes: 12288
    memory/memory.max_usage_in_bytes: 20480
    memory/memory.limit_in_bytes: 33554432
    memory/memory.failcnt: 2
    memory/memory.memsw.usage_in_bytes: 12288
    memory/memory.memsw.max_usage_in_bytes: 20480
    memory/memory.memsw.limit_in_bytes: 9223372036854771712
    memory/memory.memsw.failcnt: 0
    memory/memory.kmem.limit_in_bytes: 9223372036854771712
    memory/memory.kmem.usage_in_bytes: 0
    pids/pids.current: 4
    pids/pids.max: 20
    blkio/blkio.throttle.io_service_bytes_recursive: 8:0 Read 4096|8:0 Total 4096|Total 4096
    blkio/blkio.throttle.io_serviced_recursive: 8:0 Read 1|8:0 Write 0|Total 1
    hugetlb/hugetlb.2MB.usage_in_bytes: 1
    hugetlb/hugetlb.2MB.max_usage_in_bytes: 2
    hugetlb/hugetlb.2MB.failcnt: 3
    hugetlb/hugetlb.2MB.rsvd.usage_in_bytes: 2097152
    hugetlb/hugetlb.2MB.rsvd.max_usage_in_bytes: 4194304
    hugetlb/hugetlb.2MB.rsvd.failcnt: 1
    hugetlb/hugetlb.1GB.usage_in_bytes: 0
    hugetlb/hugetlb.1GB.max_usage_in_bytes: 0
    hugetlb/hugetlb.1GB.failcnt: 0
"""
V1_DATA = (
    '{"cpu":{"usage":{"total":160000123,"percpu":[100000000,60000123],'
    '"percpu_kernel":[30000000,20000000],"percpu_user":[70000000,40000123],'
    '"kernel":50000000,"user":100000000},'
    '"throttling":{"periods":8,"throttledPeriods":3,"throttledTime":900}},'
    '"cpuset":{"cpus":[0,1,2,5],"cpu_exclusive":1,"mems":[0],"mem_hardwall":0,"mem_exclusive":0,'
    '"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":7,'
    '"sched_load_balance":1,"sched_relax_domain_level":-1},'
    '"memory":{"cache":4096,'
    '"usage":{"limit":33554432,"usage":12288,"max":20480,"failcnt":2},'
    '"swap":{"limit":9223372036854771712,"usage":12288,"max":20480,"failcnt":0},'
    '"kernel":{"limit":9223372036854771712,"failcnt":0},'
    '"raw":{"cache":4096,"pgfault":3,"rss":8192}},'
    '"pids":{"current":4,"limit":20},'
    '"blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":4096},'
    '{"major":8,"op":"Total","value":4096}],'
    '"ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write"}]},'
    '"hugetlb":{"1GB":{"failcnt":0},"2MB":{"usage":2097152,"max":4194304,"failcnt":1}},'
    '"intel_rdt":{},"network_interfaces":null}'
)


def test_v1(tmp_path):
    tree(tmp_path, V1)
    paths = {name: f"{tmp_path}/{name}" for name in stats_v1.HIERARCHIES}
    assert compact(stats.read(paths)) == V1_DATA


NOTHING = (
    '{"cpu":{},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,'
    '"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,'
    '"sched_relax_domain_level":0},"memory":{},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},'
    '"network_interfaces":null}'
)


def test_nothing_is_there(tmp_path):
    assert compact(stats.read({})) == NOTHING
    assert compact(stats.read({"": str(tmp_path)})) == NOTHING
    assert compact(stats.read({"memory": f"{tmp_path}/gone", "": str(tmp_path)})) == NOTHING


def test_no_limit_of_pids_is_no_limit_in_the_document(tmp_path):
    tree(tmp_path, "pids/pids.current: 4\npids/pids.max: max")
    assert stats.read({"pids": f"{tmp_path}/pids", "cpu": "/nonexistent"})["pids"] == {"current": 4}


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["blkio.bfq.sectors_recursive", "blkio.bfq.io_serviced_recursive"], 2),
        (["blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"], 1),
        (["blkio.sectors_recursive", "blkio.io_queued_recursive"], 2),
        (["blkio.throttle.io_serviced", "blkio.throttle.io_service_bytes"], 2),
        (["blkio.io_queued_recursive"], 0),
    ],
)
def test_v1_files_of_the_io_scheduler(tmp_path, files, names):
    tree(tmp_path, "\n".join(f"{name}: 8:16 5" for name in files))
    found = stats_v1.blkio(str(tmp_path))
    assert len([name for name, entries in found.items() if entries]) == names
    for entries in filter(None, found.values()):
        assert entries == [{"major": 8, "minor": 16, "value": 5}]


def test_v1_an_empty_file_is_as_good_as_none(tmp_path):
    tree(tmp_path, "blkio.bfq.io_serviced_recursive: \nblkio.throttle.io_serviced: 8:0 Sync 2")
    assert stats_v1.blkio(str(tmp_path))["ioServicedRecursive"] == [
        {"major": 8, "minor": 0, "op": "Sync", "value": 2}
    ]


V2 = """
    cpu.stat: usage_usec 150|user_usec 100|system_usec 50|nr_periods 2|nr_throttled 1|\
throttled_usec 7
    memory.stat: anon 8192|file 4096
    memory.current: 12288
    memory.max: 33554432
    memory.peak: 20480
    memory.swap.current: 1000
    memory.swap.max: max
    pids.current: 3
    pids.max: max
    io.stat: 8:0 rbytes=4096 wbytes=0 rios=1 wios=2 dbytes=9 dios=9|259:1 rbytes=5 cost.usage=3
    hugetlb.2MB.current: 5
    hugetlb.2MB.rsvd.current: 2097152
    hugetlb.2MB.events: max 4
    hugetlb.1GB.current: 0
    cpu.pressure: some avg10=0.00 avg60=1.50 avg300=0.25 total=12|\
full avg10=0.00 avg60=0.00 avg300=0.00 total=1
    memory.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
V2_DATA = (
    '{"cpu":{"usage":{"total":150000,"kernel":50000,"user":100000},'
    '"throttling":{"periods":2,"throttledPeriods":1,"throttledTime":7000},'
    '"psi":{"some":{"avg10":0,"avg60":1.5,"avg300":0.25,"total":12},'
    '"full":{"avg10":0,"avg60":0,"avg300":0,"total":1}}},'
    '"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,'
    '"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,'
    '"sched_relax_domain_level":0},'
    '"memory":{"cache":4096,'
    '"usage":{"limit":33554432,"usage":12288,"max":20480,"failcnt":0},'
    '"swap":{"limit":18446744073709551615,"usage":13288,"failcnt":0},'
    '"raw":{"anon":8192,"file":4096},'
    '"psi":{"some":{"avg10":0,"avg60":0,"avg300":0,"total":0},'
    '"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}},'
    '"pids":{"current":3},'
    '"blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":4096},'
    '{"major":8,"op":"Write"},{"major":259,"minor":1,"op":"Read","value":5}],'
    '"ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write","value":2}]},'
    '"hugetlb":{"1GB":{"failcnt":0},"2MB":{"usage":2097152,"failcnt":4}},'
    '"intel_rdt":{},"network_interfaces":null}'
)


def test_v2(tmp_path):
    tree(tmp_path, V2)
    assert compact(stats.read({"": str(tmp_path)})) == V2_DATA


def test_v2_limits_of_memory_and_swap_add_up(tmp_path):
    tree(
        tmp_path, "memory.max: 100\nmemory.swap.max: 50\nmemory.current: 7\nmemory.swap.current: 1"
    )
    assert stats_v2.memory(str(tmp_path))["swap"] == {"usage": 8, "limit": 150}
    tree(tmp_path, "memory.max: max")
    assert stats_v2.memory(str(tmp_path))["swap"]["limit"] == stats.UNLIMITED


def test_v2_without_the_pids_controller_processes_are_counted(tmp_path):
    tree(tmp_path, "cgroup.procs: 11|12\nbelow/cgroup.procs: 13")
    assert stats.read({"": str(tmp_path)})["pids"] == {"current": 3}


def test_v2_pressure_that_is_switched_off(monkeypatch):
    def refuse(folder, name):
        raise Error("read: operation not supported") from OSError(95, "")

    monkeypatch.setattr(stats_v2.fs, "read", refuse)
    assert stats_v2.pressure("/x", "cpu.pressure") is None


def test_v2_the_root_has_its_amounts_from_elsewhere(tmp_path, monkeypatch):
    tree(tmp_path, "memory.stat: anon 100|file 10")
    monkeypatch.setattr(stats_v2, "ROOT", str(tmp_path))
    found = stats_v2.memory(str(tmp_path))
    assert found["usage"] == {"usage": 110, "limit": stats.UNLIMITED}
    assert found["swap"]["usage"] >= 110
    assert hierarchies.ROOT == "/sys/fs/cgroup"


def test_a_file_nobody_expected(tmp_path):
    tree(tmp_path, "memory.max: plenty")
    with pytest.raises(Error, match="^unable to get container cgroup stats: "):
        stats.read({"": str(tmp_path)})
