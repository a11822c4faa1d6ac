"""Mounts of a running container: which can be added or removed, and the plans for it.  Pure.

for_add()      the recipe that mounts more
for_remove()   the recipe that unmounts

init enters no namespace but those that the mounts need, and no cgroup: no process in the container
sees it, and it is not frozen in a paused container.
"""

from pyrunc import mounts, namespaces
from pyrunc._core import lib
from pyrunc.errors import Error
from pyrunc.mounts import PROC_FILES, Mount
from pyrunc.plan import Plan, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]

# Which namespace a file system shows: that of the process that mounts it.
SHOWS = {"proc": "pid", "sysfs": "network", "mqueue": "ipc", "cgroup2": "cgroup"}


def decode(wanted: "list[Doc]", config: "Doc", bundle: str) -> "tuple[list[Mount], list[str]]":
    """(entries, warnings) for a list of mounts, checked as create does.  config: the record's."""
    plan = Plan()
    place = {"bundle": bundle, "rootfs": config["rootfs"]}
    return mounts.decode(plan, {"mounts": wanted}, {}, place), plan.warnings


def targets(wanted: "list[Doc]", config: "Doc") -> "list[str]":
    """The destinations of a list of mounts; an Error if one protects the host or is needed."""
    kept = (*(config.get("mask_paths") or ()), *(config.get("readonly_paths") or ()))
    guarded = {clean(path) for path in kept}
    found = []
    for i, mount in enumerate(wanted):
        target = mounts.strip(clean(mount["destination"]), config["rootfs"])
        if target in guarded:
            why = "the configuration masks it, or makes it read-only"
        elif target in ("/", "/proc"):
            why = "no container can do without it"
        elif target.startswith("/proc/") and target not in PROC_FILES:
            why = "it is inside /proc"
        else:
            found.append(target)
            continue
        raise Error(f"mounts[{i}]: {target} cannot be removed: {why}")
    return found


def check_add(entries: "list[Mount]") -> None:
    """Refuse what only a new container can have."""
    for entry in entries:
        if entry.idmap:
            what = "an ID-mapped mount"
        elif entry.fstype == "cgroup":
            what = "a mount of type cgroup"
        elif entry.flags & mounts.MS_REMOUNT:
            what = "a remount"
        elif entry.copy_up:  # what it copies is the container's to exchange meanwhile
            what = "a mount with tmpcopyup"
        elif entry.target in ("/", "/proc"):
            what = f"a mount on {entry.target}"
        else:
            continue
        raise Error(f"{entry.origin}: {what} cannot be added to a running container")


def kinds(entries: "list[Mount]") -> "list[str]":
    """The namespaces that init must join to mount these, if the container has its own."""
    return ["user", "mount", *{SHOWS[e.fstype] for e in entries if e.fstype in SHOWS}]


def for_add(entries: "list[Mount]", config: "Doc", fds: "dict[Any, int]", rootless: bool) -> Plan:
    """Mount the entries; there is a SYNC before the first and after each.

    fds: indices of descriptors: ("ns", kind); ("tree", number): a clone of a bind's source.
    """
    plan = _inside(fds, rootless)
    plan.sync(lib.SYNC_JOINED)
    linux = {"mountLabel": config.get("mount_label") or ""}
    for entry in entries:
        if ("tree", entry.index) in fds:
            plan.tree(fds["tree", entry.index])
        # To find it again by its path is to trust the container.
        mounts.mount(plan, [entry], linux, {}, fds, late=False)
        plan.sync(lib.SYNC_MOUNTED)
    plan.sync(lib.SYNC_READY)
    return plan


def for_remove(paths: "list[str]", fds: "dict[Any, int]", rootless: bool) -> Plan:
    """Unmount what is there, the last one first."""
    plan = _inside(fds, rootless)
    for path in reversed(paths):
        plan.unmount(path)
    plan.sync(lib.SYNC_READY)
    return plan


def _inside(fds: "dict[Any, int]", rootless: bool) -> Plan:
    plan = Plan()
    namespaces.enter(plan, {}, fds, {"rootless": rootless}, "mounts")
    namespaces.enter_cgroup(plan, {}, fds)
    plan.root("/", 0)
    return plan
