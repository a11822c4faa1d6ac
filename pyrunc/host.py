"""Facts about this machine, for the pure code that makes plans (reads /proc and /sys only).

facts() finds out only what it is asked for, because most containers need few of these:

    cgroup_mode      "v1", "hybrid" or "v2"
    cgroup_mounts    the v1 hierarchies, as hierarchies() has them, and "own": our own cgroup
    last_cap         the highest capability this kernel knows
    kcore            has it /proc/kcore?
    selinux          is SELinux enabled?
    apparmor         is AppArmor enabled?
    procfs           where procfs is mounted
    proc_mounts      where procfs and sysfs are mounted whole
"""

import os
import time

from pyrunc import files
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux.namespaces[].type -> file in /proc/PID/ns
NAMESPACE_FILES = {"network": "net", "mount": "mnt"}


def facts(*names: str) -> "dict[str, Any]":
    """The named facts."""
    return {name: _FACTS[name]() for name in names}


def cgroup_mode() -> str:
    """`v1`, `hybrid` or `v2`."""
    from pyrunc.cgroups import hierarchies

    return hierarchies.mode()


def cgroup_mounts() -> "list[dict[str, Any]]":
    """The v1 hierarchies a container may be shown; none on v2."""
    from pyrunc.cgroups import hierarchies

    if hierarchies.mode() == "v2":
        return []
    found = [entry for entry in hierarchies.hierarchies() if entry["subsystems"] != [""]]
    return [{**entry, "own": hierarchies.own_directory(entry)} for entry in found]


def last_cap() -> int:
    """The highest capability this kernel knows."""
    path = "/proc/sys/kernel/cap_last_cap"
    try:
        return int(files.read(path))
    except OSError as err:  # a procfs with subset=pid
        raise Error.os("open", path, err) from err


def kcore() -> bool:
    """Not every kernel has /proc/kcore."""
    return os.path.lexists("/proc/kcore")


def selinux() -> bool:
    """SELinux is enabled where its file system is, and processes have a context of a policy."""
    if not os.path.lexists("/sys/fs/selinux/enforce"):
        return False
    try:
        return files.read("/proc/self/attr/current").rstrip(b"\0\n") != b"kernel"
    except OSError:
        return False


def apparmor() -> bool:
    """AppArmor is enabled."""
    try:
        enabled = files.read("/sys/module/apparmor/parameters/enabled").startswith(b"Y")
    except OSError:
        return False
    return enabled and os.path.isdir("/sys/kernel/security/apparmor")


def procfs() -> "list[str]":
    """Where procfs is mounted whole."""
    return [place for kind, place in _whole_mounts() if kind == "proc"]


def proc_mounts() -> "list[str]":
    """Where procfs and sysfs are mounted whole."""
    return [place for kind, place in _whole_mounts() if kind in ("proc", "sysfs")]


def _whole_mounts() -> "list[tuple[str, str]]":
    """(file system, mountpoint) of the mounts that show a file system from its root."""
    from pyrunc.cgroups.hierarchies import unescape

    found = []
    for row in os.fsdecode(files.read("/proc/self/mountinfo")).splitlines():
        fields = row.split(" ")
        if fields[3] == "/":
            found.append((fields[fields.index("-") + 1], unescape(fields[4])))
    return found


_FACTS = {
    "cgroup_mode": cgroup_mode,
    "cgroup_mounts": cgroup_mounts,
    "last_cap": last_cap,
    "kcore": kcore,
    "selinux": selinux,
    "apparmor": apparmor,
    "procfs": procfs,
    "proc_mounts": proc_mounts,
}


def same_namespace(path: str, type: str) -> bool:
    """Whether the namespace at `path` is the one we are in.  type: as in linux.namespaces."""
    own = f"/proc/self/ns/{NAMESPACE_FILES.get(type, type)}"
    try:
        there = os.stat(path)
    except ValueError:  # a NUL byte, which no path has
        raise Error(f"stat {path}: invalid argument") from None
    except OSError as err:
        from pyrunc import blame

        raise blame.os_error("stat", path, err) from err
    try:
        return os.path.samestat(there, os.stat(own))
    except OSError:
        return False  # this kernel has no namespaces of that type


def open_namespace(path: str) -> int:
    """A descriptor of the namespace at `path`; OSError passes.

    It does not block if something else is there, such as a fifo; init finds that out.
    """
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def device_nodes(devices: "list[dict[str, Any]]") -> "dict[str, str]":
    """Path in the container -> path of the host's node of that device, if that is another path.

    devices: linux.devices.
    """
    found = {}
    for device in devices:
        kind = "block" if device["type"] == "b" else "char"
        numbers = f"{device.get('major', 0)}:{device.get('minor', 0)}"
        try:
            rows = files.read_text(f"/sys/dev/{kind}/{numbers}/uevent").splitlines()
        except OSError:
            continue
        names = [row.removeprefix("DEVNAME=") for row in rows if row.startswith("DEVNAME=")]
        if names and f"/dev/{names[0]}" != device["path"]:
            found[device["path"]] = f"/dev/{names[0]}"
    return found


def now() -> str:
    """The time now: RFC 3339 in UTC with nanoseconds, without zeros at the end of the fraction."""
    ns = time.time_ns()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9))
    fraction = f"{ns % 10**9:09d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
