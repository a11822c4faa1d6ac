"""Names of systemd's units, and the cgroups they own (pure).

runc's reading of linux.cgroupsPath for the systemd driver, `SLICE:PREFIX:NAME`:

    unit    PREFIX-NAME.scope in SLICE, or NAME itself if that ends in .slice
    empty   runc-ID.scope, in system.slice or the user's user.slice
"""

from pyrunc.errors import Error
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SLICE = ".slice"
ROOT = f"-{SLICE}"
# A directory does not begin with one of these and a dot.
KERNEL = ("cgroup", "cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids")
PREFIX = "runc"


def where(cgroups_path: str, id: str) -> "dict[str, str]":
    """linux.cgroupsPath in the words of the record: parent, scope_prefix, name."""
    parts = cgroups_path.split(":") if cgroups_path else ["", PREFIX, id]
    if len(parts) != 3:
        raise Error(
            'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
            f"got {quote(cgroups_path)} instead"
        )
    return {"name": parts[2], "parent": parts[0], "path": "", "scope_prefix": parts[1]}


def name(where: "dict[str, Any]") -> str:
    """The unit. where: config.cgroups of the record, as where() made it."""
    given: str = where.get("name") or ""
    if given.endswith(SLICE):
        return given
    return f"{where.get('scope_prefix') or ''}-{given}.scope"


def parent(where: "dict[str, Any]", user: bool = False) -> str:
    """The slice it is in. user: below the user's manager."""
    return where.get("parent") or ("user.slice" if user else "system.slice")


def cgroup(where: "dict[str, Any]", user: bool = False) -> str:
    """The unit's cgroup below that of its manager."""
    unit = name(where)
    if unit == ROOT:
        raise Error(f"invalid slice name: {unit}")  # everything's, so no container's
    above = expand(parent(where, user))
    # A slice's place is in its own name; the slice above it is only one it wants to be there.
    return expand(unit) if unit.endswith(SLICE) else f"{above}/{escape(unit)}"


def expand(slice: str) -> str:
    """`a-b.slice` lives in `/a.slice/a-b.slice`; `-.slice` is the root, an empty path."""
    stem = slice.removesuffix(SLICE)
    if slice == ROOT:
        return ""
    parts = stem.split("-")
    if stem == slice or "/" in slice or not all(parts):
        raise Error(f"invalid slice name: {slice}")
    levels = ("-".join(parts[: count + 1]) for count in range(len(parts)))
    return "".join(f"/{escape(level + SLICE)}" for level in levels)


def escape(unit: str) -> str:
    """What systemd calls a unit's directory, lest that look like one of the kernel's files."""
    taken = unit[:1] in ("_", ".") or unit.partition(".")[0] in KERNEL
    return f"_{unit}" if taken else unit


def version(text: str) -> int:
    """systemd's version as its manager tells it: `252.38-1~deb12u1`, `v245`; 0 if it is unclear."""
    digits = ""
    for char in text:
        if char.isdigit():
            digits += char
        elif digits:
            break
    return int(digits or 0)
