"""ID-mapped mounts: user namespaces that say which owner is shown as which; and bind sources that
init, as root of a user namespace, may not reach or map.

May touch: what visit.py does.
OCI runtime-spec 1.3, config.md "Mounts"; mount_setattr(2), "ID-mapped mounts".

The kernel takes an owner in the file system for an ID inside of that user namespace, and shows the
ID that it has outside.
"""

import os

from pyrunc import mounts, namespaces, userns, visit
from pyrunc.errors import Error
from pyrunc.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]


def open_all(
    wanted: "list[tuple[int, Doc]]", linux: "Doc", index: "dict[Any, int]", fds: "list[int]"
) -> None:
    """Append a user namespace for each different mapping to fds.

    index["idmap", number] gets its place in fds.  wanted: (number, entry) of mounts[]; an entry
    without mappings takes those of the container.
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
        maps = (userns.text(owner["uidMappings"]), userns.text(owner.get("gidMappings") or []))
        if maps not in made:
            try:
                fd = visit.user_namespace(owner)
            except Error as err:
                what = f"unable to make a user namespace with the mappings of {name}"
                raise Error(f"{what}: {err.message}") from err
            made[maps] = len(fds)
            fds.append(fd)
        index["idmap", number] = made[maps]


def source(pid: int, path: str, spec: "Doc", number: int) -> int:
    """Open `path` in the mount namespace of process pid.  Returns an O_PATH descriptor, or -1.

    number: if not 0, the descriptor is a mount of it, ID-mapped as mounts[number - 1] of the spec
    says, and a failure is an Error.
    """
    plan = Plan()
    plan.join(0, namespaces.CLONE_NEWNS)
    if number:
        return _mapped_source(plan, pid, path, spec, number - 1)
    plan.source(path)
    try:
        return visit.take(plan, pid)
    except Error:
        return -1


def _mapped_source(plan: Plan, pid: int, path: str, spec: "Doc", index: int) -> int:
    mount = spec["mounts"][index]
    place: "dict[Any, int]" = {}
    fds: "list[int]" = []
    try:
        open_all([(index, mount)], spec["linux"], place, fds)
        plan.idmap(1, int(mounts.idmap(mount) == "ridmap"))
        plan.source(path, mounts.MS_REC if "rbind" in mount.get("options", ()) else 0)
        return visit.take(plan, pid, fds)
    except Error as err:
        where = f'error mounting "{path}" to rootfs at "{mount["destination"]}"'
        raise Error(f"{where}: {err.message}") from err
    finally:
        for fd in fds:
            os.close(fd)
