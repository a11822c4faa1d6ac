"""mounts[] -> ops.  Pure.  Implements the runtime-spec's config.md, "Mounts"."""

import os

from pyrunc._core import lib
from pyrunc.errors import INIT_FAILED, Error
from pyrunc.plan import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

    Doc = dict[str, Any]

# linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

# linux/mount.h, for mount_setattr(2)
ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8
ATTR_ATIME = 0x70  # a field, not a flag: relatime is 0 of it
ATTR_RELATIME = 0x0
ATTR_NOATIME = 0x10
ATTR_STRICTATIME = 0x20
ATTR_NODIRATIME = 0x80
ATTR_NOSYMFOLLOW = 0x200000

SET = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "bind": MS_BIND,
    "rbind": MS_BIND | MS_REC,
    "dirsync": MS_DIRSYNC,
    "iversion": MS_I_VERSION,
    "lazytime": MS_LAZYTIME,
    "mand": MS_MANDLOCK,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "nosymfollow": MS_NOSYMFOLLOW,
    "relatime": MS_RELATIME,
    "remount": MS_REMOUNT,
    "silent": MS_SILENT,
    "strictatime": MS_STRICTATIME,
    "sync": MS_SYNCHRONOUS,
    # Must be known, and means nothing: mount(8) has no use for it here.
    "defaults": 0,
}
CLEAR = {
    "rw": MS_RDONLY,
    "suid": MS_NOSUID,
    "dev": MS_NODEV,
    "exec": MS_NOEXEC,
    "async": MS_SYNCHRONOUS,
    "atime": MS_NOATIME,
    "diratime": MS_NODIRATIME,
    "loud": MS_SILENT,
    "noiversion": MS_I_VERSION,
    "nolazytime": MS_LAZYTIME,
    "nomand": MS_MANDLOCK,
    "norelatime": MS_RELATIME,
    "nostrictatime": MS_STRICTATIME,
    "symfollow": MS_NOSYMFOLLOW,
}
PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}
# name -> (attributes set, attributes cleared).  Whatever touches the atime field clears it whole,
# which the kernel insists on; turning one of its modes off leaves relatime.
RECURSIVE = {
    "rro": (ATTR_RDONLY, 0),
    "rrw": (0, ATTR_RDONLY),
    "rnosuid": (ATTR_NOSUID, 0),
    "rsuid": (0, ATTR_NOSUID),
    "rnodev": (ATTR_NODEV, 0),
    "rdev": (0, ATTR_NODEV),
    "rnoexec": (ATTR_NOEXEC, 0),
    "rexec": (0, ATTR_NOEXEC),
    "rnodiratime": (ATTR_NODIRATIME, 0),
    "rdiratime": (0, ATTR_NODIRATIME),
    "rrelatime": (ATTR_RELATIME, ATTR_ATIME),
    "rnorelatime": (0, ATTR_ATIME),
    "rnoatime": (ATTR_NOATIME, ATTR_ATIME),
    "ratime": (0, ATTR_ATIME),
    "rstrictatime": (ATTR_STRICTATIME, ATTR_ATIME),
    "rnostrictatime": (0, ATTR_ATIME),
    "rnosymfollow": (ATTR_NOSYMFOLLOW, 0),
    "rsymfollow": (0, ATTR_NOSYMFOLLOW),
}

IDMAP = ("idmap", "ridmap")
# How Podman fills a volume.  It has done so already, but leaves the word among the bind's options.
FILLED = ("copy", "nocopy")

# Files of procfs that may be covered, as lxcfs does; nothing else below /proc may.
PROC_FILES = (
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
)


