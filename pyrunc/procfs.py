"""Facts about one process, read from /proc (reads only; never signals anything)."""

import os

from pyrunc.errors import Error

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
    except OSError as err:  # whoever cannot look must not say that nobody is there
        raise Error.os("open", path, err) from err
    try:
        data = os.read(fd, 4096)
    except OSError:  # ESRCH: it was reaped after the open
        return []
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
    """Is this very process dead, or about to be: has it been killed, or called exit?"""
    fields = _fields(pid)
    return (
        not fields
        or int(fields[19]) != start
        or fields[0].decode() in DEAD
        or int(fields[6]) & PF_EXITING != 0
    )


def exit_code(pid: int, start: int) -> "int | None":
    """What wait(2) tells the parent of this very process, a zombie; None if we cannot know."""
    fields = _fields(pid)
    if not fields or int(fields[19]) != start or fields[0].decode() not in DEAD:
        return None
    # Who may not look is shown a 0.
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
        fd = os.pidfd_open(pid)
    except OSError as err:
        if err.errno == 3:  # ESRCH
            return None
        raise
    try:
        found = alive(pid, start)
    except BaseException:
        os.close(fd)
        raise
    if found:
        return fd
    os.close(fd)
    return None


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
