"""The caller's side of a container's stdio: what `run` and `exec` do in the foreground.

May touch: our stdio, pipes to the container, and the processes that are our children.

    foreground = Foreground()
    try:
        init = handshake.spawn(plan, fds, foreground.stdio)
        foreground.spawned()
        ...                                 the handshake; the program starts
        status = foreground.serve(init)     relay, forward signals, until init's program has ended
        foreground.drain()
    finally:
        foreground.close()

The container gets three pipes, never our own stdio: a terminal of ours is not its business.
"""

import os

from pyrunc import handshake, relay, signals
from pyrunc._core import lib
from pyrunc.relay import Copy

CHLD = 17
URG = 23
WINCH = 28
# SIGCHLD is for us, SIGWINCH tells of our own terminal, SIGURG is what Go programs send themselves.
IGNORED = (CHLD, URG, WINCH)
ENDING = {1, 2, 3, 15}  # once there is nobody to forward them to, they mean us


class Foreground:
    """The relay between our stdio and one process of a container.

    From its birth to the end of this process every signal is blocked: serve() forwards them.
    stdio: the container's three descriptors, for handshake.spawn().
    """

    __slots__ = ("_copies", "_events", "stdio")

    def __init__(self) -> None:
        # Before anything is spawned: no SIGCHLD is lost.  init resets its own mask.
        self._events = handshake.check(lib.core_signalfd(), "signalfd")
        pipes = [os.pipe() for _ in range(3)]  # close-on-exec, as all of Python's
        self.stdio = (pipes[0][0], pipes[1][1], pipes[2][1])
        self._copies = [Copy(0, pipes[0][1]), Copy(pipes[1][0], 1), Copy(pipes[2][0], 2)]

    def spawned(self) -> None:
        """init has its descriptors: close our copies, or we would wait for ourselves."""
        for fd in self.stdio:
            if fd >= 0:
                os.close(fd)
        self.stdio = (-1, -1, -1)

    def serve(self, init: handshake.Init) -> int:
        """Relay and forward until the container's process has ended; its wait status."""
        while True:
            if relay.step(self._copies, self._events):
                for number in _pending(self._events):
                    status = _handle(init, number)
                    if status is not None:
                        return status

    def drain(self) -> None:
        """Pass on what is still on its way out, however slow our reader is, until told to end."""
        outward = self._copies[1:]
        for copy in outward:
            copy.finish()
        while not all(copy.ended for copy in outward):
            if relay.step(outward, self._events) and ENDING & set(_pending(self._events)):
                return

    def close(self) -> None:
        """Let go of everything, whatever happened before."""
        self.spawned()
        for copy in self._copies:
            if not copy.ended:
                copy.end()
        if self._events >= 0:
            os.close(self._events)
            self._events = -1


def exit_code(status: int) -> int:
    """What a command exits with for a wait status: N, or 128+S for a death by signal S."""
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
        numbers.append(int.from_bytes(info[:4], "little"))


def _handle(init: handshake.Init, number: int) -> "int | None":
    """Forward a signal, or look who died: the wait status of the container's process, if it did."""
    if number == CHLD:
        return _reap(init)
    if number not in IGNORED:
        try:
            signals.send(init.pidfd, number)
        except OSError:
            pass  # it is ending; SIGCHLD is on its way
    return None


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
