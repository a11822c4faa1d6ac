"""The verbs for an existing container on cgroup v2: a mount namespace shows nothing else.

This host's controllers may all be in use by v1; freezer, processes and events need none.
"""

import json
import os
import subprocess
import time

import pytest

from harness import alive, listening, processes_in, read, wait_for

# What /sys/fs/cgroup is in the mount namespace of the command.
UNIFIED = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"


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


def test_stats_for_programs(v2, running):
    result = v2("stats", "--format", "json", "--no-stream", "--interval", "200ms")
    sample = json.loads(result.stdout)
    assert sample["id"] == running
    assert sample["cpu"]["usage_ns"] > 0
    assert sample["cpu"]["percent"] > 0
    assert sample["pids"]["current"] > 0
    if os.path.exists("/proc/pressure"):
        assert list(sample["pressure"]) == ["cpu", "memory", "io"]
    page = v2("stats", "--format", "prometheus").stdout
    assert f'pyrunc_container_cpu_usage_seconds_total{{id="{running}"}} ' in page


@pytest.mark.parametrize(
    ("options", "private", "owner"),
    [(["rw"], True, 1234), (["ro"], True, 0), ([], True, 1234), (["rw"], False, 0)],
    ids=["writable", "read-only", "default", "shared"],
)
def test_a_payload_that_may_write_to_its_cgroup_owns_it(v2, bundle, options, private, owner):
    """config-linux.md, "Cgroup ownership"."""
    bundle.namespace("cgroup", None if private else False)
    bundle.process["user"] = {"uid": 1234, "gid": 0}
    mounts = [row for row in bundle.mounts if row["destination"] != "/sys/fs/cgroup"]
    bundle.config["mounts"] = mounts
    # The destination is the same one, cleaned.
    bundle.mount("/sys/fs/./cgroup", "cgroup", *options, kind="cgroup")
    name = v2.up(bundle.sh("mkdir /sys/fs/cgroup/inner; sleep 100"))
    folder = v2.record(name)["cgroup_paths"][""].replace("/sys/fs/cgroup", UNIFIED)
    delegated = {"", *read("/sys/kernel/cgroup/delegate").split()}
    for file in ("", *os.listdir(folder)):
        if file == "inner":
            continue
        found = os.stat(f"{folder}/{file}")
        expected = owner if file in delegated else 0
        assert (found.st_uid, found.st_gid) == (expected, 0), file
    if owner:
        wait_for(lambda: os.path.isdir(f"{folder}/inner"), what="the payload's own cgroup")
    v2("delete", "--force", name)
    assert not os.path.exists(folder)


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


# --- with the controllers, where v1 does not have them ---


@pytest.fixture
def limited(v2, bundle):
    """The id of a container with limits, and a function that reads its cgroup's files."""
    available = set(read(f"{host_root()}/cgroup.controllers").split())
    if not {"memory", "cpu", "pids", "cpuset"} <= available:
        pytest.skip("needs the memory, cpu, pids and cpuset controllers in cgroup v2")
    bundle.linux["resources"].update(
        memory={"limit": 32 << 20, "swap": 64 << 20, "reservation": 16 << 20},
        cpu={"shares": 100, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        pids={"limit": 20},
    )
    name = v2.up(bundle.sh("sleep 100"))
    folder = v2.record(name)["cgroup_paths"][""]
    return name, lambda file: read(f"{folder}/{file}").strip()


def test_limits_are_updated(v2, limited):
    name, value = limited
    flags = (
        "--memory 48M --memory-swap 96M --memory-reservation 24M --cpu-share 200 --pids-limit 30 "
        "--cpu-period 200000 --cpu-quota 80000 --cpuset-cpus 0 --cpuset-mems 0"
    )
    v2("update", *flags.split(), name)
    files = "memory.max memory.swap.max memory.low cpu.weight pids.max cpu.max cpuset.cpus".split()
    assert [value(file) for file in files] == [
        str(48 << 20),
        str(48 << 20),
        str(24 << 20),
        "29",
        "30",
        "80000 200000",
        "0",
    ]
    v2("update", "--cpu-idle", "1", name)
    assert value("cpu.idle") == "1"
    v2("update", "--cpu-idle", "0", "--cpu-share", "100", name)
    assert (value("cpu.idle"), value("cpu.weight")) == ("0", "17")
    v2("update", "--memory=-1", name)
    assert (value("memory.max"), value("memory.swap.max")) == ("max", "max")
    v2("update", "--cpu-quota=-1", name)
    assert value("cpu.max").startswith("max ")


def test_a_failed_update_changes_nothing(v2, limited):
    name, value = limited
    files = "memory.max memory.swap.max memory.low cpu.weight pids.max cpu.max cpuset.cpus".split()
    before = [value(file) for file in files]
    record = v2.record(name)
    flags = "--memory 48M --memory-swap 60M --pids-limit 5 --cpu-share 300 --cpuset-cpus 4000"
    message = v2("update", *flags.split(), name, code=1).message
    assert "cpuset.cpus: " in message
    assert [value(file) for file in files] == before
    assert v2.record(name) == record


def test_a_failed_update_takes_everything_back(v2, limited):
    """Rates of single devices, and files that only `unified` names."""
    name, value = limited
    block = sorted(os.listdir("/sys/block"))[0]
    major, _, minor = read(f"/sys/block/{block}/dev").strip().partition(":")
    entry = {"major": int(major), "minor": int(minor)}

    def update(rate, **more):
        throttle = {"throttleReadBpsDevice": [{**entry, "rate": rate}]}
        document = {"blockIO": {"weight": 500, **throttle}, **more}
        return v2("update", "-r", "-", name, stdin=json.dumps(document), code=bool(more))

    files = "io.max io.weight memory.high memory.max cpu.weight".split()
    before = [value(file) for file in files]
    wrong = {"memory.high": "20971520", "cpu.weight": "many"}
    assert 'unified resource "cpu.weight"' in update(5000, unified=wrong).message
    assert [value(file) for file in files] == before
    update(4000)
    changed = [value(file) for file in files]
    assert changed[:2] == [
        f"{major}:{minor} rbps=4000 wbps=max riops=max wiops=max",
        "default 4950",
    ]
    update(6000, unified=wrong)
    assert [value(file) for file in files] == changed


def test_usage_with_limits(v2, limited):
    name, _ = limited
    data = json.loads(v2("events", "--stats", name).stdout)["data"]
    assert data["memory"]["usage"]["limit"] == 32 << 20
    assert data["memory"]["swap"]["limit"] == 64 << 20
    assert 0 < data["memory"]["usage"]["usage"] <= data["memory"]["swap"]["usage"]
    assert data["pids"] == {"current": 1, "limit": 20}
    assert data["memory"]["raw"]["anon"] > 0


@pytest.mark.usefixtures("limited")
def test_want_of_memory(v2, bundle):
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    greedy = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
    go = "until [ -e /go ]; do sleep 0.05; done"
    name = v2.up(bundle.sh(f"{go}; sh -c '{greedy}'; {greedy}"))
    with v2.popen("events", "--interval", "1h", name, stdout=subprocess.PIPE) as child:
        listening(child)
        bundle.write("go", "")
        assert child.stdout.read() == f'{{"type":"oom","id":"{name}"}}\n'.encode() * 2
        assert child.wait(20) == 0
