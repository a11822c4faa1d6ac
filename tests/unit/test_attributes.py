"""What the host sets on a process from outside, and the pid file."""

import os

import pytest

from pyrunc import attributes
from pyrunc.errors import Error


@pytest.fixture
def child():
    """A process that sleeps; reaped at the end."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_pid_file_is_the_number_and_replaces_what_is_there(tmp_path):
    path = tmp_path / "pid"
    path.write_text("")
    attributes.pid_file(str(path), 12345)
    assert path.read_text() == "12345"
    assert os.listdir(tmp_path) == ["pid"]


def test_pid_file_that_cannot_be_written(tmp_path):
    (tmp_path / ".pid").mkdir()
    with pytest.raises(Error) as caught:
        attributes.pid_file(f"{tmp_path}/pid", 1)
    assert caught.value.message == f"open {tmp_path}/.pid: is a directory"
    assert not (tmp_path / "pid").exists()


def test_oom_score(child):
    def score():
        with open(f"/proc/{child}/oom_score_adj") as file:
            return int(file.read())

    before = score()
    attributes.oom_score(child, None)
    assert score() == before
    attributes.oom_score(child, 900)
    assert score() == 900
    with pytest.raises(Error) as caught:
        attributes.oom_score(child, 1001)
    assert caught.value.message == ("failed to update /proc/self/oom_score_adj: invalid argument")


def test_affinity(child):
    cpus = os.sched_getaffinity(0)
    one = {min(cpus)}
    attributes.affinity(child, one)
    assert os.sched_getaffinity(child) == one
    attributes.forget_affinity(child, pytest.fail)
    assert os.sched_getaffinity(child) >= cpus
    with pytest.raises(Error) as caught:
        attributes.affinity(child, {1000})
    assert caught.value.message == "error setting CPU affinity: invalid argument"


def test_forgetting_is_only_worth_a_warning(child):
    warnings = []
    attributes.forget_affinity(4194305, warnings.append)  # above every kernel's pid_max
    assert warnings == ["unable to reset the CPU affinity: no such process"]
