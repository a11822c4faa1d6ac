"""The caller's side of a container's stdio: what `run` and `exec` do in the foreground.

May touch: our stdio and terminal, pipes to the container, processes that are our children.

    foreground = Foreground(terminal)
    try:
        init = handshake.spawn(plan, fds, foreground.stdio)     OP_CONSOLE gets foreground.socket
        ...                                                     the handshake
        foreground.spawned()
        ...                                                     the program starts
        status = foreground.serve(init)                         until it has ended
        foreground.drain()
    finally:
        foreground.close()

The container gets three pipes, or a terminal of its own devpts, and never our own stdio: a terminal
of ours is not its business.
"""

import os
import sys

from pyrunc import handshake, log, relay, signals
from pyrunc._core import ffi, lib
from pyrunc.errors import Error, strerror
from pyrunc.relay import Copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.notify import Relay
    from pyrunc.terminal import Terminal

INT = 2
PIPE = 13
CHLD = 17
CONT = 18
TTOU = 22
STOPPING = (20, 21, TTOU)  # what a terminal, or who uses one, stops a job with
URG = 23
WINCH = 28
# SIGCHLD is for us, SIGWINCH tells of our own terminal, SIGURG is what Go programs send themselves.
IGNORED = (CHLD, URG, WINCH)
QUIET = 200  # ms of silence after which a foreground command is one that stays
LINGER = 1000  # ms of silence after which nobody else is about to use a dead process's output
UNKNOWN = 255 << 8  # the wait status of a process that somebody else has reaped
ENDING = {1, 2, 3, 15}  # once there is nobody to forward them to, they mean us


def check(terminal: bool, detached: bool, socket: str) -> None:
    """Is there somebody to have the master of the terminal, and only if there is a terminal?"""
    if terminal and detached and not socket:
        raise Error("cannot allocate tty if runc will detach without setting console socket")
    if socket and not (terminal and detached):
        raise Error("cannot use console socket if runc will not detach or allocate tty")


def connect(path: str) -> int:
    """A connection to the caller's unix socket, for init to send a descriptor over."""
    result = int(lib.core_connect(os.fsencode(path)))
    if result < 0:
        from pyrunc import blame

        why = blame.path(path, -result)
        raise Error(blame.explained(f"dial unix {path}: connect: {strerror(-result)}", why))
    return result


def sockets(opts: "dict[str, Any]", own: int) -> "dict[str, int]":
    """Where init shall send the master of its terminal, and a pidfd; the caller closes them.

    own: a Foreground's socket, or -1.
    """
    found = {"console": os.dup(own)} if own >= 0 else {}
    for kind in ("console", "pidfd"):
        if opts[f"{kind}_socket"]:
            found[kind] = connect(opts[f"{kind}_socket"])
    return found


