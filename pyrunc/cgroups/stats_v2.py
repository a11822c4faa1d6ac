"""What a container uses, out of the files of cgroup v2.

May touch: files in the one directory, and /proc/meminfo (reads only).
The kernel's admin-guide/cgroup-v2 and accounting/psi.  A missing file counts as 0.
"""

import errno

from pyrunc.cgroups import fs
from pyrunc.cgroups.hierarchies import ROOT
from pyrunc.cgroups.stats import UNLIMITED, number, page_sizes, pairs
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Found = dict[str, Any]

# key in io.stat -> (entry in the document, operation)
IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def read_all(folder: str) -> "Found":
    """All that the document has."""
    return {
        "cpu": cpu(folder),
        "memory": memory(folder),
        "pids": {"current": tasks(folder), "limit": number(folder, "pids.max", 0)},
        "blkio": blkio(folder),
        "hugetlb": hugetlb(folder),
        "psi": {
            name: pressure(folder, f"{file}.pressure")
            for name, file in (("cpu", "cpu"), ("memory", "memory"), ("blkio", "io"))
        },
    }


def cpu(folder: str) -> "Found":
    """CPU time, from microseconds."""
    found = pairs(folder, "cpu.stat")
    return {
        "usage": {
            "total": found.get("usage_usec", 0) * 1000,
            "kernel": found.get("system_usec", 0) * 1000,
            "user": found.get("user_usec", 0) * 1000,
        },
        "throttling": {
            "periods": found.get("nr_periods", 0),
            "throttledPeriods": found.get("nr_throttled", 0),
            "throttledTime": found.get("throttled_usec", 0) * 1000,
        },
    }


def memory(folder: str) -> "Found":
    """Amounts in bytes, and all of memory.stat.  As on v1, swap is memory and swap together."""
    raw = pairs(folder, "memory.stat")
    found: "Found" = {"raw": raw, "cache": raw.get("file", 0)}
    if raw and folder.rstrip("/") == ROOT and fs.read(folder, "memory.current") is None:
        return {**found, **whole_host(raw)}
    usage = amount(folder, "memory.")
    swap = amount(folder, "memory.swap.")
    found["usage"] = usage
    found["swap"] = {
        "usage": swap["usage"] + usage["usage"],
        "limit": min(swap["limit"] + usage["limit"], UNLIMITED),
    }
    return found


def amount(folder: str, prefix: str) -> "Found":
    """Limit, present and highest usage in bytes.  prefix: of the files, `memory.` for example."""
    return {
        "limit": number(folder, f"{prefix}max"),
        "usage": number(folder, f"{prefix}current"),
        "max": number(folder, f"{prefix}peak"),
    }


def whole_host(raw: "dict[str, int]") -> "Found":
    """The root cgroup has no amounts of its own."""
    rows = (line.split() for line in (fs.read("/proc", "meminfo") or "").splitlines())
    kilobytes = {row[0].rstrip(":"): int(row[1]) for row in rows}
    usage = raw.get("anon", 0) + raw.get("file", 0)
    swap = (kilobytes.get("SwapTotal", 0) - kilobytes.get("SwapFree", 0)) * 1024
    return {
        "usage": {"usage": usage, "limit": UNLIMITED},
        "swap": {"usage": usage + swap, "limit": UNLIMITED},
    }


def tasks(folder: str) -> int:
    """How many there are; without the pids controller they are counted."""
    if fs.read(folder, "pids.current") is not None:
        return number(folder, "pids.current")
    return len(fs.pids({"": folder}))


def blkio(folder: str) -> "Found":
    """Requests and bytes by device."""
    found: "Found" = {}
    for line in (fs.read(folder, "io.stat") or "").splitlines():
        device, *rest = line.split()
        major, _, minor = device.partition(":")
        for item in rest:
            key, _, value = item.partition("=")
            if key in IO:
                name, operation = IO[key]
                entry = {"major": int(major), "minor": int(minor), "op": operation}
                found.setdefault(name, []).append({**entry, "value": int(value)})
    return found


def hugetlb(folder: str) -> "Found":
    """Bytes in huge pages, by the size of a page."""
    found = {}
    for size in page_sizes(folder, "current"):
        prefix = f"hugetlb.{size}"
        reserved = fs.read(folder, f"{prefix}.rsvd.current") is not None
        found[size] = {
            "usage": number(folder, f"{prefix}.rsvd.current" if reserved else f"{prefix}.current"),
            "failcnt": pairs(folder, f"{prefix}.events").get("max", 0),
        }
    return found


def pressure(folder: str, name: str) -> "Found | None":
    """Time lost by waiting; None if the kernel does not measure it."""
    try:
        text = fs.read(folder, name)
    except Error as err:
        cause = err.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EOPNOTSUPP:
            return None
        raise
    if text is None:
        return None
    found: "Found" = {}
    for line in text.splitlines():
        kind, *rest = line.split()  # some avg10=0.00 avg60=0.00 avg300=0.00 total=0
        values = (item.partition("=") for item in rest)
        found[kind] = {key: _plain(value) for key, _, value in values}
    return found


def _plain(text: str) -> "int | float":
    """A number that prints as Go prints it: 0, not 0.0."""
    value = float(text)
    return int(text) if "." not in text else int(value) if value.is_integer() else value
