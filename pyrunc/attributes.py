"""What only the host can set on a container's process, or note of it (host).

May touch: the process (OOM score, CPU affinity), and its pid file.
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
    """See to it that all the descriptors of a launch fit.  (soft, hard) as our caller had them, for
    the container to have, if they had to be raised."""
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
    """process.rlimits, where init may not set them itself.  rlimits: process.rlimits()'s."""
    for number, soft, hard, _ in rlimits:
        result = lib.core_prlimit(pid, number, soft, hard)
        if result:
            why = strerror(-result)
            text = "error setting rlimits for ready process"
            raise Error(f"{text}: error setting rlimit type {number}: {why}")


def lend_oom_score(score: "int | None") -> "int | None":
    """Have process.oomScoreAdj ourselves, for init to inherit.  What to go back to afterwards.

    Who is not root may not write it for init, which nobody else may look into.
    """
    if score is None:
        return None
    before = int(files.read("/proc/self/oom_score_adj"))
    oom_score(os.getpid(), score)
    return before


def affinity(pid: int, cpus: "set[int]") -> None:
    """One half of process.execCPUAffinity.  pid 0: ourselves, and whom we start from now on."""
    try:
        os.sched_setaffinity(pid, cpus)
    except OSError as err:
        raise Error(f"error setting CPU affinity: {reason(err)}") from err


def forget_affinity(pid: int, warn: "Callable[[str], None]") -> None:
    """Allow the CPUs that the cpuset allows, whatever our caller was pinned to."""
    try:
        os.sched_setaffinity(pid, range(MAX_CPUS))
    except OSError as err:
        warn(f"unable to reset the CPU affinity: {reason(err)}")


def absolute(path: str) -> str:
    """Of a file that the caller names relative to where it stands, before we leave that place."""
    try:
        return os.path.abspath(path)
    except OSError as err:  # a deleted working directory
        raise Error(f"unable to make {path} absolute: {reason(err)}") from err


def pid_file(path: str, pid: int) -> None:
    """The bare number, in a file that is whole when it appears."""
    try:
        files.replace(path, str(pid))
    except OSError as err:
        folder, name = os.path.split(path)
        from pyrunc import blame

        raise blame.os_error("open", os.path.join(folder, f".{name}"), err) from err
