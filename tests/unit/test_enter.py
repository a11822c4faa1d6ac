"""The way into a container: which descriptors are opened, and whose they are."""

import os

import pytest

from pyrunc import enter, namespaces, procfs
from pyrunc.errors import INIT_FAILED, Error

TYPES = ("NEWPID", "NEWNS", "NEWNET")


def entry(pid, start, types=TYPES):
    made = enter.Entry({"root": "/r", "args": ["c", "true"], "pid_file": "", "given": set()})
    made.pid = pid
    made.record = {"init_process_pid": pid, "init_process_start": start, "cgroup_paths": {}}
    made.config = {"namespaces": [{"type": kind, "path": ""} for kind in types]}
    made.record["config"] = made.config
    return made


def opened(made):
    index, fds = {}, []
    try:
        enter.open_namespaces(made.record, namespaces.NAMES, index, fds)
        return {kind: os.fstat(fds[at]).st_ino for (_, kind), at in index.items()}
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture
def own():
    return os.getpid(), procfs.start_time(os.getpid())


def test_the_namespaces_listed_are_opened(own):
    found = opened(entry(*own))
    assert found == {
        kind: os.stat(f"/proc/self/ns/{file}").st_ino
        for kind, file in (("pid", "pid"), ("mount", "mnt"), ("network", "net"))
    }
    assert opened(entry(*own, types=())) == {}


def test_a_process_that_got_the_number_later_is_not_the_container(own):
    pid, start = own
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Error) as caught:
        opened(entry(pid, start - 1))
    assert caught.value.message == enter.STOPPED
    assert set(os.listdir("/proc/self/fd")) == before


def test_nobody_has_the_number():
    with pytest.raises(Error) as caught:
        opened(entry(4194305, 1))
    assert caught.value.message == enter.STOPPED


def test_a_zombie_has_no_namespaces():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    start = procfs.start_time(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(Error) as caught:
        opened(entry(pid, start))
    assert caught.value.message == enter.STOPPED
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exec: x", "exec: x"),
        (f"{INIT_FAILED}invalid environment variable", "invalid environment variable"),
        ("unable to start container process: x", "x"),
        (f"{INIT_FAILED}unable to apply apparmor profile: apparmor x", "apparmor x"),
    ],
)
def test_a_failure_is_introduced_once(own, text, message):
    whole = entry(*own)._explain(Error(text)).message
    assert whole == f"unable to start container process: {message}"


def test_a_container_that_ended_is_the_cause_of_any_failure(own):
    pid, start = own
    assert entry(pid, start - 1)._explain(Error("anything")).message == enter.STOPPED
