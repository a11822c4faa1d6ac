"""What a new container's plan is made from: facts about the host, descriptors, its filter.

May touch: makes exec.fifo; opens namespaces, user namespaces for ID-mapped mounts.
"""

import os

from pyrunc import container, host, mounts, namespaces, plan_create
from pyrunc.errors import START_FAILED, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def facts(spec: "Doc", paths: "dict[str, str]", no_pivot: bool) -> "Doc":
    """What plan_create.for_create() needs to know about this host.  paths: the new cgroups'."""
    linux = spec.get("linux") or {}
    nodes = linux.get("devices", []) if "user" in namespaces.listed(linux) else []
    joined = namespaces.joined(linux)
    return {
        **host.facts(*plan_create.facts_for(spec, no_pivot)),
        "device_nodes": host.device_nodes(nodes),
        "cgroup_paths": paths,
        "same_namespaces": [kind for kind, path in joined if host.same_namespace(path, kind)],
    }


def open_all(
    spec: "Doc",
    path: str,
    entries: "tuple[list[int], int]",
    sockets: "dict[str, int]",
    fds: "list[int]",
) -> "dict[Any, Any]":
    """Append all descriptors of the plan to fds.  Returns the places in fds, for for_create().

    path: the container's directory.  entries: `tasks` files of v1 cgroups, and a cgroup2 directory
    or -1.  sockets: for a console or a pidfd.
    """
    linux = spec.get("linux") or {}
    index: "dict[Any, Any]" = {"fifo": len(fds)}
    fds.append(_make_fifo(path))
    tasks, unified = entries
    index["tasks"] = list(range(len(fds), len(fds) + len(tasks)))
    fds += tasks
    if unified >= 0:
        index["cgroups"] = [len(fds)]
        fds.append(unified)
    for kind, fd in sockets.items():
        index[kind] = len(fds)
        fds.append(fd)
    for space in linux.get("namespaces") or []:
        if space.get("path"):
            index["ns", space["type"]] = len(fds)
            fds.append(_open_namespace(space["path"]))
    mapped = mounts.idmapped(spec)
    if mapped:
        from pyrunc import idmaps

        idmaps.open_all(mapped, linux, index, fds)
    return index


def sockets(terminal: bool, opts: "Doc", own: int) -> "dict[str, int]":
    """As console.sockets(), which is imported only if there are any."""
    if not terminal and not opts["pidfd_socket"]:
        return {}
    from pyrunc import console

    return console.sockets(opts, own)


def seccomp(linux: "Doc") -> "tuple[bytes, int] | None":
    """The program of linux.seccomp, and its flags."""
    if not linux.get("seccomp"):
        return None
    from pyrunc import seccomp as filters

    return filters.load(linux["seccomp"])


def _make_fifo(path: str) -> int:
    path = f"{path}/{container.FIFO}"
    try:
        os.mkfifo(path, 0o622)
        os.chmod(path, 0o622)  # whatever the umask
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as err:
        raise Error.os("mkfifo", path, err) from err


def _open_namespace(path: str) -> int:
    try:
        return host.open_namespace(path)
    except OSError as err:
        from pyrunc import blame

        why = blame.os_error("open", path, err).message
        raise Error(f"{START_FAILED}failed to open namespace path: {why}") from err


def hook_halves(record: "dict[str, Any]", status: str) -> "tuple[str, str]":
    """The state document before and after the pid: init fills in the pid in its own namespace."""
    mark = 9876543210987654
    before, _, after = container.hook_state(record, status, mark).partition(str(mark))
    return before, after
