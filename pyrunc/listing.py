"""A plan for people to read: one line per op, or JSON.  Pure.  Rarely loaded: it imports json."""

import json

from pyrunc import mounts, namespaces, process
from pyrunc._core import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

# The arguments of each op, in their order: name:kind, without a kind plain text or a number.  A
# `*` marks the list of all that follow; `argv` splits it into argv and env.
FIELDS = {
    "join": "fd:fd namespace:clone how:join",
    "unshare": "namespaces:clone",
    "clone": "namespaces:clone *cgroups:fd",
    "enter": "*tasks:fd",
    "dumpable": "on:flag",
    "owner": "drop_groups:flag",
    "sync": "point:sync",
    "keyring": "name permissions:hex",
    "loopback": "",
    "hostname": "name",
    "domainname": "name",
    "sysctl": "path value",
    "propagate": "flags:propagation",
    "root": "path own_mounts:flag",
    "idmap": "user_namespace:fd below:flag asked",
    "tree": "mount:fd",
    "mount": "source target type data flags:ms options:options fallback *propagation:propagation",
    "bind": "source target flags:ms cleared:ms set:attr clear:attr *propagation:propagation",
    "unmount": "target",
    "relabel": "path label",
    "remount": "target flags:ms",
    "symlink": "content path replace:flag",
    "device": "path mode:octal major minor uid gid source strict:flag",
    "source": "path flags:ms",
    "mkdir": "path mode:octal",
    "pivot": "",
    "hide": "path",
    "move": "",
    "chroot": "",
    "nullio": "",
    "readonly": "path",
    "mask": "path *data",
    "console": "socket:fd rows columns bind:flag",
    "pidfd": "socket:fd text",
    "umask": "mask:octal",
    "rlimit": "resource soft hard",
    "label": "value *files",
    "nnp": "",
    "scheduler": "policy flags:hex nice:signed priority runtime deadline period",
    "ioprio": "value:hex",
    "personality": "domain:hex",
    "mempolicy": "mode:hex nodes:mask",
    "seccomp": "filter:bytes flags:hex",
    "chdir": "path forgive:flag",
    "bounding": "keep:caps",
    "user": "uid gid setgroups:flag *groups",
    "caps": "effective:caps permitted:caps inheritable:caps ambient:caps",
    "home": "uid",
    "lookup": "name path_is_set:flag path",
    "hook": "label path before after timeout:timeout append_home:flag argc:argv",
    "await": "fd:fd",
    "exec": "append_home:flag argc:argv",
}
# Arguments whose names the text leaves out, because their values speak for themselves.
BARE = "source target path name content point namespace namespaces flags value label".split()

MS_NAMES = [
    (name, getattr(mounts, name))
    for name in (
        "MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_SYNCHRONOUS MS_REMOUNT MS_MANDLOCK MS_DIRSYNC "
        "MS_NOSYMFOLLOW MS_NOATIME MS_NODIRATIME MS_BIND MS_REC MS_SILENT MS_UNBINDABLE "
        "MS_PRIVATE MS_SLAVE MS_SHARED MS_RELATIME MS_I_VERSION MS_STRICTATIME MS_LAZYTIME"
    ).split()
]
ATTR_NAMES = [
    (name, getattr(mounts, "ATTR_" + name))
    for name in (
        "RDONLY NOSUID NODEV NOEXEC ATIME NOATIME STRICTATIME NODIRATIME NOSYMFOLLOW".split()
    )
]
PROPAGATION_NAMES = {flags: name for name, flags in mounts.PROPAGATION.items()}
CLONE_NAMES = [(kind, flag) for kind, flag in namespaces.FLAGS.items()]
SYNC_NAMES = {
    lib.SYNC_PLACE: "place",
    lib.SYNC_UNSHARED: "unshared",
    lib.SYNC_JOINED: "joined",
    lib.SYNC_MOUNTED: "mounted",
    lib.SYNC_READY: "ready",
}
JOIN_NAMES = {lib.JOIN_MUST: None, lib.JOIN_TRY: "try", lib.JOIN_AGAIN: "again"}
OPTION_NAMES = [
    ("ordinary", lib.MOUNT_ORDINARY),
    ("keep-mode", lib.MOUNT_KEEP_MODE),
    ("copy-up", lib.MOUNT_COPY_UP),
]
CAP_NAMES = [(name, 1 << number) for number, name in enumerate(process.CAPABILITIES)]


