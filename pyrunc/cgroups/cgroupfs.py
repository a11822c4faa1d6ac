"""The cgroupfs driver: a container's cgroups made through the file system.

A driver makes the cgroups of a new container.  The others are systemd.py, and disabled.py, which
makes none.  Every driver has:

    paths, resources     where the cgroups are; linux.resources, as far as this driver can set them
    where                linux.cgroupsPath in the words of the record
    rootless             whether the kernel may refuse us cgroups
    placed               whether pyrunc puts init into them, at the first step of the plan
    limited              whether the resources are to be written into their files
    prepare()            make what can be made before there is an init
    take(pid)            put init into them, if `placed`
    entries()            descriptors through which init enters by itself, if not `placed`
    remove()             undo everything
"""

from pyrunc.cgroups import entry, fs, hierarchies, limits, place
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Cgroupfs:
    """The cgroups of one new container."""

    __slots__ = ("heir", "made", "paths", "resources", "rootless", "where")

    limited = True
    placed = False
    systemd = False

    def __init__(self, spec: "dict[str, Any]", id: str, rootless: str) -> None:
        linux = spec.get("linux") or {}
        path = linux.get("cgroupsPath", "")
        self.paths = hierarchies.paths(path, id)
        self.resources: "dict[str, Any]" = linux.get("resources") or {}
        self.where: "dict[str, str]" = {"path": path} if path else {"name": id, "path": ""}
        self.rootless = limits.is_rootless(rootless)
        self.made: "list[str]" = []
        self.heir = -1
        if fs.is_v2(self.paths):
            from pyrunc.cgroups import delegation

            self.heir = delegation.heir(spec)

    def prepare(self) -> None:
        """Make the directories."""
        tolerant = self.rootless and not self.where["path"]
        self.made = place.create(self.paths, self.resources, tolerant)
        if self.heir >= 0 and self.paths:
            from pyrunc.cgroups import delegation

            try:
                delegation.hand_over(self.paths[""], self.heir)
            except Error:
                place.discard(self.made)
                raise

    def take(self, pid: int) -> None:
        """Put init into its cgroups: it enters them by itself."""

    def entries(self) -> "tuple[list[int], int]":
        """As entry.entries() does."""
        return entry.entries(self.paths)

    def remove(self) -> None:
        """Remove the directories, and those above them that were made for them."""
        fs.remove(self.paths)
        place.discard(self.made)
