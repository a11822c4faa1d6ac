"""linux.resources -> properties of a systemd unit, and properties out of annotations (pure).

A property is (name, D-Bus signature, value).  systemd.resource-control(5) says what they do; sizes
are bytes, times microseconds, and the largest number stands for no limit.

What systemd has no property for is only written to the cgroup's files (limits.py), as is all of
this: the properties are what keeps systemd from setting other values.
"""

from pyrunc.cgroups.limits import swap_of
from pyrunc.cgroups.limits_v2 import cpu_weight, io_weight
from pyrunc.errors import Error
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Property = tuple[str, str, Any]

INFINITY = (1 << 64) - 1
PERIOD = 100000  # the kernel's own, in microseconds
ANNOTATION = "org.systemd.property."
# Since which systemd.
QUOTA_PERIOD, CPUSET, IDLE = 242, 244, 252


def rounded(quota: int, period: int) -> int:
    """cpu.quota as systemd can say it: a multiple of 10 ms of CPU time for each second."""
    if quota <= 0:
        return quota
    period = period or PERIOD
    return _per_second(quota, period) * period // 1000000


def _per_second(quota: int, period: int) -> int:
    used = quota * 1000000 // period
    return -(-used // 10000) * 10000


def resources(
    wanted: "dict[str, Any]", mode: str, version: int
) -> "tuple[list[Property], list[str]]":
    """Properties for linux.resources without devices, and warnings. version: systemd's."""
    return _v2(wanted, version) if mode == "v2" else (_v1(wanted, version), [])


def _v1(wanted: "dict[str, Any]", version: int) -> "list[Property]":
    found: "list[Property]" = []
    memory, cpu = wanted.get("memory") or {}, wanted.get("cpu") or {}
    if memory.get("limit"):
        found.append(("MemoryLimit", "t", _limit(memory["limit"])))
    if cpu.get("shares"):
        found.append(("CPUShares", "t", cpu["shares"]))
    found += _quota(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    weight = (wanted.get("blockIO") or {}).get("weight")
    if weight:
        found.append(("BlockIOWeight", "t", weight))
    return found + _pids(wanted) + _cpuset(cpu.get("cpus"), cpu.get("mems"), version)


def _v2(wanted: "dict[str, Any]", version: int) -> "tuple[list[Property], list[str]]":
    found: "list[Property]" = []
    warnings = []
    memory, cpu = wanted.get("memory") or {}, wanted.get("cpu") or {}
    if memory.get("limit"):
        found.append(("MemoryMax", "t", _limit(memory["limit"])))
    if memory.get("reservation"):
        found.append(("MemoryLow", "t", _limit(memory["reservation"])))
    swap = swap_of(memory)
    if swap is not None:
        found.append(("MemorySwapMax", "t", INFINITY if swap == "max" else int(swap)))
    weight = cpu_weight(cpu.get("shares") or 0)
    if cpu.get("idle"):
        if weight:
            warnings.append("unable to apply both cpu.shares and cpu.idle to a systemd unit")
        weight = 0
        found += _idle(version, warnings)
    elif cpu.get("idle") == 0 and not weight and version >= IDLE:
        found.append(("CPUWeight", "t", INFINITY))  # the default again
    if weight:
        found.append(("CPUWeight", "t", weight))
    found += _quota(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    share = (wanted.get("blockIO") or {}).get("weight")
    if share:
        found.append(("IOWeight", "t", io_weight(share)))
    found += _pids(wanted) + _cpuset(cpu.get("cpus"), cpu.get("mems"), version)
    for key, value in (wanted.get("unified") or {}).items():
        try:
            found += _unified(key, value.strip(), version, warnings)
        except ValueError as err:
            text = f"unified resource {quote(key)} value conversion error: {err}"
            raise Error(text) from err
    return found, warnings


def _limit(value: int) -> int:
    return INFINITY if value < 0 else value


def _idle(version: int, warnings: "list[str]") -> "list[Property]":
    if version >= IDLE:
        return [("CPUWeight", "t", 0)]
    warnings.append(f"systemd {version} cannot keep cpu.idle (systemd {IDLE} can)")
    return []


def _quota(quota: int, period: int, version: int) -> "list[Property]":
    found: "list[Property]" = []
    if not quota and not period:
        return found
    if period and version >= QUOTA_PERIOD:
        found.append(("CPUQuotaPeriodUSec", "t", period))
    share = _per_second(quota, period or PERIOD) if quota > 0 else INFINITY
    return [*found, ("CPUQuotaPerSecUSec", "t", share)]


def _pids(wanted: "dict[str, Any]") -> "list[Property]":
    limit = (wanted.get("pids") or {}).get("limit")
    if limit is None:
        return []
    return [("TasksMax", "t", INFINITY if limit < 0 else limit or 1)]


def _cpuset(cpus: "str | None", mems: "str | None", version: int) -> "list[Property]":
    found: "list[Property]" = []
    if version >= CPUSET:
        for name, text in (("AllowedCPUs", cpus), ("AllowedMemoryNodes", mems)):
            if text:
                try:
                    found.append((name, "ay", bits(text)))
                except ValueError as err:
                    raise Error(f"invalid list {quote(text)} for {name}: {err}") from err
    return found


def bits(text: str) -> bytes:
    """`0-2,8` as a bit mask, least significant byte first: 07 01."""
    mask = 0
    for part in text.replace("\n", ",").split(","):
        part = part.strip()
        if not part:
            continue
        first, dash, last = part.partition("-")
        low = int(first)
        high = int(last) if dash else low
        if not 0 <= low <= high < 1 << 16:
            raise ValueError(f"invalid range {part}")
        mask |= (1 << high + 1) - (1 << low)
    if not mask:
        raise ValueError("an empty list")
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


UNIFIED = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}


def _unified(key: str, value: str, version: int, warnings: "list[str]") -> "list[Property]":
    """One entry of unified; what has no property is left to the files."""
    if key in UNIFIED:
        number = INFINITY if value == "max" and key != "cpu.weight" else int(value)
        if not 0 <= number <= INFINITY:
            raise ValueError(f"{number} is out of range")
        return [(UNIFIED[key], "t", number)]
    if key == "cpu.idle":
        return _idle(version, warnings) if int(value) else []
    if key == "cpu.max":
        fields = value.split()
        if not 1 <= len(fields) <= 2:
            raise ValueError("expected a quota and a period")
        period = int(fields[1]) if len(fields) == 2 else PERIOD
        quota = -1 if fields[0] == "max" else int(fields[0])
        if period <= 0 or quota < -1:
            raise ValueError("out of range")
        return _quota(quota, period, version)
    if key == "cpuset.cpus":
        bits(value)
        return _cpuset(value, None, version)
    if key == "cpuset.mems":
        bits(value)
        return _cpuset(None, value, version)
    return []


# --- annotations ---


def annotated(annotations: "dict[str, str]") -> "list[Property]":
    """Properties that the configuration gives as `org.systemd.property.NAME`."""
    found = []
    for key in sorted(annotations):
        if key.startswith(ANNOTATION):
            found.append(_annotated(key, annotations[key]))
    return found


def _annotated(key: str, text: str) -> "Property":
    name = key.removeprefix(ANNOTATION)
    if len(name) < 3:
        raise Error(f"annotation {key} name incorrect: is too short")
    if not (name.isascii() and name.isalpha()):
        raise Error(f"annotation {key} name incorrect: has something else than letters in it")
    try:
        from pyrunc.cgroups import gvariant

        signature, value = gvariant.parse(text)
        # systemd's files have TimeoutStopSec, its bus only TimeoutStopUSec.
        if name.endswith("Sec") and name[-4:-3].islower():
            return f"{name[:-3]}USec", "t", _microseconds(signature, value)
    except (ValueError, RecursionError, OverflowError) as err:
        raise Error(f"annotation {key}={text} value parse error: {err}") from err
    return name, signature, value


def _microseconds(signature: str, seconds: "Any") -> int:
    if signature not in tuple("ynqiuxtd"):
        raise ValueError("not a number of seconds")
    value = int(seconds * 1000000)
    if not 0 <= value <= INFINITY:
        raise ValueError(f"{seconds} is out of range")
    return value
