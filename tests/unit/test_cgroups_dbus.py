"""D-Bus: messages as the specification writes them, and a connection to somebody who speaks it."""

import contextlib
import os
import socket
import struct
import threading
import time

import pytest

from pyrunc.cgroups import dbus, message
from pyrunc.errors import Error

# --- messages ---


def test_a_call_is_written_as_the_specification_says():
    fields = [  # code, signature, value; each begins at a multiple of 8
        b"\1\1o\0\2\0\0\0/o\0\0\0\0\0\0",
        b"\6\1s\0\3\0\0\0a.b\0\0\0\0\0",
        b"\2\1s\0\3\0\0\0a.I\0\0\0\0\0",
        b"\3\1s\0\1\0\0\0M\0\0\0\0\0\0\0",
        b"\10\1g\0\2su\0",
    ]
    assert [len(field) % 8 for field in fields] == [0] * 5
    body = b"\2\0\0\0xy\0\0\2\1\0\0"
    head = b"l\1\0\1" + struct.pack("<III", len(body), 5, sum(map(len, fields)))
    assert message.call(5, "a.b", "/o", "a.I", "M", "su", "xy", 258) == (
        head + b"".join(fields) + body
    )


VALUES = [
    ("y", 255),
    ("b", True),
    ("n", -3),
    ("q", 65535),
    ("i", -(1 << 31)),
    ("u", (1 << 32) - 1),
    ("x", -1),
    ("t", (1 << 64) - 1),
    ("d", 1.5),
    ("s", "ä b"),
    ("s", ""),
    ("o", "/a/b_1"),
    ("g", "a{sv}"),
    ("as", []),
    ("as", ["a", "bc"]),
    ("ay", b"\7\1"),
    ("at", [1, 2]),
    ("a(sv)", [("A", ("t", 5)), ("B", ("a(ss)", [("x", "rw")])), ("C", ("b", False))]),
    ("a{sv}", [("k", ("v", ("ay", b"")))]),
    ("(yt(su))", (1, 2, ("z", 3))),
    ("aat", [[1], [], [2, 3]]),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
@pytest.mark.parametrize("before", ["", "y", "uy"])
def test_what_was_written_is_read(kind, value, before):
    """Whatever is before it, for everything begins at a multiple of its size."""
    more = [1] * len(before)
    data = message.call(1, "a.b", "/o", "a.I", "M", before + kind, *more, value)
    assert message.length(data) == message.length(data[:16]) == len(data)
    found = message.Message(data)
    assert found.kind == message.CALL
    assert found.fields[message.MEMBER] == "M"
    assert found.values == [*more, value]


def test_the_other_byte_order_is_read():
    fields = b"\5\1u\0" + struct.pack(">I", 7) + b"\10\1g\0\1u\0\0"
    data = b"B\2\0\1" + struct.pack(">III", 4, 9, len(fields) - 1) + fields + struct.pack(">I", 258)
    assert message.length(data) == len(data)
    found = message.Message(data)
    assert (found.kind, found.fields[message.REPLY_SERIAL], found.values) == (2, 7, [258])


def nested(depth):
    value = ("y", 1)
    for _ in range(depth):
        value = ("v", value)
    return value


@pytest.mark.parametrize(
    ("kind", "value", "what"),
    [
        ("y", 256, "256 is out of range of type y"),
        ("u", -1, "-1 is out of range of type u"),
        ("s", "a\0b", "has a NUL byte"),
        ("s", "\udc80", "is not Unicode"),
        ("o", "a/b", "is not the path of an object"),
        ("o", "/a//b", "is not the path of an object"),
        ("o", "/a/", "is not the path of an object"),
        ("g", "a", "is no D-Bus type"),
        ("g", "y" * 256, "is too long"),
        ("v", nested(40), "nested too deeply"),
    ],
)
def test_what_the_bus_would_hang_up_for_is_refused(kind, value, what):
    with pytest.raises(Error, match=what):
        message.call(1, "a.b", "/o", "a.I", "M", kind, value)


@pytest.mark.parametrize("data", [b"OK 12\r\n1234567890", b"l\2\0\1" + b"\377" * 12])
def test_what_is_no_message(data):
    with pytest.raises(ValueError, match="message"):
        message.length(data)


# --- a connection ---


def answer(serial, values=b"", signature="", kind=message.RETURN, name=""):
    """A message of the other side; values: a body as it is."""
    rows = [(message.REPLY_SERIAL, ("u", serial))]
    if name:
        rows.append((message.ERROR_NAME, ("s", name)))
    if signature:
        rows.append((message.SIGNATURE, ("g", signature)))
    return _message(kind, rows, values)


def signal(member, values, signature):
    rows = [
        (message.INTERFACE, ("s", "a.I")),
        (message.MEMBER, ("s", member)),
        (message.SIGNATURE, ("g", signature)),
    ]
    return _message(message.SIGNAL, rows, values)


def _message(kind, rows, values):
    head = bytearray(b"l" + bytes((kind, 0, 1)))
    message._put(head, "u", len(values))
    message._put(head, "u", 99)
    message._put(head, "a(yv)", rows)
    message._pad(head, 8)
    return bytes(head) + values


def text(value):
    data = bytearray()
    message._put(data, "s", value)
    return bytes(data)


LET_IN = b"DATA\r\nOK 0123456789abcdef\r\n"


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """bus(said): a connection to somebody who lets us in, says that, and hangs up."""
    threads = []

    def start(said, let_in=LET_IN, piece=1 << 20):
        path = str(tmp_path / "bus")
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path},guid=7")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()

        def serve():
            with listener, listener.accept()[0] as connection, contextlib.suppress(OSError):
                data = let_in + said
                for at in range(0, len(data), piece):
                    connection.sendall(data[at : at + piece])
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        found = dbus.Bus()
        closing.append(found)
        return found

    closing = []
    yield start
    for each in closing:
        each.close()
    for thread in threads:
        thread.join(10)


