"""systemd's manager, over D-Bus: make, change and end units, and wait for it.

May touch: the units that it is told to.  org.freedesktop.systemd1(5).
"""

import os
import time

from pyrunc import files, log
from pyrunc.cgroups.dbus import Bus, Failure, Lost
from pyrunc.cgroups.units import name, version
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.properties import Property

RUNNING = "/run/systemd/system"  # there if systemd is the init system
SYSTEMD = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{SYSTEMD}.Manager"
DBUS = "org.freedesktop.DBus"
JOB_REMOVED = (
    f"type='signal',sender='{SYSTEMD}',path='{PATH}',interface='{MANAGER}',member='JobRemoved'"
)
EXISTS = f"{SYSTEMD}.UnitExists"
ABSENT = f"{SYSTEMD}.NoSuchUnit"
PATIENCE = 30.0  # seconds for a job


def connect(user: bool) -> "Manager":
    """The manager that the driver uses. user: the user's, not the system's."""
    if not os.path.isdir(RUNNING):
        raise Error("systemd not running on this host, cannot use systemd cgroups manager")
    return Manager(user, host_uid() if user else 0)


def stop(cgroups: "dict[str, Any]") -> None:
    """End an existing container's unit. cgroups: config.cgroups of its record."""
    if not os.path.isdir(RUNNING):
        return  # nor is there a unit
    manager = connect(bool(cgroups.get("Rootless")))
    try:
        manager.stop(name(cgroups))
    finally:
        manager.close()


def attach(cgroups: "dict[str, Any]", below: str, pid: int) -> None:
    """Put a process into an existing container's unit. below: the cgroup in that, `/a` or empty."""
    manager = connect(bool(cgroups.get("Rootless")))
    try:
        manager.check_processes()
        manager.attach(name(cgroups), below, pid)
    finally:
        manager.close()


def host_uid() -> int:
    """Our user as the host counts, outside of all user namespaces but one."""
    uid = os.geteuid()
    for row in files.read("/proc/self/uid_map").splitlines():
        inside, outside, count = map(int, row.split())
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid


class Manager:
    """The system's manager, or the user's. owner: as for dbus.Bus."""

    __slots__ = ("bus", "listening")

    def __init__(self, user: bool, owner: int = 0) -> None:
        self.bus = Bus(user, owner)
        self.listening = False

    def close(self) -> None:
        """Hang up."""
        self.bus.close()

    # --- units ---

    def start(self, unit: str, properties: "list[Property]") -> None:
        """Make a transient unit, and wait until it is active.

        Raises Failure with the name EXISTS if there is one of that name.
        """
        signature = "ssa(sv)a(sa(sv))"
        job = self._job("StartTransientUnit", signature, unit, "replace", _pairs(properties), [])
        result = self._wait(job)
        if result is None:
            raise Error(f"Timeout waiting for systemd to create {unit}")
        if result != "done":
            self.reset(unit)
            raise Error(f"error creating systemd unit `{unit}`: got `{result}`")

    def stop(self, unit: str) -> None:
        """End a unit, and forget that it failed; one that is gone is as good as stopped."""
        try:
            job = self._job("StopUnit", "ss", unit, "replace")
            result = self._wait(job)
            if result is None:
                raise Error(f"Timed out while waiting for systemd to remove {unit}")
            if result != "done":
                log.warning(f"error removing unit {unit}: got {result}")
        except Failure as err:
            if err.name != ABSENT:
                raise
        self.reset(unit)

    def attach(self, unit: str, below: str, pid: int) -> None:
        """Move a process into a unit that is there."""
        self._call("AttachProcessesToUnit", "ssau", unit, below, [pid])

    def reset(self, unit: str) -> None:
        """Forget that a unit failed: until then it keeps its name."""
        try:
            self._call("ResetFailedUnit", "s", unit)
        except Failure:
            pass  # it is gone

    def set(self, unit: str, properties: "list[Property]") -> None:
        """Change properties of a unit until it ends."""
        self._call("SetUnitProperties", "sba(sv)", unit, True, _pairs(properties))

    def properties(self, unit: str, names: "list[str]") -> "list[Property]":
        """What a scope's or slice's properties are now."""
        kind = unit.rpartition(".")[2].capitalize()
        path = self._call("GetUnit", "s", unit)[0]
        return [(name, *self._get(path, f"{SYSTEMD}.{kind}", name)) for name in names]

    # --- the manager itself ---

    def version(self) -> int:
        """systemd's version."""
        return version(self._get(PATH, MANAGER, "Version")[1])

    def check_processes(self) -> None:
        """Refuse where a pid of ours is somebody else's to it."""
        ours = self.bus.name()
        if ours:
            where = (DBUS, "/org/freedesktop/DBus", DBUS)
            same = self.bus.call(*where, "GetConnectionUnixProcessID", "s", ours)[0] == os.getpid()
        else:
            same = self.bus.peer() == 1
        if not same:
            raise Error("systemd counts processes in another pid namespace")

    def cgroup(self) -> str:
        """The cgroup of which all the manager's units are."""
        path: str = self._get(PATH, MANAGER, "ControlGroup")[1]
        return path.rstrip("/")

    def owner(self) -> int:
        """The user that systemd runs as, as the message bus sees it."""
        names = (DBUS, "/org/freedesktop/DBus", DBUS)
        return int(self.bus.call(*names, "GetConnectionUnixUser", "s", SYSTEMD)[0])

    # --- calls ---

    def _call(self, member: str, signature: str, *arguments: "Any") -> "list[Any]":
        return self._say(PATH, MANAGER, member, signature, *arguments)

    def _get(self, path: str, interface: str, name: str) -> "tuple[str, Any]":
        found: "tuple[str, Any]" = self._say(
            path, f"{DBUS}.Properties", "Get", "ss", interface, name
        )[0]
        return found

    def _say(self, path: str, interface: str, member: str, *rest: "Any") -> "list[Any]":
        try:
            return self.bus.call(SYSTEMD, path, interface, member, *rest)
        except Lost:  # the message bus was restarted
            self.bus.reconnect()
            self.listening = False
            return self.bus.call(SYSTEMD, path, interface, member, *rest)

    def _job(self, member: str, signature: str, *arguments: "Any") -> str:
        """Call a method that answers with a job, whose end _wait() will hear of."""
        if not self.listening:
            try:
                self.bus.call(DBUS, "/org/freedesktop/DBus", DBUS, "AddMatch", "s", JOB_REMOVED)
            except Failure:
                pass  # there is no message bus in between
            self._call("Subscribe", "")
            self.listening = True
        job: str = self._call(member, signature, *arguments)[0]
        return job

    def _wait(self, job: str) -> "str | None":
        """How a job ended; None if it did not in time."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.bus.signal(MANAGER, "JobRemoved", deadline)
            if found is None:
                return None
            if found[1] == job:
                result: str = found[3]
                return result


def _pairs(properties: "list[Property]") -> "list[tuple[str, tuple[str, Any]]]":
    return [(name, (signature, value)) for name, signature, value in properties]
