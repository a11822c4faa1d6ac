"""procfs: a process is its pid and its start time."""

import os
import resource

import pytest

from pyrunc import procfs
from pyrunc.errors import Error


@pytest.fixture
def child():
    """A process that sleeps; reaped at the end."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_stat_survives_any_command_name():
    with open("/proc/self/comm", "r+b", buffering=0) as comm:
        old = comm.read().rstrip(b"\n")
        comm.write(b"a) Z 1 (\n")
        try:
            state, start = procfs.stat(os.getpid())
        finally:
            comm.write(old)
    assert state == "R"
    assert start > 0


def test_alive_needs_the_start_time(child):
    start = procfs.start_time(child)
    assert procfs.alive(child, start)
    assert not procfs.alive(child, start + 1)


def test_who_cannot_look_does_not_say_that_nobody_is_there(child):
    start = procfs.start_time(child)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_PATH)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(Error, match=f"open /proc/{child}/stat: too many open files"):
            procfs.alive(child, start)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("pid", [0, -1, 4194305])
def test_nobody(pid):
    assert procfs.stat(pid) is None
    assert procfs.start_time(pid) == 0
    assert not procfs.alive(pid, 0)
    assert procfs.pidfd(pid, 0) is None
    assert procfs.exe(pid) is None
    assert procfs.state_letter(pid) == ""


def test_a_zombie_is_not_alive():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    start = procfs.start_time(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert procfs.state_letter(pid) == "Z"
        assert not procfs.alive(pid, start)
        assert procfs.pidfd(pid, start) is None
    finally:
        os.waitpid(pid, 0)


def test_pidfd_is_of_that_very_process(child):
    start = procfs.start_time(child)
    fd = procfs.pidfd(child, start)
    assert not os.get_inheritable(fd)
    os.close(fd)
    before = os.listdir("/proc/self/fd")
    assert procfs.pidfd(child, start + 1) is None
    assert os.listdir("/proc/self/fd") == before


def test_exe(child):
    assert procfs.exe(child) == os.path.realpath("/bin/sleep")


def test_a_process_is_ending_once_it_is_a_zombie_or_another():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    start = procfs.start_time(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert procfs.ending(pid, start)
    os.waitpid(pid, 0)
    assert procfs.ending(pid, start)


def test_a_process_that_runs_is_not_ending(child):
    start = procfs.start_time(child)
    assert not procfs.ending(child, start)
    assert procfs.ending(child, start + 1)


@pytest.fixture
def zombie():
    """The pid of a child that has exited with 7, and that nobody has waited for."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    yield pid
    os.waitpid(pid, 0)


def test_exit_code_of_a_zombie(zombie):
    start = procfs.start_time(zombie)
    assert procfs.exit_code(zombie, start) == 7 << 8
    assert procfs.exit_code(zombie, start - 1) is None
    assert procfs.exit_code(os.getpid(), procfs.start_time(os.getpid())) is None


def test_exit_code_is_kept_from_strangers(zombie):
    """The kernel shows them a 0, which must not be told as a success."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    start = procfs.start_time(zombie)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        os._exit(0 if procfs.exit_code(zombie, start) is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
