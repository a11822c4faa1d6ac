"""daemons: what systemd's journal and syslog are sent."""

import os
import socket

from pyrunc import daemons


def test_a_journal_entry_has_the_length_of_its_text():
    entry = daemons.journal_entry("web", 3, "two\nlines")
    assert entry == (b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nPRIORITY=3\nSYSLOG_IDENTIFIER=web\n")


def test_a_line_for_syslog_says_how_urgent_it_is_and_who_sent_it():
    assert daemons.syslog_line("web", 4, "text") == f"<28>web[{os.getpid()}]: text".encode()


def test_nobody_listens(monkeypatch, tmp_path):
    monkeypatch.setitem(daemons.SOCKETS, "syslog", str(tmp_path / "none"))
    fd, encode = daemons.connect("syslog", "web")
    assert fd == -1
    assert encode("fatal", "text").startswith(b"<30>web[")


def test_who_listens_and_does_not_read_stops_nobody(monkeypatch, tmp_path):
    monkeypatch.setitem(daemons.SOCKETS, "syslog", str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(daemons.SOCKETS["syslog"])
        fd, _ = daemons.connect("syslog", "web")
        try:
            assert not os.get_blocking(fd)
        finally:
            os.close(fd)
