"""Looks into a namespace through an init that ends after that.

May touch: a short-lived process of ours.
"""

import os

from pyrunc import handshake, host, namespaces, procfs, userns
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
    """Give linux the mappings of the user namespace at path; if it has some, they must be equal."""
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


def take(plan: Plan, pid: int, fds: "tuple[int, ...] | list[int]" = ()) -> int:
    """Run a plan, and return the descriptor that its OP_SOURCE opens; below 0: none.

    The plan's descriptors are: 0, the mount namespace of process pid; from 1 on, fds.
    """
    taken = -1

    def copy(init: handshake.Init, number: int) -> None:
        nonlocal taken
        pidfd = procfs.open_process(init.first)
        taken = int(lib.core_pidfd_getfd(pidfd, number))
        os.close(pidfd)
        raise Enough

    run(plan, [_open(f"/proc/{pid}/ns/mnt"), *map(os.dup, fds)], on_listener=copy)
    return taken


class Enough(Exception):
    """Raised by a callback of run() to end it: everything has been seen."""


def mappings(path: str) -> "tuple[Mappings, Mappings]":
    """(uid, gid) mappings of the user namespace at path, as seen from our user namespace."""
    found: "list[tuple[Mappings, Mappings]]" = []
    plan = Plan()
    plan.join(0, namespaces.CLONE_NEWUSER)
    plan.sync(lib.SYNC_UNSHARED)

    def look(init: handshake.Init, _: int) -> None:
        found.append(userns.mappings_of(f"/proc/{init.first}"))
        raise Enough

    try:
        run(plan, [_open(path)], on_sync=look)
    except Error as err:
        raise Error(f"userns spawn: {err.message}") from err
    return found[0]


def user_namespace(owner: "Doc") -> int:
    """A new user namespace with the mappings of owner; the caller closes the descriptor."""
    plan = Plan()
    plan.unshare(namespaces.CLONE_NEWUSER)
    plan.sync(lib.SYNC_UNSHARED)
    found: "list[int]" = []

    def write(init: handshake.Init, _: int) -> None:
        userns.write_maps(init.first, owner)
        found.append(_open(f"/proc/{init.first}/ns/user"))
        raise Enough

    run(plan, [], on_sync=write)
    return found[0]


def _open(path: str) -> int:
    try:
        return host.open_namespace(path)
    except OSError as err:
        raise Error.os("open", path, err) from err


def run(
    plan: Plan,
    fds: "list[int]",
    on_sync: "Callable[[handshake.Init, int], None]" = lambda init, value: None,
    on_listener: "Callable[[handshake.Init, int], None] | None" = None,
) -> None:
    """Run a plan until a callback raises Enough; then init is killed.

    fds: the plan's descriptors, which are closed here.
    """
    try:
        init = handshake.spawn(plan, fds)
    finally:
        for fd in fds:
            os.close(fd)
    try:
        handshake.converse(init, on_sync, lambda _: None, on_listener=on_listener)
    except Enough:
        pass
    finally:
        handshake.end(init)
