"""No driver: the container stays in the cgroups of whoever makes it, and nothing is limited.

What cgroupfs.py says of a driver holds for this one.
"""

from pyrunc import log
from pyrunc.cgroups import limits
from pyrunc.cgroups.cgroupfs import Cgroupfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Disabled(Cgroupfs):
    """A new container without cgroups."""

    __slots__ = ()

    limited = False

    def __init__(self, spec: "dict[str, Any]", id: str, rootless: str) -> None:
        # Engines send rules for devices whatever else they want.
        for name, value in ((spec.get("linux") or {}).get("resources") or {}).items():
            if value and name != "devices":
                log.warning(f"linux.resources.{name} is ignored: the container has no cgroup")
        self.paths, self.resources = {}, {}
        self.where = {"name": id, "path": ""}
        self.rootless = limits.is_rootless(rootless)
        self.made, self.heir = [], -1
