"""The systemd driver: a container's cgroups are those of a transient unit, a scope or a slice.

May touch: the unit, through manager.py; the directories in `paths`, which systemd makes.

    new        Unit, which has what cgroupfs.py says of a driver
    update     Limits: properties first, then the files, and back again if something fails
    delete     needs manager.stop() alone

A scope begins with a process, so init waits until it was put there, at the plan's first step.
Where systemd has no controller (most v1 hierarchies) directories are made as place.py does.
"""

import os

from pyrunc import files, log, procfs
from pyrunc.cgroups import (
    delegation,
    device_properties,
    devices,
    fs,
    hierarchies,
    limits,
    place,
    properties,
    recorded,
    units,
)
from pyrunc.cgroups.dbus import Failure
from pyrunc.cgroups.manager import EXISTS, Manager, connect
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.properties import Property

# What systemd writes besides the files of linux.resources.
WRITTEN = "memory.min memory.high memory.swap.high memory.zswap.max".split()


class Unit:
    """The unit of one new container."""

    __slots__ = (
        "delegate",
        "made",
        "manager",
        "mode",
        "name",
        "paths",
        "properties",
        "resources",
        "rootless",
        "rules",
        "started",
        "where",
    )

    limited = True
    placed = True
    systemd = True

    def __init__(self, spec: "dict[str, Any]", id: str, mode: str, rootless: str) -> None:
        linux = spec.get("linux") or {}
        self.mode = mode
        self.where = units.where(linux.get("cgroupsPath", ""), id)
        self.name = units.name(self.where)
        self.properties = properties.annotated(spec.get("annotations") or {})
        self.resources = rounded(linux.get("resources") or {})
        paths = [device["path"] for device in linux.get("devices") or []]
        self.rules = devices.configured(self.resources.get("devices") or [], paths)
        # Refuses what cannot be said, before anything happens.
        properties.resources(self.resources, mode, properties.IDLE)
        self.manager: "Manager | None" = None
        self.rootless = self._is_rootless(rootless)
        if self.rootless and mode != "v2":
            raise Error("cannot use rootless systemd cgroups manager on cgroup v1")
        inner = units.cgroup(self.where, self.rootless)
        if self.rootless:
            inner = self._manager().cgroup() + inner
        self.paths = hierarchies.paths(inner, id)
        self.delegate = delegation.heir(spec) if mode == "v2" else -1
        self.made: "list[str]" = []
        self.started = False

    def _is_rootless(self, rootless: str) -> bool:
        """Is it the user's manager that makes the unit? rootless: the option, or "auto"."""
        if rootless in ("true", "false"):
            return rootless == "true"
        if os.geteuid():
            return True
        if not procfs.in_user_namespace():
            return False
        # Root of a user namespace: with a systemd of its own, or inside a user's session.
        try:
            self.manager = connect(True)
            if self.manager.owner():
                return True
        except Error:
            pass  # no user's manager
        self._hang_up()
        return False

    def _manager(self) -> Manager:
        if not self.manager:
            self.manager = connect(self.rootless)
        return self.manager

    def _hang_up(self) -> None:
        if self.manager:
            self.manager.close()
            self.manager = None

    # --- what a driver does ---

    def prepare(self) -> None:
        """Ask systemd what take() needs to know."""
        self._manager().get_ready()

    def entries(self) -> "tuple[list[int], int]":
        """None: there is no unit without a process."""
        return [], -1

    def take(self, pid: int) -> None:
        """Make the unit with init in it."""
        manager = self._manager()
        manager.check_processes()
        wanted, doubts = self._wanted(pid, manager.version())
        try:
            self._start(manager, wanted)
        except Error as err:
            if self.mode != "v2":
                raise
            shown = ", ".join(name for name, _, _ in wanted)
            text = f"unable to start unit {log.quote(self.name)} (properties {shown})"
            raise Error(f"{text}: {err.message}") from err
        self._check(pid)
        self.made = place.create(self.paths, self.resources)
        if self.mode != "v2" or not self._is_scope():
            place.join(self.paths, pid)
        if doubts and self.mode != "v2":
            devices.apply_v1(self.paths["devices"], self.rules)
        if self.delegate >= 0:
            delegation.hand_over(self.paths[""], self.delegate)
        self._hang_up()

    def _start(self, manager: Manager, wanted: "list[Property]") -> None:
        self.started = True
        try:
            try:
                manager.start(self.name, wanted)
            except Failure as err:
                if err.name != EXISTS or not self._is_scope():
                    raise
                # A unit that failed keeps its name until somebody forgets that.
                manager.reset(self.name)
                manager.start(self.name, wanted)
        except Failure as err:
            if err.name == EXISTS:
                self.started = False  # not ours to stop
                if not self._is_scope():
                    return  # engines make slices themselves
            raise

    def _check(self, pid: int) -> None:
        """Did systemd put init where we will look for it?  An annotation may say otherwise."""
        places = [self.paths[name] for name in ("", "name=systemd") if name in self.paths]
        if self._is_scope() and not any(pid in fs.pids({"": path}) for path in places):
            raise Error(f"systemd has put the container elsewhere than in {places[0]}")

    def _is_scope(self) -> bool:
        return not self.name.endswith(units.SLICE)

    def _wanted(self, pid: int, version: int) -> "tuple[list[Property], list[str]]":
        """The unit's properties, and device rules that they cannot say."""
        above = units.parent(self.where, self.rootless)
        found: "list[Property]" = [
            ("Description", "s", f"libcontainer container {self.where['name']}")
        ]
        if self._is_scope():
            found += [("Slice", "s", above), ("Delegate", "b", True), ("PIDs", "au", [pid])]
        else:
            found.append(("Wants", "as", [above]))
        io = "IOAccounting" if self.mode == "v2" else "BlockIOAccounting"
        for name in ("MemoryAccounting", "CPUAccounting", io, "TasksAccounting"):
            found.append((name, "b", True))
        found.append(("DefaultDependencies", "b", False))
        more, warnings = properties.resources(self.resources, self.mode, version)
        access, doubts = device_properties.devices(self.rules, self.mode, version, lookup)
        for text in warnings + doubts:
            log.warning(text)
        return found + more + access + self.properties, doubts

    def remove(self) -> None:
        """End the unit if it is ours, and remove what else was made."""
        try:
            if self.started:
                self._manager().stop(self.name)
                fs.remove(self.paths)
                place.discard(self.made)
        finally:
            self._hang_up()


