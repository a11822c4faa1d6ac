"""`update`: give a container other resource limits, from flags or from a JSON document."""

import os

from pyrunc.commands import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _text(name: str, help: str, hidden: bool = False) -> Option:
    return Option(name, kind="str", default="", metavar="VALUE", help=help, hidden=hidden)


COMMAND = Command(
    "update",
    "update container resource constraints",
    options=(
        Option(
            "resources",
            "r",
            kind="str",
            default="",
            metavar="FILE",
            help='file with a JSON linux.resources object, "-" for stdin; other limits are ignored',
        ),
        Option(
            "blkio-weight",
            kind="int",
            default=0,
            metavar="N",
            help="relative weight of block I/O, from 10 to 1000",
        ),
        _text("cpu-period", "period in which a CPU quota counts, in microseconds"),
        _text("cpu-quota", "CPU time that can be used in a period, in microseconds"),
        _text("cpu-burst", "CPU time beyond the quota that can be saved up, in microseconds"),
        _text("cpu-share", "relative weight of CPU time"),
        _text("cpu-rt-period", "period in which a realtime limit counts, in microseconds"),
        _text("cpu-rt-runtime", "realtime CPU time in a period, in microseconds"),
        _text("cpuset-cpus", "CPUs to use, as in 0-3,5"),
        _text("cpuset-mems", "memory nodes to use"),
        _text("cpu-idle", "1: use CPU time only when nobody else wants it; 0: the default"),
        _text("kernel-memory", "obsolete", hidden=True),
        _text("kernel-memory-tcp", "obsolete", hidden=True),
        _text("memory", "memory limit in bytes, or with a suffix as in 50M; -1: none"),
        _text("memory-reservation", "memory soft limit"),
        _text("memory-swap", "limit of memory and swap together; -1: none"),
        Option(
            "pids-limit",
            kind="int",
            default=0,
            metavar="N",
            help="number of processes; -1: no limit",
        ),
        _text("l3-cache-schema", "schema of the L3 cache, for Intel RDT/CAT"),
        _text("mem-bw-schema", "schema of the memory bandwidth, for Intel RDT/MBA"),
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Update the container opts["args"][0]."""
    from pyrunc import container, log, update

    root, id = opts["root"], opts["args"][0]
    container.load(root, id)  # before anything is read from a caller that may be slow
    wanted = document(opts["resources"]) if opts["resources"] else requested(opts)
    memory = wanted.get("memory") or {}
    if memory.get("kernel") or memory.get("kernelTCP"):
        log.warning("Kernel memory settings are ignored and will be removed")
    update.update(root, id, wanted, schemas(opts))


def document(path: str) -> "dict[str, Any]":
    """The linux.resources object in a file, or on stdin."""
    from pyrunc import files, spec
    from pyrunc.errors import Error

    if path == "-":
        return spec.load_resources(first_value(0), "stdin")
    try:
        return spec.load_resources(files.read(path), path)
    except OSError as err:
        raise Error.os("open", path, err) from err


def first_value(fd: int) -> bytes:
    """Read until a whole JSON value is there: the writer may keep its end open."""
    from pyrunc import jsonio
    from pyrunc.errors import Error

    data = b""
    while part := os.read(fd, 65536):
        data += part
        try:
            jsonio.loads(data)
        except Error:
            continue
        break
    return data


def requested(opts: "dict[str, Any]") -> "dict[str, Any]":
    """The flags as a linux.resources object.  An empty text is as good as no flag."""
    from pyrunc.errors import Error

    wanted: "dict[str, dict[str, Any]]" = {"memory": {}, "cpu": {}}
    for name, section, key, parse in FLAGS:
        text = opts[name.replace("-", "_")]
        if not text:
            continue
        try:
            wanted[section][key] = parse(text)
        except ValueError as err:
            raise Error(f"invalid value for {name}: {err}") from None
    if opts["blkio_weight"]:
        wanted["blockIO"] = {"weight": opts["blkio_weight"]}
    if "pids-limit" in opts["given"]:
        wanted["pids"] = {"limit": opts["pids_limit"]}
    return wanted


def schemas(opts: "dict[str, Any]") -> "dict[str, str]":
    """The flags that go into resctrl, as members of linux.intelRdt."""
    flags = {"l3CacheSchema": opts["l3_cache_schema"], "memBwSchema": opts["mem_bw_schema"]}
    return {member: text for member, text in flags.items() if text}


# Values, in the grammar and with the complaints of Go.


def integer(text: str) -> int:
    """A decimal number that fits 64 bits."""
    return _number(text, "ParseInt", -(1 << 63), (1 << 63) - 1)


def unsigned(text: str) -> int:
    """One without a sign."""
    return _number(text, "ParseUint", 0, (1 << 64) - 1)


def _number(text: str, parser: str, least: int, most: int) -> int:
    from pyrunc.log import quote

    digits = text[1:] if text[:1] in ("+", "-") and least < 0 else text
    if not digits or digits.strip("0123456789"):
        raise ValueError(f"strconv.{parser}: parsing {quote(text)}: invalid syntax")
    if len(digits.lstrip("0")) > 20 or not least <= int(text) <= most:
        raise ValueError(f"strconv.{parser}: parsing {quote(text)}: value out of range")
    return int(text)


def size(text: str) -> int:
    """Bytes: `-1`, `1048576`, `50M`, `1.5 GiB`; suffixes count by 1024."""
    if text == "-1":
        return -1
    end = max(text.rfind(char) for char in "0123456789. ") + 1
    if end == 0:
        raise ValueError(f"invalid size: '{text}'")
    number, suffix = text[:end].removesuffix(" "), text[end:].lower()
    try:
        if number.strip("0123456789.eE+-"):  # Python also takes white space and underscores
            raise ValueError
        value = float(number)
    except ValueError:
        from pyrunc.log import quote

        raise ValueError(f"strconv.ParseFloat: parsing {quote(number)}: invalid syntax") from None
    if value == float("inf"):
        from pyrunc.log import quote

        raise ValueError(f"strconv.ParseFloat: parsing {quote(number)}: value out of range")
    if value < 0:
        raise ValueError(f"invalid size: '{text}'")
    if suffix not in ("", "b"):
        if suffix[0] not in UNITS or suffix[1:] not in ("", "b", "ib"):
            raise ValueError(f"invalid suffix: '{suffix}'")
        value *= 1024 ** (UNITS.index(suffix[0]) + 1)
    return min(int(min(value, 2.0**63)), (1 << 63) - 1)


UNITS = "kmgtp"

# (flag, object in linux.resources, key there, grammar)
FLAGS: "tuple[tuple[str, str, str, Callable[[str], object]], ...]" = (
    ("cpuset-cpus", "cpu", "cpus", str),
    ("cpuset-mems", "cpu", "mems", str),
    ("cpu-idle", "cpu", "idle", integer),
    ("cpu-period", "cpu", "period", unsigned),
    ("cpu-rt-period", "cpu", "realtimePeriod", unsigned),
    ("cpu-share", "cpu", "shares", unsigned),
    ("cpu-quota", "cpu", "quota", integer),
    ("cpu-burst", "cpu", "burst", unsigned),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", integer),
    ("memory", "memory", "limit", size),
    ("memory-swap", "memory", "swap", size),
    ("kernel-memory", "memory", "kernel", size),
    ("kernel-memory-tcp", "memory", "kernelTCP", size),
    ("memory-reservation", "memory", "reservation", size),
)