class Mount:
    """One of mounts[], decoded.  recursive_*: MOUNT_ATTR_*; the rest of the numbers: MS_*."""

    __slots__ = (
        "cleared",
        "copy_up",
        "data",
        "flags",
        "fstype",
        "idmap",
        "index",
        "origin",
        "propagation",
        "recursive_clear",
        "recursive_set",
        "source",
        "target",
    )

    def __init__(self, mount: "Doc", index: int, bundle: str, root: str) -> None:
        self.index = index
        self.origin = f"mounts[{index}]"
        self.idmap = idmap(mount)
        self.flags = self.cleared = self.recursive_set = self.recursive_clear = 0
        self.propagation: list[int] = []
        self.copy_up = False
        self.target = strip(clean(mount["destination"]), root)
        self.source = mount.get("source", "")
        self.fstype = mount.get("type", "")
        data = []
        # Of contradicting options the last wins.
        for option in mount.get("options", ()):
            if option in SET:
                self.flags |= SET[option]
                self.cleared &= ~SET[option]
            elif option in CLEAR:
                self.flags &= ~CLEAR[option]
                self.cleared |= CLEAR[option]
            elif option in PROPAGATION:
                self.propagation.append(PROPAGATION[option])
            elif option in RECURSIVE:
                on, off = RECURSIVE[option]
                self.recursive_set = self.recursive_set & ~off | on
                self.recursive_clear = self.recursive_clear & ~on | off
            elif option == "tmpcopyup":
                self.copy_up = True
            elif option and option not in IDMAP:
                data.append(option)
        if self.flags & MS_BIND:
            data = [option for option in data if option not in FILLED]
            if data:
                raise Error("bind mounts cannot have any filesystem-specific options applied")
        self.data = ",".join(data)
        if self.flags & MS_BIND and self.flags & MS_REMOUNT:
            # As mount(8) means it: other flags for what is there, and nothing is bound.
            self.fstype = "none"
            self.flags = self.flags & ~MS_REC | plain(self.recursive_set)
        elif self.flags & MS_BIND:
            # The options alone make a bind; its type is a dummy.
            self.fstype = "bind"
            self.source = os.path.normpath(os.path.join(bundle, self.source))
        else:
            self.flags |= plain(self.recursive_set)
        if self.idmap and (self.fstype == "cgroup" or self.flags & MS_REMOUNT):
            what = "a remount" if self.flags & MS_REMOUNT else "a cgroup mount"
            raise Error(f"{self.origin}: {what} cannot be ID-mapped")
        if "\0" in self.source + self.target + self.fstype + self.data:
            raise Error("mount field contains null byte")


def idmap(mount: "Doc") -> str:
    """How a mount is ID-mapped: `idmap`, `ridmap` (with all mounts below it), "" if it is not."""
    options = [option for option in mount.get("options", ()) if option in IDMAP]
    return options[-1] if options else "idmap" if mount.get("uidMappings") else ""


def idmapped(spec: "Doc") -> "list[tuple[int, Doc]]":
    """The ID-mapped ones of mounts[], with their numbers."""
    return [entry for entry in enumerate(spec.get("mounts", ())) if idmap(entry[1])]


def strip(path: str, root: str) -> str:
    """A destination without the path of the rootfs, which some callers put in front of it."""
    if path == root:
        return "/"
    if root != "/" and path.startswith(root + "/"):
        return path[len(root) :]
    return path


def decode(plan: "Plan", spec: "Doc", facts: "Doc", opts: "Doc") -> "list[Mount]":
    """mounts[] as Mount objects, each checked.  Warnings are appended to plan.warnings.

    facts: see check_proc().  opts: bundle and rootfs, both absolute paths.
    """
    entries = []
    for i, mount in enumerate(spec.get("mounts", ())):
        if not mount["destination"].startswith("/"):
            plan.warnings.append(
                f"mount destination {mount['destination']} is not absolute. Support for "
                "non-absolute mount destinations will be removed in a future release."
            )
        entry = Mount(mount, i, opts["bundle"], opts["rootfs"])
        check_proc(entry, facts, opts["rootfs"])
        entries.append(entry)
    return entries


