"""linux.resources: what to refuse and to ignore, and values for files of either version.

May touch: what limits_v1.py, limits_v2.py and devices.py write; reads usage.
OCI runtime-spec 1.3, config-linux.md "Control groups"; the kernel's admin-guide/cgroup-v1, -v2.

Absent is not written, and neither is a 0 where that is no limit (memory, cpu.shares...).  What v2
has no file for is ignored, because engines send it anyway; validate() tells which.
"""

import os

from pyrunc import procfs
from pyrunc.cgroups.fs import read
from pyrunc.errors import Error
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def validate(resources: "dict[str, Any]", mode: str) -> "list[str]":
    """Refuse what cannot be converted. Returns warnings about what is ignored."""
    memory = resources.get("memory") or {}
    check_entries(resources)
    ignored = []
    warnings = []
    if memory.get("kernel") or memory.get("kernelTCP"):
        warnings.append("Kernel memory settings are ignored and will be removed")
    if mode != "v2":
        if resources.get("unified"):
            raise Error("invalid configuration: cannot use unified on cgroup v1")
    else:
        swap_of(memory)
        for key in resources.get("unified") or {}:
            check_name(key)
        if memory.get("swappiness"):
            ignored.append("memory.swappiness")
        if memory.get("disableOOMKiller"):
            ignored.append("memory.disableOOMKiller")
        network = resources.get("network") or {}
        if network.get("classID") or network.get("priorities"):
            ignored.append("network")
    return warnings + [f"linux.resources.{name} is ignored" for name in ignored]


def apply(
    paths: "dict[str, str]",
    resources: "dict[str, Any]",
    mode: str,
    device_paths: "Iterable[str]" = (),
    *,
    devices: bool = True,
    rootless: bool = False,
) -> None:
    """Set linux.resources. devices: false leaves access to devices as it is."""
    rules = None
    if devices:
        from pyrunc.cgroups.devices import configured

        rules = configured(resources.get("devices") or [], device_paths)
    if mode == "v2":
        from pyrunc.cgroups import limits_v2

        if "" in paths:  # a rootless container without limits may have no cgroup of its own
            limits_v2.apply(paths[""], resources, rules, rootless)
    else:
        from pyrunc.cgroups import limits_v1

        limits_v1.apply(paths, resources, rules, rootless)


def is_rootless(option: str) -> bool:
    """May the kernel refuse us cgroups?  option: --rootless."""
    if option in ("true", "false"):
        return option == "true"
    return os.geteuid() != 0 or procfs.in_user_namespace()


# --- values, v1 and v2 ---

THROTTLE = {
    "throttleReadBpsDevice": "read_bps_device",
    "throttleWriteBpsDevice": "write_bps_device",
    "throttleReadIOPSDevice": "read_iops_device",
    "throttleWriteIOPSDevice": "write_iops_device",
}


def blkio_lines(block: "dict[str, Any]") -> "list[tuple[str, str, str]]":
    """blockIO as (prefix, file, line) of v1."""
    lines = []
    if block.get("weight"):
        lines.append(("blkio.", "weight", str(block["weight"])))
    if block.get("leafWeight"):
        lines.append(("blkio.", "leaf_weight", str(block["leafWeight"])))
    for entry in block.get("weightDevice") or ():
        device = f"{entry.get('major', 0)}:{entry.get('minor', 0)}"
        if entry.get("weight"):
            lines.append(("blkio.", "weight_device", f"{device} {entry['weight']}"))
        if entry.get("leafWeight"):
            lines.append(("blkio.", "leaf_weight_device", f"{device} {entry['leafWeight']}"))
    for key, file in THROTTLE.items():
        for entry in block.get(key) or ():
            device = f"{entry.get('major', 0)}:{entry.get('minor', 0)}"
            lines.append(("blkio.throttle.", file, f"{device} {entry.get('rate', 0)}"))
    return lines


def rdma_lines(resources: "dict[str, Any]") -> "list[str]":
    """rdma.max, the same on v1 and v2."""
    lines = []
    for device, limit in (resources.get("rdma") or {}).items():
        text = device
        if limit.get("hcaHandles") is not None:
            text += f" hca_handle={limit['hcaHandles']}"
        if limit.get("hcaObjects") is not None:
            text += f" hca_object={limit['hcaObjects']}"
        lines.append(text)
    return lines


def pids_max(limit: int) -> str:
    """The kernel has no limit of 0; the container's own process would be above it anyway."""
    return "max" if limit < 0 else str(limit or 1)


def swap_of(memory: "dict[str, Any]") -> "str | None":
    """memory.swap counts memory and swap together, v2 swap alone; None: leave as it is."""
    limit = memory.get("limit") or 0
    both = memory.get("swap") or 0
    if limit == -1 and not both:
        return "max"
    if not both:
        return None
    if both == -1:
        return "max"
    if limit == -1:
        return str(both)
    if limit == 0:
        raise Error("unable to set swap limit without memory limit")
    if limit < -1:
        raise Error(f"invalid memory value: {limit}")
    if both < limit:
        raise Error("memory+swap limit should be >= memory limit")
    return str(both - limit)


def check(paths: "dict[str, str]", resources: "dict[str, Any]", mode: str) -> None:
    """What apply() finds out half-way, for who has to do something before that."""
    memory = resources.get("memory") or {}
    if mode == "v2":
        check_usage(memory, paths[""], "memory.current", "memory.swap.current")
    elif "memory" in paths:
        files = ("memory.usage_in_bytes", "memory.memsw.usage_in_bytes")
        check_usage(memory, paths["memory"], *files)


def check_usage(memory: "dict[str, Any]", folder: str, current: str, other: str) -> None:
    """memory.checkBeforeUpdate: a limit below what is in use would only make the kernel kill."""
    if not memory.get("checkBeforeUpdate"):
        return
    usage = int(read(folder, current) or 0)
    limit = memory.get("limit") or 0
    both = memory.get("swap") or 0
    if both > 0:
        swap = int(read(folder, other) or 0)
        total = swap if other.startswith("memory.memsw") else usage + swap
        if both <= total:
            raise Error(f"rejecting memory+swap limit {both} <= usage {total}")
    if 0 < limit <= usage:
        raise Error(f"rejecting memory limit {limit} <= usage {usage}")


def check_entries(resources: "dict[str, Any]") -> None:
    """Entries of which at least one of two values has to be there."""
    block = resources.get("blockIO") or {}
    for index, entry in enumerate(block.get("weightDevice") or ()):
        if entry.get("weight") is None and entry.get("leafWeight") is None:
            where = f"linux.resources.blockIO.weightDevice[{index}]"
            raise Error(f"{where}: weight or leafWeight has to be set")
    for device, limit in (resources.get("rdma") or {}).items():
        if limit.get("hcaHandles") is None and limit.get("hcaObjects") is None:
            where = f"linux.resources.rdma[{quote(device)}]"
            raise Error(f"{where}: hcaHandles or hcaObjects has to be set")


def check_name(name: str) -> None:
    """A key of linux.resources.unified is the name of a file in the cgroup."""
    if "/" in name or "\0" in name:
        raise Error(f"unified resource {quote(name)} must be a file name (no slashes)")


def check_page(size: str) -> None:
    """A huge page size is a part of a file's name."""
    if "/" in size or "\0" in size:
        raise Error(f"invalid huge page size {quote(size)}")
