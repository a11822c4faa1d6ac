"""The verbs for an existing container on cgroup v2: a mount namespace shows nothing else.

This host's controllers may all be in use by v1; freezer, processes and events need none.
"""

import json
import os
import subprocess
import time

import pytest

from harness import alive, processes_in, read, wait_for

SCRIPT = """#!/bin/sh
exec unshare -m --propagation private sh -c '
    mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh {command} "$@"
"""


@pytest.fixture
def v2(pyrunc, cgroup_mode, tmp_path):
    """The command where /sys/fs/cgroup is a cgroup2 mount; the root's controllers stay."""
    if cgroup_mode == "v1":
        pytest.skip("needs cgroup2")
    root = "/sys/fs/cgroup" if cgroup_mode == "v2" else "/sys/fs/cgroup/unified"
    before = read(f"{root}/cgroup.subtree_control").split()
    wrapper = tmp_path / "pyrunc-v2"
    wrapper.write_text(SCRIPT.format(command=pyrunc.command))
    wrapper.chmod(0o755)
    pyrunc.command = str(wrapper)
    yield pyrunc
    for name in pyrunc.names():
        pyrunc("delete", "--force", name, code=None)
    for name in set(read(f"{root}/cgroup.subtree_control").split()) - set(before):
        with open(f"{root}/cgroup.subtree_control", "w") as file:
            file.write(f"-{name}")


@pytest.fixture
def running(v2, bundle):
    """The id of a container that writes numbers to /count."""
    script = "i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.02; done"
    name = v2.up(bundle.sh(script))
    assert list(v2.record(name)["cgroup_paths"]) == [""]
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/count"), what="the counter")
    return name


def test_pause_resume_and_ps(v2, running, bundle):
    v2("pause", running)
    assert v2.status(running) == "paused"
    before = read(f"{bundle.rootfs}/count")
    time.sleep(0.1)
    assert read(f"{bundle.rootfs}/count") == before
    pids = json.loads(v2("ps", "--format", "json", running).stdout)
    assert v2.pid(running) in pids
    assert v2("pause", running, code=1).message == "container not running"
    v2("resume", running)
    assert v2.status(running) == "running"
    wait_for(lambda: read(f"{bundle.rootfs}/count") not in ("", before), what="a higher count")
    assert v2("resume", running, code=1).message == "container not paused"


def test_init_killed_while_paused(v2, running):
    pid = v2.pid(running)
    v2("pause", running)
    os.kill(pid, 9)
    wait_for(lambda: not alive(pid), what="end of init")
    assert v2.status(running) == "paused"
    v2("resume", running)
    assert v2.status(running) == "stopped"
    v2("delete", running)


def test_kill_ends_a_paused_container(v2, running):
    v2("pause", running)
    v2("kill", running, "KILL")
    v2.stopped(running)


def test_stats(v2, running):
    event = json.loads(v2("events", "--stats", running).stdout)
    data = event["data"]
    assert data["cpu"]["usage"]["total"] >= data["cpu"]["usage"]["user"]
    assert data["cpu"]["usage"]["total"] % 1000 == 0
    assert "percpu" not in data["cpu"]["usage"]
    assert data["pids"]["current"] >= 1
    assert data["cpuset"]["sched_load_balance"] == 0


@pytest.mark.parametrize("interval", ["100ms", "1h"])
def test_events_end_with_the_container(v2, running, interval):
    with v2.popen("events", "--interval", interval, running, stdout=subprocess.PIPE) as child:
        if interval == "100ms":
            assert json.loads(child.stdout.readline())["type"] == "stats"
        else:
            time.sleep(0.5)
        v2("kill", running, "KILL")
        assert child.wait(10) == 0


def test_update(v2, running):
    folder = f"{v2.record(running)['cgroup_paths']['']}".replace("/sys/fs/cgroup", host_root())
    v2("update", "-r", "-", running, stdin='{"unified": {"cgroup.max.depth": "3"}}')
    assert read(f"{folder}/cgroup.max.depth") == "3\n"
    assert v2.record(running)["config"]["cgroups"]["unified"] == {"cgroup.max.depth": "3"}
    message = v2("update", "-r", "-", running, stdin='{"unified": {"a/b": "3"}}', code=1).message
    assert message == 'unified resource "a/b" must be a file name (no slashes)'
    message = v2("update", "--memory-swap", "5M", running, code=1).message
    assert message == "unable to set swap limit without memory limit"
    assert v2.record(running)["config"]["cgroups"]["unified"] == {"cgroup.max.depth": "3"}


def host_root():
    hybrid = os.path.exists("/sys/fs/cgroup/unified/cgroup.controllers")
    return "/sys/fs/cgroup/unified" if hybrid else "/sys/fs/cgroup"


def test_a_stopped_container(v2, running):
    v2("kill", running, "KILL")
    v2.stopped(running)
    wait_for(lambda: not processes_in(running), what="its end")
    assert v2("ps", "-f", "json", running).stdout == "null\n"
    assert v2("update", "--cpu-idle", "1", running, code=1).message == "container not running"
