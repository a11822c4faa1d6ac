"""The relay of sd_notify(3): what a container says is heard even if it ends at once."""

import os
import socket

import pytest

from pyrunc import notify


class OnlyTheEnd:
    """A poll(2) that looked at the socket just before READY came, and at the process after it."""

    def register(self, fd, events):
        self.last = fd

    def poll(self):
        return [(self.last, notify.select.POLLIN)]


def test_ready_just_before_the_end_is_passed_on(monkeypatch, tmp_path):
    manager, inside, container = (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)
    )
    with manager, container:
        manager.bind(str(tmp_path / "manager"))
        manager.setblocking(False)
        inside.bind(str(tmp_path / "inside"))
        inside.setblocking(False)
        container.sendto(b"READY=1\n", inside.getsockname())
        monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
        monkeypatch.setattr(notify.select, "poll", OnlyTheEnd)
        monkeypatch.setattr(notify, "_wait_for_end", os.close)
        notify.Relay(inside, manager.getsockname()).wait(77, container.fileno())
        assert manager.recv(100) == b"READY=1\n"
        assert manager.recv(100) == b"MAINPID=77\n"


def test_a_manager_that_reads_nothing_is_named(monkeypatch, tmp_path):
    manager, inside, container = (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)
    )
    with manager, inside, container:
        manager.bind(str(tmp_path / "manager"))
        inside.bind(str(tmp_path / "inside"))
        container.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:  # its queue is full
                container.sendto(b"noise", manager.getsockname())
        container.sendto(b"READY=1\n", inside.getsockname())
        monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
        monkeypatch.setattr(notify, "SEND_PATIENCE", 0.01)
        warnings = []
        monkeypatch.setattr(notify.log, "warning", warnings.append)
        os.close(notify.Relay(inside, manager.getsockname()).move(77))
        assert warnings == [f"unable to notify {manager.getsockname()}: timed out"]
