"""Calls over D-Bus, to somebody who speaks it: libsystemd on our side, jeepney on the other."""

import contextlib
import os
import socket
import threading
import time

import pytest
from jeepney import DBusAddress, HeaderFields, MessageType, Parser, new_method_call, new_signal

from pyrunc.cgroups import dbus
from pyrunc.errors import Error

LET_IN = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n"
HERE = DBusAddress("/", "a.b", "a.I")


def message(made, serial=99, **fields):
    made.header.fields.update((HeaderFields[name], value) for name, value in fields.items())
    return made.serialise(serial=serial)


def answer(serial, text):
    made = new_method_call(HERE, "x", "s", (text,))
    made.header.message_type = MessageType.method_return
    made.header.fields.clear()
    return message(made, reply_serial=serial, signature="s")


def failure(serial, name, *text):
    made = new_method_call(HERE, "x", "s" * len(text) or None, text)
    made.header.message_type = MessageType.error
    made.header.fields.clear()
    return message(made, reply_serial=serial, error_name=name, signature="s" * len(text))


def signal(member, text):
    return message(new_signal(HERE, member, "s", (text,)))


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """bus(said): a connection to somebody who lets us in, says that, hears us out, and hangs up."""
    threads, buses = [], []

    def start(said, let_in=LET_IN, piece=1 << 20, heard=None):
        path = str(tmp_path / "bus")
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()

        def serve():
            with listener, listener.accept()[0] as connection, contextlib.suppress(OSError):
                data = let_in + said
                for at in range(0, len(data), piece):
                    connection.sendall(data[at : at + piece])
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    if heard is not None:
                        heard.append(part)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        buses.append(dbus.Bus())
        return buses[-1]

    def end():
        for each in buses:
            each.close()
        for thread in threads:
            thread.join(10)

    start.end = end
    yield start
    end()


NAMED = answer(1, ":1.7")
CALL = ("a.b", "/", "a.I", "M")


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_answers_come_in_any_order_and_in_pieces(bus, piece):
    said = NAMED + answer(3, "b") + signal("Other", "no") + signal("S", "yes") + answer(2, "a")
    found = bus(said, piece=piece)
    assert found.name() == ":1.7"
    cookies = [found.send(*CALL) for _ in range(2)]
    assert [found.reply(cookie) for cookie in cookies] == [["a"], ["b"]]
    assert found.signal("a.I", "S", 0) == ["yes"]


def test_an_error_has_a_name_and_a_text(bus):
    found = bus(NAMED + failure(2, "a.NoSuchUnit", "No such unit"))
    with pytest.raises(dbus.Failure, match="No such unit") as caught:
        found.call(*CALL)
    assert caught.value.name == "a.NoSuchUnit"


def test_an_error_without_a_text_is_its_name(bus):
    with pytest.raises(dbus.Failure, match=r"a\.NoSuchUnit"):
        bus(NAMED + failure(2, "a.NoSuchUnit")).call(*CALL)


def test_who_hangs_up_is_lost(bus):
    found = bus(NAMED)
    with pytest.raises(dbus.Lost):
        found.call(*CALL)
    with pytest.raises(dbus.Lost):
        found.signal("a.I", "S", time.monotonic() + 60)


def test_who_does_not_let_us_in(bus):
    with pytest.raises(Error, match="D-Bus: operation not permitted"):
        bus(b"", b"REJECTED EXTERNAL\r\n" * 3).name()


def test_who_speaks_something_else(bus):
    with pytest.raises(Error, match="D-Bus: "):
        bus(b"l" + b"\377" * 40).name()


def test_nothing_comes(tmp_path, monkeypatch):
    path = str(tmp_path / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    monkeypatch.setattr(dbus, "PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        found = dbus.Bus()
        with listener.accept()[0] as connection:
            connection.sendall(LET_IN + NAMED)
            assert found.name() == ":1.7"
            assert found.signal("a.I", "S", 0) is None
            with pytest.raises(dbus.Late):
                found.call(*CALL)
            assert found.peer() == os.getpid()
        found.close()


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
    ("o", "/a/b_1"),
    ("as", []),
    ("as", ["a", "bc"]),
    ("ay", b"\7\1"),
    ("at", [1, 2]),
    ("a(sv)", [("A", ("t", 5)), ("B", ("a(ss)", [("x", "rw")])), ("C", ("b", False))]),
    ("(yt(su))", (1, 2, ("z", 3))),
]


def test_values_go_and_come(bus):
    """What is sent is what the other side reads, and what that would send is what is found."""
    signature = "".join(kind for kind, _ in VALUES)
    values = [value for _, value in VALUES]
    back = new_method_call(HERE, "x", signature, tuple(values))
    back.header.message_type = MessageType.method_return
    back.header.fields.clear()
    heard = []
    found = bus(NAMED + message(back, reply_serial=2, signature=signature), heard=heard)
    assert found.call(*CALL, signature, *values) == values
    bus.end()
    parser = Parser()
    parser.add_data(b"".join(heard).partition(b"BEGIN\r\n")[2])
    hello, call = parser.get_next_message(), parser.get_next_message()
    assert hello.header.fields[HeaderFields.member] == "Hello"
    assert call.header.fields[HeaderFields.member] == "M"
    assert list(call.body) == values


@pytest.mark.parametrize(
    ("kind", "value", "what"),
    [
        ("y", 256, "256 is out of range of type y"),
        ("u", -1, "-1 is out of range of type u"),
        ("s", "a\0b", "has a NUL byte"),
        ("s", "\udc80", "is not Unicode"),
        ("o", "a/b", "invalid argument"),
        ("g", "a", "invalid argument"),
    ],
)
def test_what_the_bus_would_hang_up_for_is_refused(bus, kind, value, what):
    found = bus(NAMED)
    found.name()
    with pytest.raises(Error, match=what):
        found.send(*CALL, kind, value)


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(Error, match="unable to connect to the user's bus: no such file or direc"):
        dbus.Bus(user=True)


def test_a_host_without_the_library(monkeypatch):
    monkeypatch.setattr(dbus, "LIBRARY", "libsystemd.so.none")
    with pytest.raises(Error, match="the systemd cgroup driver needs libsystemd.so.none"):
        dbus.Bus()
