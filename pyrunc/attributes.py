"""What the host sets on a container's process from outside, or writes down about it (host).

May touch: the process (OOM score, CPU affinity, rlimits), our own limit of descriptors, pid files.
"""

import os

from pyrunc import files
from pyrunc._core import ffi, lib
from pyrunc.errors import Error, reason, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CPUS = 1024
RLIMIT_NOFILE = 7
LEAST = 64  # descriptors: fewer may do, but not for all that a container can have
ROOM = 256  # descriptors: more than a launch ever holds


def make_room() -> "tuple[int, int] | None":
    """Raise our limit of open files if a launch needs more.

    Returns (soft, hard) as they were, which the container is to have; None if nothing was raised.
    """
    pair = ffi.new("uint64_t[2]")
    lib.core_nofile(pair)
    soft, hard = pair
    if hard < LEAST:  # even to undo what was begun takes some
        raise Error(f"the limit of open files is too low: {hard}, and a container takes {LEAST}")
    if soft >= ROOM or hard <= soft or lib.core_prlimit(0, RLIMIT_NOFILE, min(hard, ROOM), hard):
        return None
    return soft, hard


def oom_score(pid: int, score: "int | None") -> None:
    """process.oomScoreAdj.  None: the process keeps ours."""
    if score is None:
        return
    try:
        files.write(f"/proc/{pid}/oom_score_adj", str(score))
    except OSError as err:
        text = f"failed to update /proc/self/oom_score_adj: {reason(err)}"
        raise Error(text) from err


def limits(pid: int, rlimits: "list[tuple[int, int, int, str]]") -> None:
    """process.rlimits, where init may not set them itself.  rlimits: rows of process.rlimits()."""
    for number, soft, hard, _ in rlimits:
        result = lib.core_prlimit(pid, number, soft, hard)
        if result:
            why = strerror(-result)
            text = "error setting rlimits for ready process"
            raise Error(f"{text}: error setting rlimit type {number}: {why}")


def lend_oom_score(score: "int | None") -> "int | None":
    """Take on process.oomScoreAdj for a moment, so that init inherits it.  Returns our own score.

    init is not dumpable, so that without root we may not write its oom_score_adj.
    """
    if score is None:
        return None
    before = int(files.read("/proc/self/oom_score_adj"))
    oom_score(os.getpid(), score)
    return before


def affinity(pid: int, cpus: "set[int]") -> None:
    """One half of process.execCPUAffinity.  pid 0: ourselves, and what we start from now on."""
    try:
        os.sched_setaffinity(pid, cpus)
    except OSError as err:
        raise Error(f"error setting CPU affinity: {reason(err)}") from err


def forget_affinity(pid: int, warn: "Callable[[str], None]") -> None:
    """Allow all CPUs of the cpuset, even if our caller was pinned to some of them."""
    try:
        os.sched_setaffinity(pid, range(MAX_CPUS))
    except OSError as err:
        warn(f"unable to reset the CPU affinity: {reason(err)}")


def absolute(path: str) -> str:
    """The absolute form of a caller's path, while we are still in the caller's directory."""
    try:
        return os.path.abspath(path)
    except OSError as err:  # a deleted working directory
        raise Error(f"unable to make {path} absolute: {reason(err)}") from err


def pid_file(path: str, pid: int) -> None:
    """Write the bare number; the file is complete when it appears."""
    try:
        files.replace(path, str(pid))
    except OSError as err:
        folder, name = os.path.split(path)
        from pyrunc import blame

        raise blame.os_error("open", os.path.join(folder, f".{name}"), err) from err
