"""Mounts of type cgroup -> ops.  Pure.  The container sees the same as with runc:

            cgroup namespace                    none
v2          cgroup2 of its own                  the same; where that is refused (a user namespace
                                                without one) a bind of the host's
v1, hybrid  each hierarchy mounted anew         each of the container's cgroups, bound; where it has
                                                none it is in the caller's, bound read-only
"""

from pyrunc.mounts import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.mounts import Mount
    from pyrunc.plan import Plan

    Doc = dict[str, Any]


def mount(plan: "Plan", entry: "Mount", facts: "Doc", own_cgroup: bool, label: str) -> None:
    """A mount of type cgroup.  own_cgroup: the container has a cgroup namespace."""
    if facts["cgroup_mode"] == "v2":
        cgroup2(plan, entry, facts, own_cgroup)
    else:
        cgroup1(plan, entry, facts, own_cgroup, label)


def cgroup2(plan: "Plan", entry: "Mount", facts: "Doc", own_cgroup: bool) -> None:
    """The unified hierarchy; where it cannot be mounted (a user namespace without a cgroup
    namespace of its own) a bind of what the host has."""
    own = facts["cgroup_paths"].get("", "")
    plan.mount(
        entry.source,
        entry.target,
        "cgroup2",
        entry.data,
        flags=entry.flags,
        fallback=own if own_cgroup and own else "/sys/fs/cgroup",
        propagation=entry.propagation,
        origin=entry.origin,
    )


def cgroup1(plan: "Plan", entry: "Mount", facts: "Doc", own_cgroup: bool, label: str) -> None:
    """One directory per hierarchy, as on the host: in a cgroup namespace each hierarchy is mounted
    anew (and shows that namespace's root), else the cgroup that the container is in is bound."""
    paths = facts["cgroup_paths"]
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    plan.mount(
        "tmpfs",
        entry.target,
        "tmpfs",
        f"mode=755,{context(label)}" if label else "mode=755",
        flags=flags,
        propagation=entry.propagation,
        origin=entry.origin,
    )
    links = []
    for hierarchy in facts["cgroup_mounts"]:
        name = hierarchy["dest"]
        names = hierarchy["subsystems"]
        target = f"{entry.target}/{name}"
        if "," in name:
            links += [(name, f"{entry.target}/{part}") for part in name.split(",")]
        if own_cgroup:
            plan.mount(
                "systemd" if names == ["name=systemd"] else "cgroup",
                target,
                "cgroup",
                ",".join(names),
                flags=flags | entry.flags & MS_RDONLY,
                origin=entry.origin,
            )
            continue
        # Without a cgroup of its own the container is in the caller's, and must not change that.
        found = next((paths[controller] for controller in names if controller in paths), "")
        only = 0 if found else MS_RDONLY
        plan.bind(
            found or hierarchy["own"],
            target,
            flags=MS_BIND | MS_REC | entry.flags | only,
            cleared=entry.cleared & ~only,
            propagation=entry.propagation,
            origin=entry.origin,
        )
    for content, path in links:
        plan.symlink(content, path, 0, entry.origin)
    if entry.flags & MS_RDONLY:
        plan.remount(entry.target, MS_RDONLY, entry.origin)
