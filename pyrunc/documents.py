"""What the API's functions return, as types: plain dicts, with the keys of the commands' JSON."""

from typing import Any, Literal, NotRequired, TypedDict


class State(TypedDict):
    """As `pyrunc state` prints it."""

    ociVersion: str
    id: str
    pid: int
    status: Literal["created", "running", "paused", "stopped"]
    bundle: str
    rootfs: str
    created: str
    annotations: NotRequired[dict[str, str]]
    owner: str


class Event(TypedDict):
    """A line of `pyrunc events`; data only comes with "stats"."""

    type: Literal["stats", "oom"]
    id: str
    data: NotRequired[dict[str, Any]]


class Cpu(TypedDict):
    """Nanoseconds, and percent of one CPU since another sample."""

    percent: float | None
    usage_ns: int
    user_ns: int
    system_ns: int
    periods: int
    throttled_periods: int
    throttled_ns: int


class Memory(TypedDict):
    """Bytes, and percent of the limit or of the host's memory."""

    used: int
    usage: int
    cache: int
    swap: int
    limit: int | None
    percent: float | None
    oom_kills: int


class Pids(TypedDict):
    """Processes and threads."""

    current: int
    limit: int | None


class Io(TypedDict):
    """Of all disks."""

    read_bytes: int
    written_bytes: int
    reads: int
    writes: int


class Stats(TypedDict):
    """As `pyrunc stats --format json` prints it, and `clock`, time.monotonic() of the sample."""

    id: str
    time: str
    clock: float
    pid: int
    status: str
    bundle: str
    cpu: Cpu
    memory: Memory
    pids: Pids
    io: Io
    network: dict[str, dict[str, dict[str, int]]] | None
    pressure: dict[str, Any] | None
