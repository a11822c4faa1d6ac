"""Start a sealed copy of init with a plan, and hold the conversation with it.  Decides nothing.

May touch: the sealed copy of init, a memfd for the plan, the socket to init.

        [ init ]                         [ pyrunc ]
   SYNC place           -->   its cgroups, by systemd           (create)
                        <--   GO
   SYNC unshared        -->   ID maps, time offsets             (new user or time namespace)
                        <--   GO
   PID pid              -->              (from the stage before, which then ends)
   SYNC joined          -->   OOM score, CPU affinity           (exec)
                        <--   GO
   SYNC mounted         -->   OOM score, limits, prestart and createRuntime hooks (create)
                        <--   GO
   WARN step value      -->   log it                            (no reply)
   SYNC ready           -->   the record
                        <--   GO
   UNREACHABLE path     -->   open the bind source for init     (user namespaces)
                        <--   GO fd
   LISTENER fd          -->   the seccomp agent gets it         (before or after "ready")
                        <--   GO
   end of file          =     init waits at exec.fifo (create) or has exec'ed
   WHY clause           -->   it goes into the Error
   FAIL op step errno   -->   Error, worded by failures.py; the caller undoes everything

All stages write to the same socket, so the PID of a process may come after the first message of
that process.  Packets are whole (SOCK_SEQPACKET).
"""

import errno
import os
import select

from pyrunc import attributes, log, procfs
from pyrunc._core import ffi, lib
from pyrunc.errors import Error, reason, strerror
from pyrunc.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

INIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_init")
HEAD = 24  # sizeof(struct message)
IDLE = 200  # milliseconds of silence
GONE = (errno.EPIPE, errno.ECONNRESET)  # init has died, and the next read says so
BASE = 3  # first descriptor that is init's own; preserved ones come before it


def check(result: int, what: str) -> int:
    """The result of a _core call, or the Error it stands for."""
    if result < 0:
        raise Error(f"{what}: {strerror(-result)}")
    return result


class Init:
    """A running init: its processes, and the socket to them.

    first: the pid of the first stage, 0 when it has ended.  pid: of the latest stage, 0 until there
    is a second one; the last stage is the container's process.  clones: how many stages have been
    succeeded by another one.  reaped: the wait status of pid, once we have it.
    """

    __slots__ = ("clones", "first", "pid", "pidfd", "plan", "reaped", "socket")

    def __init__(self, plan: Plan, first: int, socket: int) -> None:
        self.plan = plan
        self.first = first
        self.clones = 0
        self.socket = socket
        self.pid = 0
        self.pidfd = -1
        self.reaped: "int | None" = None


def spawn(
    plan: Plan,
    fds: "list[int]",
    stdio: "tuple[int, int, int]" = (-1, -1, -1),
    base: int = BASE,
    score: "int | None" = None,
) -> Init:
    """Start init with the plan. fds: what its 'f' arguments index; stdio: -1 keeps ours.

    base: the first descriptor that is init's own; those from 3 to base - 1 are passed on unchanged.
    score: the OOM score to be born with, see attributes.lend_oom_score().
    Every descriptor stays the caller's to close.  Raises Error if init cannot be started.
    """
    exe = check(lib.core_seal(os.fsencode(INIT)), f"unable to seal {INIT}")
    pair = ffi.new("int[2]")
    memfd = -1
    try:
        memfd = os.memfd_create("pyrunc-plan", os.MFD_CLOEXEC)
        data = plan.encode()
        if os.pwrite(memfd, data, 0) != len(data):
            raise Error("unable to write the plan")
        check(lib.core_socketpair(pair), "socketpair")
        try:
            passed = [pair[1], memfd, *fds]
            before = attributes.lend_oom_score(score)
            try:
                pid = lib.core_spawn(exe, base, passed, len(passed), list(stdio))
            finally:
                attributes.oom_score(os.getpid(), before)
            check(pid, "unable to start init")
        except BaseException:
            os.close(pair[0])
            raise
        finally:
            os.close(pair[1])
    except OSError as err:
        raise Error(f"unable to start init: {reason(err)}") from err
    finally:
        os.close(exe)
        if memfd >= 0:
            os.close(memfd)
    if log.debugging():
        _announce(plan, pid)
    return Init(plan, pid, pair[0])


def _announce(plan: Plan, pid: int) -> None:
    """What init is about to do, for --debug; the words of runc, where it has some."""
    from pyrunc import listing

    mask = sum(1 << cpu for cpu in os.sched_getaffinity(0))  # inherited
    lines = [f"nsexec[{pid}]: => nsexec container setup", f"nsexec[{pid}]: affinity: {mask:#x}"]
    # Without environments: they are full of passwords.
    lines += listing.text(plan, ("env", "before", "after")).splitlines()
    for line in lines:
        log.relay("debug", line)


def _report(kind: int, step: int, value: int) -> None:
    """A message of init's, for --debug."""
    from pyrunc import listing

    if kind == lib.MSG_PID:
        log.relay("debug", f"nsexec-{step}: forward stage-{step + 1} pid ({value})")
    elif kind == lib.MSG_SYNC:
        log.relay("debug", f"child process in init(): {listing.SYNC_NAMES.get(value)}")


