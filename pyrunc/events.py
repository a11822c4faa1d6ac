"""What a container uses, at intervals, and the moments in which it ran out of memory.

May touch: its cgroups (it only listens).
"""

import os
import time

from pyrunc import container, log
from pyrunc.cgroups import fs, notices, stats
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Event = dict[str, Any]


def running(root: str, id: str) -> "dict[str, Any]":
    """The record of a container that has not stopped."""
    record = container.load(root, id)
    if container.status(root, record) == "stopped":
        raise Error(f"container with id {id} is not running")
    return record


def usage(record: "dict[str, Any]") -> "Event":
    """A stats event."""
    data = stats.read(record.get("cgroup_paths") or {})
    if record.get("intel_rdt_path"):
        from pyrunc import rdt

        data["intel_rdt"] = rdt.stats(record)
    return {"type": "stats", "id": record["id"], "data": data}


def watch(record: "dict[str, Any]", interval: float, reader: int = -1) -> "Iterator[Event]":
    """A stats event every `interval` seconds and an oom event for each kill, until it stops.

    reader: the descriptor to which the caller writes the events; watching also ends when the
    other end of it is closed.
    """
    paths = record.get("cgroup_paths") or {}
    heard = notices.Notices(paths)
    try:
        if reader >= 0:
            heard.watch_reader(reader)
        due = time.monotonic() + interval
        while True:
            # poll(2) counts in int milliseconds; 24 days at a time are enough.
            left = min(max(due - time.monotonic(), 0), 2**31 // 1000)
            for word in heard.poll(int(left * 1000) + 1):
                if word == "end":
                    return
                yield {"type": "oom", "id": record["id"]}
            if time.monotonic() < due:
                continue
            due = max(due + interval, time.monotonic())
            if not _populated(paths):  # v1 by itself tells of the end only at the removal
                return
            try:
                event = usage(record)
            except Error as err:
                log.error(err.message)
                continue
            yield event
    finally:
        heard.close()


def _populated(paths: "dict[str, str]") -> bool:
    top = fs.processes_in(paths)
    return top is None or os.path.isdir(top) and bool(fs.pids(paths))
