"""linux.resources -> files of cgroup v1 (access to devices: devices.py).

May touch: files in the directories of `paths`.
The kernel's admin-guide/cgroup-v1.
"""

import errno

from pyrunc.cgroups.fs import read, write
from pyrunc.cgroups.limits import (
    blkio_lines,
    check_page,
    check_usage,
    pids_max,
    rdma_lines,
)
from pyrunc.errors import Error
from pyrunc.procfs import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EINVAL, ENOENT = (errno.EINVAL,), (errno.ENOENT,)


def apply(
    paths: "dict[str, str]", resources: "dict[str, Any]", rules: "Any", rootless: bool
) -> None:
    """Set limits, hierarchy by hierarchy."""

    def path(name: str) -> str:
        try:
            return paths[name]
        except KeyError:
            from pyrunc import blame

            what = f"cannot set {name} limit: container could not join or create cgroup"
            raise Error(blame.explained(what, blame.hierarchy(name))) from None

    cpu = resources.get("cpu") or {}
    for kind in ("cpus", "mems"):
        if cpu.get(kind):
            write(path("cpuset"), f"cpuset.{kind}", cpu[kind])
    if rules is not None:
        from pyrunc.cgroups import devices

        try:
            devices.apply_v1(path("devices"), rules)
        except Error:
            if not rootless and not in_user_namespace():
                raise
    _memory(path, resources.get("memory") or {})
    if cpu:
        _cpu(path, cpu)
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        write(path("pids"), "pids.max", pids_max(limit))
    for name, file, value in blkio_lines(resources.get("blockIO") or {}):
        folder = path("blkio")
        if file.startswith("weight") and read(folder, "blkio.weight") is None:
            name = "blkio.bfq."
        write(folder, name + file, value)
    for page in resources.get("hugepageLimits") or ():
        folder = path("hugetlb")
        check_page(page["pageSize"])
        write(folder, f"hugetlb.{page['pageSize']}.limit_in_bytes", page["limit"])
        write(folder, f"hugetlb.{page['pageSize']}.rsvd.limit_in_bytes", page["limit"], ENOENT)
    network = resources.get("network") or {}
    if network.get("classID"):
        write(path("net_cls"), "net_cls.classid", network["classID"])
    for entry in network.get("priorities") or ():
        write(path("net_prio"), "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}")
    for text in rdma_lines(resources):
        write(path("rdma"), "rdma.max", text)


def _memory(path: "Any", memory: "dict[str, Any]") -> None:
    limit = memory.get("limit") or 0
    swap = memory.get("swap") or 0
    if limit or swap:
        folder = path("memory")
        check_usage(memory, folder, "memory.usage_in_bytes", "memory.memsw.usage_in_bytes")
        # No limit for memory means none for memory and swap, if the kernel counts that at all.
        if limit == -1 and not swap and read(folder, "memory.memsw.limit_in_bytes") is not None:
            swap = -1
        # At no time may memory's limit be above that of both together.
        first = swap == -1 or bool(
            limit and swap and int(read(folder, "memory.limit_in_bytes") or 0) < swap
        )
        if swap and first:
            write(folder, "memory.memsw.limit_in_bytes", swap)
        if limit:
            _memory_limit(folder, limit)
        if swap and not first:
            write(folder, "memory.memsw.limit_in_bytes", swap)
    if memory.get("reservation"):
        write(path("memory"), "memory.soft_limit_in_bytes", memory["reservation"])
    if memory.get("disableOOMKiller"):
        write(path("memory"), "memory.oom_control", 1)
    swappiness = memory.get("swappiness")
    if swappiness is not None and swappiness != (1 << 64) - 1:  # engines' -1: not set
        if swappiness > 100:
            raise Error(f"invalid memory swappiness value: {swappiness} (valid range is 0-100)")
        write(path("memory"), "memory.swappiness", swappiness)


def _memory_limit(folder: str, limit: int) -> None:
    if write(folder, "memory.limit_in_bytes", limit, (errno.EBUSY,)):
        usage = (read(folder, "memory.usage_in_bytes") or "").strip()
        peak = (read(folder, "memory.max_usage_in_bytes") or "").strip()
        raise Error(
            f"unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"
        )


def _cpu(path: "Any", cpu: "dict[str, Any]") -> None:
    shares, idle = cpu.get("shares"), cpu.get("idle")
    if idle == 0:  # an idle cgroup takes no shares
        write(path("cpu"), "cpu.idle", idle)
    if shares:
        write(path("cpu"), "cpu.shares", shares)
        got = int(read(path("cpu"), "cpu.shares") or shares)
        if got != shares:
            which = "maximum" if got < shares else "minimum"
            raise Error(f"the {which} allowed cpu-shares is {got}")
    quota = cpu.get("quota") or 0
    # Against the quota of now, rather than the one to come, either may be out of range.
    again = EINVAL if quota else ()
    retry = []
    if cpu.get("period") and write(path("cpu"), "cpu.cfs_period_us", cpu["period"], again):
        retry.append(("cpu.cfs_period_us", cpu["period"]))
    if cpu.get("burst") is not None:
        failed = write(path("cpu"), "cpu.cfs_burst_us", cpu["burst"], (*ENOENT, *again))
        if failed == errno.EINVAL:
            retry.append(("cpu.cfs_burst_us", cpu["burst"]))
    if quota:
        write(path("cpu"), "cpu.cfs_quota_us", quota)
    for name, value in retry:
        write(path("cpu"), name, value)
    if idle:
        write(path("cpu"), "cpu.idle", idle)
    if cpu.get("realtimePeriod") or cpu.get("realtimeRuntime"):
        realtime(path("cpu"), cpu)


def realtime(folder: str, cpu: "dict[str, Any]") -> None:
    """The real-time budget of a v1 cpu cgroup."""
    period, runtime = cpu.get("realtimePeriod") or 0, cpu.get("realtimeRuntime") or 0
    # A period is refused while it is shorter than the runtime, which may be about to shrink.
    ignore = EINVAL if runtime else ()
    late = period and write(folder, "cpu.rt_period_us", period, ignore)
    if runtime:
        write(folder, "cpu.rt_runtime_us", runtime)
    if late:
        write(folder, "cpu.rt_period_us", period)
