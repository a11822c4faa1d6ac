"""ID-mapped mounts: the user namespaces that say which owner is shown as which.

May touch: a child of its own, which makes a user namespace and ends.
OCI runtime-spec 1.3, config.md "Mounts"; mount_setattr(2), "ID-mapped mounts".

An owner in the file system counts as inside of the namespace, and is shown as what is outside.
"""

import os

from pyrunc._core import lib
from pyrunc.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def open_all(
    wanted: "list[tuple[int, Doc]]", linux: "Doc", index: "dict[Any, int]", fds: "list[int]"
) -> None:
    """Append a user namespace per mapping to fds, and its place to index as ("idmap", number).

    wanted: numbers and entries of mounts[].  Without mappings one takes the container's.
    """
    made: "dict[tuple[str, str], int]" = {}
    for number, mount in wanted:
        name = f"mounts[{number}]"
        owner = mount if mount.get("uidMappings") else linux
        if owner is linux and not linux.get("uidMappings"):
            if ("ns", "user") not in index:
                raise Error(f"{name} is to be ID-mapped, but there are no mappings to take")
            index["idmap", number] = index["ns", "user"]  # it has the mappings that count
            continue
        maps = (text(owner["uidMappings"]), text(owner.get("gidMappings") or []))
        if maps not in made:
            fd: int = lib.core_userns(*[os.fsencode(map) for map in maps])
            if fd < 0:
                why = strerror(-fd)
                raise Error(f"unable to make a user namespace with the mappings of {name}: {why}")
            made[maps] = len(fds)
            fds.append(fd)
        index["idmap", number] = made[maps]


def text(mappings: "list[Doc]") -> str:
    """As /proc/PID/uid_map takes them; empty if there are none."""
    rows = [f"{row['containerID']} {row['hostID']} {row['size']}\n" for row in mappings]
    return "".join(rows)
