"""Calls the functions of the commands from within a program that uses the API.

May touch: threads of its own; forks of the program, which it delays.

A command has its process to itself.  A program has threads, a working directory, children and maybe
forks, which must not be disturbed; it gets errors as exceptions, and warnings through `logging`.
"""

import _thread
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from pyrunc import handshake, log
from pyrunc._core import lib
from pyrunc.errors import Error, reason

T = TypeVar("T")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class Forks:
    """Delays every os.fork() of the program while a call that changes something is under way.

    The new process would have copies of the call's descriptors: of locks, which would stay locked,
    and of sockets and FIFOs that somebody waits to see closed.  subprocess is not delayed: its
    child executes another program at once, which closes them.
    """

    __slots__ = ("_callers", "_changed")

    def __init__(self) -> None:
        self._callers: list[int] = []  # the threads of calls
        self._changed = threading.Condition()
        release = self._changed.release
        os.register_at_fork(before=self._wait, after_in_parent=release, after_in_child=release)

    def _wait(self) -> None:
        self._changed.acquire()
        # If a signal or log handler forks during a call, its thread would wait for itself.
        if threading.get_ident() not in self._callers:
            self._changed.wait_for(lambda: not self._callers)

    @contextlib.contextmanager
    def delayed(self) -> Iterator[None]:
        """Until the end of the block."""
        caller = threading.get_ident()
        with self._changed:
            self._callers.append(caller)
        try:
            yield
        finally:
            with self._changed:
                self._callers.remove(caller)
                self._changed.notify_all()


FORKS = Forks()
# Without root, attributes.lend_oom_score() changes the whole process for a moment.
ALONE = threading.Lock()


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """During a call: OSError becomes Error, and warnings go to `logging`."""
    log.hand_to(_log)
    try:
        yield
    except Error:  # Timeout is an OSError, too
        raise
    except OSError as err:
        path = f" {err.filename}:" if err.filename else ""
        raise Error(f"unexpected error:{path} {reason(err)}") from err


@contextlib.contextmanager
def changing() -> Iterator[None]:
    """The same during a call that takes the container's lock: forks wait for its end."""
    with looking(), FORKS.delayed():
        yield


def _log(level: str, message: str) -> None:
    logging.getLogger("pyrunc").log(LEVELS.get(level, logging.ERROR), "%s", message)


def apart(function: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Return function(), called in a thread with a working directory of its own.

    If an exception such as KeyboardInterrupt is raised while we wait, it is passed on only when
    function() has ended, after undo(its result) if it succeeded.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        raise Error("SIGCHLD is ignored: the kernel would keep the exit statuses of processes")
    future: "Future[T]" = Future()

    def work() -> None:
        try:
            handshake.check(lib.core_leave_directory(), "unshare")
            with changing(), ALONE if os.geteuid() else contextlib.nullcontext():
                future.set_result(function())
        except BaseException as err:
            future.set_exception(err)

    with changing():
        # Thread.start() would wait for the thread, where an exception finds it half started.
        _thread.start_new_thread(work, ())
        try:
            return future.result()
        except BaseException:
            if future.exception() is None:
                undo(future.result())
            raise
