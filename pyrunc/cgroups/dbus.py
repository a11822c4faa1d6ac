"""A connection over which D-Bus is spoken; what is said is manager.py's.

May touch: the system bus or the user's, or where systemd itself listens.  Nothing but the systemd
cgroup driver loads this.  D-Bus specification, "Authentication Protocol" and "Server Addresses".

Questions do not wait for each other: send() them all, then ask reply() for each.
"""

import _socket
import errno
import os
import time

from pyrunc.cgroups import message
from pyrunc.errors import Error, strerror
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# More callers than the bus's queue holds; a bus that is being restarted.
BUSY = (errno.EAGAIN, errno.EPIPE, errno.ECONNRESET)
ABSENT = (errno.ENOENT, errno.ECONNREFUSED)
PATIENCE = 30.0  # seconds for an answer
SYSTEM = "/run/dbus/system_bus_socket"
# Where systemd itself listens: reaches it as root when there is no message bus.
PRIVATE = "/run/systemd/private"
# Who we are, the kernel says.  An answer is not waited for: what follows is for after it.
HELLO = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
NAME = "org.freedesktop.DBus"


class Failure(Error):
    """The answer is an error.  name: D-Bus's, `org.freedesktop.systemd1.UnitExists` for example."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class Lost(Error):
    """The connection has ended."""


class Late(Error):
    """Nothing came in time."""

    def __init__(self) -> None:
        super().__init__(f"D-Bus: {strerror(errno.ETIMEDOUT)}")


class Bus:
    """A connection to the bus that systemd listens on. user: the user's manager, not the system's.

    owner: whose bus that is when the environment does not say, a user id as the host counts.
    """

    __slots__ = (
        "_begun",
        "_data",
        "_hello",
        "_name",
        "_owner",
        "_replies",
        "_serial",
        "_signals",
        "_socket",
        "_user",
        "has_bus",
    )

    _hello: int  # the call that asks for it, until that is answered
    _name: str  # what the message bus calls us

    def __init__(self, user: bool = False, owner: int = 0) -> None:
        self._user = user
        self._owner = owner
        self._connect()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def reconnect(self) -> None:
        """Begin anew after a Lost."""
        self.close()
        self._connect()

    def name(self) -> str:
        """What the message bus calls us; empty if there is none in between."""
        if self._hello:
            self._name = self.reply(self._hello)[0]
            self._hello = 0
        return self._name

    def peer(self) -> int:
        """The process at the other end, 0 if it is in no pid namespace of ours."""
        found = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return int.from_bytes(found[:4], "little")

    # --- the connection ---

    def _connect(self) -> None:
        self._replies: "dict[int, message.Message]" = {}
        self._signals: "list[message.Message]" = []
        self._data = b""
        self._begun = False  # is what comes messages?
        self._serial = self._hello = 0
        self._name = ""
        try:
            self.has_bus = self._open()  # or is it systemd at the other end?
        except OSError as err:
            which = "user's bus" if self._user else "system bus"
            text = strerror(err.errno or 0)
            raise Error(f"unable to connect to the {which}: {text}") from err
        try:
            self._say(HELLO)
            if self.has_bus:
                self._hello = self.send(NAME, "/org/freedesktop/DBus", NAME, "Hello")
            else:
                # systemd would leave a message that comes with that unread until the next one.
                self._wait_for_leave()
        except Lost:
            pass  # told when an answer is wanted

    def _open(self) -> bool:
        """Connect. Returns whether a message bus is at the other end."""
        try:
            self._dial(self._places())
        except OSError as err:
            if self._user or err.errno not in ABSENT or os.geteuid():
                raise
            try:
                self._dial([PRIVATE])
                return False
            except OSError:
                raise err from None
        return True

    def _places(self) -> "list[str]":
        environ = os.environ
        which = "DBUS_SESSION_BUS_ADDRESS" if self._user else "DBUS_SYSTEM_BUS_ADDRESS"
        if environ.get(which):
            return places(environ[which])
        if not self._user:
            return [SYSTEM]
        return [f"{environ.get('XDG_RUNTIME_DIR') or f'/run/user/{self._owner}'}/bus"]

    def _dial(self, names: "list[str]") -> None:
        """Connect to the first socket of these that listens."""
        for attempt in range(8):
            for name in names:
                self._socket = _socket.socket(
                    _socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
                )
                self._socket.setblocking(False)
                try:
                    self._socket.connect(name)
                    self._socket.settimeout(PATIENCE)
                    return
                except OSError as err:
                    self._socket.close()
                    failure = err
            if failure.errno not in BUSY:
                break
            if attempt < 7:
                time.sleep(0.1 * 2**attempt)
        raise failure

    # --- calls ---

    def call(self, *call: "Any") -> "list[Any]":
        """Call a method. Returns the values of the answer.  Raises Failure if that is an error.

        call: destination, path, interface, member; signature and arguments if there are any.
        """
        return self.reply(self.send(*call))

    def send(self, *call: "Any") -> int:
        """Call a method. Returns what reply() finds the answer by."""
        self._serial += 1
        self._say(message.call(self._serial, *call))
        return self._serial

    def reply(self, serial: int) -> "list[Any]":
        """The values of the answer to a call."""
        deadline = time.monotonic() + PATIENCE
        while serial not in self._replies:
            self._receive(deadline)
        found = self._replies.pop(serial)
        if found.kind == message.ERROR:
            name = found.fields[message.ERROR_NAME]
            text = found.values[0] if found.values and isinstance(found.values[0], str) else name
            raise Failure(text, name)
        return found.values

    def signal(self, interface: str, member: str, deadline: float) -> "list[Any] | None":
        """The values of the next such signal; None if there is none until then (monotonic)."""
        wanted = interface, member
        while True:
            while self._signals:
                found = self._signals.pop(0)
                fields = found.fields
                if (fields.get(message.INTERFACE), fields.get(message.MEMBER)) == wanted:
                    return found.values
            try:
                self._receive(deadline)
            except Late:
                return None

    # --- bytes ---

    def _say(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as err:
            raise Lost(f"D-Bus: {strerror(err.errno or errno.ETIMEDOUT)}") from err

    def _receive(self, deadline: float) -> None:
        """Wait for one message, and keep it for who wants it."""
        try:
            while not (size := self._size()) or len(self._data) < size:
                self._read(deadline)
            found = message.Message(self._data[:size])
        except (ValueError, IndexError, KeyError) as err:
            raise Error(f"D-Bus: {err}") from err
        self._data = self._data[size:]
        if found.kind in (message.RETURN, message.ERROR):
            self._replies[found.fields[message.REPLY_SERIAL]] = found
        elif found.kind == message.SIGNAL:
            self._signals.append(found)

    def _read(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late
        try:
            self._socket.settimeout(left)
            part = self._socket.recv(65536)
            self._socket.settimeout(PATIENCE)
        except TimeoutError:
            raise Late from None
        except OSError as err:
            raise Lost(f"D-Bus: {strerror(err.errno or 0)}") from err
        if not part:
            raise Lost(f"D-Bus: {strerror(errno.ECONNRESET)}")
        self._data += part

    def _wait_for_leave(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._data == b"DATA\r\n" or not self._data.endswith(b"\r\n"):
            self._read(deadline)

    def _size(self) -> int:
        return message.length(self._data) if self._begun or self._accepted() else 0

    def _accepted(self) -> bool:
        """Was all said about who we are?  Lines come before messages."""
        while self._data and self._data[0] not in message.ORDERS:
            line, end, rest = self._data.partition(b"\r\n")
            if not end:
                return False
            if line.startswith((b"REJECTED", b"ERROR")):
                raise Error(f"D-Bus: not let in: {line.decode('ascii', 'replace')}")
            self._data = rest
        self._begun = bool(self._data)
        return self._begun


# --- addresses ---


def places(address: str) -> "list[str]":
    """The sockets of an address: `unix:path=/a%20b;unix:abstract=c,guid=1` -> `/a b`, `\\0c`."""
    found = []
    for one in address.split(";"):
        kind, _, rest = one.partition(":")
        keys = dict(part.partition("=")[::2] for part in rest.split(","))
        try:
            if kind == "unix" and "path" in keys:
                found.append(unescape(keys["path"]))
            elif kind == "unix" and "abstract" in keys:
                found.append("\0" + unescape(keys["abstract"]))
        except ValueError:
            continue
    if not found:
        raise Error(f"D-Bus: no Unix socket is named by the address {quote(address)}")
    return found


def unescape(text: str) -> str:
    head, *parts = text.split("%")
    data = os.fsencode(head)
    for part in parts:
        data += bytes((int(part[:2], 16),)) + os.fsencode(part[2:])
    return os.fsdecode(data)
