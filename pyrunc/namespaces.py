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

# The mount namespace last: joining it changes what every path means.
JOIN_ORDER = ("network", "ipc", "uts", "pid", "cgroup", "mount")


def listed(linux: "Doc") -> "dict[str, str]":
    """type -> path ("": a new one) of every namespace the container does not share silently."""
    return {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}


def joined(linux: "Doc") -> "list[tuple[str, str]]":
    """(type, path) of the namespaces that exist already, in the order init enters them."""
    own = listed(linux)
    return [(kind, own[kind]) for kind in JOIN_ORDER if own.get(kind)]


def join(plan: "Plan", linux: "Doc", fds: "dict[Any, int]") -> None:
    """Enter the namespaces given by path.  fds: ("ns", type) -> index of the open descriptor."""
    for kind, _ in joined(linux):
        plan.join(fds["ns", kind], FLAGS[kind], _origin(linux, kind))


def clone(plan: "Plan", linux: "Doc", cgroup: "int | None") -> None:
    """Go on in a child with every new namespace but the cgroup's.  cgroup: to be born in (v2)."""
    flags = 0
    for kind, path in listed(linux).items():
        if not path and kind != "cgroup":
            flags |= FLAGS[kind]
    plan.clone(flags, cgroup, "linux.namespaces")


def unshare_cgroup(plan: "Plan", linux: "Doc") -> None:
    """A new cgroup namespace, rooted at the cgroup init is in by now."""
    if listed(linux).get("cgroup") == "":
        plan.unshare(CLONE_NEWCGROUP, _origin(linux, "cgroup"))


def loopback(plan: "Plan", linux: "Doc") -> None:
    """lo of a new network namespace is down; a joined one belongs to whoever made it."""
    if listed(linux).get("network") == "":
        plan.loopback(_origin(linux, "network"))


def _origin(linux: "Doc", kind: str) -> str:
    for i, entry in enumerate(linux["namespaces"]):
        if entry["type"] == kind:
            return f"linux.namespaces[{i}]"
    return "linux.namespaces"
