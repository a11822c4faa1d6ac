"""pause and resume: every process of the container stands still, and goes on."""

import os
import signal

import pytest

from harness import alive, read, wait_for

COUNT = "i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.02; done"


def counts(bundle):
    """A function that tells whether the container's counter moves within a while."""

    def value():
        try:
            return read(f"{bundle.rootfs}/count")
        except FileNotFoundError:
            return ""

    def moves(timeout=10.0):
        before = value()
        try:
            wait_for(lambda: value() not in ("", before), timeout)
        except AssertionError:
            return False
        return True

    return moves


def test_pause_and_resume(pyrunc, bundle):
    name = pyrunc.up(bundle.sh(COUNT))
    moves = counts(bundle)
    assert moves()
    for verb, status in (("pause", "paused"), ("resume", "running")):
        result = pyrunc(verb, name)
        assert (result.stdout, result.stderr) == ("", "")
        assert pyrunc.status(name) == status
        assert moves(0.2 if verb == "pause" else 10) == (verb == "resume")


def test_a_created_container_is_created_again(pyrunc, bundle):
    name = pyrunc.create(bundle.sh("echo ran > /ran"))
    pyrunc("pause", name)
    assert pyrunc.status(name) == "paused"
    message = pyrunc("start", name, code=1).message
    assert message == "cannot start a container in the paused state"
    pyrunc("resume", name)
    assert pyrunc.status(name) == "created"
    pyrunc("start", name)
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/ran"), what="the program's file")


def test_every_process_stands_still(pyrunc, bundle):
    name = pyrunc.up(bundle.sh(f"sh -c '{COUNT}' & wait"))
    moves = counts(bundle)
    assert moves()
    pyrunc("pause", name)
    assert not moves(0.2)


def test_refusals(pyrunc, bundle):
    for verb in ("pause", "resume"):
        assert pyrunc(verb, "nobody", code=1).message == "container does not exist"
    name = pyrunc.up(bundle.sh("sleep 100"))
    assert pyrunc("resume", name, code=1).message == "container not paused"
    pyrunc("pause", name)
    assert pyrunc("pause", name, code=1).message == "container not running"
    assert pyrunc.status(name) == "paused"
    pyrunc("resume", name)
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
    assert pyrunc("pause", name, code=1).message == "container not running"
    assert pyrunc("resume", name, code=1).message == "container not paused"


def test_again_and_again(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("while true; do (true); done"))
    for _ in range(10):
        pyrunc("pause", name)
        assert pyrunc.status(name) == "paused"
        pyrunc("resume", name)
        assert pyrunc.status(name) == "running"


def test_kill_ends_a_paused_container(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pyrunc("pause", name)
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)


def test_term_waits_for_the_resume(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("trap 'exit 0' TERM; touch /ready; while true; do sleep 0.02; done"))
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/ready"), what="the trap")
    pyrunc("pause", name)
    pyrunc("kill", name, "TERM")
    assert pyrunc.status(name) == "paused"
    pyrunc("resume", name)
    pyrunc.stopped(name)


def test_delete(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pyrunc("pause", name)
    message = pyrunc("delete", name, code=1).message
    assert message == f"cannot delete container {name} that is not stopped: paused"
    pyrunc("delete", "--force", name)
    assert pyrunc("state", name, code=1).message == "container does not exist"


@pytest.mark.parametrize("verb", ["resume", "delete"])
def test_init_that_was_killed_while_paused(pyrunc, bundle, cgroup_mode, verb):
    """An engine then calls resume; the container is stopped, not lost."""
    name = pyrunc.up(bundle.sh("sleep 100"))
    pid = pyrunc.pid(name)
    pyrunc("pause", name)
    os.kill(pid, signal.SIGKILL)
    if cgroup_mode == "v2":  # there a frozen process can die
        wait_for(lambda: not alive(pid), what="end of init")
        assert pyrunc.status(name) == "paused"
        pyrunc(verb, name)
    else:
        pyrunc("resume", name)
    if verb == "resume":
        pyrunc.stopped(name)
        pyrunc("delete", name)


def test_a_frozen_cgroup_above_is_not_our_pause(pyrunc, bundle, cgroup_mode):
    bundle.linux["cgroupsPath"] = f"/{pyrunc.prefix}above/{pyrunc.prefix}below"
    name = pyrunc.up(bundle.sh("sleep 100"))
    paths = pyrunc.record(name)["cgroup_paths"]
    own, file, on, off = (
        (paths[""], "cgroup.freeze", "1", "0")
        if cgroup_mode == "v2"
        else (paths["freezer"], "freezer.state", "FROZEN", "THAWED")
    )
    above = f"{os.path.dirname(own)}/{file}"
    try:
        write(above, on)
        assert pyrunc.status(name) == "running"
        pyrunc("pause", name)
        write(above, off)
        assert pyrunc.status(name) == "paused"
        write(above, on)
        pyrunc("resume", name)
        assert pyrunc.status(name) == "running"
    finally:
        write(above, off)
        pyrunc("delete", "--force", name)
        for path in paths.values():
            os.rmdir(os.path.dirname(path))


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def test_under_oom_without_a_killer(pyrunc, bundle, cgroup_mode):
    """A process that waits for memory may not be frozen; a pause must end, one way or the other."""
    if cgroup_mode == "v2":
        pytest.skip("v2 always has a killer")
    bundle.linux["resources"]["memory"] = {
        "limit": 8 << 20,
        "swap": 8 << 20,
        "disableOOMKiller": True,
    }
    name = pyrunc.up(bundle.sh("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"))
    control = f"{pyrunc.record(name)['cgroup_paths']['memory']}/memory.oom_control"
    wait_for(lambda: "under_oom 1" in read(control), what="want of memory")
    result = pyrunc("pause", name, code=None)
    if result.code:
        assert result.message == "unable to freeze"
        assert pyrunc.status(name) == "running"
    else:
        assert pyrunc.status(name) == "paused"
        pyrunc("resume", name)
    pyrunc("update", "--memory", "64M", "--memory-swap", "64M", name, code=None)
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
