"""Bytes between descriptors, for a foreground container: Copy is a direction, step() moves several.

Touches only descriptors.  Backpressure is kept: we read only what we could pass on, in pieces small
enough that a pipe that poll(2) called writable takes them whole, so no write ever blocks and the
flags of descriptors that others share stay as they are.
"""

import os
import select

PIECE = 4096  # PIPE_BUF
HOLD = 200  # ms until a terminal of another job is asked again


class Copy:
    """One direction: what was read from `source` and still has to go to `sink`."""

    __slots__ = ("data", "ended", "farewell", "held", "sink", "source")

    def __init__(self, source: int, sink: int, farewell: bytes = b"") -> None:
        self.source = source
        self.sink = sink
        self.data = b""
        self.farewell = farewell  # what to write after the end of the source
        self.ended = False
        self.held = False  # what is there to read is typed to another job

    def interest(self) -> "tuple[int, int] | None":
        """(descriptor, poll events) it waits for; None when it is over."""
        if self.ended:
            return None
        return (self.sink, select.POLLOUT) if self.data else (self.source, select.POLLIN)

    def move(self) -> None:
        """Do the one thing that poll(2) said would not block."""
        try:
            if not self.data:
                self._read()
                return
            written = os.write(self.sink, self.data[:PIECE])
            self.data = self.data[written:]
        except (BlockingIOError, InterruptedError):
            pass  # somebody shares the descriptor and made it non-blocking; poll(2) again
        except OSError:
            if not self.data and in_background(self.source):
                self.held = True  # EIO, as SIGTTIN is blocked
                return
            # EPIPE: nobody reads any more, and the writer shall learn it.  EIO: a terminal is gone.
            self.end()

    def _read(self) -> None:
        self.data = os.read(self.source, 65536)
        if not self.data:
            self.data, self.farewell = self.farewell, b""
        if not self.data:
            self.end()

    def end(self) -> None:
        """Close what is ours: the reader of a pipe sees the end, its writer EPIPE."""
        self.ended = True
        self.data = b""
        for fd in (self.source, self.sink):
            if fd > 2:
                os.close(fd)


def step(copies: "list[Copy]", events: "list[int]", patience: int = -1) -> "set[int] | None":
    """Wait until something can move, and move it.  Which of `events` are readable.

    patience: in ms; None is returned when nothing could move for so long.
    """
    poll = select.poll()
    for fd in events:
        poll.register(fd, select.POLLIN)
    waiting: "dict[int, list[tuple[Copy, int]]]" = {}
    for copy in copies:
        if copy.held:
            copy.held = False  # once; poll(2) would say again that there is something
            patience = HOLD if patience < 0 else min(patience, HOLD)
            continue
        want = copy.interest()
        if want:
            # stdin and stdout may be one terminal: one entry then carries both interests.
            others = waiting.setdefault(want[0], [])
            others.append((copy, want[1]))
            poll.register(want[0], sum({event for _, event in others}))
    ready = poll.poll(patience)
    if not ready:
        return None
    for fd, _ in ready:
        for copy, _ in waiting.get(fd, ()):
            copy.move()
    return {fd for fd, _ in ready} & set(events)


def in_background(fd: int) -> bool:
    """Whether fd is our controlling terminal, but belongs to another job at the moment."""
    try:
        return os.tcgetpgrp(fd) != os.getpgrp()
    except OSError:
        return False  # it does not control us, so it has no jobs


def outlet(fd: int) -> int:
    """Where to write instead of fd.  A terminal takes less than a piece and blocks, so it is opened
    anew for us alone, without blocking."""
    if not os.isatty(fd):
        return fd
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return fd
