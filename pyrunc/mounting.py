"""Mount and unmount in a running container.

May touch: the container's mount namespace, through an init that ends after that; clones mounts of
the host.  crun's `mounts add` and `mounts remove`; the specification has neither.

Nothing of it is written down: such a mount lasts as long as the container's processes.
"""

import os

from pyrunc import container, enter, files, log, plan_mounts, visit
from pyrunc._core import lib
from pyrunc.cgroups.hierarchies import unescape
from pyrunc.errors import Error, strerror
from pyrunc.mounts import MS_REC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.handshake import Init
    from pyrunc.mounts import Mount
    from pyrunc.plan import Plan

    Doc = dict[str, Any]

LOCKED = {
    "ro": os.ST_RDONLY,
    "nosuid": os.ST_NOSUID,
    "nodev": os.ST_NODEV,
    "noexec": os.ST_NOEXEC,
}


def add(root: str, id: str, wanted: "list[Doc]") -> None:
    """Mount all of wanted (entries as in mounts[]), or on failure none."""
    lock, record = _look(root, id)
    try:
        config = record["config"]
        entries, warnings = plan_mounts.decode(wanted, config, container.labels(record)[0])
        for text in warnings:
            log.warning(text)
        plan_mounts.check_add(entries)
        seen: "dict[str, str]" = {}
        done: "list[str]" = []

        def mounted(init: "Init", point: int) -> None:
            if point == lib.SYNC_READY:
                raise visit.Enough
            now = _mounts(init.pid)
            if point == lib.SYNC_MOUNTED:
                done.extend(path for number, path in now.items() if number not in seen)
            seen.update(now)

        def plan(fds: "dict[Any, int]") -> "Plan":
            return plan_mounts.for_add(entries, config, fds, os.geteuid() != 0)

        try:
            _do(record, entries, plan, mounted)
        except BaseException:
            _undo(record, done)
            raise
    finally:
        os.close(lock)


def remove(root: str, id: str, wanted: "list[Doc]") -> None:
    """Unmount the destinations of wanted (entries as in mounts[]), the last one first."""
    lock, record = _look(root, id)
    try:
        _unmount(record, plan_mounts.targets(wanted, record["config"]))
    finally:
        os.close(lock)


def _look(root: str, id: str) -> "tuple[int, Doc]":
    """The lock, which the caller has to close, and the record."""
    lock = container.lock(root, id)
    try:
        record = container.load(root, id)
        if container.unpaused_status(root, record) == "stopped":
            raise Error("container not running")
        spaces = record["config"].get("namespaces") or []
        if not any(space["type"] == "NEWNS" for space in spaces):
            raise Error("the container has no mount namespace of its own")
    except BaseException:
        os.close(lock)
        raise
    return lock, record


def _mounts(pid: int) -> "dict[str, str]":
    """Mount ID -> mountpoint of each mount that a process sees, from its mountinfo.

    Unlike the destination that was asked for, this is where links in the image have led.
    """
    path = f"/proc/{pid}/mountinfo"
    try:
        rows = [row.split(" ") for row in os.fsdecode(files.read(path)).splitlines()]
    except OSError as err:
        raise Error.os("read", path, err) from err
    return {row[0]: unescape(row[4]) for row in rows}


def _undo(record: "Doc", done: "list[str]") -> None:
    try:
        _unmount(record, done)
    except Error as err:
        log.warning(f"unable to undo a failed mount: {err.message}")


def _unmount(record: "Doc", paths: "list[str]") -> None:
    def unmounted(init: "Init", point: int) -> None:
        raise visit.Enough

    def plan(fds: "dict[Any, int]") -> "Plan":
        return plan_mounts.for_remove(paths, fds, os.geteuid() != 0)

    _do(record, [], plan, unmounted)


def _do(
    record: "Doc",
    entries: "list[Mount]",
    make: "Callable[[dict[Any, int]], Plan]",
    on_sync: "Callable[[Init, int], None]",
) -> None:
    """Run the plan that make() returns.

    entries: what it mounts; their namespaces and sources are opened first.  make(index) gets the
    places of these descriptors.  on_sync: as for handshake.converse().
    """
    fds: "list[int]" = []
    index: "dict[Any, int]" = {}
    try:
        enter.open_namespaces(record, plan_mounts.kinds(entries), index, fds)
        for entry in entries:
            if entry.fstype == "bind":
                index["tree", entry.index] = len(fds)
                fds.append(_clone(entry))
                if ("ns", "user") in index:
                    _check_locks(entry, fds[-1])
        enter.check_alive(record)
        plan = make(index)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    visit.run(plan, fds, on_sync)


def _clone(entry: "Mount") -> int:
    """A detached copy of the mount that a bind wants, made on the host."""
    fd: int = lib.core_clone_mount(os.fsencode(entry.source), int(bool(entry.flags & MS_REC)))
    if fd < 0:
        from pyrunc import blame

        text = f"{entry.origin}: open_tree {entry.source}: {strerror(-fd)}"
        raise Error(blame.explained(text, blame.path(entry.source, -fd)))
    return fd


def _check_locks(entry: "Mount", fd: int) -> None:
    """Refuse restrictions of the host that the root of a user namespace could undo.

    When the kernel copies mounts for a user namespace, it locks their flags, and locks mounts to
    what they cover.  It locks nothing of a mount that is added later.
    """
    flags = os.statvfs(fd).f_flag
    found = ",".join(name for name, flag in LOCKED.items() if flags & flag)
    why = f"its source is mounted {found} by the host" if found else ""
    if entry.flags & MS_REC:
        below = os.path.realpath(entry.source).rstrip("/") + "/"
        if any(place.startswith(below) for place in _mounts(os.getpid()).values()):
            why = "the host has mounts below its source"
    if why:
        what = f"{entry.source} cannot be added to a container with a user namespace"
        raise Error(f"{entry.origin}: {what}: {why}")
