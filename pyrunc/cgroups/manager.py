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
BUS = (DBUS, "/org/freedesktop/DBus", DBUS)
# To be told of the ends of jobs.
JOB_REMOVED = (
    f"type='signal',sender='{SYSTEMD}',path='{PATH}',interface='{MANAGER}',member='JobRemoved'"
)
MATCH = (*BUS, "AddMatch", "s", JOB_REMOVED)
VERSION = (SYSTEMD, PATH, f"{DBUS}.Properties", "Get", "ss", MANAGER, "Version")
EXISTS = f"{SYSTEMD}.UnitExists"
ABSENT = f"{SYSTEMD}.NoSuchUnit"
INVALID = f"{DBUS}.Error.InvalidArgs"
SUBSCRIBED = f"{SYSTEMD}.AlreadySubscribed"
NO_REPLY = f"{DBUS}.Error.NoReply"
PATIENCE = 30.0  # seconds for a job
AWAY = 5.0  # seconds in which systemd or the message bus may be away
LOST = "lost"  # a job whose end was told to nobody


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

    __slots__ = ("asked", "bus", "listening", "lives")

    def __init__(self, user: bool, owner: int = 0) -> None:
        self.bus = Bus(user, owner)
        self.asked: "list[tuple[tuple[Any, ...], int]]" = []  # whose answers are to come
        self.listening = False
        self.lives = 5  # connections that may be lost

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
        if result == LOST and self._active(unit):
            return
        if result != "done":
            self.reset(unit)
            raise Error(f"error creating systemd unit `{unit}`: got `{result}`")

    def stop(self, unit: str) -> None:
        """End a unit, and forget that it failed.

        One that is gone is as good as stopped, and of a name that systemd refuses there is none.
        """
        try:
            job = self._job("StopUnit", "ss", unit, "replace")
        except Failure as err:
            if err.name not in (ABSENT, INVALID):
                raise
            return
        result = self._wait(job)
        if result is None:
            raise Error(f"Timed out while waiting for systemd to remove {unit}")
        if result not in ("done", LOST):
            log.warning(f"error removing unit {unit}: got {result}")
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
        get = (SYSTEMD, path, f"{DBUS}.Properties", "Get", "ss", f"{SYSTEMD}.{kind}")
        for each in names:
            self._ask_ahead(*get, each)
        return [(each, *self._ask(*get, each)[0]) for each in names]

    # --- the manager itself ---

    def get_ready(self) -> None:
        """Ask all that start() has to know, without waiting for the answers."""
        try:
            name = self.bus.name()
        except Lost:
            return  # it will all be asked anew
        if name:
            self._ask_ahead(*BUS, "GetConnectionUnixProcessID", "s", name)
        self._ask_ahead(*VERSION)
        self._listen()

    def version(self) -> int:
        """systemd's version."""
        return version(self._ask(*VERSION)[0][1])

    def check_processes(self) -> None:
        """Refuse where a pid of ours is somebody else's to it."""
        while True:
            try:
                ours = self.bus.name()
                if ours:
                    found = self._answer(*BUS, "GetConnectionUnixProcessID", "s", ours)
                    same = found[0] == os.getpid()
                else:
                    same = self.bus.peer() == 1
                break
            except Lost:
                self._reconnect()  # with another name
        if not same:
            raise Error("systemd counts processes in another pid namespace")

    def cgroup(self) -> str:
        """The cgroup of which all the manager's units are."""
        path: str = self._get(PATH, MANAGER, "ControlGroup")[1]
        return path.rstrip("/")

    def owner(self) -> int:
        """The user that systemd runs as, as the message bus sees it."""
        return int(self._ask(*BUS, "GetConnectionUnixUser", "s", SYSTEMD)[0])

    # --- calls ---

    def _call(self, member: str, signature: str, *arguments: "Any") -> "list[Any]":
        return self._say(PATH, MANAGER, member, signature, *arguments)

    def _get(self, path: str, interface: str, name: str) -> "tuple[str, Any]":
        found: "tuple[str, Any]" = self._say(
            path, f"{DBUS}.Properties", "Get", "ss", interface, name
        )[0]
        return found

    def _say(self, path: str, interface: str, member: str, *rest: "Any") -> "list[Any]":
        return self._ask(SYSTEMD, path, interface, member, *rest)

    def _ask(self, *call: "Any") -> "list[Any]":
        """Call a method, and again if nobody was there.

        A systemd that executes itself anew hangs up, and is back in a moment.  Nothing that we say
        does more when it is heard twice; of a unit it says that it EXISTS.
        """
        deadline = time.monotonic() + AWAY
        while True:
            try:
                return self._answer(*call)
            except Lost:
                self._reconnect()
            except Failure as err:
                if err.name != NO_REPLY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _ask_ahead(self, *call: "Any") -> None:
        """Ask what will be asked later: the answer may be there by then."""
        try:
            self.asked.append((call, self.bus.send(*call)))
        except Lost:
            pass  # it will be asked anew

    def _answer(self, *call: "Any") -> "list[Any]":
        for index, (before, serial) in enumerate(self.asked):
            if before == call:
                del self.asked[index]
                return self.bus.reply(serial)
        return self.bus.reply(self.bus.send(*call))

    def _reconnect(self) -> None:
        """The message bus was restarted: it knows nothing of what we asked of it."""
        if not self.lives:
            raise Lost("D-Bus: the connection was lost again and again")
        self.lives -= 1
        self.asked.clear()
        self.bus.reconnect()
        if not self.listening:
            return
        self._listen()
        try:
            # Otherwise systemd tells of a job only whom it knows to have asked for it.
            self._call("Subscribe", "")
        except Failure as err:
            if err.name != SUBSCRIBED:
                raise
        self._heard()

    def _listen(self) -> None:
        """Be told of the ends of jobs."""
        self.listening = True
        if self.bus.has_bus:
            self._ask_ahead(*MATCH)

    def _heard(self) -> None:
        """Make sure that the message bus agreed; it did before anything that was asked later."""
        if any(call == MATCH for call, _ in self.asked):
            self._ask(*MATCH)

    def _job(self, member: str, signature: str, *arguments: "Any") -> str:
        """Call a method that answers with a job, whose end _wait() will hear of."""
        if not self.listening:
            self._listen()
        job: str = self._call(member, signature, *arguments)[0]
        self._heard()
        return job

    def _wait(self, job: str) -> "str | None":
        """How a job ended; None if it did not in time, LOST if that was told to nobody."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found = self.bus.signal(MANAGER, "JobRemoved", deadline)
            except Lost:
                self._reconnect()
                if not self._exists(job):
                    return LOST
                continue
            if found is None:
                return None
            if found[1] == job:
                result: str = found[3]
                return result

    def _exists(self, job: str) -> bool:
        try:
            self._get(job, f"{SYSTEMD}.Job", "State")
        except Failure:
            return False
        return True

    def _active(self, unit: str) -> bool:
        path = self._call("GetUnit", "s", unit)[0]
        return bool(self._get(path, f"{SYSTEMD}.Unit", "ActiveState")[1] == "active")


def _pairs(properties: "list[Property]") -> "list[tuple[str, tuple[str, Any]]]":
    return [(name, (signature, value)) for name, signature, value in properties]
