"""New limits for a container that exists.

May touch: its cgroups, its group in resctrl, and its record.
OCI runtime-spec 1.3, config-linux.md "Control groups"; runc's `update`.
"""

import os

from pyrunc import cgroups, container, log
from pyrunc.cgroups import changed, fs, limits, recorded, snapshot
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.cgroups.systemd import Limits


def update(root: str, id: str, wanted: "dict[str, Any]", schemas: "dict[str, str]") -> None:
    """Apply a linux.resources object and members of linux.intelRdt; on failure none of it."""
    fd = container.lock(root, id)
    try:
        record = container.load(root, id)
        if container.status(root, record) == "stopped":
            raise Error("container not running")
        old = record["config"].get("cgroups") or {}
        new = changed.merge(old, wanted)
        if old.get("Systemd"):
            new = changed.rounded(new)
        paths = record.get("cgroup_paths") or {}
        restore = _schemata(record, schemas) if schemas else None
        unit = None
        record["config"]["cgroups"] = new

        try:
            unit = cgroups.unit(old, paths)
            note = lambda: container.write_record(root, id, record)  # noqa: E731
            apply(paths, recorded.resources(old), recorded.resources(new), unit, note)
        except BaseException as err:
            if restore:
                restore()
            if container.status(root, record) == "stopped":
                raise Error("container not running") from err
            raise
        finally:
            if unit:
                unit.close()
    finally:
        os.close(fd)


def _schemata(record: "dict[str, Any]", schemas: "dict[str, str]") -> "Callable[[], None]":
    """Set members of linux.intelRdt.  Returns a function that undoes it."""
    from pyrunc import rdt

    rdt.check_update(record, schemas)
    before = rdt.update(record, schemas)
    return lambda: rdt.restore(record, before)


def apply(
    paths: "dict[str, str]",
    old: "dict[str, Any]",
    new: "dict[str, Any]",
    unit: "Limits | None" = None,
    then: "Callable[[], None]" = lambda: None,
) -> None:
    """Set new resources, then call then(); if either fails, go back to the old ones.

    unit: the systemd unit whose properties are to be set first.
    """
    mode = "v2" if fs.is_v2(paths) else "v1"
    limits.validate(new, mode)
    before = snapshot.take(paths, new.get("unified") or ())
    try:
        if unit:
            unit.set(new)
        limits.apply(paths, new, mode, devices=False)
        then()
    except BaseException:
        failed = []
        try:
            if unit:
                unit.put_back()
            limits.apply(paths, old, mode, devices=False)
        except Error as err:
            failed.append(err.message)
        # The record lacks what was never limited, and what an earlier update made it forget.
        failed += snapshot.put_back(before)
        if failed and any(os.path.isdir(path) for path in paths.values()):
            log.warning(
                f"Setting back cgroup configs failed due to error: {'; '.join(failed)}, "
                "your state.json and actual configs might be inconsistent."
            )
        raise
