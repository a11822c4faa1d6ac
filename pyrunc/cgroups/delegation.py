"""The owner of a container's cgroup: root, or the user of its process, who can then use it.

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
    """The user, as the host counts, who is to own the container's cgroup; -1: it stays root's.

    That is the user of a process that sees this cgroup as the root of its cgroup namespace, and
    has it mounted writable.
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
    # In a user namespace, a user without a mapping, or with an unknown one, gets nothing.
    users = any(space["type"] == "user" for space in linux.get("namespaces") or [])
    return -1 if users else uid


def hand_over(path: str, uid: int) -> None:
    """Make a user the owner of a cgroup and of the files in it that may be delegated."""
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
