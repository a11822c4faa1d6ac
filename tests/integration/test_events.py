"""events: what a container uses, and when it ran out of memory, as lines of JSON."""

import contextlib
import json
import os
import subprocess
import time

import pytest

from harness import PATIENCE, listening, processes_in, read, wait_for

MEGABYTE = 1 << 20


@pytest.fixture
def listen(pyrunc, tmp_path):
    """listen(*args) starts `events`; calling what it returns gives the lines so far."""
    children = []

    def start(*args):
        path = tmp_path / f"events{len(children)}"
        with open(path, "wb") as output:
            child = pyrunc.popen("events", *args, stdin=subprocess.DEVNULL, stdout=output)
        children.append(child)

        def lines():
            return [json.loads(line) for line in read(path).splitlines()]

        lines.child = child
        return lines

    yield start
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()


def stats(pyrunc, name):
    result = pyrunc("events", "--stats", name)
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_stats_once(pyrunc, bundle):
    bundle.linux["resources"]["pids"] = {"limit": 20}
    name = pyrunc.up(bundle.sh("sleep 100 & sleep 101 & wait"))
    wait_for(lambda: len(processes_in(name)) == 3, what="three processes")
    event = stats(pyrunc, name)
    assert list(event) == ["type", "id", "data"]
    assert (event["type"], event["id"]) == ("stats", name)
    data = event["data"]
    assert list(data) == (
        "cpu cpuset memory pids blkio hugetlb intel_rdt network_interfaces".split()
    )
    assert data["network_interfaces"] is None
    assert data["intel_rdt"] == {}
    assert data["cpu"]["usage"]["total"] > 0
    assert data["pids"]["current"] == 3


def test_limits_are_told(pyrunc, bundle, cgroup_mode):
    if cgroup_mode == "v2":
        pytest.skip("controllers may be missing")
    bundle.linux["resources"].update(
        memory={"limit": 32 * MEGABYTE}, pids={"limit": 20}, cpu={"quota": 50000, "period": 100000}
    )
    name = pyrunc.up(bundle.sh("while true; do true; done"))
    wait_for(lambda: "throttling" in stats(pyrunc, name)["data"]["cpu"], what="throttling")
    data = stats(pyrunc, name)["data"]
    assert data["memory"]["usage"]["limit"] == 32 * MEGABYTE
    assert 0 < data["memory"]["usage"]["usage"] <= data["memory"]["usage"]["max"]
    assert data["pids"] == {"current": 1, "limit": 20}
    assert sum(data["cpu"]["usage"]["percpu"]) > 0
    assert len(data["cpu"]["usage"]["percpu"]) == len(data["cpu"]["usage"]["percpu_user"])


def test_every_status_but_stopped(pyrunc, bundle):
    name = pyrunc.create(bundle.sh("sleep 100"))
    stats(pyrunc, name)
    pyrunc("start", name)
    pyrunc("pause", name)
    stats(pyrunc, name)
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
    for args in (["--stats"], []):
        message = pyrunc("events", *args, name, code=1).message
        assert message == f"container with id {name} is not running"


def test_refusals(pyrunc, bundle):
    assert pyrunc("events", "--stats", "nobody", code=1).message == "container does not exist"
    name = pyrunc.create(bundle)
    for value in ("0", "0s", "-1s"):
        message = pyrunc("events", f"--interval={value}", name, code=1).message
        assert message == "duration interval must be greater than 0"
    assert "invalid value" in pyrunc("events", "--interval", "soon", name, code=1).message


def test_an_interval_passes_before_the_first_event(pyrunc, bundle, listen):
    name = pyrunc.up(bundle.sh("sleep 100"))
    begin = time.monotonic()
    lines = listen("--interval", "700ms", name)
    wait_for(lines, what="event")
    assert time.monotonic() - begin >= 0.7
    wait_for(lambda: len(lines()) >= 2, what="second event")
    assert {event["type"] for event in lines()} == {"stats"}


@pytest.mark.parametrize("interval", ["100ms", "1h"])
def test_it_ends_with_the_container(pyrunc, bundle, listen, cgroup_mode, interval):
    if cgroup_mode == "v1" and interval == "1h":
        pytest.skip("v1 tells nobody when a cgroup becomes empty")
    name = pyrunc.up(bundle.sh("sleep 100"))
    lines = listen(f"--interval={interval}", name)
    pyrunc("ps", name)
    listening(lines.child)  # or else it will refuse
    assert lines.child.poll() is None
    pyrunc("kill", name, "KILL")
    assert lines.child.wait(10) == 0


def test_it_ends_with_the_removal(pyrunc, bundle, listen):
    name = pyrunc.up(bundle.sh("sleep 100"))
    lines = listen("--interval", "1h", name)
    listening(lines.child)
    pyrunc("delete", "--force", name)
    assert lines.child.wait(10) == 0


def test_it_ends_with_its_reader(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    with pyrunc.popen("events", "--interval", "1h", name, stdout=subprocess.PIPE) as child:
        listening(child)
        child.stdout.close()
        assert child.wait(10) in (0, 141)
    with pyrunc.popen("events", "--interval", "50ms", name, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(10) in (0, 141)


def test_it_goes_on_while_another_process_lives(pyrunc, bundle, listen):
    bundle.namespace("pid", False).sh(f"sleep {2 * PATIENCE} & exec sleep 100")
    name = pyrunc.up(bundle)
    wait_for(lambda: len(processes_in(name)) == 2, what="two processes")
    lines = listen("--interval", "100ms", name)
    wait_for(lines, what="event")
    os.kill(pyrunc.pid(name), 9)
    pyrunc.stopped(name)
    before = len(lines())
    wait_for(lambda: len(lines()) > before + 1, what="more events")
    assert lines.child.wait(10) == 0


GO = "until [ -e /go ]; do sleep 0.05; done"
GREEDY = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"


def test_want_of_memory(pyrunc, bundle, listen, cgroup_mode):
    if cgroup_mode == "v2" and "memory" not in read("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("no memory controller")
    bundle.linux["resources"]["memory"] = {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE}
    name = pyrunc.up(bundle.sh(f"{GO}; sh -c '{GREEDY}'; sleep 100"))
    lines = listen("--interval", "1h", name)
    listening(lines.child)
    bundle.write("go", "")
    wait_for(lines, what="event")
    assert read(f"{pyrunc.directory}/events0") == f'{{"type":"oom","id":"{name}"}}\n'
    assert lines.child.poll() is None
    pyrunc("kill", name, "KILL")
    assert lines.child.wait(10) == 0
    assert {event["type"] for event in lines()} == {"oom"}


def test_a_container_that_dies_of_it(pyrunc, bundle, listen, cgroup_mode):
    """The event is not lost although the container ends at the same moment."""
    if cgroup_mode == "v2" and "memory" not in read("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("no memory controller")
    bundle.linux["resources"]["memory"] = {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE}
    name = pyrunc.up(bundle.sh(f"{GO}; {GREEDY}"))
    lines = listen("--interval", "1h", name)
    listening(lines.child)
    bundle.write("go", "")
    pyrunc.stopped(name)
    assert lines.child.wait(10) == 0
    assert lines()[0] == {"type": "oom", "id": name}