def converse(
    init: Init,
    on_sync: "Callable[[Init, int], None]",
    warn: "Callable[[str], None]",
    idle: "Callable[[], None] | None" = None,
    on_listener: "Callable[[Init, int], None] | None" = None,
    on_unreachable: "Callable[[Init, str, int], int] | None" = None,
) -> None:
    """Answer init until it hangs up.

    on_sync(init, SYNC_*): does the host's part; GO is sent after it.
    warn(text): logs a warning of init's.
    idle(): called every IDLE ms while init has nothing to say.
    on_listener(init, number): takes descriptor `number` of init: the listener of a seccomp filter
    that has an agent, or what an OP_SOURCE has opened.
    on_unreachable(init, path, number): returns a descriptor of a bind source that init may not
    reach, or -1.  number: 0, or the number in OP_IDMAP of a mount that init may not map.
    Raises Error if init fails or ends early; whatever a callback raises passes through.
    """
    ready = False
    waiting = speaker = 0  # a SYNC, whose sender's own PID message may still have to come
    unreachable: "tuple[str, int] | None" = None  # likewise
    stages: "dict[int, int]" = {}  # number of clones before a stage -> PID of the stage after it
    why = ""
    while True:
        ahead = bool(waiting or unreachable)
        if idle or ahead:
            _wait(init, idle, ahead)
        try:
            data = os.read(init.socket, HEAD + lib.PLAN_MAX_TEXT)
        except ConnectionResetError:
            continue  # init died before it read an answer; what it said before comes now
        except OSError as err:
            raise Error(f"unable to read from init: {reason(err)}") from err
        if not data:
            break
        if len(data) < HEAD:
            raise Error("init sent a malformed message")
        kind, op, step, number = (
            int.from_bytes(data[at : at + 4], "little", signed=at == 12) for at in (0, 4, 8, 12)
        )
        value = int.from_bytes(data[16:24], "little")
        if log.debugging():
            _report(kind, step, value)
        if kind == lib.MSG_PID:
            stages[step] = value
            while init.clones in stages:
                _succeed(init, stages.pop(init.clones))
        elif kind == lib.MSG_SYNC:
            waiting, speaker = value, step
        elif kind in (lib.MSG_LISTENER, lib.MSG_SOURCE) and on_listener:
            on_listener(init, value)
            _go(init)
        elif kind == lib.MSG_UNREACHABLE:
            unreachable, speaker = (os.fsdecode(data[HEAD:]), value), step
        elif kind == lib.MSG_WARN:
            from pyrunc import failures

            warn(failures.warning(step, number, value))
        elif kind == lib.MSG_WHY:
            why = os.fsdecode(data[HEAD:])
        else:
            from pyrunc import blame, explain, failures

            text = failures.word(init.plan, op, step, number, value, data[HEAD:])
            why = why or explain.clause(init, op, step, number, value)
            raise Error(blame.explained(text, why))
        if waiting == lib.SYNC_PLACE or waiting and init.clones == speaker:
            on_sync(init, waiting)
            ready = ready or waiting == lib.SYNC_READY
            waiting = 0
            _go(init)
        if unreachable and init.clones == speaker:
            fd = on_unreachable(init, *unreachable) if on_unreachable else -1
            unreachable = None
            _go(init, fd)
    if not ready:
        raise Error(f"init ended before the container was ready{_how_ended(init)}")
    log.relay("debug", "init: closing the pipe to signal completion")


def _succeed(init: Init, pid: int) -> None:
    """The next stage has been cloned, and the one before it ends.

    Without root other processes of the same user may get at init's socket and write to it.  So the
    process must be a child of ours, and cannot be any process of the host.
    """
    try:
        _is_over(pid)
    except ChildProcessError:
        raise Error(f"init named a process that is not its own: {pid}") from None
    pidfd = procfs.open_process(pid)
    if init.pidfd >= 0:
        os.close(init.pidfd)
    os.waitpid(init.pid or init.first, 0)
    init.pid, init.pidfd, init.first = pid, pidfd, 0
    init.clones += 1


def _wait(init: Init, idle: "Callable[[], None] | None", ahead: bool) -> None:
    """Wait until there is something to read.

    ahead: a stage has spoken whose PID the stage before it has not told yet.  If that was killed,
    it never will, and the socket does not end either, because the new stage has it, too.
    """
    poll = select.poll()
    poll.register(init.socket, select.POLLIN)
    while not poll.poll(IDLE):
        if idle:
            idle()
        if ahead and _is_over(init.pid or init.first) and not poll.poll(0):
            raise Error(f"init ended before the container was ready{_how_ended(init)}")


def _is_over(pid: int) -> bool:
    """Whether a child of ours has ended; it can still be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _go(init: Init, fd: int = -1) -> None:
    """Send the go-ahead; a descriptor that goes along is closed here."""
    try:
        if fd >= 0:
            import socket

            with socket.socket(fileno=os.dup(init.socket)) as sock:
                socket.send_fds(sock, [b"g"], [fd])
        else:
            os.write(init.socket, b"g")
    except OSError as err:
        if err.errno not in GONE:  # init would wait for it, and we for init
            raise Error(f"unable to talk to init: {reason(err)}") from err
    finally:
        if fd >= 0:
            os.close(fd)


def _how_ended(init: Init) -> str:
    """`: signal: killed`: how the process ended that should have spoken; "" if that is unknown."""
    from pyrunc import signals

    pid = init.pid or init.first
    try:
        status = os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return ""
    if init.pid:
        init.reaped = status
    else:
        init.first = 0
    return f": {signals.describe_status(status)}"


def end(init: Init) -> None:
    """Kill and reap what is left of an init that failed, and close its descriptors."""
    for pid in (init.pid if init.reaped is None else 0, init.first):
        if pid:
            try:
                # Our own unreaped children: their numbers cannot have changed hands.
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass  # reaped by whoever waits for every child (foreground run)
    close(init)


def close(init: Init) -> None:
    """Close the descriptors of the conversation."""
    for fd in (init.socket, init.pidfd):
        if fd >= 0:
            os.close(fd)
    init.socket = init.pidfd = -1
