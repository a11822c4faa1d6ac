"""Calls over D-Bus, by libsystemd's sd-bus; what is said is manager.py's.

May touch: the system bus or the user's, or where systemd itself listens.  Nothing but the systemd
cgroup driver loads this.

Calls do not wait for each other: send() them all, then ask for each reply().

A value is written by its D-Bus signature, in Python's own types:

    b bool    y n q i u x t int    d float    s o g str    a. list (ay also bytes)
    (..) {..} tuple    v (signature, value)
"""

import errno
import os
import time

from pyrunc import log
from pyrunc._systemd import ffi
from pyrunc.cgroups.signature import types
from pyrunc.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIBRARY = "libsystemd.so.0"
# More callers than the bus's queue holds; a bus that is being restarted.
BUSY = (-errno.EAGAIN, -errno.EPIPE, -errno.ECONNRESET)
PATIENCE = 30.0  # seconds for an answer
# Where systemd itself listens: reaches it as root when there is no message bus.
PRIVATE = "unix:path=/run/systemd/private"
C_TYPES = {
    "y": "uint8_t",
    "b": "int",
    "n": "int16_t",
    "q": "uint16_t",
    "i": "int32_t",
    "u": "uint32_t",
    "x": "int64_t",
    "t": "uint64_t",
    "d": "double",
}
TEXT = "sog"
# What sd-bus calls a structure and an entry of a dictionary.
CONTAINERS = {"(": "r", "{": "e"}


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


def _library() -> "Any":
    try:
        return ffi.dlopen(LIBRARY)
    except OSError:
        text = f"the systemd cgroup driver needs {LIBRARY}, which this host does not have"
        raise Error(text) from None


