"""linux.resources in the words of the record (config.cgroups, as runc spells it), and back.

Touches nothing.  `update` starts from what the record says, so both directions are here.
"""

from pyrunc.cgroups.devices import ANY, BITS, configured, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyrunc.cgroups.devices import Rule

# (object in linux.resources, key there, key in the record, what absent is recorded as)
PLAIN = (
    ("memory", "limit", "memory", 0),
    ("memory", "reservation", "memory_reservation", 0),
    ("memory", "swap", "memory_swap", 0),
    ("cpu", "shares", "cpu_shares", 0),
    ("cpu", "quota", "cpu_quota", 0),
    ("cpu", "burst", "cpu_burst", None),
    ("cpu", "period", "cpu_period", 0),
    ("cpu", "realtimeRuntime", "cpu_rt_quota", 0),
    ("cpu", "realtimePeriod", "cpu_rt_period", 0),
    ("cpu", "cpus", "cpuset_cpus", ""),
    ("cpu", "mems", "cpuset_mems", ""),
    ("cpu", "idle", "cpu_idle", None),
    ("pids", "limit", "pids_limit", None),
    ("blockIO", "weight", "blkio_weight", 0),
    ("blockIO", "leafWeight", "blkio_leaf_weight", 0),
    ("blockIO", "weightDevice", "blkio_weight_device", ()),
    ("blockIO", "throttleReadBpsDevice", "blkio_throttle_read_bps_device", ()),
    ("blockIO", "throttleWriteBpsDevice", "blkio_throttle_write_bps_device", ()),
    ("blockIO", "throttleReadIOPSDevice", "blkio_throttle_read_iops_device", ()),
    ("blockIO", "throttleWriteIOPSDevice", "blkio_throttle_write_iops_device", ()),
    ("memory", "disableOOMKiller", "oom_kill_disable", False),
    ("memory", "swappiness", "memory_swappiness", None),
    ("network", "classID", "net_cls_classid_u", 0),
    ("memory", "checkBeforeUpdate", "memory_check_before_update", False),
)


def record(
    where: "dict[str, str]",
    resources: "dict[str, Any]",
    *,
    systemd: bool = False,
    device_paths: "Iterable[str]" = (),
    rootless: bool = False,
) -> "dict[str, Any]":
    """config.cgroups of the record. where: what a driver says of linux.cgroupsPath."""
    result: "dict[str, Any]" = dict(where)
    result["devices"] = [
        {
            "type": ord(kind),
            "major": major,
            "minor": minor,
            "permissions": line((kind, ANY, ANY), access).rpartition(" ")[2],
            "allow": allow,
        }
        for allow, kind, major, minor, access in configured(
            resources.get("devices") or [], device_paths
        )
    ]
    for section, key, name, absent in PLAIN:
        value = (resources.get(section) or {}).get(key)
        result[name] = (list(absent) if absent == () else absent) if value is None else value
    result["freezer"] = ""
    result["hugetlb_limit"] = [
        {"page_size": page["pageSize"], "limit": page["limit"]}
        for page in resources.get("hugepageLimits") or ()
    ]
    result["net_prio_ifpriomap"] = [
        {"interface": entry["name"], "priority": entry["priority"]}
        for entry in (resources.get("network") or {}).get("priorities") or ()
    ]
    result["rdma"] = {
        device: {"hca_handles": limit.get("hcaHandles"), "hca_objects": limit.get("hcaObjects")}
        for device, limit in (resources.get("rdma") or {}).items()
    }
    result["unified"] = dict(resources.get("unified") or {}) or None  # {} is an error on v1
    result["Systemd"] = systemd
    result["Rootless"] = rootless
    return result


def resources(recorded: "dict[str, Any]") -> "dict[str, Any]":
    """What `update` may change of linux.resources, out of config.cgroups of a record."""
    result: "dict[str, Any]" = {}
    for section, key, name, absent in PLAIN:
        value = recorded.get(name)
        if section != "network" and value is not None and value not in (absent, []):
            result.setdefault(section, {})[key] = value
    if recorded.get("unified"):
        result["unified"] = dict(recorded["unified"])
    return result


def rules(recorded: "dict[str, Any]") -> "list[Rule]":
    """The device rules, with the defaults, out of config.cgroups of a record."""
    return [
        (
            bool(entry["allow"]),
            chr(entry["type"]),
            entry["major"],
            entry["minor"],
            sum(BITS[letter] for letter in entry["permissions"]),
        )
        for entry in recorded.get("devices") or []
    ]
