"""Descriptors of our caller that are passed on to the container: LISTEN_FDS and --preserve-fds.

May touch: looks at our descriptors and environment.  A descriptor of the caller has survived an
exec, so it is not close-on-exec, while all that Python opened are.
"""

import fcntl
import os

from pyrunc.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIRST = 3  # after stdio, as in sd_listen_fds(3)
ENOENT = 2


def pass_on(process: "dict[str, Any]", preserve: int) -> int:
    """How many descriptors, from 3 on, the container gets; LISTEN_FDS is added to its environment.

    process: the process object.  preserve: --preserve-fds.
    """
    listening = _listening()
    for fd in range(FIRST, FIRST + listening):
        if not _is_callers(fd):
            raise Error(f"LISTEN_FDS={listening}, but descriptor {fd} is not open")
    if listening:
        told = [f"LISTEN_FDS={listening}", "LISTEN_PID=1"]
        process["env"] = [*(process.get("env") or []), *told]
    return listening + preserved(preserve, FIRST + listening)


def preserved(number: int, first: int = FIRST) -> int:
    """Check that the caller has passed `number` descriptors from `first` on; return how many."""
    for index in range(number):
        if not _is_callers(first + index):
            why = strerror(ENOENT)
            raise Error(f"unable to stat preserved-fd {index} (of {number}): {why}")
    return max(number, 0)


def _listening() -> int:
    """LISTEN_FDS, if LISTEN_PID says that it is meant for this process (sd_listen_fds(3))."""
    number = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID", "") != str(os.getpid()) or not number.isdecimal():
        return 0
    return int(number)


def _is_callers(fd: int) -> bool:
    try:
        return not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except (OSError, OverflowError):
        return False