class Bus:
    """A connection to the bus that systemd listens on. user: the user's manager, not the system's.

    owner: whose bus that is when the environment does not say, a user id as the host counts.
    """

    __slots__ = ("_bus", "_lib", "_owner", "_replies", "_signals", "_user", "has_bus")

    def __init__(self, user: bool = False, owner: int = 0) -> None:
        self._lib = _library()
        self._user = user
        self._owner = owner
        self._bus = ffi.NULL
        self._connect()

    def close(self) -> None:
        """Hang up."""
        if self._bus != ffi.NULL:
            self._lib.sd_bus_close(self._bus)
            self._lib.sd_bus_unref(self._bus)
            self._bus = ffi.NULL

    def reconnect(self) -> None:
        """Begin anew after a Lost."""
        self.close()
        self._connect()

    def name(self) -> str:
        """What the message bus calls us; empty if there is none in between."""
        if not self.has_bus:
            return ""
        place = ffi.new("char const **")
        self._check(self._lib.sd_bus_get_unique_name(self._bus, place))
        return str(ffi.string(place[0]).decode())

    def peer(self) -> int:
        """The process at the other end, 0 if it is in no pid namespace of ours."""
        import socket

        fd = os.dup(self._check(self._lib.sd_bus_get_fd(self._bus)))
        with socket.socket(fileno=fd) as sock:
            creds = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(creds[:4], "little")

    # --- the connection ---

    def _connect(self) -> None:
        self._replies: "dict[int, list[Any] | Failure]" = {}  # by what send() returned
        self._signals: "list[tuple[str, str, list[Any]]]" = []  # interface, member, values
        self.has_bus = True  # or is it systemd at the other end?
        place = ffi.new("sd_bus **")
        for attempt in range(8):
            result = self._open(place)
            if result not in BUSY or attempt == 7:
                break
            time.sleep(0.1 * 2**attempt)
        if result < 0:
            which = "user's bus" if self._user else "system bus"
            raise Error(f"unable to connect to the {which}: {strerror(-result)}")
        self._bus = place[0]

    def _open(self, place: "Any") -> int:
        if self._user:
            if os.environ.get("DBUS_SESSION_BUS_ADDRESS") or os.environ.get("XDG_RUNTIME_DIR"):
                return int(self._lib.sd_bus_open_user(place))
            return self._dial(place, f"unix:path=/run/user/{self._owner}/bus", True)
        result = int(self._lib.sd_bus_open_system(place))
        if result in (-errno.ENOENT, -errno.ECONNREFUSED) and os.geteuid() == 0:
            direct = self._dial(place, PRIVATE, False)
            if direct >= 0:
                self.has_bus = False
                return direct
        return result

    def _dial(self, place: "Any", address: str, has_bus: bool) -> int:
        """Connect to an address, of a message bus or of systemd itself."""
        lib = self._lib
        result = int(lib.sd_bus_new(place))
        if result < 0:
            return result
        result = int(lib.sd_bus_set_address(place[0], address.encode()))
        if result >= 0:
            result = int(lib.sd_bus_set_bus_client(place[0], has_bus))
        if result >= 0:
            result = int(lib.sd_bus_start(place[0]))
        if result < 0:
            lib.sd_bus_unref(place[0])
        return min(result, 0)

    def _check(self, result: int) -> int:
        if result in (-errno.ENOTCONN, -errno.ECONNRESET, -errno.EPIPE):
            raise Lost(f"D-Bus: {strerror(-result)}")
        if result < 0:
            raise Error(f"D-Bus: {strerror(-result)}")
        return result

    # --- calls ---

    def call(self, *call: "Any") -> "list[Any]":
        """Call a method. Returns the values of the answer.  Raises Failure if that is an error.

        call: destination, path, interface, member; signature and arguments if there are any.
        """
        return self.reply(self.send(*call))

    def send(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *arguments: "Any",
    ) -> int:
        """Call a method. Returns what reply() finds the answer by."""
        place = ffi.new("sd_bus_message **")
        names = [text.encode() for text in (destination, path, interface, member)]
        self._check(self._lib.sd_bus_message_new_method_call(self._bus, place, *names))
        cookie = ffi.new("uint64_t *")
        try:
            for kind, value in zip(types(signature), arguments, strict=True):
                self._append(place[0], kind, value)
            self._check(self._lib.sd_bus_send(self._bus, place[0], cookie))
        finally:
            self._lib.sd_bus_message_unref(place[0])
        return int(cookie[0])

    def reply(self, cookie: int) -> "list[Any]":
        """The values of the answer to a call.  Raises Failure if that is an error."""
        deadline = time.monotonic() + PATIENCE
        while cookie not in self._replies:
            self._receive(deadline)
        found = self._replies.pop(cookie)
        if isinstance(found, Failure):
            raise found
        return found

    def signal(self, interface: str, member: str, deadline: float) -> "list[Any] | None":
        """The values of the next such signal; None if there is none until then (monotonic)."""
        while True:
            while self._signals:
                *names, values = self._signals.pop(0)
                if names == [interface, member]:
                    return values
            try:
                self._receive(deadline)
            except Late:
                return None

    def _receive(self, deadline: float) -> None:
        """Wait for one message, or a part of it, and keep it for whoever wants it."""
        place = ffi.new("sd_bus_message **")
        more = self._check(self._lib.sd_bus_process(self._bus, place))
        if place[0] != ffi.NULL:
            try:
                self._keep(place[0])
            finally:
                self._lib.sd_bus_message_unref(place[0])
        elif not more:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Late
            self._check(self._lib.sd_bus_wait(self._bus, int(left * 1000000) + 1))

    def _keep(self, message: "Any") -> None:
        lib = self._lib
        cookie = ffi.new("uint64_t *")
        if lib.sd_bus_message_get_reply_cookie(message, cookie) >= 0:
            error = lib.sd_bus_message_get_error(message)
            if error == ffi.NULL:
                self._replies[cookie[0]] = self._values(message)
            else:
                name = _text(error.name)
                text = _text(error.message) if error.message != ffi.NULL else name
                self._replies[cookie[0]] = Failure(text, name)
        elif lib.sd_bus_message_is_signal(message, ffi.NULL, ffi.NULL) > 0:
            interface = _text(lib.sd_bus_message_get_interface(message))
            member = _text(lib.sd_bus_message_get_member(message))
            self._signals.append((interface, member, self._values(message)))

    # --- values ---

    def _append(self, message: "Any", kind: str, value: "Any") -> None:
        head = kind[0]
        if head in C_TYPES:
            try:
                data = ffi.new(f"{C_TYPES[head]} *", value)
            except OverflowError:
                raise Error(f"D-Bus: {value} is out of range of type {head}") from None
            self._check(self._lib.sd_bus_message_append_basic(message, kind.encode(), data))
        elif head in TEXT:
            try:
                text = ffi.new("char[]", value.encode())
            except UnicodeEncodeError:
                raise Error(f"D-Bus: {log.quote(value)} is not Unicode") from None
            if "\0" in value:
                raise Error(f"D-Bus: {log.quote(value)} has a NUL byte")
            self._check(self._lib.sd_bus_message_append_basic(message, kind.encode(), text))
        elif kind == "ay":
            data = ffi.new("uint8_t[]", bytes(value))
            size = len(value)
            self._check(self._lib.sd_bus_message_append_array(message, b"y", data, size))
        elif head == "a":
            with _Container(self, message, "a", kind[1:]):
                for item in value:
                    self._append(message, kind[1:], item)
        elif head == "v":
            with _Container(self, message, "v", value[0]):
                self._append(message, *value)
        else:
            with _Container(self, message, CONTAINERS[head], kind[1:-1]):
                for inner, item in zip(types(kind[1:-1]), value, strict=True):
                    self._append(message, inner, item)

    def _values(self, message: "Any") -> "list[Any]":
        """What is left in the message, or in the container of it that was entered."""
        found = []
        kind = ffi.new("char *")
        contents = ffi.new("char const **")
        while self._check(self._lib.sd_bus_message_peek_type(message, kind, contents)):
            head = kind[0].decode()
            if head in C_TYPES:
                place = ffi.new(f"{C_TYPES[head]} *")
                self._check(self._lib.sd_bus_message_read_basic(message, kind[0], place))
                found.append(bool(place[0]) if head == "b" else place[0])
            elif head in TEXT:
                place = ffi.new("char const **")
                self._check(self._lib.sd_bus_message_read_basic(message, kind[0], place))
                found.append(_text(place[0]))
            else:
                inner = contents[0]
                text = ffi.string(inner).decode()
                self._check(self._lib.sd_bus_message_enter_container(message, kind[0], inner))
                values = self._values(message)
                self._check(self._lib.sd_bus_message_exit_container(message))
                found.append(_shaped(head, text, values))
        return found


def _text(data: "Any") -> str:
    return str(ffi.string(data).decode("utf-8", "replace"))


def _shaped(head: str, contents: str, values: "list[Any]") -> "Any":
    if head == "v":
        return contents, values[0]
    if head == "a":
        return bytes(values) if contents == "y" else values
    return tuple(values)


class _Container:
    """An open container of a message."""

    __slots__ = ("_bus", "_message")

    def __init__(self, bus: Bus, message: "Any", kind: str, contents: str) -> None:
        self._bus = bus
        self._message = message
        opened = bus._lib.sd_bus_message_open_container(message, kind.encode(), contents.encode())
        bus._check(opened)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: "Any", *_: "Any") -> None:
        if kind is None:
            self._bus._check(self._bus._lib.sd_bus_message_close_container(self._message))
