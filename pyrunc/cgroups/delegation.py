"""Who owns a container's cgroup: root, or the payload, so that it can make cgroups of its own.

May touch: the owner of the cgroup and of those files in it that are meant to be handed over.
OCI runtime-spec 1.3, config-linux.md "Cgroup ownership"; the kernel's admin-guide/cgroup-v2
"Delegation".  v2 only: v1 is not safe to hand over.
"""

import os

from pyrunc import files
from pyrunc.cgroups.hierarchies import ROOT
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What the kernel lists since Linux 4.15.
DELEGATED = "cgroup.procs cgroup.subtree_control cgroup.threads"


def heir(spec: "dict[str, Any]") -> int:
    """The host's user who gets the container's cgroup; -1: nobody.

    It is for a payload that sees it as the root of a cgroup namespace, and mounted for writing.
    """
    linux = spec.get("linux") or {}
    own = any(
        space["type"] == "cgroup" and not space.get("path")
        for space in linux.get("namespaces") or []
    )
    writable = any(
        mount.get("source") == "cgroup"
        and os.path.normpath(mount["destination"]) == ROOT
        and "ro" not in (mount.get("options") or [])
        for mount in spec.get("mounts") or []
    )
    if not (own and writable):
        return -1
    uid: int = (spec["process"].get("user") or {}).get("uid") or 0
    for row in linux.get("uidMappings") or []:
        if row["containerID"] <= uid < row["containerID"] + row["size"]:
            return int(row["hostID"]) + uid - int(row["containerID"])
    # Whom a user namespace maps to nobody, or to whom we cannot tell, is not given anything.
    users = any(space["type"] == "user" for space in linux.get("namespaces") or [])
    return -1 if users else uid


def hand_over(path: str, uid: int) -> None:
    """Let a user rule over a cgroup."""
    try:
        names = os.fsdecode(files.read("/sys/kernel/cgroup/delegate")).split()
    except OSError:
        names = DELEGATED.split()
    for name in ("", *names):
        try:
            os.chown(f"{path}/{name}".rstrip("/"), uid, -1)
        except FileNotFoundError:
            pass  # this kernel's cgroups have no such file
        except OSError as err:
            raise Error.os("chown", f"{path}/{name}", err) from err
