"""linux.namespaces -> ops.  Pure.  Implements the runtime-spec's config-linux.md, "Namespaces"."""

from pyrunc._core import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

    Doc = dict[str, Any]

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

FLAGS = {
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "pid": CLONE_NEWPID,
    "cgroup": CLONE_NEWCGROUP,
    "mount": CLONE_NEWNS,
    "user": CLONE_NEWUSER,
    "time": CLONE_NEWTIME,
}

# Type -> (its name in the record, the file below /proc/PID/ns).
NAMES = {
    "user": ("NEWUSER", "user"),
    "ipc": ("NEWIPC", "ipc"),
    "uts": ("NEWUTS", "uts"),
    "network": ("NEWNET", "net"),
    "pid": ("NEWPID", "pid"),
    "mount": ("NEWNS", "mnt"),
    "cgroup": ("NEWCGROUP", "cgroup"),
    "time": ("NEWTIME", "time"),
}

# The mount namespace is last, because joining it changes what every path means.  When the user
# namespace is joined, enter() says.  The cgroup namespace is joined when the process is in its
# cgroup: with cgroup2's nsdelegate no process can be moved out of its cgroup namespace.
JOIN_ORDER = ("network", "ipc", "uts", "pid", "time", "mount")
# What clone(2) cannot make; see enter() and enter_cgroup().
APART = ("user", "time", "cgroup")


def listed(linux: "Doc") -> "dict[str, str]":
    """type -> path ("": a new one) of every namespace in linux.namespaces."""
    return {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}


def joined(linux: "Doc") -> "list[tuple[str, str]]":
    """(type, path) of the namespaces that exist already and are to be joined."""
    own = listed(linux)
    return [(kind, own[kind]) for kind in ("user", *JOIN_ORDER, "cgroup") if own.get(kind)]


def enter(plan: "Plan", linux: "Doc", fds: "dict[Any, Any]", opts: "Doc", origin: str) -> None:
    """From the host into the cgroups and into every namespace, except the cgroup namespace.

    fds: indices of descriptors: ("ns", type): a namespace to be joined; "cgroups": cgroup2
    directories, of which the first that takes a process is used; "tasks": `tasks` files of v1.
    opts: rootless: pyrunc has no privileges.  origin: the key of the spec that the clone is for.
    """
    own = listed(linux)
    flags = apart = 0
    for kind, path in own.items():
        if path or kind == "cgroup":
            continue
        if kind in APART:
            apart |= FLAGS[kind]
        else:
            flags |= FLAGS[kind]
    if "user" in own or ("ns", "user") in fds:
        # Only the host's root may move us into the cgroups, so that comes first.
        _clone(plan, 0, fds, origin)
        # Likewise it joins the host's namespaces; others only the user namespace's root may join.
        _join(plan, linux, fds, lib.JOIN_TRY)
        if ("ns", "user") in fds:
            plan.join(fds["ns", "user"], CLONE_NEWUSER, origin=_origin(linux, "user"))
        else:
            _unshare(plan, linux, apart, opts)
        plan.owner(int(not opts.get("rootless")))
        _join(plan, linux, fds, lib.JOIN_AGAIN)
        if ("ns", "user") in fds:
            _unshare(plan, linux, apart, opts)
        plan.clone(flags, origin=origin)
        return
    # Joins precede the clone: what the clone makes is owned and counted by what was joined, and a
    # joined pid namespace holds only children.
    _join(plan, linux, fds, lib.JOIN_MUST)
    _unshare(plan, linux, apart, opts)
    # Always, even with no flag: only a child can be in the pid namespace, and the first stage is
    # no child of the container's parent.
    _clone(plan, flags, fds, origin)


def _clone(plan: "Plan", flags: int, fds: "dict[Any, Any]", origin: str) -> None:
    """Go on in a child, which enters its cgroups before it forks or allocates anything."""
    plan.clone(flags, fds.get("cgroups", ()), origin)
    if fds.get("tasks"):
        plan.enter(fds["tasks"])


def _join(plan: "Plan", linux: "Doc", fds: "dict[Any, Any]", how: int) -> None:
    for kind in JOIN_ORDER:
        if ("ns", kind) in fds:
            plan.join(fds["ns", kind], FLAGS[kind], how, _origin(linux, kind))


def _unshare(plan: "Plan", linux: "Doc", flags: int, opts: "Doc") -> None:
    """Make new user and time namespaces, and have the host write ID maps and offsets."""
    if not flags:
        return
    user = flags & CLONE_NEWUSER
    plan.unshare(flags, _origin(linux, "user" if user else "time"))
    if not user and not linux.get("timeOffsets"):
        return
    if opts.get("rootless"):
        plan.dumpable(1)
    plan.sync(lib.SYNC_UNSHARED)
    if opts.get("rootless"):
        plan.dumpable(0)


def enter_cgroup(plan: "Plan", linux: "Doc", fds: "dict[Any, Any]") -> None:
    """Join the cgroup namespace, or make one, whose root is the cgroup that we are in."""
    if ("ns", "cgroup") in fds:
        plan.join(fds["ns", "cgroup"], CLONE_NEWCGROUP, origin=_origin(linux, "cgroup"))
    elif listed(linux).get("cgroup") == "":
        plan.unshare(CLONE_NEWCGROUP, _origin(linux, "cgroup"))


def loopback(plan: "Plan", linux: "Doc") -> None:
    """Bring lo up in a new network namespace; in a joined one that is up to who made it."""
    if listed(linux).get("network") == "":
        plan.loopback(_origin(linux, "network"))


def _origin(linux: "Doc", kind: str) -> str:
    for i, entry in enumerate(linux.get("namespaces", ())):
        if entry["type"] == kind:
            return f"linux.namespaces[{i}]"
    return "linux.namespaces"
