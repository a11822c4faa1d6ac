"""The cgroups a container lives in.  This file only knows which module does what.

    hierarchies.py  which there are, and the container's path in each
    place.py        make them, move a process into them
    delegation.py   who owns them
    cgroupfs.py     a new container's, made through the file system; disabled.py makes none
    systemd.py      the same by a unit of systemd's, and what that means for update and delete;
                    units.py, properties.py, device_properties.py, gvariant.py say what it is,
                    manager.py tells systemd, dbus.py carries it
    entry.py        how a new process enters them by itself, and which ones an exec's does
    limits.py       linux.resources; limits_v1.py, limits_v2.py, devices.py write the files
    stats.py        what is used; stats_v1.py, stats_v2.py; notices.py want of memory, and the end
    fs.py           an existing container's: look, freeze, kill, remove
    recorded.py     linux.resources in the words of the record, and back
    changed.py      what an update makes of them; snapshot.py puts files back if it fails

They are made by a driver: cgroupfs, systemd or disabled.  Only the functions here know which: new()
for a container that is made, places() and put() for one that is entered, unit() for one that is
updated, release() for one that is deleted.

A container's cgroups are `paths`: {controller: directory}, on v2 {"": directory}.  state, kill and
delete take them from the record and load fs alone; so names are looked up on first use here.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.cgroupfs import Cgroupfs
    from pyrunc.cgroups.systemd import Limits, Unit

_HOMES = {
    "fs": ("freeze", "frozen", "kill_all", "oom_killed", "pids", "remove"),
    "hierarchies": ("mode", "paths"),
    "limits": ("apply", "validate"),
    "place": ("check_free", "create", "discard", "join"),
    "entry": ("entries",),
    "recorded": ("record", "resources"),
}


def __getattr__(name: str) -> "Any":
    """cgroups.NAME, out of the module it is at home in (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names:
            home = __import__(f"{__name__}.{module}", fromlist=[name])
            return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def new(spec: "dict[str, Any]", id: str, mode: str, opts: "dict[str, Any]") -> "Cgroupfs | Unit":
    """The driver for a new container.  mode: of the host.  opts: cgroup_manager, rootless."""
    if opts["cgroup_manager"] == "disabled":
        from pyrunc.cgroups.disabled import Disabled

        return Disabled(spec, id, opts["rootless"])
    if opts["cgroup_manager"] == "systemd":
        from pyrunc.cgroups.systemd import Unit

        return Unit(spec, id, mode, opts["rootless"])
    from pyrunc.cgroups.cgroupfs import Cgroupfs

    return Cgroupfs(spec, id, opts["rootless"])


def unit(recorded: "dict[str, Any]", paths: "dict[str, str]") -> "Limits | None":
    """The systemd unit that has to be told new limits, or None.  recorded: the record's cgroups."""
    if not recorded.get("Systemd"):
        return None
    from pyrunc.cgroups.systemd import Limits

    return Limits(recorded, paths)


def places(recorded: "dict[str, Any]") -> bool:
    """Whether put() has to move a new process into the container's cgroups.

    A user may not move a process into the cgroups of their systemd from outside, but systemd may.
    """
    return bool(recorded.get("Systemd") and recorded.get("Rootless"))


def put(
    recorded: "dict[str, Any]", paths: "dict[str, str]", below: "dict[str, str]", pid: int
) -> None:
    """Move a process into an existing container's cgroups.

    below: the cgroups to use: those of `paths`, or cgroups below them.
    """
    from pyrunc.cgroups import manager

    manager.attach(recorded, below[""].removeprefix(paths[""]), pid)


def release(recorded: "dict[str, Any]", paths: "dict[str, str]") -> None:
    """Remove an existing container's cgroups, once their processes are gone or killed."""
    from pyrunc.cgroups import fs

    if recorded.get("Systemd"):
        from pyrunc.cgroups import manager

        manager.stop(recorded)
    fs.remove(paths)
