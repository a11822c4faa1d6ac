"""Descriptors of our caller that the container gets, too: LISTEN_FDS and --preserve-fds.

Looks at our descriptors and environment.  Those of the caller survived an exec, so they are not
close-on-exec; all that Python opened are.
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
    """How many descriptors from 3 on the container keeps; its environment tells about systemd's."""
    listening = _listening()
    for fd in range(FIRST, FIRST + listening):
        if not _is_callers(fd):
            raise Error(f"LISTEN_FDS={listening}, but descriptor {fd} is not open")
    if listening:
        told = [f"LISTEN_FDS={listening}", "LISTEN_PID=1"]
        process["env"] = [*(process.get("env") or []), *told]
    return listening + preserved(preserve, FIRST + listening)


def preserved(number: int, first: int = FIRST) -> int:
    """--preserve-fds, once it is certain that the caller has so many from `first` on."""
    for index in range(number):
        if not _is_callers(first + index):
            why = strerror(ENOENT)
            raise Error(f"unable to stat preserved-fd {index} (of {number}): {why}")
    return max(number, 0)


def _listening() -> int:
    """sd_listen_fds(3): the number, if it is meant for this process."""
    number = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID", "") != str(os.getpid()) or not number.isdecimal():
        return 0
    return int(number)


def _is_callers(fd: int) -> bool:
    try:
        return not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except (OSError, OverflowError):
        return False
