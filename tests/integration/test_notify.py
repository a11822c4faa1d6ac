"""NOTIFY_SOCKET: the service manager hears that the container is ready, and which pid it is."""

import os
import signal
import socket
import subprocess
import threading

import pytest

from harness import alive, read, wait_for


class Manager:
    """A service manager's socket; every message is taken off it as it comes."""

    def __init__(self, address):
        self.address = address
        self.messages = []
        self.barrier = True  # whether it lets go of the descriptor that comes with BARRIER=1
        self.kept = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address[0] == "@" else address)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        while True:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            if data == b"END":
                return
            self.messages.append(data)
            self.kept += fds
            if self.barrier:
                self.release()

    def release(self):
        while self.kept:
            os.close(self.kept.pop())

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"END", self.socket.getsockname())
        self.thread.join(10)
        self.release()
        self.socket.close()

    @property
    def env(self):
        return {**os.environ, "NOTIFY_SOCKET": self.address}


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    address = str(tmp_path / "manager.sock")
    made = Manager(f"@{address}" if request.param == "abstract" else address)
    yield made
    made.close()


@pytest.fixture
def service(bundle):
    """A bundle that says READY and stays."""
    return bundle.sh("probe notify STATUS=starting 'READY=1\nSTATUS=up'; exec sleep 1000")


def test_a_detached_run_returns_when_the_container_is_ready(pyrunc, service, manager):
    name = pyrunc.id()
    pyrunc("run", "-d", "--bundle", service.save(), name, env=manager.env)
    expected = [b"READY=1\n", b"MAINPID=%d\n" % pyrunc.pid(name), b"BARRIER=1"]
    assert manager.messages == expected
    assert pyrunc.status(name) == "running"


def test_start_does_the_same_for_a_created_container(pyrunc, service, manager):
    name = pyrunc.create(service, env=manager.env)
    assert manager.messages == []
    pyrunc("start", name, env=manager.env)
    expected = [b"READY=1\n", b"MAINPID=%d\n" % pyrunc.pid(name), b"BARRIER=1"]
    assert manager.messages == expected


def test_the_foreground_is_the_service_itself(pyrunc, service, manager):
    argv = pyrunc.argv("run", "--bundle", service.save(), pyrunc.id())
    process = subprocess.Popen(argv, env=manager.env, stdin=subprocess.DEVNULL)
    wait_for(lambda: len(manager.messages) == 3, what=f"messages, only {manager.messages}")
    assert manager.messages == [b"READY=1\n", b"MAINPID=%d\n" % process.pid, b"BARRIER=1"]
    # The relay does what it always does.
    process.send_signal(signal.SIGTERM)  # nothing for pid 1 without a handler
    pyrunc("delete", "--force", argv[-1])
    assert process.wait(10) == 128 + signal.SIGKILL


def test_what_the_container_gets(pyrunc, bundle, manager):
    script = (
        "echo $NOTIFY_SOCKET; stat -c %a /run/notify /run/notify/notify.sock;"
        "touch /run/notify/x 2>/dev/null || echo read-only;"
        "grep ' /run/notify ' /proc/self/mountinfo | cut -d' ' -f6"
    )
    lines = pyrunc.run(bundle.sh(script), env=manager.env).stdout.splitlines()
    assert lines[:4] == ["/run/notify/notify.sock", "755", "777", "read-only"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(lines[4].split(","))
    assert manager.messages == []


def test_a_user_can_notify_too(pyrunc, bundle, manager):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    pyrunc.run(bundle.args("probe", "notify", "READY=1"), env=manager.env)
    assert manager.messages[0] == b"READY=1\n"


def test_who_ends_without_being_ready_is_not_waited_for(pyrunc, bundle, manager):
    bundle.sh("probe notify STATUS=x STOPPING=1 XREADY=1 'STATUS=1\nREADY=1'")
    pyrunc("run", "-d", "--bundle", bundle.save(), pyrunc.id(), env=manager.env, timeout=10)
    name = pyrunc.create(bundle, env=manager.env)
    pyrunc("start", name, env=manager.env, timeout=10)
    assert manager.messages == []


def test_who_is_ready_and_ends_at_once_was_ready(pyrunc, bundle, manager):
    bundle.args("probe", "notify", "STATUS=x", "READY=1")
    for _ in range(3):
        manager.messages.clear()
        name = pyrunc.create(bundle, env=manager.env)
        pyrunc("start", name, env=manager.env, timeout=10)
        assert manager.messages[0] == b"READY=1\n"


def test_other_commands_work_while_start_waits(pyrunc, bundle, manager):
    name = pyrunc.create(bundle.args("sleep", "1000"), env=manager.env)
    process = pyrunc.popen("start", name, env=manager.env)
    wait_for(lambda: pyrunc.status(name) == "running")
    assert process.poll() is None
    pyrunc("kill", name, "KILL", timeout=5)
    assert process.wait(5) == 0
    pyrunc("delete", name, timeout=5)


def test_the_manager_is_waited_for(pyrunc, service, manager):
    manager.barrier = False
    name = pyrunc.create(service, env=manager.env)
    process = pyrunc.popen("start", name, env=manager.env)
    wait_for(lambda: manager.kept, what="barrier")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    manager.release()
    assert process.wait(5) == 0


def test_a_manager_that_is_gone_is_a_warning(pyrunc, service, tmp_path):
    env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "nobody.sock")}
    name = pyrunc.create(service, env=env)
    result = pyrunc("start", name, env=env)
    assert f"unable to notify {tmp_path}/nobody.sock: no such file or directory" in result.stderr


def test_start_alone_has_nothing_to_relay(pyrunc, bundle, manager):
    name = pyrunc.create(bundle.args("sleep", "1000"))
    pyrunc("start", name, env=manager.env, timeout=5)
    assert pyrunc.status(name) == "running"


def test_a_killed_start_can_be_repeated(pyrunc, service, manager):
    name = pyrunc.create(service, env=manager.env)
    # What it leaves when it is killed between bind and release.
    os.mknod(f"{pyrunc.root}/{name}/notify/notify.sock", 0o140777)
    pyrunc("start", name, env=manager.env)
    assert manager.messages[0] == b"READY=1\n"


def test_a_long_root_and_a_long_id(pyrunc, service, manager):
    pyrunc.root += "/" + "r" * 60
    name = f"{pyrunc.id()}{'a' * 64}"
    pyrunc("run", "-d", "--bundle", service.save(), name, env=manager.env)
    assert manager.messages[0] == b"READY=1\n"
    pid = pyrunc.pid(name)
    pyrunc("delete", "--force", name)
    assert not alive(pid)


def test_the_name_of_the_socket_is_not_left_in_the_image(pyrunc, bundle, manager):
    pyrunc.run(bundle.args("true"), env=manager.env)
    assert os.listdir(f"{bundle.rootfs}/run/notify") == []
    assert "manager.sock" not in read(f"{bundle.path}/config.json")
