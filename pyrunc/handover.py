"""The foreground of a process that stays is the front's: it waits in a tenth of our memory.

May touch: the descriptors of a relay, and what this process executes.
"""

import os
import sys

from pyrunc import files, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.relay import Copy


def give(
    copies: "list[Copy]", events: int, process: "tuple[int, int]", leaves: "tuple[str, int]"
) -> None:
    """Become the front, which goes on where console.serve() is; return if it cannot.

    process: PID and pidfd.  leaves: the container's directory, if it has to be removed after the
    end, else an empty string; and the start time of the process.
    """
    front = sys._xoptions.get("front")
    if not isinstance(front, str) or any(copy.data or copy.held for copy in copies):
        return
    numbers = [-1 if copy.ended else fd for copy in copies for fd in (copy.source, copy.sink)]
    numbers += [events, process[1]]
    kept = [fd for fd in numbers if fd > 2]
    for fd in kept:
        os.set_inheritable(fd, True)
    told = " ".join(map(str, [*numbers, process[0], leaves[1], leaves[0]]))
    # As our caller gave it: Python adds to os.environ by itself.
    entries = files.read("/proc/self/environ").split(b"\0")
    environ = dict(entry.partition(b"=")[::2] for entry in entries if entry.find(b"=") > 0)
    try:
        os.execve(front, sys.argv[1:], {**environ, b"PYRUNC_FOREGROUND": os.fsencode(told)})
    except OSError as err:
        log.debug(f"the front does not take over: {err}")
    for fd in kept:
        os.set_inheritable(fd, False)