class Foreground:
    """The relay between our stdio and one process of a container.

    From its birth to the end of this process every signal is blocked: serve() forwards them.
    stdio: the container's three descriptors, for handshake.spawn().
    socket: where OP_CONSOLE shall send the master to; -1 without a terminal.
    notify: the way of the container's sd_notify(3) to our service manager, or None.
    """

    __slots__ = ("_copies", "_events", "_receiver", "_terminal", "notify", "socket", "stdio")

    def __init__(self, terminal: bool = False) -> None:
        self._terminal: "Terminal | None" = None
        self.notify: "Relay | None" = None
        self._copies: "list[Copy]" = []
        self._receiver = self.socket = -1
        self.stdio = (-1, -1, -1)
        if terminal:
            from pyrunc.terminal import Terminal

            self._terminal = Terminal()
            pair = ffi.new("int[2]")
            handshake.check(lib.core_socketpair(pair), "socketpair")
            self._receiver, self.socket = pair
        else:
            pipes = [os.pipe() for _ in range(3)]  # close-on-exec, as all of Python's
            self.stdio = (pipes[0][0], pipes[1][1], pipes[2][1])
            self._copies = [Copy(0, pipes[0][1])]
            self._copies += [Copy(pipes[fd][0], relay.outlet(fd)) for fd in (1, 2)]
        # Before anything is spawned: no SIGCHLD is lost.  init resets its own mask.
        self._events = handshake.check(lib.core_signalfd(), "signalfd")

    def spawned(self) -> None:
        """init stands ready: close what is its own, or we would wait for ourselves."""
        self._close_theirs()
        if self._terminal:
            master = handshake.check(lib.core_recv_fd(self._receiver), "unable to get the terminal")
            self._terminal.attach(master)
            farewell = self._terminal.end_of_file
            self._copies = [
                Copy(0, os.dup(master), farewell),
                Copy(os.dup(master), relay.outlet(1)),
            ]

    def serve(self, init: handshake.Init, leaves: "tuple[str, int] | None" = None) -> "int | None":
        """Relay and forward until the container's process has ended; its wait status.

        leaves: as for handover.give(); None: that is not for it to take.
        None: SIGINT told us, as it does with a terminal, to leave it alone.
        """
        named = False
        waiting = not self._make_raw()  # it has our size already, and perhaps one of its own since
        if waiting:  # as whoever changes the mode of a terminal in the background
            signals.stop(TTOU, group=True)
        while True:
            events = [self._events, *([self.notify.fileno()] if self.notify else [])]
            ready = relay.step(self._copies, events, -1 if named and not waiting else QUIET)
            if ready is None:
                # Only who stays is looked at; importing prctl costs what a short process takes.
                if not named:
                    if leaves and not (self._terminal or self.notify):
                        from pyrunc import handover

                        handover.give(self._copies, self._events, (init.pid, init.pidfd), leaves)
                    _show_name()
                named = True
                waiting = waiting and not self._take_terminal()
                continue
            if ready - {self._events}:
                self._notify()
            numbers = _pending(self._events)
            for number in numbers:
                if number == CHLD:
                    status = _reap(init)
                    if status is not None:
                        self._notify()  # what came before the end may have come after the look
                        log.debug("process exited", pid=init.pid, status=exit_code(status))
                        return status
                    continue
                if not self._forward(init, number):
                    return UNKNOWN
                if number == INT and self._terminal:
                    return None
            if self._terminal:
                waiting = self._obey(numbers, waiting)
                if self._copies[1].ended:
                    self._hang_up()

    def _forward(self, init: handshake.Init, number: int) -> bool:
        """False if somebody else has reaped the process: no SIGCHLD will come."""
        if number not in IGNORED:
            try:
                signals.send(init.pidfd, number)
            except ProcessLookupError:
                return False  # what has ended takes signals as long as it can be waited for
            except OSError:
                pass
        return True

    # --- a job of a shell's, with a terminal ---

    def _take_terminal(self) -> bool:
        """Make our terminal raw, and the container's as large as ours.  False: as _make_raw()."""
        if self._terminal:
            self._terminal.resize()
        return self._make_raw()

    def _make_raw(self) -> bool:
        """False if we would read our terminal, and have to wait until it is ours."""
        if not self._terminal:
            return True
        try:
            return self._terminal.make_raw() or not os.isatty(0)
        except Error:
            return True  # it is gone, which ends the copies

    def _obey(self, numbers: "list[int]", waiting: bool) -> bool:
        """What signals mean to us.  Returns whether we are now waiting for our terminal."""
        assert self._terminal is not None
        if WINCH in numbers:
            self._terminal.resize()
        for number in STOPPING:
            if number in numbers:
                self._terminal.restore()
                signals.stop(number)
                return not self._take_terminal()
        if CONT in numbers:
            waiting = not self._take_terminal()
            # Who was told something else, too, may have been told to end: that comes first.
            if waiting and set(numbers) <= {CONT, *IGNORED}:
                signals.stop(TTOU, group=True)
        return waiting

    def _notify(self) -> None:
        """The container says something about its readiness; for the manager we are the service."""
        if self.notify is None:
            return
        barrier = self.notify.move(os.getpid())
        if barrier is not None:
            os.close(barrier)  # only who is about to end has to wait for that
            self.notify.close()
            self.notify = None

    def _hang_up(self) -> None:
        if self._terminal and not self._copies[0].ended:
            self._copies[0].end()
        if self._terminal:
            self._terminal.hang_up()

    def drain(self) -> None:
        """Pass on what is still on its way out, however slow our reader is, until told to end.

        Others may have it, too: a shell leaves the tee of `exec > >(tee log)` behind, which still
        has something to say.  A daemon that has not shall keep nobody waiting.
        """
        outward = self._copies[1:]
        while not all(copy.ended for copy in outward):
            silent = relay.step(outward, [self._events], LINGER) is None
            if silent and not any(copy.data for copy in outward):
                return
            if ENDING & set(_pending(self._events)):
                return

    def _close_theirs(self) -> None:
        for fd in (*self.stdio, self.socket):
            if fd >= 0:
                os.close(fd)
        self.stdio = (-1, -1, -1)
        self.socket = -1

    def close(self) -> None:
        """Let go of everything, whatever happened before."""
        self._close_theirs()
        for copy in self._copies:
            if not copy.ended:
                copy.end()
        if self._terminal:
            self._terminal.close()
        for fd in (self._receiver, self._events):
            if fd >= 0:
                os.close(fd)
        self._receiver = self._events = -1


def exit_code(status: "int | None") -> int:
    """What a command exits with for what serve() returned: N, or 128+S for a death by signal S."""
    if status is None:
        return 0
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _pending(events: int) -> "list[int]":
    """The signals that have arrived, in their order."""
    numbers: list[int] = []
    while True:
        try:
            info = os.read(events, 128)  # struct signalfd_siginfo
        except BlockingIOError:
            return numbers
        number, sender = (int.from_bytes(info[at : at + 4], "little") for at in (0, 12))
        # A reader of ours that vanished is no news for the container: it will find out itself.
        if number != PIPE or sender != os.getpid():
            numbers.append(number)


def _show_name() -> None:
    """Whoever lists processes sees what was typed, not the interpreter and its flags."""
    import prctl

    typed = os.fsencode(" ".join(sys.argv[1:]))
    prctl.set_proctitle(typed.decode("utf-8", "replace"))  # it takes nothing but Unicode
    prctl.set_name("pyrunc")


def _reap(init: handshake.Init) -> "int | None":
    """Reap every child that ended (we may be a subreaper); the main one's status, if among them."""
    main = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return main
        if not pid:
            return main
        if pid == init.pid:
            main = init.reaped = status
