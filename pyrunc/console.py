"""Foreground `run`: relay stdio, forward signals, wait for the container's process.

May touch: our stdio, pipes to the container, and the processes that are our children.

The container gets three pipes, never our own stdio: a terminal of ours is not its business.  One
poll(2) loop serves everything.  Backpressure is kept: we read only what we could pass on, in pieces
small enough that a pipe that poll(2) called writable takes them whole, so no write ever blocks and
the flags of descriptors that others share stay as they are.
"""

import os
import select

from pyrunc import container, handshake, signals
from pyrunc._core import lib
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.launch import Launch

PIECE = 4096  # PIPE_BUF
IN = select.POLLIN | select.POLLHUP | select.POLLERR
CHLD = 17
IGNORED = (CHLD, 23)  # SIGCHLD is for us; SIGURG is what Go sends itself


def run_foreground(launch: "Launch", keep: bool) -> int:
    """Create, start and wait. Returns N, or 128+S for a death by signal S."""
    # Blocked before anything is spawned: no SIGCHLD is lost.  init resets its own mask.
    events = handshake.check(lib.core_signalfd(), "signalfd")
    pipes = [os.pipe() for _ in range(3)]  # close-on-exec, as all of Python's
    launch.stdio = (pipes[0][0], pipes[1][1], pipes[2][1])
    try:
        launch.set_up()
    finally:
        for fd in launch.stdio:
            os.close(fd)
    copies = [Copy(0, pipes[0][1]), Copy(pipes[1][0], 1), Copy(pipes[2][0], 2)]
    launch.start()
    assert launch.init is not None
    status = _serve(launch.init, copies, events)
    for copy in copies[1:]:
        copy.drain()
    if not keep:
        _destroy(launch)
    launch.close()
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _destroy(launch: "Launch") -> None:
    try:
        container.destroy(launch.root, launch.record, force=True)
    except Error as err:
        from pyrunc import log

        log.warning(err.message)


class Copy:
    """One direction: what was read from `source` and still has to go to `sink`."""

    __slots__ = ("data", "ended", "sink", "source")

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.data = b""
        self.ended = False

    def interest(self) -> "tuple[int, int] | None":
        """(descriptor, poll events) it waits for; None when it is over."""
        if self.ended:
            return None
        return (self.sink, select.POLLOUT) if self.data else (self.source, select.POLLIN)

    def move(self) -> None:
        """Do the one thing that poll(2) said would not block."""
        try:
            if self.data:
                written = os.write(self.sink, self.data[:PIECE])
                self.data = self.data[written:]
            else:
                self.data = os.read(self.source, 65536)
                if not self.data:
                    self.end()
        except (BlockingIOError, InterruptedError):
            pass  # somebody shares the descriptor and made it non-blocking; poll(2) again
        except OSError:
            # EPIPE: nobody reads any more, and the writer shall learn it.  EIO: a terminal is gone.
            self.end()

    def end(self) -> None:
        """Close our end of the container's pipe: its reader sees the end, its writer EPIPE."""
        self.ended = True
        self.data = b""
        for fd in (self.source, self.sink):
            if fd > 2:
                os.close(fd)

    def drain(self) -> None:
        """Pass on what the container wrote before it died, however slow our reader is."""
        if self.ended:
            return
        os.set_blocking(self.source, False)
        while not self.ended:
            if not self.data:
                try:
                    self.data = os.read(self.source, 65536)
                except BlockingIOError:
                    break  # empty, and some process outside the container's life still holds it
                except OSError:
                    break
                if not self.data:
                    break
            poll = select.poll()
            poll.register(self.sink, select.POLLOUT)
            poll.poll()
            self.move()
        if not self.ended:
            self.end()


def _serve(init: handshake.Init, copies: "list[Copy]", events: int) -> int:
    """Relay until the container's process has ended; its wait status."""
    while True:
        poll = select.poll()
        poll.register(events, select.POLLIN)
        waiting: dict[int, list[tuple[Copy, int]]] = {}
        for copy in copies:
            want = copy.interest()
            if want:
                # stdin and stdout may be one terminal: one entry then carries both interests.
                others = waiting.setdefault(want[0], [])
                others.append((copy, want[1]))
                poll.register(want[0], sum({event for _, event in others}))
        for fd, _ in poll.poll():
            if fd == events:
                status = _signals(init, events)
                if status is not None:
                    return status
            else:
                for copy, _ in waiting[fd]:
                    copy.move()


def _signals(init: handshake.Init, events: int) -> "int | None":
    """Forward what arrived; the wait status of the container's process once it has ended."""
    while True:
        try:
            info = os.read(events, 128)  # struct signalfd_siginfo
        except BlockingIOError:
            return None
        number = int.from_bytes(info[:4], "little")
        if number == CHLD:
            status = _reap(init)
            if status is not None:
                return status
        elif number not in IGNORED:
            try:
                signals.send(init.pidfd, number)
            except OSError:
                pass  # it is ending; SIGCHLD is on its way


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
