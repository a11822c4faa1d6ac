"""Which cgroup hierarchies this host has, and where in them a container goes.

May touch: /sys/fs/cgroup and /proc/self (reads only).
OCI runtime-spec 1.3, config-linux.md "Cgroups Path".

    "v2"      /sys/fs/cgroup is a cgroup2 mount
    "hybrid"  v1, and a cgroup2 mount at /sys/fs/cgroup/unified: one more hierarchy, named ""
    "v1"      otherwise
"""

import os

from pyrunc import files
from pyrunc.errors import Error
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = "/sys/fs/cgroup"
# The order in which a process joins: cpuset has to be filled in, and devices has to exist.
CONTROLLERS = (
    "cpuset devices memory cpu cpuacct pids blkio hugetlb net_cls net_prio perf_event freezer rdma "
    "name=systemd misc"
).split()


def mode() -> str:
    """`v1`, `hybrid` or `v2`."""
    # Every directory of a cgroup2 mount has this file, and nothing of v1 does.
    if os.path.lexists(f"{ROOT}/cgroup.controllers"):
        return "v2"
    return "hybrid" if os.path.lexists(f"{ROOT}/unified/cgroup.controllers") else "v1"


def paths(cgroups_path: str, id: str) -> "dict[str, str]":
    """The container's cgroup in every hierarchy, in the order to join. cgroups_path: the spec's."""
    if "\0" in cgroups_path:
        raise Error(f"invalid cgroupsPath {quote(cgroups_path)}: it has a NUL byte")
    inner = clean(cgroups_path or id)
    if mode() == "v2":
        own = next((path for names, path in _own() if not names), "/")
        return {"": unified(own, inner)}
    found: "dict[str, str]" = {}
    for hierarchy in hierarchies():
        base = hierarchy["mount"]
        if not inner.startswith("/"):
            base = own_directory(hierarchy)
        for name in hierarchy["subsystems"]:
            found[name] = below(base, inner)
    if "devices" not in found:
        raise Error("mountpoint for devices not found")
    return _ordered(found)


def of_process(pid: int) -> "dict[str, str]":
    """The cgroups a process is in now, in the order to join."""
    where = dict(memberships(os.fsdecode(files.read(f"/proc/{pid}/cgroup"))))
    if mode() == "v2":
        return {"": below(ROOT, where.get("", "/"))}
    found: "dict[str, str]" = {}
    for hierarchy in hierarchies():
        names = hierarchy["subsystems"]
        path = where.get(",".join(names))
        if path is not None:
            directory = _directory(hierarchy["mount"], hierarchy["root"], path)
            found |= dict.fromkeys(names, directory)
    return _ordered(found)


def _ordered(found: "dict[str, str]") -> "dict[str, str]":
    order = [*CONTROLLERS, *(name for name in found if name and name not in CONTROLLERS), ""]
    return {name: found[name] for name in order if name in found}


def unified(own: str, inner: str) -> str:
    """The container's directory on v2."""
    if inner.startswith("/"):
        return below(ROOT, inner)
    # Not below our own cgroup: that has a process, us, so it cannot have children with limits.
    return below(ROOT, f"{own.rpartition('/')[0]}/{inner}")


def clean(path: str) -> str:
    """A lexically clean path; `..` at the front of a relative one is dropped."""
    parts: "list[str]" = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def below(base: str, path: str) -> str:
    """base and a clean path, joined."""
    return f"{base}/{path.strip('/')}".rstrip("/")


def hierarchies() -> "list[dict[str, Any]]":
    """The mounted v1 hierarchies, and the unified one of a hybrid host (subsystems [""]).

    Each is {"mount", "root", "path", "subsystems", "dest"}: mountpoint, the cgroup found there (""
    if that was not looked up), our own cgroup, what it controls, its name in a container.
    """
    found = []
    table: "dict[str, tuple[str, str]] | None" = None
    top = _device(ROOT)
    for names, path in _own():
        if not names:
            if mode() == "hybrid":
                found.append(_hierarchy(f"{ROOT}/unified", "", path, [""]))
            continue
        # First the usual place: the mount table is slow to read, for it grows with every container.
        mount, root = f"{ROOT}/{names.removeprefix('name=')}", ""
        if _device(mount) in (top, None):
            if table is None:
                table = _mounted()
            if names not in table:
                continue
            mount, root = table[names]
        found.append(_hierarchy(mount, root, path, names.split(",")))
    return found


def _hierarchy(mount: str, root: str, path: str, names: "list[str]") -> "dict[str, Any]":
    dest = mount.rpartition("/")[2]
    return {"mount": mount, "root": root, "path": path, "subsystems": names, "dest": dest}


def _own() -> "list[tuple[str, str]]":
    return memberships(os.fsdecode(files.read("/proc/self/cgroup")))


def memberships(text: str) -> "list[tuple[str, str]]":
    """(subsystems, cgroup) of each line of /proc/PID/cgroup; subsystems is "" for v2."""
    rows = (line.split(":", 2) for line in text.splitlines())
    return [(row[1], row[2]) for row in rows if len(row) == 3]


def _mounted() -> "dict[str, tuple[str, str]]":
    known = [names for names, _ in _own() if names]
    table = {}
    for names, place, root, device in mounted(
        os.fsdecode(files.read("/proc/self/mountinfo")), known
    ):
        # Something else may have been mounted over it since.
        if _device(place) == device:
            table[names] = (place, root)
    return table


def mounted(text: str, known: "list[str]") -> "list[tuple[str, str, str, int]]":
    """(subsystems as in `known`, mountpoint, the cgroup found there, device), from mountinfo."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        rest = fields[fields.index("-") + 1 :]
        if rest[0] != "cgroup":
            continue
        options = rest[2].split(",")
        major, _, minor = fields[2].partition(":")
        device = os.makedev(int(major), int(minor))
        for names in known:
            if all(name in options for name in names.split(",")):
                found.append((names, unescape(fields[4]), unescape(fields[3]), device))
    return found


def _device(path: str) -> "int | None":
    try:
        return os.stat(path).st_dev
    except OSError:
        return None


def own_directory(hierarchy: "dict[str, Any]") -> str:
    """That of our own cgroup."""
    return _directory(hierarchy["mount"], hierarchy["root"], hierarchy["path"])


def _directory(mount: str, root: str, path: str) -> str:
    """The directory of the cgroup that /proc/PID/cgroup calls `path`."""
    if path == "/":
        return mount
    if not root:
        if os.path.isdir(mount + path):
            return mount + path
        root = next((root for place, root in _mounted().values() if place == mount), "/")
    return below(mount, seen_from(root, path))


def seen_from(root: str, path: str) -> str:
    """A cgroup's path below a mountpoint that shows the cgroup `root`.

    In a container without a cgroup namespace that is not the hierarchy's root, while
    /proc/self/cgroup still tells paths from there.
    """
    root = root.rstrip("/")
    return path[len(root) :] if path == root or path.startswith(f"{root}/") else path


def unescape(field: str) -> str:
    """A path out of mountinfo, where white space and backslashes are octal."""
    head, *parts = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts)
