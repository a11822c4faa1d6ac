"""What a container uses, as runc's `events` prints it.

May touch: nothing itself; stats_v1.py and stats_v2.py read files in the directories of `paths`.

They find plain numbers, named and nested as in the document.  Which members there are, in which
order, and which are left out at 0, is said here once for both.
"""

from pyrunc.cgroups import fs
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Found = dict[str, Any]

UNLIMITED = (1 << 64) - 1  # `max`, where a number is printed

# Members in order; `?` marks those that are left out when they are 0 or empty.
USAGE = "total? percpu? percpu_kernel? percpu_user? kernel user"
THROTTLING = "periods? throttledPeriods? throttledTime?"
CPUSET = (
    "cpus? cpu_exclusive mems? mem_hardwall mem_exclusive memory_migrate memory_spread_page "
    "memory_spread_slab memory_pressure sched_load_balance sched_relax_domain_level"
)
AMOUNT = "limit usage? max? failcnt"
PIDS = "current? limit?"
BLKIO = (
    "ioServiceBytesRecursive? ioServicedRecursive? ioQueueRecursive? ioServiceTimeRecursive? "
    "ioWaitTimeRecursive? ioMergedRecursive? ioTimeRecursive? sectorsRecursive?"
)
DEVICE = "major? minor? op? value?"
PAGES = "usage? max? failcnt"
SHARES = ("some", "full")  # of the processes that waited, for `psi`
PRESSURE = "avg10 avg60 avg300 total"


def read(paths: "dict[str, str]") -> "dict[str, Any]":
    """The `data` of a stats event."""
    try:
        if fs.is_v2(paths):
            from pyrunc.cgroups import stats_v2

            found = stats_v2.read_all(paths[""])
        else:
            from pyrunc.cgroups import stats_v1

            found = stats_v1.read_all(paths)
    except Error as err:
        raise Error(f"unable to get container cgroup stats: {err.message}") from err
    except (ValueError, IndexError) as err:
        raise Error(f"unable to get container cgroup stats: {err}") from err
    return document(found)


def document(found: "Found") -> "dict[str, Any]":
    """Everything in the order of runc's structures."""
    cpu: "Found" = {}
    for name, members in (("usage", USAGE), ("throttling", THROTTLING)):
        values = found["cpu"].get(name) or {}
        if any(values.values()):
            cpu[name] = shape(members, values)
    memory: "Found" = {}
    if found["memory"].get("cache"):
        memory["cache"] = found["memory"]["cache"]
    for name in ("usage", "swap", "kernel", "kernelTCP"):
        values = found["memory"].get(name) or {}
        if any(values.values()):
            memory[name] = shape(AMOUNT, values)
    if found["memory"].get("raw"):
        memory["raw"] = dict(sorted(found["memory"]["raw"].items()))
    blkio = shape(
        BLKIO,
        {
            name: [shape(DEVICE, entry) for entry in entries]
            for name, entries in found["blkio"].items()
        },
    )
    for name, part in (("cpu", cpu), ("memory", memory), ("blkio", blkio)):
        pressure = (found.get("psi") or {}).get(name)
        if pressure is not None:
            part["psi"] = psi(pressure)
    return {
        "cpu": cpu,
        "cpuset": shape(CPUSET, found.get("cpuset") or {}),
        "memory": memory,
        "pids": shape(PIDS, found["pids"]),
        "blkio": blkio,
        "hugetlb": {
            size: shape(PAGES, values) for size, values in sorted(found["hugetlb"].items())
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


def psi(pressure: "Found") -> "Found":
    """What is known about waiting, as the document has it."""
    return {kind: shape(PRESSURE, pressure.get(kind, {})) for kind in SHARES}


def shape(members: str, values: "Found") -> "Found":
    """values as an object with these members."""
    result = {}
    for name in members.split():
        value = values.get(name.rstrip("?")) or 0
        if value or not name.endswith("?"):
            result[name.rstrip("?")] = value
    return result


# What files look like, v1 and v2.


def number(folder: str, name: str, unlimited: int = UNLIMITED) -> int:
    """A file with one number; 0 if it is missing."""
    text = (fs.read(folder, name) or "0").strip()
    return unlimited if text == "max" else int(text)


def pairs(folder: str, name: str) -> "dict[str, int]":
    """A file with a name and a number in each line; empty if it is missing."""
    rows = (line.split() for line in (fs.read(folder, name) or "").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


def page_sizes(folder: str, file: str) -> "list[str]":
    """The sizes of huge pages there are files for; file: such as `current`."""
    names = fs.names(folder)
    ends = f".{file}"
    sizes = {name[8:].removesuffix(ends) for name in names if name.startswith("hugetlb.")}
    return [size for size in sizes if f"hugetlb.{size}{ends}" in names and "." not in size]
