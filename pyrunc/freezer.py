"""Pausing a container, and letting it go on.

May touch: the freezer of the container's cgroup.
runc's `pause` and `resume`; the runtime specification has neither.

A pause shares the lock with `exec`, and a resume takes none: an `exec --ignore-paused` holds the
lock until somebody resumes the container.
"""

import os

from pyrunc import container
from pyrunc.cgroups import fs
from pyrunc.errors import Error


def pause(root: str, id: str) -> None:
    """Stop every process of the container."""
    fd = container.lock(root, id, shared=True)
    try:
        record = container.load(root, id)
        if container.status(root, record) not in ("created", "running"):
            raise Error("container not running")
        fs.freeze(record.get("cgroup_paths") or {}, True)
    finally:
        os.close(fd)


def resume(root: str, id: str) -> None:
    """Let the processes go on, even if the first one was killed while they were paused."""
    record = container.load(root, id)
    if container.status(root, record) != "paused":
        raise Error("container not paused")
    fs.freeze(record.get("cgroup_paths") or {}, False)
