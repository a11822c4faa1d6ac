"""Limits as they are before a change, to put them back if it fails half-way.

May touch: the files named here, in the directories of `paths`.
"""

from pyrunc.cgroups.fs import is_v2, read, write
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    Snapshot = list[tuple[str, str, str]]  # directory, file, content

V1 = {
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
    "memory": (
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.soft_limit_in_bytes",
    ),
    "cpu": (
        "cpu.idle",
        "cpu.shares",
        "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
        "cpu.cfs_burst_us",
        "cpu.rt_period_us",
        "cpu.rt_runtime_us",
    ),
    "pids": ("pids.max",),
    "blkio": ("blkio.weight", "blkio.bfq.weight", "blkio.leaf_weight"),
}
V2 = {
    "": (
        "pids.max",
        "memory.max",
        "memory.swap.max",
        "memory.low",
        "io.weight",
        "io.bfq.weight",
        "cpu.idle",
        "cpu.weight",
        "cpu.max",
        "cpu.max.burst",
        "cpuset.cpus",
        "cpuset.mems",
    ),
}


def take(paths: "dict[str, str]") -> "Snapshot":
    """Read what is there; a missing file has nothing to be put back."""
    found = []
    for controller, names in (V2 if is_v2(paths) else V1).items():
        if controller not in paths:
            continue
        for name in names:
            text = read(paths[controller], name)
            if text is not None:
                found.append((paths[controller], name, text))
    return found


def put_back(taken: "Snapshot") -> "list[str]":
    """Write what has changed since. Returns what did not work."""
    failed = []
    for last in (False, True):  # one value may bound another, and in either direction
        for folder, name, text in taken:
            if read(folder, name) in (None, text):
                continue
            try:
                write(folder, name, text.strip() or "\n")
            except Error as err:
                if last:
                    failed.append(err.message)
    return failed