def names(value: int, table: "list[tuple[str, int]]") -> "list[str]":
    """The names of the bits of value; what has no name comes last, in hexadecimal."""
    found = []
    for name, bits in table:
        if value & bits == bits:
            found.append(name)
            value &= ~bits
    if value:
        found.append(hex(value))
    return found


def ms_text(flags: int) -> str:
    """`MS_NOSUID|MS_NODEV`."""
    return "|".join(names(flags, MS_NAMES))


def arguments(name: str, args: "tuple[Any, ...]") -> "dict[str, Any]":
    """The arguments of an op by their names, with numbers in words where they have a meaning."""
    result: dict[str, Any] = {}
    fields = FIELDS[name].split()
    for i, field in enumerate(fields):
        key, _, kind = field.partition(":")
        if key.startswith("*"):
            result[key[1:]] = [meaning(arg, kind) for arg in args[i:]]
        elif kind == "argv":
            argc = args[i]
            result["argv"] = list(args[i + 1 : i + 1 + argc])
            result["env"] = list(args[i + 1 + argc :])
        else:
            result[key] = meaning(args[i], kind)
    return result


def meaning(arg: "Any", kind: str) -> object:
    """The value of one argument for JSON.  kind: as in FIELDS."""
    if kind == "fd":
        return f"fd:{arg.index}"
    if kind == "mask":
        bits = int.from_bytes(arg, "little")
        return [bit for bit in range(bits.bit_length()) if bits >> bit & 1]
    if isinstance(arg, bytes):
        return f"{len(arg)} bytes"
    if not isinstance(arg, int):
        return arg
    if kind == "ms":
        return [name.removeprefix("MS_").lower() for name in names(arg, MS_NAMES)]
    if kind == "propagation":
        return PROPAGATION_NAMES[arg]
    if kind == "attr":
        return [name.lower() for name in names(arg, ATTR_NAMES)]
    if kind == "clone":
        return names(arg, CLONE_NAMES)
    if kind == "options":
        return names(arg, OPTION_NAMES)
    if kind == "caps":
        return names(arg, CAP_NAMES)
    if kind == "join":
        return JOIN_NAMES[arg]
    if kind == "sync":
        return SYNC_NAMES[arg]
    if kind == "flag":
        return bool(arg)
    if kind == "signed":
        return arg - (1 << 64) if arg >> 63 else arg
    if kind == "octal":
        return f"{arg:04o}"
    if kind == "hex":
        return hex(arg)
    if kind == "timeout" and arg == 0xFFFFFFFFFFFFFFFF:
        return None
    return arg


def objects(plan: "Plan") -> "list[dict[str, Any]]":
    """The ops as JSON objects."""
    return [
        {"op": name, **arguments(name, args), "origin": origin} for name, args, origin in plan.ops
    ]


def text(plan: "Plan", secret: "tuple[str, ...]" = ()) -> str:
    """The ops as lines: op, arguments but the secret ones, the spec key they come from."""
    lines = []
    for name, args, origin in plan.ops:
        words = []
        for key, value in arguments(name, args).items():
            if value is None or value is False or value == [] or value == "" and key != "value":
                continue
            if key in secret:
                continue
            words.append(word(value) if key in BARE else f"{key}={word(value)}")
        line = f"{name:10} {' '.join(words)}"
        lines.append(f"{line:<72}  {origin}".rstrip() if origin else line.rstrip())
    return "\n".join(lines) + "\n"


def word(value: object) -> str:
    """A value in a line: names of bits joined by |, other lists and unusual texts as JSON."""
    if value is True:
        return "yes"
    if isinstance(value, list):
        if all(isinstance(item, int) for item in value):
            return ",".join(str(item) for item in value)
        if all(item.replace("_", "").replace("-", "").isalnum() for item in value):
            return "|".join(value)
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and (not value or any(c in value for c in ' "\n\t')):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