# --- a container that exists ---


class Limits:
    """The properties of a container's unit while they are changed.

    cgroups: config.cgroups of its record, before the change.
    """

    __slots__ = ("before", "manager", "mode", "name", "paths", "rules", "version")

    def __init__(self, cgroups: "dict[str, Any]", paths: "dict[str, str]") -> None:
        self.name = units.name(cgroups)
        self.paths = paths
        self.mode = "v2" if fs.is_v2(paths) else "v1"
        self.rules = recorded.rules(cgroups)
        self.before: "list[Property]" = []
        self.manager = connect(bool(cgroups.get("Rootless")))
        self.version = self.manager.version()

    def close(self) -> None:
        """The change is complete."""
        self.manager.close()

    def set(self, wanted: "dict[str, Any]") -> None:
        """Set the properties for linux.resources; the files are still to be written."""
        limits.check(self.paths, wanted, self.mode)
        changed, warnings = properties.resources(wanted, self.mode, self.version)
        for text in warnings:
            log.warning(text)
        if changed:
            names = list(dict.fromkeys(name for name, _, _ in changed))
            self.before = self.manager.properties(self.name, names)
            self._set(changed)

    def put_back(self) -> None:
        """Make set() undone."""
        if self.before:
            self._set(self.before)

    def _set(self, wanted: "list[Property]") -> None:
        """Set properties.

        With each of them systemd writes all files that it knows, also those which were not its own
        doing: they get back what they had.  On v1 it takes all devices away for a moment.
        """
        from pyrunc.cgroups import snapshot

        v1 = self.mode != "v2"
        freeze = v1 and not device_properties.allows_all(self.rules) and not fs.frozen(self.paths)
        before = snapshot.take(self.paths, WRITTEN)
        if freeze:
            fs.freeze(self.paths, True)
        try:
            self.manager.set(self.name, wanted)
            snapshot.put_back(before)
            doubts = device_properties.devices(self.rules, self.mode, self.version, lookup)[1]
            if v1:
                devices.apply_v1(self.paths["devices"], self.rules)
            elif doubts:
                devices.apply_v2(self.paths[""], self.rules)
        finally:
            if freeze:
                fs.freeze(self.paths, False)


# --- the host ---


def lookup(kind: str, major: int, minor: int) -> str:
    """For a systemd that knows devices by name only; empty if there is none such."""
    if minor != devices.ANY:
        path = f"/dev/{device_properties.KINDS[kind]}/{major}:{minor}"
        return path if os.path.exists(path) else ""
    section = ""
    for row in os.fsdecode(files.read("/proc/devices")).splitlines():
        if row.endswith(":"):
            section = row[:1].lower()
        elif section == kind and row.split()[:1] == [str(major)]:
            return f"{device_properties.KINDS[kind]}-{row.split()[1]}"
    return ""


def rounded(resources: "dict[str, Any]") -> "dict[str, Any]":
    """linux.resources with a cpu.quota that systemd can have, so that files and unit agree."""
    cpu = resources.get("cpu") or {}
    quota = cpu.get("quota") or 0
    if quota <= 0:
        return resources
    return resources | {"cpu": cpu | {"quota": properties.rounded(quota, cpu.get("period") or 0)}}