NAMED = answer(1, text(":1.7"), "s")


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_answers_come_in_any_order_and_in_pieces(bus, piece):
    said = NAMED + answer(3, text("b"), "s") + signal("Other", text("no"), "s")
    said += signal("S", text("yes"), "s") + answer(2, text("a"), "s")
    found = bus(said, piece=piece)
    serials = [found.send("a.b", "/", "a.I", "M") for _ in range(2)]
    assert [found.reply(serial) for serial in serials] == [["a"], ["b"]]
    assert found.name() == ":1.7"
    assert found.signal("a.I", "S", 0) == ["yes"]


def test_an_error_has_a_name_and_a_text(bus):
    found = bus(NAMED + answer(2, text("No such unit"), "s", message.ERROR, "a.NoSuchUnit"))
    with pytest.raises(dbus.Failure, match="No such unit") as caught:
        found.call("a.b", "/", "a.I", "M")
    assert caught.value.name == "a.NoSuchUnit"


def test_an_error_without_a_text_is_its_name(bus):
    found = bus(NAMED + answer(2, b"", "", message.ERROR, "a.NoSuchUnit"))
    with pytest.raises(dbus.Failure, match=r"a\.NoSuchUnit"):
        found.call("a.b", "/", "a.I", "M")


def test_who_hangs_up_is_lost(bus):
    found = bus(NAMED)
    with pytest.raises(dbus.Lost):
        found.call("a.b", "/", "a.I", "M")
    with pytest.raises(dbus.Lost):
        found.signal("a.I", "S", time.monotonic() + 60)


def test_who_lets_us_in_twice(bus):
    """Older ones answer to each line."""
    assert bus(NAMED, LET_IN + LET_IN).name() == ":1.7"


def test_who_does_not_let_us_in(bus):
    found = bus(b"", b"REJECTED EXTERNAL\r\n")
    with pytest.raises(Error, match="D-Bus: not let in: REJECTED EXTERNAL"):
        found.name()


def test_who_speaks_something_else(bus):
    found = bus(b"l" + b"\377" * 40, LET_IN)
    with pytest.raises(Error, match="D-Bus: a message that is too long"):
        found.name()


def test_nothing_comes(bus):
    found = bus(NAMED)
    assert found.signal("a.I", "S", 0) is None


def test_we_say_who_we_are_and_all_else_at_once(tmp_path, monkeypatch):
    path = str(tmp_path / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        found = dbus.Bus()
        found.send("a.b", "/", "a.I", "M")
        with listener.accept()[0] as connection:
            said = connection.recv(65536)
        assert found.peer() == os.getpid()
        found.close()
    assert said.startswith(dbus.HELLO + b"l\1\0\1")
    rest = said.removeprefix(dbus.HELLO)
    first, second = rest[: message.length(rest)], rest[message.length(rest) :]
    assert message.Message(first).fields[message.MEMBER] == "Hello"
    assert message.Message(second).fields[message.MEMBER] == "M"


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("unix:path=/run/a", ["/run/a"]),
        ("unix:path=/run/a%20b%c3%a4,guid=1", ["/run/a bä"]),
        ("unix:abstract=/tmp/x,guid=1;unix:path=/y", ["\0/tmp/x", "/y"]),
        ("tcp:host=a,port=1;unix:path=/y", ["/y"]),
    ],
)
def test_addresses(address, names):
    assert dbus.places(address) == names


@pytest.mark.parametrize("address", ["", "x", "tcp:host=a", "unix:path=/a%zz", "unix:tmpdir=/a"])
def test_addresses_that_name_no_socket(address, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address or "unix:")
    with pytest.raises(Error, match='D-Bus: no Unix socket is named by the address "'):
        dbus.Bus()


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(Error, match="unable to connect to the user's bus: no such file or direc"):
        dbus.Bus(user=True)
