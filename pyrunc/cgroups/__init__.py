"""The cgroups a container lives in.  This file only knows which module does what.

    hierarchies.py  which there are, and the container's path in each
    place.py        make them, move a process into them
    entry.py        how a new process enters them by itself, and which ones an exec's does
    limits.py       linux.resources; limits_v1.py, limits_v2.py, devices.py write the files
    stats.py        what is used; stats_v1.py, stats_v2.py; notices.py want of memory, and the end
    fs.py           an existing container's: look, freeze, kill, remove
    recorded.py     linux.resources in the words of the record, and back
    changed.py      what an update makes of them; snapshot.py puts files back if it fails

A container's cgroups are `paths`: {controller: directory}, on v2 {"": directory}.  state, kill and
delete take them from the record and load fs alone; so names are looked up on first use here.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOMES = {
    "fs": ("freeze", "frozen", "kill_all", "oom_killed", "pids", "remove"),
    "hierarchies": ("mode", "paths"),
    "limits": ("apply", "validate"),
    "place": ("check_free", "create", "discard", "join"),
    "entry": ("entries",),
    "recorded": ("record", "resources"),
}


def __getattr__(name: str) -> "Any":
    """cgroups.NAME, out of the module it is at home in (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names:
            home = __import__(f"{__name__}.{module}", fromlist=[name])
            return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
