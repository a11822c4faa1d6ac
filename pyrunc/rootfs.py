"""The rest of the root filesystem: propagation, devices, masked and read-only paths -> ops.  Pure.

Implements the runtime-spec's config.md, "Root", and of config-linux.md "Default Filesystems",
"Devices", "Rootfs Mount Propagation", "Masked Paths", "Readonly Paths".  mounts[]: mounts.py.
"""

from pyrunc.errors import Error
from pyrunc.mounts import (
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SLAVE,
    MS_UNBINDABLE,
    PROPAGATION,
    context,
)
from pyrunc.plan import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

    Doc = dict[str, Any]

# sys/stat.h
DEVICE_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
# path, major, minor: config-linux.md, "Default Devices"; numbers: admin-guide/devices.txt
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
)


def propagation(linux: "Doc", no_pivot: bool) -> int:
    """Flags for "/" before anything is mounted: mounts may come from the host, never go to it."""
    name = linux.get("rootfsPropagation", "")
    if not name:
        return MS_SLAVE | MS_REC
    flags = PROPAGATION.get(name)
    if flags is None:
        raise Error(f"rootfsPropagation={name} is not supported")
    if flags & MS_PRIVATE and no_pivot:
        raise Error("rootfsPropagation of [r]private is not safe without pivot_root")
    # Unbindable comes later, because nothing can be bound after that.
    return MS_SLAVE | MS_REC if flags & MS_UNBINDABLE else flags


def propagate_root(plan: "Plan", linux: "Doc", bound: bool) -> None:
    """linux.rootfsPropagation of the new "/", which is private so far.

    Called twice.  bound: after the masked and read-only paths.  These are binds, so only then is
    "/" made unbindable.
    """
    flags = PROPAGATION.get(linux.get("rootfsPropagation", ""), MS_PRIVATE)
    if not flags & MS_PRIVATE and bound == bool(flags & MS_UNBINDABLE):
        plan.propagate(flags)


def devices(plan: "Plan", linux: "Doc", facts: "Doc") -> None:
    """The default devices, except those that linux.devices has, then linux.devices.

    facts: device_nodes: path of a device -> path of the host's node, if init has to bind it.
    """
    nodes = facts.get("device_nodes", {})
    configured = linux.get("devices", ())
    paths = {clean(device["path"]) for device in configured}
    for path, major, minor in DEFAULT_DEVICES:
        if path not in paths:
            plan.device(path, 0o020666, (major, minor), origin="default devices")
    for i, device in enumerate(configured):
        path = clean(device["path"])
        # It is always a link to the container's own pts/ptmx.
        if path == "/dev/ptmx":
            continue
        kind = DEVICE_TYPES.get(device["type"])
        if kind is None:
            raise Error(f'invalid device type "{device["type"]}"')
        plan.device(
            path,
            kind | device.get("fileMode", 0o666) & 0o7777,
            (device.get("major", 0), device.get("minor", 0)),
            (device.get("uid", 0), device.get("gid", 0)),
            nodes.get(device["path"], ""),
            strict=1,
            origin=f"linux.devices[{i}]",
        )


def links(plan: "Plan", facts: "Doc") -> None:
    """The links of /dev; config-linux.md, "Default Devices" and runtime-linux.md."""
    plan.symlink("pts/ptmx", "/dev/ptmx", 1, "default devices")
    plan.symlink("/proc/self/fd", "/dev/fd", 0, "dev symbolic links")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        plan.symlink(f"/proc/self/fd/{number}", f"/dev/{name}", 0, "dev symbolic links")
    if facts["kcore"]:
        plan.symlink("/proc/kcore", "/dev/core", 0, "dev symbolic links")


def readonly_root(plan: "Plan", root: "Doc", has_mounts: bool) -> None:
    """root.readonly.  Without a mount namespace it would make the host's mount read-only."""
    if root.get("readonly"):
        if not has_mounts:
            raise Error("unable to make the root read-only without a private MNT namespace")
        plan.remount("/", MS_RDONLY, "root.readonly")


def readonly_paths(plan: "Plan", linux: "Doc") -> None:
    """linux.readonlyPaths, each once."""
    for i, path in _distinct(linux.get("readonlyPaths", [])):
        origin = f"linux.readonlyPaths[{i}]"
        if path == "/":  # what is mounted on "/" now, nobody inside would see
            plan.remount(path, MS_RDONLY, origin)
        else:
            plan.readonly(path, origin)


def masked_paths(plan: "Plan", linux: "Doc") -> None:
    """linux.maskedPaths, each once: a second mask would need a second /dev/null on top."""
    label = linux.get("mountLabel")
    data = [context(label)] if label else []
    for i, path in _distinct(linux.get("maskedPaths", [])):
        if path == "/":  # what is mounted on "/" now, nobody inside would see
            raise Error(f'linux.maskedPaths[{i}] is "/": the root cannot be masked')
        plan.mask(path, *data, origin=f"linux.maskedPaths[{i}]")


def _distinct(paths: "list[str]") -> "list[tuple[int, str]]":
    seen = set()
    result = []
    for i, path in enumerate(paths):
        path = clean(path)
        if path not in seen:
            seen.add(path)
            result.append((i, path))
    return result
