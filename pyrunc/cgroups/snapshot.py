"""Save limits before a change, to put them back if it fails half-way.

May touch: the files named here, in the directories of `paths`.
"""

from pyrunc.cgroups.fs import is_v2, read, write
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

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
    "blkio": (
        "blkio.weight",
        "blkio.bfq.weight",
        "blkio.leaf_weight",
        "blkio.weight_device",
        "blkio.bfq.weight_device",
        "blkio.leaf_weight_device",
        "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device",
        "blkio.throttle.read_iops_device",
        "blkio.throttle.write_iops_device",
    ),
}
V2 = {
    "": (
        "pids.max",
        "memory.max",
        "memory.swap.max",
        "memory.low",
        "io.weight",
        "io.bfq.weight",
        "io.max",
        "cpu.idle",
        "cpu.weight",
        "cpu.max",
        "cpu.max.burst",
        "cpuset.cpus",
        "cpuset.mems",
    ),
}


# Files with a line for each device, and what to write for one that had no line.
NO_LINE = {
    **dict.fromkeys((name for name in V1["blkio"] if name.endswith("_device")), "0"),
    **dict.fromkeys(("io.weight", "io.bfq.weight", "blkio.bfq.weight_device"), "default"),
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.latency": "target=0",
}


def take(paths: "dict[str, str]", unified: "Iterable[str]" = ()) -> "Snapshot":
    """Read what is there; a missing file has nothing to be put back.

    unified: further files of v2, those that the change names itself.
    """
    found = []
    for controller, names in (V2 if is_v2(paths) else V1).items():
        if controller not in paths:
            continue
        more = [name for name in unified if name not in names]
        for name in (*names, *more):
            try:
                text = read(paths[controller], name)
            except Error:
                continue  # a file that is only written has no content to be put back
            if text is not None:
                found.append((paths[controller], name, text))
    return found


def put_back(taken: "Snapshot") -> "list[str]":
    """Write what has changed since. Returns what did not work."""
    failed = []
    for last in (False, True):  # one value may bound another, and in either direction
        for folder, name, text in taken:
            now = read(folder, name)
            for line in lines(name, text, now) if now is not None else ():
                try:
                    write(folder, name, line or "\n")
                except Error as err:
                    if last:
                        failed.append(err.message)
    return failed


def lines(name: str, before: str, now: str) -> "list[str]":
    """What to write, line by line, to a file that says `now`, so that it says `before`."""
    old, new = before.splitlines(), now.splitlines()
    if old == new:
        return []
    if name not in NO_LINE and len(old) <= 1:
        return [before.strip()]
    result = [line for line in old if line not in new]
    if name in NO_LINE:
        known = {line.partition(" ")[0] for line in old}
        for line in new:
            key, _, value = line.partition(" ")
            if value and key not in known:
                result.append(f"{key} {NO_LINE[name]}")
    return result
