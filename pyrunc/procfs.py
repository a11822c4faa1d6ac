"""Facts about one process, read from /proc (reads only; never signals anything)."""

import errno
import os

from pyrunc.errors import Error

LOOK_AGAIN = 0.01  # seconds between two looks, on kernels without pidfds
DEAD = "ZX"  # zombie and dead: not a process any more, whatever /proc still shows


PF_EXITING = 4  # linux/sched.h: it runs no program any more, though it may not be dead yet


def stat(pid: int) -> "tuple[str, int] | None":
    """(state letter, start time in clock ticks) of a process; None if there is none."""
    fields = _fields(pid)
    return (fields[0].decode(), int(fields[19])) if fields else None


def _fields(pid: int) -> "list[bytes]":
    """/proc/PID/stat from its third field on; none if there is no such process."""
    path = f"/proc/{pid}/stat"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []
    except OSError as err:  # it may be there: not being able to look is an error
        raise Error.os("open", path, err) from err
    try:
        data = os.read(fd, 4096)
    except ProcessLookupError:  # it was reaped after the open
        return []
    except OSError as err:
        raise Error.os("read", path, err) from err
    finally:
        os.close(fd)
    # The command name, field 2, may hold anything, parentheses and newlines included.
    return data[data.rindex(b")") + 2 :].split()


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 if the process is gone."""
    found = stat(pid)
    return found[1] if found else 0


def alive(pid: int, start: int) -> bool:
    """Is this very process (not a later one of the same number) still running?"""
    if pid <= 0:
        return False
    found = stat(pid)
    return found is not None and found[1] == start and found[0] not in DEAD


def ending(pid: int, start: int) -> bool:
    """Is this very process dead, or about to be, because it was killed or has called exit?"""
    fields = _fields(pid)
    return (
        not fields
        or int(fields[19]) != start
        or fields[0].decode() in DEAD
        or int(fields[6]) & PF_EXITING != 0
    )


def exit_code(pid: int, start: int) -> "int | None":
    """The wait status of this very process, if it is a zombie; None if we cannot know it."""
    fields = _fields(pid)
    if not fields or int(fields[19]) != start or fields[0].decode() not in DEAD:
        return None
    # A 0 may mean that we are not allowed to see it.
    return int(fields[49]) if exe(pid) != "" else None


def state_letter(pid: int) -> str:
    """`R`, `S`, `D`...; empty if the process is gone."""
    found = stat(pid)
    return found[0] if found else ""


def pidfd(pid: int, start: int) -> "int | None":
    """A pidfd (close-on-exec; the caller closes it) of that very process; None if it is gone.

    The start time is read after the open: from then on the number cannot change hands unnoticed.
    """
    if pid <= 0:
        return None
    try:
        fd = open_process(pid)
    except ProcessLookupError:
        return None
    try:
        found = alive(pid, start)
    except BaseException:
        os.close(fd)
        raise
    if found:
        return fd
    os.close(fd)
    return None


def open_process(pid: int) -> int:
    """A descriptor of the process that has this number now; close-on-exec, the caller closes it.

    It is a pidfd, or before Linux 5.3 its directory in /proc; either goes on naming that process.
    Raises ProcessLookupError if there is no such process.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError as err:
        if err.errno != errno.ENOSYS:
            raise Error.os("pidfd_open", pid, err) from err
    try:
        return os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as err:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from err


def _is_directory(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o170000 == 0o040000


def has_ended(fd: int) -> bool:
    """Whether the process of open_process() has ended, after poll(2) called fd readable."""
    if not _is_directory(fd):
        return True
    try:
        file = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    except (FileNotFoundError, ProcessLookupError):
        return True
    try:
        data = os.read(file, 4096)
    except ProcessLookupError:
        return True
    finally:
        os.close(file)
    return data[data.rindex(b")") + 2 :][:1].decode() in DEAD


def wait(fd: int, seconds: "float | None") -> bool:
    """Whether the process of open_process() has ended in time.  None: wait for ever."""
    import select
    import time

    deadline = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        # poll(2) counts in int milliseconds; 24 days at a time are enough.
        ready = poll.poll(None if left is None else min(left * 1000, 2**31 - 1))
        if ready and has_ended(fd):
            return True
        if left == 0:
            return False
        if ready:
            time.sleep(LOOK_AGAIN)


def number_of(fd: int) -> int:
    """The number of the process of open_process(); raises ProcessLookupError once it has ended."""
    if _is_directory(fd):
        number = 0 if has_ended(fd) else int(os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2])
    else:
        file = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            number = int(os.read(file, 4096).partition(b"\nPid:")[2].split()[0])
        finally:
            os.close(file)
    if number <= 0:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return number


def exe(pid: int) -> "str | None":
    """Target of /proc/PID/exe; empty if we may not look, None if there is nothing to see."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        return ""
    except OSError:
        return None


def stdio(pid: int) -> "list[str]":
    """What the first three descriptors of a process lead to; empty if they are not open."""
    links = []
    for fd in range(3):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            links.append("")
    return links


def in_user_namespace() -> bool:
    """Are we in one, so that the kernel may refuse what only the host's root can do?"""
    try:
        with open("/proc/self/uid_map", "rb") as file:
            return file.readline().split() != [b"0", b"0", b"4294967295"]
    except OSError:
        return False  # no user namespaces in this kernel
