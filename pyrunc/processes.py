"""The processes of a container: list them, signal the first one, or end all of them.

May touch: the container's process, through a pidfd whose start time was checked, and what is in its
cgroups.  A pid is only a number: by now it may be that of another process.
"""

import os

from pyrunc import procfs, signals
from pyrunc.cgroups import fs
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KILL = signals.KILL
PATIENCE = 10.0  # seconds until a killed process has to be gone


def private_pid(record: "dict[str, Any]") -> bool:
    """Whether it has a pid namespace of its own, in which all die with the first process."""
    spaces = record["config"].get("namespaces") or []
    return any(space.get("type") == "NEWPID" and not space.get("path") for space in spaces)


def pids(record: "dict[str, Any]") -> "list[int]":
    """All PIDs, as the host counts them, whatever the status of the container.

    If there are none in its cgroups, the first process counts as long as it is alive: engines take
    an empty list, or an error, for a dead container.
    """
    pid = record["init_process_pid"]
    try:
        found = fs.pids(record.get("cgroup_paths") or {})
    except Error:
        if not procfs.alive(pid, record["init_process_start"]):
            raise
        found = []
    # The first one may have been moved elsewhere, or never had a cgroup of its own.
    return found or ([pid] if procfs.alive(pid, record["init_process_start"]) else [])


def signal(record: "dict[str, Any]", number: int, leftovers: bool = False) -> None:
    """Send a signal to the container's first process.

    Without a pid namespace of its own, SIGKILL is sent to all processes in its cgroup, also to
    those that its first one has left behind.  leftovers: any signal is, and none is no Error.
    """
    paths = record.get("cgroup_paths") or {}
    if not procfs.alive(record["init_process_pid"], record["init_process_start"]):
        everybody = leftovers or number == KILL and not private_pid(record)
        if everybody and fs.pids(paths):
            kill_all(paths, number)
        elif not leftovers:
            raise Error("container not running")
        return
    if number == KILL and not private_pid(record) and fs.processes_in(paths):
        kill_all(paths, number)
    else:
        send(record, number)
    if number == KILL and fs.frozen(paths):
        fs.freeze(paths, False)


def send(record: "dict[str, Any]", number: int) -> None:
    """Signal the first process only; never another one that has got its number since."""
    try:
        pidfd = procfs.pidfd(record["init_process_pid"], record["init_process_start"])
        if pidfd is None:
            raise Error("container not running")
        try:
            signals.send(pidfd, number)
        finally:
            os.close(pidfd)
    except ProcessLookupError:
        raise Error("unable to signal init: os: process already finished") from None
    except OSError as err:
        raise Error(f"unable to signal init: {reason(err)}") from err


def kill_all(paths: "dict[str, str]", number: int) -> None:
    """Signal everything in the cgroups."""
    try:
        fs.kill_all(paths, number)
    except Error as err:
        raise Error(f"unable to kill all processes: {err.message}") from err


def kill(record: "dict[str, Any]") -> None:
    """SIGKILL the container and wait until its first process is gone."""
    paths = record.get("cgroup_paths") or {}
    pid, start_time = record["init_process_pid"], record["init_process_start"]
    pidfd = procfs.pidfd(pid, start_time)
    if pidfd is None:
        return
    try:
        if private_pid(record) or not fs.processes_in(paths):
            try:
                signals.send(pidfd, KILL)
            except ProcessLookupError:
                pass  # it has just died, which is all we want
            except OSError as err:
                raise Error(f"unable to signal init: {reason(err)}") from err
        else:
            kill_all(paths, KILL)
        if fs.frozen(paths):
            fs.freeze(paths, False)  # v1: a frozen process does not even die
        if not procfs.wait(pidfd, PATIENCE):
            letter = procfs.state_letter(pid) or "?"
            raise Error(f"container init still running: pid {pid} in state {letter}")
    finally:
        os.close(pidfd)
