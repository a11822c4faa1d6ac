"""linux.resources -> files of cgroup v2 (access to devices: devices.py).

May touch: files in the one directory.
The kernel's admin-guide/cgroup-v2.
"""

import errno

from pyrunc.cgroups.fs import read, write
from pyrunc.cgroups.limits import (
    blkio_lines,
    check_name,
    check_page,
    check_usage,
    pids_max,
    rdma_lines,
    swap_of,
)
from pyrunc.errors import Error
from pyrunc.log import quote
from pyrunc.procfs import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EINVAL, ENOENT = (errno.EINVAL,), (errno.ENOENT,)

# v1 throttle file -> key in io.max
IO_MAX = {
    "read_bps_device": "rbps",
    "write_bps_device": "wbps",
    "read_iops_device": "riops",
    "write_iops_device": "wiops",
}


def apply(folder: str, resources: "dict[str, Any]", rules: "Any", rootless: bool) -> None:
    """Set limits in the one directory; unified comes last, so that it overrides."""
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        write(folder, "pids.max", pids_max(limit))
    _memory(folder, resources.get("memory") or {})
    _io(folder, resources.get("blockIO") or {})
    cpu = resources.get("cpu") or {}
    if cpu:
        _cpu(folder, cpu)
    if rules is not None:
        from pyrunc.cgroups import devices

        try:
            devices.apply_v2(folder, rules)
        except Error:
            allows_all = devices.emulate(rules) == (True, {})
            if not rootless and not allows_all and not in_user_namespace():
                raise
    for kind in ("cpus", "mems"):
        if cpu.get(kind):
            write(folder, f"cpuset.{kind}", cpu[kind])
    for page in resources.get("hugepageLimits") or ():
        check_page(page["pageSize"])
        write(folder, f"hugetlb.{page['pageSize']}.max", page["limit"])
        write(folder, f"hugetlb.{page['pageSize']}.rsvd.max", page["limit"], ENOENT)
    for text in rdma_lines(resources):
        write(folder, "rdma.max", text)
    for name, value in (resources.get("unified") or {}).items():
        _unified(folder, name, value)


def _memory(folder: str, memory: "dict[str, Any]") -> None:
    limit = memory.get("limit") or 0
    if limit or memory.get("swap"):
        check_usage(memory, folder, "memory.current", "memory.swap.current")
        swap = swap_of(memory)
        if swap is not None:
            # Without swap accounting the file is missing, and these two change nothing.
            ignore = ENOENT if swap in ("max", "0") else ()
            write(folder, "memory.swap.max", swap, ignore)
        if limit:
            write(folder, "memory.max", or_max(limit))
    if memory.get("reservation"):
        write(folder, "memory.low", or_max(memory["reservation"]))


def _io(folder: str, block: "dict[str, Any]") -> None:
    for name, file, value in blkio_lines(block):
        if name == "blkio.throttle.":
            kind = IO_MAX[file]
            device, _, rate = value.partition(" ")
            write(folder, "io.max", f"{device} {kind}={rate}")
        elif file == "weight":
            if read(folder, "io.bfq.weight") is not None:
                write(folder, "io.bfq.weight", value)
            else:
                write(folder, "io.weight", io_weight(int(value)))
        elif file == "weight_device":
            # Before Linux 5.4 the file holds one number, and takes nothing else.
            present = (read(folder, "io.bfq.weight") or "0").strip()
            if not present.isdigit():
                write(folder, "io.bfq.weight", value)


def _cpu(folder: str, cpu: "dict[str, Any]") -> None:
    if cpu.get("idle") is not None:
        write(folder, "cpu.idle", cpu["idle"])
    weight = cpu_weight(cpu.get("shares") or 0)
    if weight:
        write(folder, "cpu.weight", weight)
    quota = cpu.get("quota") or 0
    period = cpu.get("period") or 0
    burst = cpu.get("burst")
    late = False
    if burst is not None:
        late = bool(write(folder, "cpu.max.burst", burst, EINVAL if quota else ()))
    if quota or period:
        write(folder, "cpu.max", f"{quota if quota > 0 else 'max'} {period or 100000}")
    if late:
        write(folder, "cpu.max.burst", str(burst))


def _unified(folder: str, name: str, value: str) -> None:
    check_name(name)
    try:
        lines = value.split("\n")
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
        for text in lines:
            write(folder, name, text or "\n")  # an empty write would not reach the kernel
    except Error as err:
        cause = err.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.EPERM, errno.EACCES):
            controller, dot, _ = name.partition(".")
            if not dot:
                what = "must be in the form CONTROLLER.PARAMETER"
                raise Error(f"unified resource {quote(name)} {what}") from err
            available = (read(folder, "cgroup.controllers") or "").split()
            if controller != "cgroup" and controller not in available:
                what = f"can't be set: controller {quote(controller)} not available"
                raise Error(f"unified resource {quote(name)} {what}") from err
        raise Error(f"unable to set unified resource {quote(name)}: {err.message}") from err


def cpu_weight(shares: int) -> int:
    """cpu.shares (2 to 262144, default 1024) -> cpu.weight (1 to 10000, default 100); 0: not set.

    A parabola through the three pairs in logarithmic scale, so that defaults meet.
    """
    if shares <= 2:
        return int(shares > 0)
    if shares >= 262144:
        return 10000
    import math

    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """blkio.weight (10 to 1000) -> io.weight (1 to 10000)."""
    return 1 + (weight - 10) * 9999 // 990


def or_max(value: int) -> str:
    """A limit as the files of v2 have it; -1 is no limit."""
    return "max" if value == -1 else str(value)
