"""A process of a container that is a child of ours: its status, and its stdio.

May touch: the process, and descriptors that it is given.
"""

import contextlib
import io
import os
import threading
from collections.abc import Mapping
from signal import Signals
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO, Any, Protocol

from pyrunc import handshake, signals
from pyrunc._core import ffi, lib
from pyrunc.errors import Error, Timeout, reason


class HasFileno(Protocol):
    """A file, a socket."""

    def fileno(self) -> int:
        """Its descriptor."""


Stream = int | HasFileno | None
FILES = ("stdin", "stdout", "stderr", "terminal")


class Stdio:
    """Descriptors 0 to 2 of a new process.  theirs: for handshake.spawn(); ours: the other ends.

    socket: where init is to send the master of its terminal, if it has one.
    If an exception leaves the with block there is no process, and everything is closed.
    """

    __slots__ = ("_opened", "_receiver", "ours", "socket", "terminal", "theirs")

    def __init__(self, streams: Mapping[str, Any], terminal: bool) -> None:
        self.ours: list[IO[bytes] | None] = [None, None, None]
        self.terminal: io.FileIO | None = None
        self.theirs = (-1, -1, -1)
        self.socket = self._receiver = -1
        self._opened: list[int] = []  # ours to close once the process has it
        try:
            stdin = self._open(0, streams.get("stdin"))
            stdout = self._open(1, streams.get("stdout"))
            same = streams.get("stderr") == STDOUT
            stderr = (1 if stdout < 0 else stdout) if same else self._open(2, streams.get("stderr"))
            self.theirs = (stdin, stdout, stderr)
            if terminal:
                pair = ffi.new("int[2]")
                handshake.check(lib.core_socketpair(pair), "socketpair")
                self._receiver, self.socket = pair
                self._opened.append(self.socket)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Stdio":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.close()

    def _open(self, number: int, stream: Stream) -> int:
        if stream is None:
            return -1
        if stream == DEVNULL:
            self._opened.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            return self._opened[-1]
        if stream == PIPE:
            reader, writer = os.pipe()
            theirs, ours = (writer, reader) if number else (reader, writer)
            self._opened.append(theirs)
            self.ours[number] = open(ours, "rb" if number else "wb")
            return theirs
        try:
            fd = stream if isinstance(stream, int) else stream.fileno()
        except (ValueError, AttributeError) as err:  # UnsupportedOperation is a ValueError, too
            raise TypeError(f"neither a descriptor nor a file that has one: {stream!r}") from err
        if fd < 0:
            raise Error(f"not a descriptor: {fd}")
        return fd

    def ready(self) -> None:
        """init has all of it: close its ends, and receive the terminal that it has sent."""
        self._let_go()
        if self._receiver >= 0:
            fd = handshake.check(lib.core_recv_fd(self._receiver), "unable to get the terminal")
            self.terminal = open(fd, "r+b", buffering=0)
            os.close(self._receiver)
            self._receiver = -1

    def _let_go(self) -> None:
        """Close the process's ends: a pipe does not end while we have its other end, too."""
        while self._opened:
            os.close(self._opened.pop())

    def close(self) -> None:
        """Close everything."""
        self._let_go()
        if self._receiver >= 0:
            os.close(self._receiver)
            self._receiver = -1
        for file in (*self.ours, self.terminal):
            if file:
                file.close()


class Process:
    """A process that was started by us, and is a child of ours.

    stdin, stdout, stderr: our ends of the pipes that were asked for.  terminal: the master of its
    terminal, if it has one.  At the end of a with block these are closed and it is waited for.

    A thread waits for it from the start: a PID namespace ends only when all its processes have been
    reaped, so a zombie would keep its container from ending.
    """

    __slots__ = ("_ended", "_owner", "_pidfd", "_status", "pid", *FILES)

    def __init__(self, init: handshake.Init | None, stdio: Stdio) -> None:
        assert init is not None
        self.pid = init.pid
        self._pidfd, init.pidfd = init.pidfd, -1
        self._owner = os.getpid()
        self._status: int | None = None
        self._ended = threading.Event()
        self.stdin, self.stdout, self.stderr = stdio.ours
        self.terminal = stdio.terminal
        threading.Thread(target=self._reap, name=f"pyrunc-{self.pid}", daemon=True).start()

    def _reap(self) -> None:
        try:
            value = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._status = value if value >= 0 else 128 - value
        except ChildProcessError:
            pass  # some other code of the program waits for any child, and was faster
        finally:
            self._ended.set()

    def __repr__(self) -> str:
        return f"<pyrunc.Process {self.pid}>"

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as steps:  # all of them, also if a pipe has no reader any more
            steps.callback(self.wait)
            for name in FILES:
                file = getattr(self, name)
                if file:
                    steps.callback(file.close)

    def __del__(self) -> None:
        if hasattr(self, "_pidfd"):
            os.close(self._pidfd)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, 128 + N after signal N.  Raises Timeout after that many seconds."""
        if self._owner != os.getpid():
            raise Error(f"process {self.pid} is a child of another process")
        if not self._ended.wait(timeout):
            raise Timeout(f"process {self.pid} has not ended within {timeout:g} s")
        if self._status is None:
            raise Error(f"exit status of process {self.pid} is not known: somebody else took it")
        return self._status

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        try:
            return self.wait(0)
        except Timeout:
            return None

    def kill(self, signal: str | int | Signals = "TERM") -> None:
        """Send a signal, if it still runs."""
        try:
            signals.send(self._pidfd, number(signal))
        except ProcessLookupError:
            pass
        except OSError as err:
            text = f"unable to signal process {self.pid}: {reason(err)}"
            raise Error(text) from err


def number(signal: str | int | Signals) -> int:
    """The number of "TERM", "SIGTERM", 15 or signal.SIGTERM."""
    return signals.parse(signal if isinstance(signal, str) else str(int(signal)))
