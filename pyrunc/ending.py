"""The end of containers: wait for it, and find out the exit status.

May touch: /proc and pidfds of the containers' processes (it only looks).

Only the parent of a process gets its exit status, and we are not the parent.  But it can be seen

    until the parent has reaped it    in /proc/PID/stat, field 52 (proc_pid_stat(5))
    after that, from Linux 6.15 on    to the holder of a pidfd: PIDFD_GET_INFO (pidfd_open(2))

So we hold a pidfd, and look in both places as soon as it tells of the end.
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

    tell(status) is called for each container in the order of ids, as soon as that order allows;
    None: its status is not known.  It is not called for a container that did not stop in time, nor
    for those after it.
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
