"""Our own terminal: raw and back again, and the size both have."""

import fcntl
import os
import struct
import termios

import pytest

from pyrunc import console, terminal
from pyrunc.errors import Error


def size(fd, rows=None, columns=None):
    if rows is not None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))[:2]


@pytest.fixture
def made(monkeypatch):
    """(Terminal in front of a pty, that pty's slave, the container's master and slave)."""
    ours, host = os.openpty()
    master, slave = os.openpty()
    monkeypatch.setattr(terminal, "find", lambda: host)
    yield terminal.Terminal(), host, master, slave
    for fd in (ours, host, master, slave):
        try:
            os.close(fd)
        except OSError:
            pass


def test_raw_and_back(made):
    front, host, master, slave = made
    before = termios.tcgetattr(host)
    front.attach(master)
    raw = termios.tcgetattr(host)
    assert not raw[3] & (termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    assert raw[1] == before[1] | termios.OPOST
    assert not termios.tcgetattr(slave)[1] & termios.ONLCR
    saved = os.dup(host)
    front.close()
    assert termios.tcgetattr(saved) == before
    os.close(saved)


def test_closing_twice_or_before_anything_happened_is_fine(made):
    front = made[0]
    front.close()
    front.close()


def test_the_size_follows(made):
    front, host, master, slave = made
    size(host, 30, 100)
    front.attach(master)
    assert size(slave) == (30, 100)
    size(host, 31, 101)
    front.resize()
    assert size(slave) == (31, 101)
    size(host, 0, 0)
    front.resize()
    assert size(slave) == (31, 101)
    front.hang_up()
    front.resize()  # nothing to resize any more


def test_the_end_of_file_character_is_the_terminals(made):
    front, _, master, slave = made
    attributes = termios.tcgetattr(slave)
    attributes[6][termios.VEOF] = b"\x1a"
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    front.attach(master)
    assert front.end_of_file == b"\x1a\x1a"


NOBODY = "cannot allocate tty if runc will detach without setting console socket"
NOTHING = "cannot use console socket if runc will not detach or allocate tty"


@pytest.mark.parametrize(
    "with_terminal, detached, socket, message",
    [
        (True, True, "", NOBODY),
        (True, False, "/s", NOTHING),
        (False, True, "/s", NOTHING),
        (False, False, "/s", NOTHING),
        (True, True, "/s", None),
        (True, False, "", None),
        (False, True, "", None),
        (False, False, "", None),
    ],
)
def test_who_gets_the_master(with_terminal, detached, socket, message):
    if message is None:
        console.check(with_terminal, detached, socket)
        return
    with pytest.raises(Error) as caught:
        console.check(with_terminal, detached, socket)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "status, code", [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15 | 128, 143), (None, 0)]
)
def test_exit_codes(status, code):
    assert console.exit_code(status) == code
