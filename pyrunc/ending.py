"""The end of containers: waiting for it, and how it came.

May touch: /proc and pidfds of the containers' processes (it only looks).

An exit status is the parent's to have, and we are not the parent.  The kernel shows it to others

    until the parent has taken it    in /proc/PID/stat, field 52 (proc_pid_stat(5))
    from then on, Linux 6.15         to who holds a pidfd: PIDFD_GET_INFO (pidfd_open(2))

and otherwise it is not known.  So statuses are read at the moment in which the pidfd tells of the
end, where both ways are open.
"""

import fcntl
import os
import select
import time

from pyrunc import container, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# linux/pidfd.h: struct pidfd_info begins with a mask of what is asked for, and told; the exit
# status is its last member.
PIDFD_GET_INFO = 0xC040FF0B
PIDFD_INFO_EXIT = 8
INFO_SIZE = 64


def wait(
    root: str, ids: "list[str]", timeout: "float | None", tell: "Callable[[int | None], None]"
) -> "list[str]":
    """Wait until all containers have stopped. Returns those that had not within timeout seconds.

    tell() gets their exit statuses in the order of ids, each as soon as it can (None: not known);
    it is not called for who did not stop, nor for who comes after that one.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    found: "dict[int, int | None]" = {}
    waiting: "dict[int, tuple[int, int, int]]" = {}
    poll = select.poll()
    try:
        for index, id in enumerate(ids):
            record = container.load(root, id)
            pid, start = record["init_process_pid"], record["init_process_start"]
            fd = _open(pid, start)
            if fd is None:
                found[index] = None
            else:
                waiting[fd] = (index, pid, start)
                poll.register(fd, select.POLLIN)
        told = 0
        while True:
            while told in found:
                tell(found[told])
                told += 1
            if not waiting:
                return []
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = poll.poll(None if left is None else min(left * 1000, 2**31 - 1))
            if not ready and left == 0:
                return [ids[index] for index in sorted(row[0] for row in waiting.values())]
            ended = [fd for fd, _ in ready if procfs.has_ended(fd)]
            if ready and not ended:
                time.sleep(procfs.LOOK_AGAIN)
            for fd in ended:
                index, pid, start = waiting.pop(fd)
                poll.unregister(fd)
                found[index] = status(fd, pid, start)
                os.close(fd)
    finally:
        for fd in waiting:
            os.close(fd)


def _open(pid: int, start: int) -> "int | None":
    """A pidfd of that very process, dead or alive; None if nothing is left of it."""
    if pid <= 0:
        return None
    try:
        fd = procfs.open_process(pid)
    except ProcessLookupError:
        return None
    if procfs.start_time(pid) == start:
        return fd
    os.close(fd)
    return None


def status(pidfd: int, pid: int, start: int) -> "int | None":
    """The exit status of a process that has ended: 128 + N after signal N; None if not known."""
    code = procfs.exit_code(pid, start)
    if code is None:  # its parent was faster
        info = bytearray(INFO_SIZE)
        info[0] = PIDFD_INFO_EXIT
        try:
            fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
        except OSError:  # Linux before 6.13 has no such request
            return None
        if not info[0] & PIDFD_INFO_EXIT:
            return None
        code = int.from_bytes(info[-4:], "little")
    value = os.waitstatus_to_exitcode(code)
    return value if value >= 0 else 128 - value
