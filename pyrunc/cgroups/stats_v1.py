"""What a container uses, out of the files of cgroup v1.

May touch: files in the directories of `paths` (reads only).
The kernel's admin-guide/cgroup-v1.  A missing hierarchy or file counts as 0.
"""

from pyrunc.cgroups import fs
from pyrunc.cgroups.stats import number, page_sizes, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Found = dict[str, Any]

TICK = 10_000_000  # nanoseconds in a tick of cpuacct.stat (USER_HZ is 100 everywhere)

HIERARCHIES = "cpuacct cpu cpuset memory pids blkio hugetlb".split()
CPUSET = (
    "cpu_exclusive mem_hardwall mem_exclusive memory_migrate memory_spread_page memory_spread_slab "
    "memory_pressure sched_load_balance sched_relax_domain_level"
).split()
AMOUNTS = (
    ("usage", "memory."),
    ("swap", "memory.memsw."),
    ("kernel", "memory.kmem."),
    ("kernelTCP", "memory.kmem.tcp."),
)

# Entry in the document -> file, in several generations; the first one that has a value in its first
# file is used.  Which files exist depends on the I/O scheduler and on debugging options.
DETAILS = (
    ("sectorsRecursive", "sectors_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioTimeRecursive", "time_recursive"),
)
BASICS = (
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
)
BLKIO = (
    ("blkio.bfq.", DETAILS + BASICS),
    ("blkio.bfq.", BASICS),
    ("blkio.", DETAILS + BASICS),
    ("blkio.throttle.", BASICS),
    (
        "blkio.throttle.",
        (("ioServicedRecursive", "io_serviced"), ("ioServiceBytesRecursive", "io_service_bytes")),
    ),
)


def read_all(paths: "dict[str, str]") -> "Found":
    """All that the document has."""
    nowhere = "/nonexistent"  # every file of a hierarchy that is not there is missing
    folder = {name: paths.get(name, nowhere) for name in HIERARCHIES}
    return {
        "cpu": {"usage": usage(folder["cpuacct"]), "throttling": throttling(folder["cpu"])},
        "cpuset": cpuset(folder["cpuset"]),
        "memory": memory(folder["memory"]),
        "pids": {
            "current": number(folder["pids"], "pids.current"),
            "limit": number(folder["pids"], "pids.max", 0),
        },
        "blkio": blkio(folder["blkio"]),
        "hugetlb": hugetlb(folder["hugetlb"]),
    }


def usage(folder: str) -> "Found":
    """CPU time in nanoseconds, in all and by CPU."""
    ticks = pairs(folder, "cpuacct.stat")
    each = [int(text) for text in (fs.read(folder, "cpuacct.usage_percpu") or "").split()]
    rows = [line.split() for line in (fs.read(folder, "cpuacct.usage_all") or "").splitlines()[1:]]
    return {
        "total": number(folder, "cpuacct.usage"),
        "percpu": each,
        "percpu_kernel": [int(row[2]) for row in rows],  # cpu user system
        "percpu_user": [int(row[1]) for row in rows],
        "kernel": ticks.get("system", 0) * TICK,
        "user": ticks.get("user", 0) * TICK,
    }


def throttling(folder: str) -> "Found":
    """How often, and how long, the quota was used up."""
    found = pairs(folder, "cpu.stat")
    return {
        "periods": found.get("nr_periods", 0),
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get("throttled_time", 0),
    }


def cpuset(folder: str) -> "Found":
    """The settings of the cpuset."""
    found: "Found" = {name: number(folder, f"cpuset.{name}") for name in CPUSET}
    for name in ("cpus", "mems"):
        found[name] = ranges(fs.read(folder, f"cpuset.{name}") or "")
    return found


def ranges(text: str) -> "list[int]":
    """`0-2,5` as a list."""
    found: "list[int]" = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found


def memory(folder: str) -> "Found":
    """Amounts in bytes, and all of memory.stat."""
    raw = pairs(folder, "memory.stat")
    found: "Found" = {"raw": raw, "cache": raw.get("cache", 0)}
    for name, prefix in AMOUNTS:
        found[name] = {
            "limit": number(folder, f"{prefix}limit_in_bytes"),
            "usage": number(folder, f"{prefix}usage_in_bytes"),
            "max": number(folder, f"{prefix}max_usage_in_bytes"),
            "failcnt": number(folder, f"{prefix}failcnt"),
        }
    return found


def blkio(folder: str) -> "Found":
    """Requests and bytes by device."""
    for prefix, rows in BLKIO:
        found = {name: devices(fs.read(folder, prefix + file) or "") for name, file in rows}
        if found[rows[0][0]]:
            return found
    return {}


def devices(text: str) -> "list[Found]":
    """`8:0 Read 4096` or `8:0 5` in each line; the line with the total is not of interest."""
    found = []
    for line in text.splitlines():
        device, *rest = line.split()
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        entry: "Found" = {"major": int(major), "minor": int(minor), "value": int(rest[-1])}
        if len(rest) > 1:
            entry["op"] = rest[0]
        found.append(entry)
    return found


def hugetlb(folder: str) -> "Found":
    """Bytes in huge pages, by the size of a page."""
    found = {}
    for size in page_sizes(folder, "usage_in_bytes"):
        prefix = f"hugetlb.{size}."
        if fs.read(folder, f"{prefix}rsvd.usage_in_bytes") is not None:
            prefix += "rsvd."  # counts what was promised, which is what the limit is about
        found[size] = {
            "usage": number(folder, f"{prefix}usage_in_bytes"),
            "max": number(folder, f"{prefix}max_usage_in_bytes"),
            "failcnt": number(folder, f"{prefix}failcnt"),
        }
    return found
