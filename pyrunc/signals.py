"""Signal names and numbers (host-free leaf): what `kill` accepts and how Go words a death."""

import os

from pyrunc.errors import Error

# Numbers of x86 and arm64 (asm-generic). The module `signal` costs 7 ms, and lacks half of them.
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
RTMIN = 34  # as glibc shows it: the kernel's 32 and 33 belong to its threads
RTMAX = 64

KILL = 9

# os/exec of Go prints these for a process that died of a signal.
_DEATHS = (
    "hangup",
    "interrupt",
    "quit",
    "illegal instruction",
    "trace/breakpoint trap",
    "aborted",
    "bus error",
    "floating point exception",
    "killed",
    "user defined signal 1",
    "segmentation fault",
    "user defined signal 2",
    "broken pipe",
    "alarm clock",
    "terminated",
)


def catchable() -> list[int]:
    """Every signal a disposition or a mask can be set for."""
    return [number for number in range(1, RTMAX + 1) if number not in (KILL, 19, 32, 33)]


def parse(text: str) -> int:
    """`15`, `TERM`, `sigterm`, `RTMIN+3` as a number; the kernel judges the number."""
    number = _integer(text)
    if number is None:
        name = text.upper()
        number = _named(name[3:] if name.startswith("SIG") else name)
    if number is None:
        from pyrunc import log

        raise Error(f"unknown signal {log.quote(text)}")
    return number


def _integer(text: str) -> "int | None":
    """What Go's strconv.Atoi takes: a sign and ASCII digits that fit in 64 bits."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or digits.strip("0123456789"):
        return None
    digits = digits.lstrip("0") or "0"
    if len(digits) > 18:
        return None
    return -int(digits) if text[0] == "-" else int(digits)


def _named(name: str) -> "int | None":
    if name in _NAMES:
        return _NAMES.index(name) + 1
    if name in _ALIASES:
        return _ALIASES[name]
    for base, start in (("RTMIN", RTMIN), ("RTMAX", RTMAX)):
        if name == base:
            return start
        if name.startswith(base) and name[len(base)] == ("+" if base == "RTMIN" else "-"):
            offset = _integer(name[len(base) :])
            if offset is not None and RTMIN <= start + offset <= RTMAX:
                return start + offset
    return None


def name(number: int) -> str:
    """`SIGTERM`, `SIGRTMIN+2`, or the number itself."""
    if 1 <= number <= len(_NAMES):
        return "SIG" + _NAMES[number - 1]
    if RTMIN <= number <= RTMAX:
        return f"SIGRTMIN+{number - RTMIN}"
    return str(number)


def describe(number: int) -> str:
    """`killed`: the signal a process died of, in Go's words."""
    return _DEATHS[number - 1] if 1 <= number <= len(_DEATHS) else f"signal {number}"


def describe_status(status: int) -> str:
    """A wait status in Go's words: `exit status 3`, `signal: killed (core dumped)`."""
    if not status & 0x7F:
        return f"exit status {status >> 8 & 0xFF}"
    core = " (core dumped)" if status & 0x80 else ""
    return f"signal: {describe(status & 0x7F)}{core}"


def send(pidfd: int, number: int) -> None:
    """Signal the process of procfs.open_process(); OSError passes."""
    if not 0 <= number <= RTMAX:
        raise OSError(22, "Invalid argument")
    try:
        from _signal import pidfd_send_signal  # type: ignore[import-not-found]
    except ImportError:  # the private module of another Python
        from signal import pidfd_send_signal
    try:
        pidfd_send_signal(pidfd, number)
    except OSError as err:
        if err.errno != 38:  # ENOSYS: Linux before 5.1
            raise
        from pyrunc import procfs

        os.kill(procfs.number_of(pidfd), number)


def stop(number: int, group: bool = False) -> None:
    """Stop ourselves by a signal that is blocked, until the next SIGCONT.  group: the whole job.

    Nothing happens if the kernel would not stop us: if the signal is ignored, or if our process
    group is orphaned.
    """
    from _signal import SIG_BLOCK, SIG_UNBLOCK, pthread_sigmask

    pthread_sigmask(SIG_UNBLOCK, [number])
    os.kill(0 if group else os.getpid(), number)
    pthread_sigmask(SIG_BLOCK, [number])
