"""SCMP_ACT_NOTIFY: a program on the host decides system calls of the container."""

import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading

import pytest

from harness import read, wait_for

# <linux/seccomp.h>
NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
CONTINUE = 1
NOTIF = struct.Struct("=QII iIQ6Q")
ANSWER = struct.Struct("=QqiI")

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/sys/kernel/seccomp/actions_avail")
    or "user_notif" not in read("/proc/sys/kernel/seccomp/actions_avail"),
    reason="this kernel has no seccomp listeners",
)


class Agent:
    """Takes listeners and answers every notification with `error`, or 0 to let it happen."""

    def __init__(self, path):
        self.path = path
        self.error = 0
        self.documents = []
        self.pids = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(4)
        self.end = os.pipe()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        listeners = []
        while True:
            ready = select.select([self.end[0], self.socket, *listeners], [], [])[0]
            if self.end[0] in ready:
                break
            if self.socket in ready:
                listeners += self._accept()
            for fd in set(ready) & set(listeners):
                if not self._answer(fd):
                    listeners.remove(fd)
                    os.close(fd)
        for fd in listeners:
            os.close(fd)

    def _accept(self):
        connection = self.socket.accept()[0]
        with connection:
            data, fds, flags, _ = socket.recv_fds(connection, 65536, 8)
            assert not flags & socket.MSG_CTRUNC
            assert connection.recv(1) == b""
        self.documents.append(json.loads(data))
        assert len(fds) == 1
        return fds

    def _answer(self, fd):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(0)[0][1] & select.POLLIN:
            return False  # no process has the filter any more
        request = bytearray(NOTIF.size)
        try:
            fcntl.ioctl(fd, NOTIF_RECV, request)
            id, pid, *_ = NOTIF.unpack(request)
            self.pids.append(pid)
            answer = (id, 0, -self.error, 0) if self.error else (id, 0, 0, CONTINUE)
            fcntl.ioctl(fd, NOTIF_SEND, bytearray(ANSWER.pack(*answer)))
        except OSError as err:
            assert err.errno == errno.ENOENT  # it was killed meanwhile
        return True

    def close(self):
        os.write(self.end[1], b"x")
        self.thread.join(10)
        self.socket.close()
        for fd in self.end:
            os.close(fd)


@pytest.fixture
def agent(tmp_path):
    made = Agent(str(tmp_path / "agent.sock"))
    yield made
    made.close()


def notify(bundle, path, *names, **more):
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "syscalls": [{"names": [*names], "action": "SCMP_ACT_NOTIFY"}],
        **more,
    }
    return bundle


@pytest.fixture(params=[True, False], ids=["nnp", "privileged"])
def either(request, bundle):
    """The filter is loaded at another moment without no_new_privs."""
    bundle.process["noNewPrivileges"] = request.param
    return bundle


def test_the_agent_decides(pyrunc, either, agent):
    notify(either, agent.path, "mkdir", "mkdirat").sh("mkdir /tmp/made; echo $?; ls /tmp")
    agent.error = errno.EDQUOT
    result = pyrunc.run(either)
    assert result.stdout == "1\n"
    assert "uota exceeded" in result.stderr
    agent.error = 0
    assert pyrunc.run(either).stdout == "0\nmade\n"
    assert len(agent.pids) == 2


def test_what_the_agent_is_told(pyrunc, either, agent):
    either.config["annotations"] = {"a": "b"}
    notify(either, agent.path, "mkdir", listenerMetadata='about "this"')
    name = pyrunc.create(either.args("sleep", "100"))
    (document,) = agent.documents
    pid = pyrunc.pid(name)
    assert document == {
        "ociVersion": "1.3.0",
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": 'about "this"',
        "state": {
            "ociVersion": "1.3.0",
            "id": name,
            "status": "creating",
            "pid": pid,
            "bundle": either.path,
            "annotations": {"a": "b"},
        },
    }


def test_nobody_in_the_container_has_the_listener(pyrunc, either, agent):
    seen = pyrunc.probe(notify(either, agent.path, "mkdir"))
    assert sorted(seen["fds"]) == ["0", "1", "2"]
    name = pyrunc.create(either)
    pid = pyrunc.pid(name)
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [link for link in links if "seccomp" in link]


def test_calls_of_init_go_to_the_agent_too(pyrunc, either, agent):
    names = ("read", "writev", "close", "openat", "chdir", "setresuid", "capset", "execve")
    either.process["user"] = {"uid": 1000, "gid": 1000}
    result = pyrunc.run(notify(either, agent.path, *names).sh("echo through"))
    assert result.stdout == "through\n"
    assert len(agent.pids) >= 3


def test_an_agent_may_refuse_the_program(pyrunc, either, agent):
    agent.error = errno.EACCES
    notify(either, agent.path, "execve")
    result = pyrunc.run(either.args("true"), code=255)
    assert "permission denied" in result.stderr


def test_the_agent_gets_a_listener_for_exec_too(pyrunc, either, agent):
    name = pyrunc.up(notify(either, agent.path, "mkdir", "mkdirat").args("sleep", "1000"))
    pyrunc("exec", "-d", "--pid-file", f"{pyrunc.directory}/pid", name, "sleep", "1000")
    first, second = agent.documents
    assert second["pid"] == int(read(f"{pyrunc.directory}/pid"))
    assert second["state"] == first["state"] | {"status": "running"}
    agent.error = errno.EDQUOT
    assert "uota exceeded" in pyrunc("exec", name, "mkdir", "/tmp/x", code=1).stderr
    agent.error = 0
    pyrunc("exec", name, "mkdir", "/tmp/x")
    assert len(agent.documents) == 4


def test_without_an_agent_there_is_no_exec(pyrunc, either, agent):
    name = pyrunc.up(notify(either, agent.path, "mkdir").args("sleep", "1000"))
    os.unlink(agent.path)
    result = pyrunc("exec", name, "true", code=255)
    assert "failed to connect with seccomp agent" in result.message


def test_without_a_listening_agent_nothing_is_created(pyrunc, either, tmp_path):
    notify(either, str(tmp_path / "nobody.sock"), "mkdir")
    result = pyrunc.create(either, code=1)
    expected = "failed to connect with seccomp agent specified in the seccomp profile: "
    assert expected in result.message
    assert result.message.endswith("connect: no such file or directory")
    assert pyrunc.names() == []


def test_an_agent_that_went_away_is_no_permission(pyrunc, bundle, agent):
    notify(bundle, agent.path, "mkdir").sh("mkdir /tmp/x; ls /tmp")
    name = pyrunc.create(bundle)
    wait_for(lambda: agent.documents)
    agent.error = errno.EPERM
    os.write(agent.end[1], b"x")
    agent.thread.join(10)
    pyrunc("start", name)
    pyrunc.stopped(name)
    assert not os.path.exists(f"{bundle.rootfs}/tmp/x")


def test_rules_that_would_stop_init_are_refused(pyrunc, bundle, agent):
    result = pyrunc.create(notify(bundle, agent.path, "write"), code=1)
    assert "SCMP_ACT_NOTIFY cannot be used for the write syscall" in result.message
    notify(bundle, agent.path, defaultAction="SCMP_ACT_NOTIFY", syscalls=[])
    result = pyrunc.create(bundle, code=1)
    assert "SCMP_ACT_NOTIFY cannot be used as default action" in result.message
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    assert "seccomp listenerPath is not set" in pyrunc.create(bundle, code=1).message


def test_features_list_the_action(pyrunc):
    document = json.loads(pyrunc("features").stdout)
    assert "SCMP_ACT_NOTIFY" in document["linux"]["seccomp"]["actions"]
