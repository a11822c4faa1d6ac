"""linux.namespaces -> ops.  Pure.  Implements the runtime-spec's config-linux.md, "Namespaces"."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

    Doc = dict[str, Any]

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

FLAGS = {
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "pid": CLONE_NEWPID,
    "cgroup": CLONE_NEWCGROUP,
    "mount": CLONE_NEWNS,
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

# The mount namespace last: joining it changes what every path means.  The cgroup's follows when the
# process is in its cgroup: from within, the way into another may be closed (cgroup2's nsdelegate).
JOIN_ORDER = ("network", "ipc", "uts", "pid", "mount")


def listed(linux: "Doc") -> "dict[str, str]":
    """type -> path ("": a new one) of every namespace the container does not share silently."""
    return {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}


def joined(linux: "Doc") -> "list[tuple[str, str]]":
    """(type, path) of the namespaces that exist already, in the order init enters them."""
    own = listed(linux)
    return [(kind, own[kind]) for kind in (*JOIN_ORDER, "cgroup") if own.get(kind)]


def join(plan: "Plan", linux: "Doc", fds: "dict[Any, int]") -> None:
    """Enter the namespaces in fds, ("ns", type) -> index of the descriptor; all but cgroup's."""
    for kind in JOIN_ORDER:
        if ("ns", kind) in fds:
            plan.join(fds["ns", kind], FLAGS[kind], _origin(linux, kind))


def clone(plan: "Plan", linux: "Doc", cgroups: "tuple[int, ...] | list[int]" = ()) -> None:
    """Go on in a child with every new namespace but the cgroup's.

    cgroups: the cgroup2 directories to be born in, the first one that can be.
    """
    flags = 0
    for kind, path in listed(linux).items():
        if not path and kind != "cgroup":
            flags |= FLAGS[kind]
    plan.clone(flags, cgroups, "linux.namespaces")


def enter_cgroup(plan: "Plan", linux: "Doc", fds: "dict[Any, int]") -> None:
    """The cgroup namespace: the one given, or a new one with the cgroup we are in as its root."""
    if ("ns", "cgroup") in fds:
        plan.join(fds["ns", "cgroup"], CLONE_NEWCGROUP, _origin(linux, "cgroup"))
    elif listed(linux).get("cgroup") == "":
        plan.unshare(CLONE_NEWCGROUP, _origin(linux, "cgroup"))


def loopback(plan: "Plan", linux: "Doc") -> None:
    """lo of a new network namespace is down; a joined one belongs to whoever made it."""
    if listed(linux).get("network") == "":
        plan.loopback(_origin(linux, "network"))


def _origin(linux: "Doc", kind: str) -> str:
    for i, entry in enumerate(linux.get("namespaces", ())):
        if entry["type"] == kind:
            return f"linux.namespaces[{i}]"
    return "linux.namespaces"