def mount(  # noqa: PLR0917
    plan: "Plan",
    entries: "list[Mount]",
    linux: "Doc",
    facts: "Doc",
    fds: "dict[Any, int]",
    late: bool = True,
) -> None:
    """mounts[] in their order.  fds: ("idmap", number) -> user namespace of an ID-mapped one.

    late: remount() is to follow.
    """
    label = linux.get("mountLabel", "")
    users = any(ns["type"] == "user" for ns in linux.get("namespaces", ()))
    own_cgroup = any(ns["type"] == "cgroup" for ns in linux.get("namespaces", ()))
    for entry in entries:
        fstype = entry.fstype
        if entry.idmap:
            below = int(entry.idmap == "ridmap")
            # Only the owner of a file system may map it, and the source of a bind is the host's.
            asked = entry.index + 1 if users and fstype == "bind" else 0
            plan.idmap(fds["idmap", entry.index], below, asked, entry.origin)
        if fstype == "bind":
            plan.bind(
                entry.source,
                entry.target,
                flags=entry.flags,
                cleared=entry.cleared,
                recursive=(entry.recursive_set, entry.recursive_clear),
                propagation=entry.propagation,
                origin=entry.origin,
            )
        elif fstype == "cgroup":
            from pyrunc import mounts_cgroup

            mounts_cgroup.mount(plan, entry, facts, own_cgroup, label)
        else:
            filesystem(plan, entry, label, late)


def filesystem(plan: "Plan", entry: Mount, label: str, late: bool) -> None:
    """A mount of its own, as opposed to a bind."""
    options = 0
    flags = entry.flags
    if entry.fstype in ("proc", "sysfs"):
        # A link that leads /proc elsewhere would replace attr/exec in it (CVE-2019-19921).
        options = lib.MOUNT_ORDINARY
    elif entry.fstype == "tmpfs":
        options = lib.MOUNT_KEEP_MODE
        if entry.copy_up:
            options |= lib.MOUNT_COPY_UP
    if late and is_late_readonly(entry):
        flags &= ~MS_RDONLY
    plan.mount(
        entry.source,
        entry.target,
        entry.fstype,
        labelled(entry, label),
        flags=flags,
        options=options,
        propagation=entry.propagation,
        origin=entry.origin,
    )
    if label and entry.fstype == "mqueue":
        plan.relabel(entry.target, label, entry.origin)


def plain(attributes: int) -> int:
    """The MS_* flags that recursive attributes amount to, for a mount with nothing below it."""
    flags = attributes & 0xF  # the lowest four have the same bits
    for attribute, flag in (
        (ATTR_NOATIME, MS_NOATIME),
        (ATTR_STRICTATIME, MS_STRICTATIME),
        (ATTR_NODIRATIME, MS_NODIRATIME),
        (ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
    ):
        if attributes & attribute:
            flags |= flag
    return flags


def labelled(entry: Mount, label: str) -> str:
    """The mount's data with the SELinux context, for file systems that take one as data."""
    if not label or entry.fstype in ("proc", "sysfs", "mqueue"):
        return entry.data
    return f"{entry.data},{context(label)}" if entry.data else context(label)


def context(label: str) -> str:
    """The mount option that gives all in a file system this SELinux label."""
    return f'context="{label}"'


def is_late_readonly(entry: Mount) -> bool:
    """Whether it turns read-only only at the end, because init still makes files in or below it."""
    return bool(entry.flags & MS_RDONLY) and (
        entry.fstype == "tmpfs" or (entry.target == "/dev" and entry.fstype != "bind")
    )


def check_proc(entry: Mount, facts: "Doc", root: str) -> None:
    """Refuse a mount that would replace what the runtime reads and writes in /proc.

    facts: procfs: where the host has its procfs (CVE-2019-16884, CVE-2019-19921, CVE-2023-28642).
    """
    target = entry.target
    if target == "/proc":
        if entry.fstype == "proc":
            return
        if entry.fstype == "bind" and entry.source in facts.get("procfs", ("/proc",)):
            return
        why = "it is not of type proc"
    elif target.startswith("/proc/") and target not in PROC_FILES:
        why = "it is inside /proc"
    else:
        return
    raise Error(
        f'{INIT_FAILED}error mounting "{entry.source}" to rootfs at "{target}": '
        f'"{root}{target}" cannot be mounted because {why}'
    )


def dev_is_bound(entries: "list[Mount]") -> bool:
    """Whether /dev is a bind: it then has its own nodes, and is not ours to change."""
    return any(entry.target == "/dev" and entry.fstype == "bind" for entry in entries)


def remount(plan: "Plan", entries: "list[Mount]") -> None:
    """Make read-only what had to stay writable until now."""
    for entry in entries:
        if is_late_readonly(entry):
            plan.remount(entry.target, MS_RDONLY, entry.origin)
