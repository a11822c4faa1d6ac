"""CPU, I/O and memory policy of the process, and its personality -> ops.  Pure.

Implements the runtime-spec's config.md, "scheduler", "ioPriority" and "execCPUAffinity", and
config-linux.md, "Memory policy" and "Personality".  Loaded only for a process that has one of them.
"""

from pyrunc.errors import Error
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

    Doc = dict[str, Any]

# linux/sched.h
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# linux/ioprio.h
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
IO_CLASS_SHIFT = 13
# linux/personality.h
DOMAINS = {"LINUX": 0, "LINUX32": 8}
# linux/mempolicy.h
MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MODE_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
WITH_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE")

MOST = 1024  # CPUs, or nodes: as many as the masks of runc have
MASK_BYTES = MOST // 8
U64 = 0xFFFFFFFFFFFFFFFF
# If it is set, it makes sched_setattr(2) fail for SCHED_DEADLINE, and is named as the origin.
CPUS = "linux.resources.cpu.cpus"


def apply(plan: "Plan", process: "Doc", linux: "Doc") -> None:
    """All of it, in runc's order."""
    if process.get("scheduler") is not None:
        cpus = linux.get("resources", {}).get("cpu", {}).get("cpus")
        scheduler(plan, process["scheduler"], bool(cpus))
    if process.get("ioPriority") is not None:
        io_priority(plan, process["ioPriority"])
    if linux.get("personality") is not None:
        personality(plan, linux["personality"])
    if linux.get("memoryPolicy") is not None:
        memory_policy(plan, linux["memoryPolicy"])


def scheduler(plan: "Plan", wanted: "Doc", has_cpus: bool) -> None:
    """sched_setattr(2)."""
    policy = wanted.get("policy")
    if not policy:
        raise Error("scheduler policy is required")
    if policy not in POLICIES:
        raise Error(f"invalid scheduler policy: {policy}")
    nice, priority = wanted.get("nice", 0), wanted.get("priority", 0)
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        raise Error(f"invalid scheduler.nice: {nice} when scheduler.policy is {policy}")
    if priority and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise Error("scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
    times = [wanted.get(key, 0) for key in ("runtime", "deadline", "period")]
    if any(times) and policy != "SCHED_DEADLINE":
        raise Error(
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy"
        )
    flags = 0
    for name in wanted.get("flags", ()):
        if name not in SCHED_FLAGS:
            raise Error(f"invalid scheduler flag: {name}")
        flags |= SCHED_FLAGS[name]
    origin = CPUS if has_cpus else "process.scheduler"
    # Both are signed 32 bits; the kernel refuses a negative priority.
    numbers = (POLICIES[policy], flags, nice & U64, priority & U64)
    plan.scheduler(numbers, times, origin)


def io_priority(plan: "Plan", wanted: "Doc") -> None:
    """ioprio_set(2)."""
    name, priority = wanted.get("class", ""), wanted.get("priority", 0)
    if not 0 <= priority <= 7:
        raise Error(f"invalid ioPriority.Priority: {priority}")
    if name not in IO_CLASSES:
        raise Error(f"invalid ioPriority.Class: {quote(name)}")
    plan.ioprio(IO_CLASSES[name] << IO_CLASS_SHIFT | priority)


def personality(plan: "Plan", wanted: "Doc") -> None:
    """personality(2).  No flag has a meaning yet, so any is an error."""
    domain = wanted.get("domain", "")
    if domain not in DOMAINS:
        raise Error(f"invalid personality domain {domain}")
    if wanted.get("flags"):
        raise Error(f"unsupported personality flag {wanted['flags'][0]}")
    plan.personality(DOMAINS[domain])


def memory_policy(plan: "Plan", wanted: "Doc") -> None:
    """set_mempolicy(2)."""
    mode = wanted.get("mode", "")
    if mode not in MODES:
        raise Error(f"invalid memory policy mode {quote(mode)}")
    number = MODES[mode]
    for flag in wanted.get("flags", ()):
        if flag not in MODE_FLAGS:
            raise Error(f"invalid memory policy flag {quote(flag)}")
        number |= MODE_FLAGS[flag]
    text = wanted.get("nodes", "")
    try:
        nodes = numbers(text)
    except ValueError as err:
        raise Error(f"invalid memory policy nodes {quote(text)}: {err}") from None
    if mode in WITHOUT_NODES and nodes:
        raise Error(f"memory policy mode requires 0 nodes but got {len(nodes)}")
    if mode in WITH_NODES and not nodes:
        raise Error("memory policy mode requires at least one node")
    mask = sum(1 << node for node in nodes)
    plan.mempolicy(number, mask.to_bytes(MASK_BYTES, "little") if nodes else b"")


def affinity(process: "Doc") -> "tuple[set[int], set[int]]":
    """(initial, final) CPUs of process.execCPUAffinity; empty: not configured."""
    wanted = process.get("execCPUAffinity") or {}
    return _cpus(wanted.get("initial"), "Initial"), _cpus(wanted.get("final"), "Final")


def _cpus(text: "str | None", which: str) -> "set[int]":
    if not text:
        return set()
    try:
        found = numbers(text)
        if not found:
            raise ValueError(f"no CPUs found in {quote(text)}")
    except ValueError as err:
        raise Error(f"bad CPUAffinity.{which}: {err}") from None
    return found


def numbers(text: str) -> "set[int]":
    """`0-3,7` as numbers; spaces around and empty items are fine.  ValueError has Go's words."""
    found: "set[int]" = set()
    for item in text.split(","):
        item = item.strip()
        if not item:
            continue
        first, dash, last = item.partition("-")
        low = _number(first)
        high = _number(last) if dash else low
        if low > high:
            raise ValueError(f"invalid range: {item}")
        found |= set(range(low, high + 1))
    return found


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    number = int(text)
    if number >= MOST:
        raise ValueError(f"values larger than {MOST - 1} are not supported")
    return number
