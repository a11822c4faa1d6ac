"""The log's other destinations: systemd's journal and syslog.  May connect to their sockets.

Who listens may be away, or may never have been there: what we log then is lost, which must not turn
success into failure.  What an engine has to know it reads on stderr.
"""

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[[str, str], bytes]

SOCKETS = {"journald": "/run/systemd/journal/socket", "syslog": "/dev/log"}
# syslog(3): how urgent a message is, and that it comes from a daemon.
PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}
DAEMON = 3 << 3


def connect(kind: str, name: str) -> "tuple[int, Encode]":
    """A descriptor (-1: nobody listens), and encode(level, message) -> what to write to it."""
    form = journal_entry if kind == "journald" else syslog_line

    def encode(level: str, message: str) -> bytes:
        return form(name, PRIORITIES.get(level, 6), message)

    # Who does not read what he is sent loses it, and holds nobody up.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(SOCKETS[kind])
    except OSError:
        sock.close()
    return sock.detach(), encode


def journal_entry(name: str, priority: int, message: str) -> bytes:
    """An entry in the journal's native protocol, where a text of several lines has its length."""
    text = message.encode("utf-8", "surrogateescape")
    head = b"MESSAGE\n" + len(text).to_bytes(8, "little") + text
    return head + f"\nPRIORITY={priority}\nSYSLOG_IDENTIFIER={name}\n".encode()


def syslog_line(name: str, priority: int, message: str) -> bytes:
    """A line as syslog(3) sends it, without the time, which the daemon adds."""
    line = f"<{DAEMON | priority}>{name}[{os.getpid()}]: {message}"
    return line.encode("utf-8", "surrogateescape")
