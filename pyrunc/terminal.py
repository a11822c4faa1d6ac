"""Our own terminal in front of a container's: raw mode, size, and the master's settings.

May touch the terminal of our stdio or session, and the master.  Loaded only for a foreground
container that has a terminal.
"""

import fcntl
import os
import termios

from pyrunc.errors import Error
from pyrunc.relay import in_background

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IFLAG, OFLAG, CFLAG, LFLAG, CC = 0, 1, 2, 3, 6  # of tcgetattr()
SIZE = 8  # struct winsize: rows, columns, and two numbers nobody uses
TIOCGPTPEER = 0x5441


def find() -> int:
    """The terminal in front of us: one of our stdio, or else our controlling terminal."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return fd
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as err:
        raise Error.os("open", "/dev/tty", err) from err


class Terminal:
    """Our terminal, and the container's once attach() got its master.

    end_of_file: what to write to the master so that its reader sees the end of our stdin.
    """

    __slots__ = ("_host", "_saved", "_slave", "end_of_file", "master")

    def __init__(self) -> None:
        self._host = find()
        self._saved: "list[Any] | None" = None
        self._slave = -1
        self.master = -1
        self.end_of_file = b""

    def attach(self, master: int) -> None:
        """Take the master over, give it our size, and make our terminal raw."""
        self.master = master
        os.set_blocking(master, False)  # the container may stop reading; nobody shares this one
        try:
            attributes = termios.tcgetattr(master)
            attributes[OFLAG] &= ~termios.ONLCR  # our terminal does it
            termios.tcsetattr(master, termios.TCSANOW, attributes)
            # Twice: the first one only ends a line that has no newline.
            self.end_of_file = attributes[CC][termios.VEOF] * 2
        except termios.error as err:
            raise Error(f"unable to set up the terminal: {err.args[1]}") from err
        try:
            # While somebody has the slave open, that the container's processes have all closed it
            # for a moment (as systemd does with /dev/console) is no hangup.
            flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
            self._slave = fcntl.ioctl(master, TIOCGPTPEER, flags)
        except OSError:
            pass  # before Linux 4.13
        self.resize()
        self.make_raw()

    def resize(self) -> None:
        """Give the container's terminal the size of ours, unless ours has no size."""
        if self.master < 0:
            return
        try:
            size = fcntl.ioctl(self._host, termios.TIOCGWINSZ, bytes(SIZE))
            if any(size[:4]):
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        except OSError:
            pass  # one of the two is gone

    def make_raw(self) -> bool:
        """Make our terminal raw: everything typed, even ^C, goes to the container.

        Output is still processed.  False: the terminal belongs to another job, so nothing was done.
        """
        if in_background(self._host):
            return False
        try:
            if self._saved is None:
                self._saved = termios.tcgetattr(self._host)
            raw = list(self._saved)
            raw[IFLAG] &= ~(
                termios.IGNBRK
                | termios.BRKINT
                | termios.PARMRK
                | termios.ISTRIP
                | termios.INLCR
                | termios.IGNCR
                | termios.ICRNL
                | termios.IXON
            )
            raw[OFLAG] |= termios.OPOST
            raw[CFLAG] = raw[CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            raw[LFLAG] &= ~(
                termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
            )
            raw[CC] = list(raw[CC])
            raw[CC][termios.VMIN], raw[CC][termios.VTIME] = 1, 0
            termios.tcsetattr(self._host, termios.TCSANOW, raw)
        except termios.error as err:
            raise Error(f"unable to set the terminal to raw mode: {err.args[1]}") from err
        return True

    def restore(self) -> None:
        """Restore the mode of our terminal, unless another job has it now."""
        if self._saved is not None and not in_background(self._host):
            try:
                termios.tcsetattr(self._host, termios.TCSANOW, self._saved)
            except termios.error:
                pass  # it is gone
        self._saved = None

    def hang_up(self) -> None:
        """Close the container's terminal: its session gets SIGHUP."""
        for fd in (self.master, self._slave):
            if fd >= 0:
                os.close(fd)
        self.master = self._slave = -1

    def close(self) -> None:
        """Hang up, and restore the mode of our terminal."""
        self.hang_up()
        self.restore()
        if self._host > 2:
            os.close(self._host)
            self._host = -1
