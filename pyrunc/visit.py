"""What only shows inside a namespace, looked at through an init that goes no further.

May touch: a short-lived process of ours.
"""

import os

from pyrunc import handshake, idmaps, mounts, namespaces, procfs, userns
from pyrunc._core import lib
from pyrunc.errors import Error
from pyrunc.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.userns import Mappings

    Doc = dict[str, Any]


def adopt_mappings(linux: "Doc", path: str, warn: "Callable[[str], None]") -> None:
    """The mappings of the user namespace at path become those of linux, or must be the same."""
    found = dict(zip(("uidMappings", "gidMappings"), mappings(path), strict=True))
    for name, theirs in found.items():
        if linux.get(name) not in (None, [], theirs):
            raise Error(
                "user namespaces enabled, but both namespace path and non-matching mapping "
                "specified -- you may only provide one"
            )
    if linux.get("uidMappings") or linux.get("gidMappings"):
        warn("both namespace path and mapping are specified for the user namespace")
    linux.update(found)


def source(pid: int, path: str, spec: "Doc", number: int) -> int:
    """A descriptor (O_PATH) of what path is in the mount namespace of process pid; -1: nothing.

    number: not 0: a mount of it, ID-mapped as mounts[number - 1] of spec wants it.
    """
    plan = Plan()
    plan.join(0, namespaces.CLONE_NEWNS)
    if number:
        return _mapped_source(plan, pid, path, spec, number - 1)
    plan.source(path)
    try:
        return _take(plan, pid)
    except Error:
        return -1


def _mapped_source(plan: Plan, pid: int, path: str, spec: "Doc", index: int) -> int:
    mount = spec["mounts"][index]
    place: "dict[Any, int]" = {}
    fds: "list[int]" = []
    try:
        idmaps.open_all([(index, mount)], spec["linux"], place, fds)
        plan.idmap(1, int(mounts.idmap(mount) == "ridmap"))
        plan.source(path, mounts.MS_REC if "rbind" in mount.get("options", ()) else 0)
        return _take(plan, pid, fds)
    except Error as err:
        where = f'error mounting "{path}" to rootfs at "{mount["destination"]}"'
        raise Error(f"{where}: {err.message}") from err
    finally:
        for fd in fds:
            os.close(fd)


def _take(plan: Plan, pid: int, fds: "tuple[int, ...] | list[int]" = ()) -> int:
    """The descriptor that the plan, with the mount namespace of pid and fds, lets us have."""
    taken = -1

    def take(init: handshake.Init, number: int) -> None:
        nonlocal taken
        pidfd = procfs.open_process(init.first)
        taken = int(lib.core_pidfd_getfd(pidfd, number))
        os.close(pidfd)
        raise _Enough

    _visit(plan, f"/proc/{pid}/ns/mnt", on_listener=take, fds=fds)
    return taken


class _Enough(Exception):
    """Everything has been seen."""


def mappings(path: str) -> "tuple[Mappings, Mappings]":
    """(uid, gid) mappings of the user namespace at path, as they look from ours."""
    found: "list[tuple[Mappings, Mappings]]" = []
    plan = Plan()
    plan.join(0, namespaces.CLONE_NEWUSER)
    plan.sync(lib.SYNC_UNSHARED)

    def look(init: handshake.Init, _: int) -> None:
        found.append(userns.mappings_of(f"/proc/{init.first}"))
        raise _Enough

    try:
        _visit(plan, path, on_sync=look)
    except Error as err:
        raise Error(f"userns spawn: {err.message}") from err
    return found[0]


def _visit(
    plan: Plan,
    path: str,
    on_sync: "Callable[[handshake.Init, int], None]" = lambda init, value: None,
    on_listener: "Callable[[handshake.Init, int], None] | None" = None,
    fds: "tuple[int, ...] | list[int]" = (),
) -> None:
    """Run a plan with the namespace at path and fds as its descriptors, until it is _Enough."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        raise Error.os("open", path, err) from err
    try:
        init = handshake.spawn(plan, [fd, *fds])
    finally:
        os.close(fd)
    try:
        handshake.converse(init, on_sync, lambda _: None, on_listener=on_listener)
    except _Enough:
        pass
    finally:
        handshake.end(init)
