"""What an update makes of the recorded resources (pure).

Both are in the words of the record, config.cgroups (recorded.py).  A limit that an update does not
mention either keeps its recorded value, which is written again, or is dropped from the record, and
the kernel's file is left alone.  Which of the two it is follows runc, and shows in the next update.
"""

from pyrunc.cgroups.recorded import PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Not mentioned: it keeps its value, which is written once more.
KEPT = (
    "memory",
    "memory_reservation",
    "memory_swap",
    "cpu_shares",
    "cpu_rt_quota",
    "cpu_rt_period",
    "blkio_weight",
    "blkio_leaf_weight",
)
# Not mentioned: it is forgotten.
REPLACED = (
    "cpu_burst",
    "cpu_idle",
    "cpuset_cpus",
    "cpuset_mems",
    "pids_limit",
    "memory_check_before_update",
)
# Entries take the place of those with the same device number.
BY_DEVICE = (
    "blkio_weight_device",
    "blkio_throttle_read_bps_device",
    "blkio_throttle_write_bps_device",
    "blkio_throttle_read_iops_device",
    "blkio_throttle_write_iops_device",
)


def merge(recorded: "dict[str, Any]", wanted: "dict[str, Any]") -> "dict[str, Any]":
    """The record's config.cgroups after an update. wanted: a linux.resources object."""
    result = dict(recorded)
    given = {}
    for section, key, name, absent in PLAIN:
        value = (wanted.get(section) or {}).get(key)
        if value is not None:
            given[name] = value
        if name in KEPT and value is not None:
            result[name] = value
        elif name in REPLACED:
            result[name] = absent if value is None else value
        elif name in BY_DEVICE and value:
            result[name] = by_device(recorded.get(name) or [], value)
    if given.get("memory") == -1 and "memory_swap" not in given:
        result["memory_swap"] = 0  # unlimited, too
    if "cpu_idle" in given and "cpu_shares" not in given:
        result["cpu_shares"] = 0  # an idle cgroup takes no weight
    quota, period = given.get("cpu_quota") or 0, given.get("cpu_period") or 0
    # One of the two means little without the other.
    if quota or not period:
        result["cpu_quota"] = quota
    if period or not quota:
        result["cpu_period"] = period
    result["unified"] = dict(wanted.get("unified") or {}) or None
    return result


def rounded(cgroups: "dict[str, Any]") -> "dict[str, Any]":
    """The same with a quota that the systemd driver can have."""
    from pyrunc.cgroups import properties

    quota = properties.rounded(cgroups.get("cpu_quota") or 0, cgroups.get("cpu_period") or 0)
    return cgroups | {"cpu_quota": quota}


def by_device(old: "list[dict[str, Any]]", new: "list[dict[str, Any]]") -> "list[dict[str, Any]]":
    """Both lists as one; of several entries for a device the last one counts."""
    merged: "dict[tuple[int, int], dict[str, Any]]" = {}
    for entry in (*old, *new):
        merged[entry.get("major", 0), entry.get("minor", 0)] = entry
    return list(merged.values())
