"""What containers use at a moment: for people, programs and scrapers (`stats`).

May touch: the containers' cgroups and /proc (it only looks).

A sample is a plain dict; README.md documents it, for that is what `stats --format json` prints.
"""

import os
import time

from pyrunc import container, files, host, log, procfs
from pyrunc.cgroups import fs, stats
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Sample = dict[str, Any]

# Limits of this size are none: v1 says 2^63 less a page, v2 `max`.
UNLIMITED = 1 << 62
# /proc/PID/net/dev: the columns after the name of the interface.
RECEIVED, SENT = 0, 8
COUNTS = ("bytes", "packets", "errors", "dropped")


def find(root: str, ids: "list[str]") -> "list[dict[str, Any]]":
    """The records of these containers, or of all that have not stopped.

    One that was asked for by name has to exist, and must not have stopped.
    """
    records = []
    for id in ids:
        record = container.load(root, id)
        if container.status(root, record) == "stopped":
            raise Error(f"container with id {id} is not running")
        records.append(record)
    if ids:
        return records
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    except OSError as err:
        raise Error.os("open", root, err) from err
    for name in names:
        try:
            record = container.load(root, name)
        except Error:
            continue  # half made, deleted since, or none of ours
        if procfs.alive(record["init_process_pid"], record["init_process_start"]):
            records.append(record)
    return records


def sample(root: str, record: "dict[str, Any]") -> "Sample | None":
    """What a container uses now; None if it has stopped."""
    pid, start = record["init_process_pid"], record["init_process_start"]
    paths = record.get("cgroup_paths") or {}
    try:
        found = _measure(paths, pid)
        status = container.status(root, record)
    except Error as err:
        if procfs.alive(pid, start):
            log.warning(f"{record['id']}: {err.message}")
        return None
    # Files of a cgroup that is gone count as 0, and the pid may be a stranger's by now.
    if not procfs.alive(pid, start):
        return None
    return {
        "id": record["id"],
        "time": host.now(),
        "clock": time.monotonic(),
        "pid": pid,
        "status": status,
        "bundle": container.labels(record)[0],
        **found,
    }


def _measure(paths: "dict[str, str]", pid: int) -> "Sample":
    data = stats.read(paths)
    usage = data["cpu"].get("usage") or {}
    throttling = data["cpu"].get("throttling") or {}
    return {
        "cpu": {
            "percent": None,
            "usage_ns": usage.get("total", 0),
            "user_ns": usage.get("user", 0),
            "system_ns": usage.get("kernel", 0),
            "periods": throttling.get("periods", 0),
            "throttled_periods": throttling.get("throttledPeriods", 0),
            "throttled_ns": throttling.get("throttledTime", 0),
        },
        "memory": {**memory(data["memory"]), "oom_kills": fs.oom_killed(paths)},
        "pids": {
            "current": data["pids"].get("current", 0),
            "limit": data["pids"].get("limit") or None,
        },
        "io": {
            "read_bytes": _sum(data["blkio"], "ioServiceBytesRecursive", "Read"),
            "written_bytes": _sum(data["blkio"], "ioServiceBytesRecursive", "Write"),
            "reads": _sum(data["blkio"], "ioServicedRecursive", "Read"),
            "writes": _sum(data["blkio"], "ioServicedRecursive", "Write"),
        },
        "network": interfaces(pid),
        "pressure": pressure(paths, data),
    }


def memory(found: "dict[str, Any]") -> "Sample":
    """Bytes.  `used` leaves out file pages that were not used lately: they can be freed at once."""
    usage = found.get("usage") or {}
    raw = found.get("raw") or {}
    charged = usage.get("usage", 0)
    idle = raw.get("total_inactive_file", raw.get("inactive_file", 0))
    limit = usage.get("limit", 0)
    limited = 0 < limit < UNLIMITED
    used = max(charged - idle, 0)
    whole = min(limit, host_memory()) if limited else host_memory()
    return {
        "used": used,
        "usage": charged,
        "cache": found.get("cache", 0),
        "swap": max((found.get("swap") or {}).get("usage", 0) - charged, 0),
        "limit": limit if limited else None,
        "percent": round(100 * used / whole, 2) if whole else None,
    }


def host_memory() -> int:
    """The host's memory in bytes."""
    for line in (fs.read("/proc", "meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _sum(blkio: "dict[str, Any]", name: str, operation: str) -> int:
    rows = blkio.get(name) or []
    return sum(row.get("value", 0) for row in rows if row.get("op") == operation)


def pressure(paths: "dict[str, str]", data: "dict[str, Any]") -> "Sample | None":
    """How long processes waited for each resource; None if the kernel does not measure it."""
    if fs.is_v2(paths):
        found = {"cpu": data["cpu"], "memory": data["memory"], "io": data["blkio"]}
        result = {name: part["psi"] for name, part in found.items() if "psi" in part}
    else:
        # On a hybrid host the unified hierarchy measures it without any controller.
        from pyrunc.cgroups import stats_v2

        folder = paths.get("")
        each = {
            name: stats_v2.pressure(folder, f"{name}.pressure") if folder else None
            for name in ("cpu", "memory", "io")
        }
        result = {name: stats.psi(part) for name, part in each.items() if part is not None}
    return result or None


def interfaces(pid: int) -> "dict[str, Sample] | None":
    """Traffic of the interfaces of a process, loopback aside; None in our own network namespace."""
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            return None
        text = os.fsdecode(files.read(f"/proc/{pid}/net/dev"))
    except OSError:
        return None
    found: "dict[str, Sample]" = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.rpartition(":")
        numbers = [int(field) for field in rest.split()]
        if name.strip() != "lo":
            found[name.strip()] = {
                "received": dict(zip(COUNTS, numbers[RECEIVED:], strict=False)),
                "sent": dict(zip(COUNTS, numbers[SENT:], strict=False)),
            }
    return found


def compare(before: "Sample", now: "Sample") -> "Sample":
    """now with the CPU time since `before`, in percent of one CPU."""
    seconds = now["clock"] - before["clock"]
    spent = now["cpu"]["usage_ns"] - before["cpu"]["usage_ns"]
    percent = round(max(spent, 0) / seconds / 1e7, 2) if seconds > 0 else None
    return {**now, "cpu": {**now["cpu"], "percent": percent}}
