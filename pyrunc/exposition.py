"""Samples in the text format that Prometheus scrapes (version 0.0.4).  Touches nothing.

Each family is named once, with its help and type; numbers that never fall are counters, in base
units.  What is not there (no limit, no pressure) has no line, which is not the same as a 0.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Sample = dict[str, Any]
    # Labels beside the id, and the value.
    Rows = Iterator[tuple[dict[str, str], float | None]]

PREFIX = "pyrunc_container_"


def text(samples: "list[Sample]") -> str:
    """The whole page."""
    lines: "list[str]" = []
    for name, kind, help, rows in FAMILIES:
        found = [
            f"{PREFIX}{name}{{{labels(id=sample['id'], **more)}}} {number(value)}"
            for sample in samples
            for more, value in rows(sample)
            if value is not None
        ]
        if found:
            lines += (f"# HELP {PREFIX}{name} {help}", f"# TYPE {PREFIX}{name} {kind}", *found)
    return "".join(f"{line}\n" for line in lines)


def labels(**values: str) -> str:
    """`name="value",...`; in a value backslashes, quotes and newlines are escaped."""
    found = []
    for name, value in values.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        found.append(f'{name}="{escaped}"')
    return ",".join(found)


def number(value: "int | float") -> str:
    """Without an exponent, and exact."""
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _of(section: str, key: str, scale: float = 1) -> "Callable[[Sample], Rows]":
    """The value of sample[section][key]."""

    def rows(sample: "Sample") -> "Rows":
        value = sample[section][key]
        yield {}, value if value is None or scale == 1 else value * scale

    return rows


def _network(direction: str, key: str) -> "Callable[[Sample], Rows]":
    def rows(sample: "Sample") -> "Rows":
        for interface, counts in (sample["network"] or {}).items():
            yield {"interface": interface}, counts[direction][key]

    return rows


def _pressure(sample: "Sample") -> "Rows":
    for resource, kinds in (sample["pressure"] or {}).items():
        for kind, values in kinds.items():
            yield {"resource": resource, "kind": kind}, values["total"] * 1e-6


def _info(sample: "Sample") -> "Rows":
    yield {key: str(sample[key]) for key in ("status", "pid", "bundle")}, 1


NANO = 1e-9
FAMILIES: "tuple[tuple[str, str, str, Callable[[Sample], Rows]], ...]" = (
    ("info", "gauge", "A container that has not stopped.", _info),
    ("cpu_usage_seconds_total", "counter", "CPU time used.", _of("cpu", "usage_ns", NANO)),
    ("cpu_user_seconds_total", "counter", "CPU time in user mode.", _of("cpu", "user_ns", NANO)),
    (
        "cpu_system_seconds_total",
        "counter",
        "CPU time in kernel mode.",
        _of("cpu", "system_ns", NANO),
    ),
    ("cpu_periods_total", "counter", "Periods with a CPU quota.", _of("cpu", "periods")),
    (
        "cpu_throttled_periods_total",
        "counter",
        "Periods in which the CPU quota was used up.",
        _of("cpu", "throttled_periods"),
    ),
    (
        "cpu_throttled_seconds_total",
        "counter",
        "Time lost by a CPU quota that was used up.",
        _of("cpu", "throttled_ns", NANO),
    ),
    ("memory_used_bytes", "gauge", "Memory without idle file pages.", _of("memory", "used")),
    ("memory_usage_bytes", "gauge", "Memory, file pages included.", _of("memory", "usage")),
    ("memory_cache_bytes", "gauge", "Memory with pages of files.", _of("memory", "cache")),
    ("memory_swap_bytes", "gauge", "Memory that was swapped out.", _of("memory", "swap")),
    ("memory_limit_bytes", "gauge", "Memory limit, if there is one.", _of("memory", "limit")),
    (
        "oom_kills_total",
        "counter",
        "Processes killed for want of memory.",
        _of("memory", "oom_kills"),
    ),
    ("pids", "gauge", "Processes and threads.", _of("pids", "current")),
    ("pids_limit", "gauge", "Limit of processes, if there is one.", _of("pids", "limit")),
    ("io_read_bytes_total", "counter", "Bytes read from disks.", _of("io", "read_bytes")),
    ("io_written_bytes_total", "counter", "Bytes written to disks.", _of("io", "written_bytes")),
    ("io_reads_total", "counter", "Requests to read from disks.", _of("io", "reads")),
    ("io_writes_total", "counter", "Requests to write to disks.", _of("io", "writes")),
    *(
        (
            f"network_{direction}_{key}_total",
            "counter",
            f"{what} {direction}, by interface of the container's own network namespace.",
            _network(direction, key),
        )
        for direction in ("received", "sent")
        for key, what in (
            ("bytes", "Bytes"),
            ("packets", "Packets"),
            ("errors", "Faulty packets"),
            ("dropped", "Packets dropped while being"),
        )
    ),
    (
        "pressure_seconds_total",
        "counter",
        "Time in which some or all (kind) processes waited for a resource.",
        _pressure,
    ),
)
