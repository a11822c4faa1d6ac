"""The systemd cgroup driver: units, their properties, and what is left of them.

Skipped where systemd is not the init system; the last tests are for just that.
"""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from counting import count, goes_on, restore, up
from harness import Runtime, alive, read, wait_for

FAULTY = os.path.join(os.path.dirname(__file__), "faulty.py")
RUNNING = os.path.isdir("/run/systemd/system")
needs_systemd = pytest.mark.skipif(not RUNNING, reason="systemd is not PID 1")
INFINITY = "infinity"
CYCLES = int(os.environ.get("PYRUNC_CYCLES", "100"))


class Systemd(Runtime):
    """The command with --systemd-cgroup where that matters."""

    __slots__ = ()

    def argv(self, *args):
        more = ["--systemd-cgroup"] if args[0] in ("create", "run", "restore") else []
        return [self.command, "--root", self.root, *more, *map(str, args)]


def show(unit, *names):
    """Properties of a unit: a value, or several."""
    command = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    values = [found.get(name, [""]) for name in names]
    values = [value if len(value) > 1 else value[0] for value in values]
    return values if len(values) > 1 else values[0]


def systemctl(*args):
    return subprocess.run(["systemctl", *args], check=False, capture_output=True, text=True)


def units(text):
    """Loaded units with the text in their names, failed ones too."""
    listed = systemctl("list-units", "--all", "--full", "--plain", "--no-legend").stdout
    return [line.split()[0] for line in listed.splitlines() if text in line.split()[0]]


def directories(text):
    return [
        os.path.join(folder, name)
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if text in name
    ]


def nothing_left(name):
    # A mount of runc's own, below the test's directory, systemd forgets a moment later.
    assert [unit for unit in units(name) if not unit.endswith(".mount")] == []
    assert directories(name) == []
    for folder in ("transient", "system.control"):
        path = f"/run/systemd/{folder}"
        assert not os.path.isdir(path) or not [f for f in os.listdir(path) if name in f]


@pytest.fixture
def sd(pyrunc):
    """The command, whose units must be gone at the end; its slices are stopped."""
    runtime = Systemd(pyrunc.command, pyrunc.directory, pyrunc.prefix)
    yield runtime
    for name in runtime.names():
        runtime("delete", "--force", name, code=None)
    slices = [unit for unit in units("pytest") if unit.endswith(".slice")]
    if slices:
        systemctl("stop", *slices)
    # Where systemd has no controller (v1) the directories above are made once, and stay.
    for path in reversed(directories("pytest")):
        if path.endswith(".slice"):
            os.rmdir(path)
    nothing_left(runtime.prefix)
    nothing_left("pytest")


def sleeping(bundle, path=""):
    if path:
        bundle.linux["cgroupsPath"] = path
    return bundle.args("sleep", "1000")


def file(sd, name, v2, v1=""):
    """A cgroup file: its v2 name, or `controller/file` of v1."""
    paths = sd.record(name)["cgroup_paths"]
    controller, _, v1 = v1.partition("/")
    path = f"{paths['']}/{v2}" if list(paths) == [""] else f"{paths.get(controller)}/{v1}"
    if not os.path.exists(path):
        pytest.skip(f"{path} is not there: no such controller")
    return read(path).strip()


def controllers():
    """Those that may limit something here."""
    try:
        return read("/sys/fs/cgroup/cgroup.controllers").split()
    except OSError:
        return ["memory", "cpu", "pids", "cpuset", "io"]  # v1: everywhere


def need(*names):
    for name in names:
        if name not in controllers():
            pytest.skip(f"the controller {name} is not there")


# --- the unit ---


@needs_systemd
def test_a_container_is_a_scope(sd, bundle):
    name = sd.up(sleeping(bundle))
    unit = f"runc-{name}.scope"
    pid = sd.pid(name)
    assert f"/system.slice/{unit}" in read(f"/proc/{pid}/cgroup")
    got = show(
        unit, "ActiveState", "Description", "Slice", "Delegate", "DefaultDependencies", "Transient"
    )
    wanted = ["active", f"libcontainer container {name}", "system.slice", "yes", "no", "yes"]
    assert got == wanted
    got = show(unit, "MemoryAccounting", "CPUAccounting", "TasksAccounting", "CollectMode")
    assert got == ["yes", "yes", "yes", "inactive"]
    record = sd.record(name)
    for path in record["cgroup_paths"].values():
        assert path.endswith(f"/system.slice/{unit}")
        assert str(pid) in read(f"{path}/cgroup.procs").split()
    cgroups = record["config"]["cgroups"]
    assert (cgroups["name"], cgroups["parent"], cgroups["scope_prefix"]) == (name, "", "runc")
    assert (cgroups["Systemd"], cgroups["Rootless"]) == (True, False)
    sd("kill", name, "KILL")
    sd.stopped(name)
    sd("delete", name)
    nothing_left(name)


@needs_systemd
def test_slice_prefix_and_name(sd, bundle):
    name = sd.id()
    sleeping(bundle, f"pytest-a-b.slice:cri:{name}")
    sd("create", "--bundle", bundle.save(), name)
    pid = sd.pid(name)
    unit = f"cri-{name}.scope"
    path = f"/pytest.slice/pytest-a.slice/pytest-a-b.slice/{unit}"
    assert all(line.endswith(path) for line in read(f"/proc/{pid}/cgroup").split() if unit in line)
    assert unit in read(f"/proc/{pid}/cgroup")
    assert show(unit, "Slice", "Description") == [
        "pytest-a-b.slice",
        f"libcontainer container {name}",
    ]
    assert show(unit, "ControlGroup") == path
    sd("delete", name)
    nothing_left(name)


@needs_systemd
def test_a_slice_may_be_the_container(sd, bundle):
    sleeping(bundle, "pytest.slice::pytest-box.slice")
    name = sd.up(bundle)
    pid = sd.pid(name)
    assert "/pytest.slice/pytest-box.slice" in read(f"/proc/{pid}/cgroup")
    assert show("pytest-box.slice", "ActiveState") == "active"
    assert "pytest.slice" in show("pytest-box.slice", "Wants").split()
    sd("delete", "--force", name)
    assert not directories("pytest-box")
    assert show("pytest-box.slice", "ActiveState") == "inactive"


@needs_systemd
def test_a_slice_whose_name_looks_like_a_file(sd, bundle):
    """systemd gives it another directory; there the container is, and nowhere else."""
    name = sd.id()
    sleeping(bundle, f"memory.slice:runc:{name}")
    sd("create", "--bundle", bundle.save(), name)
    unit = f"runc-{name}.scope"
    assert show(unit, "ControlGroup") == f"/_memory.slice/{unit}"
    for path in sd.record(name)["cgroup_paths"].values():
        assert path.endswith(f"/_memory.slice/{unit}")
        assert str(sd.pid(name)) in read(f"{path}/cgroup.procs").split()
    sd("delete", name)
    nothing_left(name)
    systemctl("stop", "memory.slice")
    for path in directories("_memory.slice"):
        os.rmdir(path)


@needs_systemd
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/a/b",
            'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
            'got "/a/b" instead',
        ),
        ("no-slice:a:b", "invalid slice name: no-slice"),
        ("a.slice:b:-.slice", "invalid slice name: -.slice"),
        ("a.slice:b:c\0d", "it has a NUL byte"),
    ],
)
def test_paths_that_are_refused(sd, bundle, path, message):
    result = sd.create(sleeping(bundle, path), code=1)
    assert message in result.message
    assert sd.names() == []


@needs_systemd
def test_a_unit_name_that_systemd_refuses_is_one_error(sd, bundle):
    result = sd.create(sleeping(bundle, "system.slice:b:c!d"), code=1)
    assert "nvalid" in result.message and len(result.stderr.splitlines()) == 1
    assert sd.names() == []


LATE = """
import os, sys, time
from pyrunc import cgroups, cli

pid, path = int(sys.argv.pop(1)), sys.argv.pop(1)
unit = cgroups.unit

def late(*args):
    os.kill(pid, 9)
    while os.path.exists(path):
        time.sleep(0.01)
    return unit(*args)

cgroups.unit = late
sys.argv = ["-c", "pyrunc", *sys.argv[1:]]
sys.exit(cli.main())
"""


@needs_systemd
def test_an_update_of_a_container_that_ends_meanwhile(sd, bundle):
    name = sd.up(sleeping(bundle))
    paths = sd.record(name)["cgroup_paths"]
    path = paths[""] if "" in paths else paths["name=systemd"]  # others are not systemd's to remove
    argv = sd.argv("update", "--pids-limit", "9", name)[1:]
    done = subprocess.run(
        [sys.executable, "-P", "-c", LATE, str(sd.pid(name)), path, *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "container not running" in done.stderr


@needs_systemd
def test_run_takes_the_unit_along(sd, bundle):
    assert sd.run(bundle.sh("cat /proc/self/cgroup; exit 5"), code=5).stdout
    assert sd.names() == []
    nothing_left(sd.prefix)


@needs_systemd
def test_an_exec_joins_the_unit(sd, bundle):
    name = sd.up(sleeping(bundle))
    sd("exec", "--detach", name, "sleep", "999")
    unit = f"runc-{name}.scope"
    pids = wait_for(
        lambda: len(found := json.loads(sd("ps", "--format", "json", name).stdout)) == 2 and found,
        what="both processes",
    )
    for pid in pids:
        rows = [row.rpartition(":")[2] for row in read(f"/proc/{pid}/cgroup").splitlines()]
        assert f"/system.slice/{unit}" in rows
    assert subprocess.run(["systemctl", "is-active", unit], check=False).returncode == 0


@needs_systemd
def test_pause_resume_and_kill(sd, bundle):
    name = sd.up(sleeping(bundle))
    sd("pause", name)
    assert sd.status(name) == "paused"
    sd("resume", name)
    assert sd.status(name) == "running"
    sd("pause", name)
    sd("delete", "--force", name)
    nothing_left(name)


@needs_systemd
def test_events_of_a_unit(sd, bundle):
    name = sd.up(sleeping(bundle))
    data = json.loads(sd("events", "--stats", name).stdout)["data"]
    assert "cpu" in data
    assert "memory" in data


@needs_systemd
def test_a_unit_that_ended_by_itself(sd, bundle):
    name = sd.up(bundle.args("true"))
    sd.stopped(name)
    wait_for(lambda: not units(name), what="end of the unit")
    sd("delete", name)
    nothing_left(name)


NATIVE = {**os.environ, "PYRUNC_FRONT": "native"}  # status 252 is what Python would be needed for


@needs_systemd
@pytest.mark.parametrize("life", ["stopped", "created", "running"])
def test_systemd_needs_not_be_told_that_all_processes_are_gone(sd, bundle, life):
    name = sd.create(sleeping(bundle))
    if life != "created":
        sd("start", name)
    if life == "stopped":
        sd("kill", name, "KILL")
        sd.stopped(name)
        wait_for(lambda: not units(name), what="end of the unit")
        sd("delete", name, env=NATIVE)
    elif sd("delete", "--force", name, env=NATIVE, code=None).code == 252:
        sd("delete", "--force", name)  # systemd takes its time
    assert sd.names() == []
    nothing_left(name)


@needs_systemd
def test_systemd_is_told_of_what_does_not_end_by_itself(sd, bundle):
    name = sd.id()
    unit = f"runc-{name}.scope"
    limit = {"RuntimeMaxSec": "1", "TimeoutStopSec": "1"}
    bundle.config["annotations"] = {f"org.systemd.property.{key}": limit[key] for key in limit}
    sd("create", "--bundle", sleeping(bundle).save(), name)
    wait_for(lambda: show(unit, "ActiveState") == "failed", what="failure of the unit")
    sd.stopped(name)
    sd("delete", name, env=NATIVE, code=252)
    sd("delete", name)
    nothing_left(name)
    bundle.config["annotations"] = {}
    slice = sd.up(sleeping(bundle, "pytest.slice::pytest-box.slice"))
    sd("kill", slice, "KILL")
    sd.stopped(slice)
    sd("delete", slice, env=NATIVE, code=252)
    sd("delete", slice)


@needs_systemd
@pytest.mark.timeout(3600)
def test_many_units_one_after_the_other(sd, bundle):
    need("pids")
    path = sleeping(bundle).save()
    for number in range(CYCLES):
        name = f"{sd.prefix}{number % 7}"  # names come again
        sd("create", "--bundle", path, name)
        sd("start", name)
        sd("update", "--pids-limit", 30 + number % 2, name)
        sd("delete", "--force", name)
        assert sd.names() == []
    nothing_left(sd.prefix)


@needs_systemd
def test_the_host_has_the_payloads_cgroup_too(sd, bundle):
    """A payload in a cgroup namespace, with its cgroups writable, rules over them (v2)."""
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("on v2 only")
    bundle.namespace("cgroup").process["user"] = {"uid": 1000, "gid": 1000}
    for mount in list(bundle.mounts):
        if mount["destination"] == "/sys/fs/cgroup":
            bundle.mounts.remove(mount)
    bundle.mount("/sys/fs/cgroup", "cgroup", "rw", "nosuid", kind="cgroup")
    name = sd.up(bundle.sh("mkdir /sys/fs/cgroup/below && sleep 1000"))
    path = sd.record(name)["cgroup_paths"][""]
    wait_for(lambda: os.path.isdir(f"{path}/below"), what="the payload's own cgroup")
    for entry in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        assert os.stat(f"{path}/{entry}").st_uid == 1000
    assert os.stat(f"{path}/cgroup.freeze").st_uid == 0
    # Read-only, it stays root's.
    bundle.mounts[-1]["options"] = ["ro"]
    name = sd.up(sleeping(bundle))
    assert os.stat(sd.record(name)["cgroup_paths"][""]).st_uid == 0


# --- resources ---


@needs_systemd
def test_resources_are_properties_and_files(sd, bundle):
    need("memory", "cpu", "pids", "cpuset")
    bundle.linux["resources"] |= {
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 512, "quota": 3333, "period": 100000, "cpus": "0"},
        "pids": {"limit": 77},
    }
    name = sd.up(sleeping(bundle))
    unit = f"runc-{name}.scope"
    assert show(unit, "TasksMax", "CPUQuotaPerSecUSec", "AllowedCPUs") == ["77", "40ms", "0"]
    assert show(unit, "CPUQuotaPeriodUSec") == "100ms"
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        assert show(unit, "MemoryMax", "CPUWeight") == [str(64 << 20), "59"]
        assert file(sd, name, "cpu.weight") == "59"
    else:
        assert show(unit, "MemoryLimit", "CPUShares") == [str(64 << 20), "512"]
    assert file(sd, name, "memory.max", "memory/memory.limit_in_bytes") == str(64 << 20)
    assert file(sd, name, "pids.max", "pids/pids.max") == "77"
    assert file(sd, name, "cpuset.cpus", "cpuset/cpuset.cpus") == "0"
    # Rounded up to what systemd has, in the file and in the record, too.
    assert file(sd, name, "cpu.max", "cpu/cpu.cfs_quota_us").split()[0] == "4000"
    assert sd.record(name)["config"]["cgroups"]["cpu_quota"] == 4000


@needs_systemd
def test_unified(sd, bundle):
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("on v2 only")
    need("memory", "cpu", "io")
    bundle.linux["resources"]["unified"] = {
        "memory.high": "67108864",
        "cpu.max": "25000 50000",
        "io.weight": "42",
    }
    name = sd.up(sleeping(bundle))
    unit = f"runc-{name}.scope"
    assert show(unit, "MemoryHigh", "CPUQuotaPerSecUSec") == ["67108864", "500ms"]
    assert file(sd, name, "io.weight").startswith("default 42")
    # systemd writes all it knows with each property, and io.weight is not among that.
    sd("update", "--pids-limit", "50", name)
    assert show(unit, "TasksMax") == "50"
    assert file(sd, name, "io.weight").startswith("default 42")
    assert file(sd, name, "memory.high") == "67108864"
    assert file(sd, name, "cpu.max") == "25000 50000"
    bundle.linux["resources"]["unified"] = {"memory.high": "much"}
    result = sd.create(bundle, code=1)
    assert 'unified resource "memory.high" value conversion error' in result.message


@needs_systemd
def test_update_sets_both_or_neither(sd, bundle):
    need("memory", "pids")
    bundle.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 60}}
    name = sd.up(sleeping(bundle))
    unit = f"runc-{name}.scope"
    v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    limit = "MemoryMax" if v2 else "MemoryLimit"
    sd("update", "--memory", "100000000", "--cpu-quota", "20001", name)
    assert show(unit, limit, "CPUQuotaPerSecUSec") == ["100000000", "210ms"]
    assert int(file(sd, name, "memory.max", "memory/memory.limit_in_bytes")) == 99999744
    assert sd.record(name)["config"]["cgroups"]["cpu_quota"] == 21000
    assert file(sd, name, "pids.max", "pids/pids.max") == "60"

    before = sd.record(name)
    cpu = file(sd, name, "cpu.max", "cpu/cpu.cfs_quota_us")
    bad = "cgroup.nothing" if v2 else None
    wanted = {"pids": {"limit": 9}, "cpu": {"quota": 50000, "period": 100000}}
    wanted |= {"unified": {bad: "1"}} if bad else {"blockIO": {"weight": 5}}
    sd("update", "-r", "-", name, stdin=json.dumps(wanted), code=1)
    assert show(unit, "TasksMax", limit, "CPUQuotaPerSecUSec") == ["60", "100000000", "210ms"]
    assert file(sd, name, "pids.max", "pids/pids.max") == "60"
    assert file(sd, name, "cpu.max", "cpu/cpu.cfs_quota_us") == cpu
    assert sd.record(name) == before
    systemctl("daemon-reload")
    assert file(sd, name, "pids.max", "pids/pids.max") == "60"
    assert show(unit, "NeedDaemonReload") == "no"


@needs_systemd
def test_idle_and_back(sd, bundle):
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("on v2 only")
    need("cpu", "pids")
    bundle.linux["resources"]["cpu"] = {"idle": 1}
    name = sd.up(sleeping(bundle))
    unit = f"runc-{name}.scope"
    assert show(unit, "CPUWeight") == "idle"
    assert file(sd, name, "cpu.idle") == "1"
    sd("update", "--pids-limit", "50", name)
    assert file(sd, name, "cpu.idle") == "1"
    sd("update", "--cpu-idle", "0", name)
    assert show(unit, "CPUWeight") == "[not set]"
    systemctl("set-property", "--runtime", unit, "TasksMax=60")
    assert (file(sd, name, "cpu.idle"), file(sd, name, "cpu.weight")) == ("0", "100")


@needs_systemd
def test_a_failed_update_puts_back_what_was_never_limited(sd, bundle):
    need("memory", "pids", "cpu", "cpuset")
    name = sd.up(sleeping(bundle))
    unit = f"runc-{name}.scope"
    v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    names = ["TasksMax", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "AllowedCPUs"]
    names += ["MemoryMax", "MemoryLow", "CPUWeight"] if v2 else ["MemoryLimit", "CPUShares"]
    before = show(unit, *names)
    wanted = {
        "pids": {"limit": 9},
        "cpu": {"quota": 50000, "period": 50000, "shares": 10, "cpus": "0"},
        "memory": {"limit": 64 << 20, "reservation": 1 << 20},
    }
    wanted |= {"unified": {"cgroup.nothing": "1"}} if v2 else {"blockIO": {"weight": 5}}
    sd("update", "-r", "-", name, stdin=json.dumps(wanted), code=1)
    assert show(unit, *names) == before
    # And systemd does not remember otherwise when it writes all of it again.
    systemctl("set-property", "--runtime", unit, "TasksMax=500")
    assert show(unit, *names[1:]) == before[1:]
    assert file(sd, name, "cpu.max", "cpu/cpu.cfs_quota_us").split()[0] in ("max", "-1")
    assert file(sd, name, "memory.max", "memory/memory.soft_limit_in_bytes") in (
        "max",
        "9223372036854771712",
    )


@needs_systemd
def test_update_refuses_a_limit_below_the_usage_before_systemd_hears_of_it(sd, bundle):
    need("memory")
    bundle.linux["resources"] |= {"memory": {"limit": 64 << 20}}
    name = sd.up(bundle.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=8; sleep 1000"))
    unit = f"runc-{name}.scope"
    usage = ("memory.current", "memory/memory.usage_in_bytes")
    wait_for(lambda: int(file(sd, name, *usage)) > 8 << 20, what="memory in use")
    wanted = {"memory": {"limit": 1 << 20, "checkBeforeUpdate": True}}
    result = sd("update", "-r", "-", name, stdin=json.dumps(wanted), code=1)
    assert "rejecting memory limit 1048576 <= usage" in result.message
    limit = "MemoryMax" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "MemoryLimit"
    assert show(unit, limit) == str(64 << 20)
    assert sd.status(name) == "running"


@needs_systemd
def test_a_container_that_ran_out_of_memory_leaves_its_name(sd, bundle):
    need("memory")
    bundle.linux["resources"] |= {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    name = sd.up(bundle.sh("tail /dev/zero"))
    sd.stopped(name)
    sd("delete", name)
    nothing_left(name)
    sd("create", "--bundle", bundle.path, name)
    sd("delete", name)


# --- devices ---


def with_devices(bundle):
    """One may be read, two may not; numbers for local use, so nobody has a driver for them."""
    bundle.linux["devices"] = [
        {"path": "/dev/one", "type": "c", "major": 60, "minor": 1},
        {"path": "/dev/two", "type": "c", "major": 60, "minor": 2},
    ]
    bundle.linux["resources"]["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 60, "minor": 1, "access": "r"},
    ]
    return bundle.args("sleep", "1000")


def opens(sd, name, path, how="<"):
    """May it be opened?  That there is no driver is found out after that."""
    result = sd("exec", name, "sh", "-c", f": {how} {path}", code=None)
    denied = "Operation not permitted" in result.stderr
    assert denied or result.code == 0 or "No such device" in result.stderr, result
    return not denied


@needs_systemd
def test_access_to_devices_survives_what_systemd_does(sd, bundle):
    name = sd.up(with_devices(bundle))
    unit = f"runc-{name}.scope"

    def check():
        assert show(unit, "DevicePolicy", "NeedDaemonReload") == ["strict", "no"]
        assert "/dev/char/60:1 r" in show(unit, "DeviceAllow")
        assert "char-136 rwm" in show(unit, "DeviceAllow")
        assert opens(sd, name, "/dev/one")
        assert not opens(sd, name, "/dev/one", ">")
        assert not opens(sd, name, "/dev/two")
        assert opens(sd, name, "/dev/null", ">")

    check()
    systemctl("daemon-reload")
    check()
    systemctl("set-property", "--runtime", unit, "TasksMax=300")
    check()
    if "pids" in controllers():
        sd("update", "--pids-limit", "200", name)
        check()


@needs_systemd
def test_an_update_never_takes_a_device_away(sd, bundle):
    need("pids")
    script = "while : > /dev/null; do :; done; sleep 1; echo > /lost"
    name = sd.up(with_devices(bundle).sh(script))
    pid = sd.pid(name)
    for limit in range(100, 130):
        sd("update", "--pids-limit", limit, name)
    assert alive(pid)
    assert not os.path.exists(f"{bundle.rootfs}/lost")
    assert sd.status(name) == "running"


@needs_systemd
def test_an_update_of_a_paused_container_leaves_it_paused(sd, bundle):
    need("pids")
    name = sd.up(with_devices(bundle))
    sd("pause", name)
    sd("update", "--pids-limit", "99", name)
    assert sd.status(name) == "paused"
    sd("resume", name)


@needs_systemd
def test_single_devices_can_be_denied(sd, bundle):
    """More than systemd can say: our own program or the cgroup's files do it, an update or not."""
    with_devices(bundle)
    bundle.linux["resources"]["devices"] = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 60, "minor": 1, "access": "rw"},
    ]
    name = sd.up(bundle)
    policy = show(f"runc-{name}.scope", "DevicePolicy")
    assert policy == ("auto" if list(sd.record(name)["cgroup_paths"]) == [""] else "strict")

    def check():
        assert not opens(sd, name, "/dev/one")
        assert opens(sd, name, "/dev/two")
        assert opens(sd, name, "/dev/null", ">")

    check()
    if "pids" in controllers():
        sd("update", "--pids-limit", "99", name)
        check()


# --- annotations ---


@needs_systemd
def test_annotations_are_properties(sd, bundle):
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.Documentation": "['man:test(1)', 'man:test(2)']",
        "org.example": "1",
    }
    name = sd.up(sleeping(bundle))
    got = show(f"runc-{name}.scope", "TimeoutStopUSec", "CollectMode", "Documentation")
    assert got[:2] == ["7s", "inactive-or-failed"]
    assert "man:test(1)" in got[2] and "man:test(2)" in got[2]


@needs_systemd
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", "1", "annotation org.systemd.property.x name incorrect: "),
        ("CollectMode", "inactive", "value parse error: "),
        ("NoSuchProperty", "1", "Cannot set property NoSuchProperty, or unknown property."),
        ("TasksMax", "'many'", "unable to apply cgroup configuration: "),
    ],
)
def test_annotations_that_systemd_or_we_refuse(sd, bundle, name, value, message):
    bundle.config["annotations"] = {f"org.systemd.property.{name}": value}
    result = sd.create(sleeping(bundle), code=1)
    assert message in result.message
    assert sd.names() == []
    nothing_left(sd.prefix)


@needs_systemd
def test_an_annotation_cannot_put_the_container_elsewhere(sd, bundle):
    """Its limits would be those of an empty cgroup, and a pause would stop nobody."""
    bundle.config["annotations"] = {"org.systemd.property.Slice": "'pytest-other.slice'"}
    result = sd.create(sleeping(bundle), code=1)
    assert "systemd has put the container elsewhere" in result.message
    assert sd.names() == []
    nothing_left(sd.prefix)


# --- names that are taken, and creators that die ---


@needs_systemd
@pytest.mark.parametrize(
    ("value", "message"),
    [("'a\\u0000b'", "has a NUL byte"), ("'\\ud800'", "is not Unicode")],
)
def test_text_that_d_bus_cannot_carry(sd, bundle, value, message):
    bundle.config["annotations"] = {"org.systemd.property.Description": value}
    result = sd.create(sleeping(bundle), code=1)
    assert message in result.message and "internal error" not in result.message
    assert sd.names() == []
    nothing_left(sd.prefix)


@needs_systemd
def test_a_number_that_d_bus_cannot_carry(sd, bundle):
    name = sd.up(sleeping(bundle))
    limits = json.dumps({"cpu": {"quota": (1 << 63) - 1, "period": 1}})
    result = sd("update", "--resources", bundle.write("limits.json", limits), name, code=1)
    assert "is out of range" in result.message and "internal error" not in result.message
    assert sd.status(name) == "running"


@needs_systemd
def test_a_failed_unit_does_not_keep_its_name(sd, bundle):
    name = sd.id()
    unit = f"runc-{name}.scope"
    command = ["systemd-run", "--quiet", "--scope", f"--unit={unit}", "-p", "RuntimeMaxSec=1"]
    subprocess.run([*command, "sleep", "100"], check=False, stderr=subprocess.DEVNULL)
    assert show(unit, "ActiveState") == "failed"
    sd("create", "--bundle", sleeping(bundle).save(), name)
    assert show(unit, "ActiveState") == "active"
    sd("delete", name)


@needs_systemd
def test_somebody_elses_unit_is_left_alone(sd, bundle):
    name = sd.id()
    unit = f"runc-{name}.scope"
    command = ["systemd-run", "--quiet", "--scope", f"--unit={unit}", "sleep", "1000"]
    with subprocess.Popen(command) as other:
        try:
            wait_for(lambda: show(unit, "ActiveState") == "active", what="the other's unit")
            result = sd("create", "--bundle", sleeping(bundle).save(), name, code=1)
            assert "container's cgroup is not empty" in result.message
            sd("delete", "--force", name)
            assert other.poll() is None
        finally:
            other.kill()
    wait_for(lambda: not units(name), what="end of the other's unit")
    assert sd.names() == []


POINTS = [
    "pyrunc.container:write_intent:after",
    "pyrunc.handshake:spawn:after",
    "pyrunc.cgroups.systemd:Unit.take:before",
    "pyrunc.cgroups.manager:Manager.start:before",
    "pyrunc.cgroups.manager:Manager._job:after",
    "pyrunc.cgroups.manager:Manager.start:after",
    "pyrunc.cgroups.place:create:after",
    "pyrunc.cgroups.systemd:Unit.take:after",
    "pyrunc.cgroups.limits:apply:after",
    "pyrunc.container:write_record:before",
    "pyrunc.container:write_record:after",
    "pyrunc.launch:Launch.close:after",
]


@needs_systemd
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_create_leaves_nothing_that_delete_does_not_find(sd, bundle, point):
    name = sd.id()
    args = ("create", "--bundle", sleeping(bundle).save(), name)
    command = [sys.executable, FAULTY, point, *sd.argv(*args)[1:]]
    with open(f"{sd.directory}/struck", "w+") as err:
        streams = {"stdin": subprocess.DEVNULL, "stdout": err, "stderr": err}
        done = subprocess.run(command, **streams, timeout=60, check=False)
        err.seek(0)
        assert done.returncode == -signal.SIGKILL, err.read()
    sd("delete", "--force", name)
    nothing_left(name)
    sd(*args)
    assert sd.status(name) == "created"


@needs_systemd
@pytest.mark.parametrize(
    "point",
    [
        "pyrunc.processes:kill:after",
        "pyrunc.cgroups.manager:Manager.stop:before",
        "pyrunc.cgroups.manager:stop:after",
        "pyrunc.container:remove_directory:before",
    ],
)
def test_a_killed_delete_can_be_repeated(sd, bundle, point):
    name = sd.up(sleeping(bundle))
    command = [sys.executable, FAULTY, point, *sd.argv("delete", "--force", name)[1:]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    sd("delete", "--force", name)
    nothing_left(name)


@needs_systemd
def test_a_create_that_fails_later_takes_the_unit_along(sd, bundle):
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    sd.create(sleeping(bundle), code=1)
    assert sd.names() == []
    nothing_left(sd.prefix)


@needs_systemd
def test_in_another_pid_namespace_no_strangers_process_is_taken(sd, bundle):
    args = sd.argv("create", "--bundle", sleeping(bundle).save(), sd.id())
    inside = ["unshare", "--pid", "--fork", "--mount-proc", *args]
    streams = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    for address in ("", "unix:path=/nowhere"):
        env = {**os.environ, **({"DBUS_SYSTEM_BUS_ADDRESS": address} if address else {})}
        done = subprocess.run(inside, env=env, timeout=60, check=False, **streams)
        assert done.returncode == 1
        assert "systemd counts processes in another pid namespace" in done.stderr
    assert sd.names() == []


@needs_systemd
def test_root_needs_no_message_bus(sd, bundle):
    env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"}
    name = sd.create(sleeping(bundle), env=env)
    assert show(f"runc-{name}.scope", "ActiveState") == "active"
    sd("delete", name, env=env)
    nothing_left(name)


@needs_systemd
def test_many_at_once(sd, make_bundle):
    names = [sd.id() for _ in range(12)]
    path = sleeping(make_bundle()).save()

    def each(*args):
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        done = [subprocess.Popen(sd.argv(*args, name), **quiet) for name in names]
        assert [process.wait(60) for process in done] == [0] * len(names)

    each("create", "--bundle", path)
    assert len({sd.pid(name) for name in names}) == len(names)
    each("delete", "--force")
    nothing_left(sd.prefix)


# --- beside the reference ---

SHOWN = (
    "Description Slice Wants Delegate DefaultDependencies Transient CollectMode TimeoutStopUSec "
    "MemoryAccounting CPUAccounting IOAccounting BlockIOAccounting TasksAccounting TasksMax "
    "DevicePolicy DeviceAllow CPUWeight CPUShares CPUQuotaPerSecUSec CPUQuotaPeriodUSec "
    "AllowedCPUs AllowedMemoryNodes MemoryMax MemoryHigh MemoryLow MemoryMin MemoryLimit "
    "MemorySwapMax"
).split()
FILES = {
    "": (
        "pids.max memory.max memory.low memory.high memory.swap.max cpu.weight cpu.max cpu.idle "
        "cpuset.cpus cpuset.mems io.weight hugetlb.2MB.max"
    ),
    "pids": "pids.max",
    "memory": (
        "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes "
        "memory.swappiness"
    ),
    "cpu": "cpu.shares cpu.cfs_quota_us cpu.cfs_period_us",
    "cpuset": "cpuset.cpus cpuset.mems",
    "blkio": "blkio.weight",
    "devices": "devices.list",
}
CASES = {
    "plain": {},
    "docker": {
        "memory": {"limit": 64 << 20, "swap": 128 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000},
        "pids": {"limit": 100},
    },
    "odd": {"cpu": {"quota": 3333, "period": 50000}, "pids": {"limit": -1}},
    "unlimited": {"memory": {"limit": -1}, "cpu": {"quota": -1}},
    "cpuset": {"cpu": {"cpus": "0", "mems": "0"}},
    "devices": {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "c", "major": 10, "access": "r"},
        ]
    },
    "everything": {"devices": [{"allow": True, "access": "rwm"}]},
}


DIFFERENT = {
    # runc before 1.3.2 converts shares otherwise.
    "docker": {"CPUWeight", "cpu.weight"},
    # Older runc lets the file and systemd differ, until systemd writes it again.
    "odd": {"cpu.cfs_quota_us", "cpu.max"},
}


def numbered(row):
    """`char-pts rwm` -> `char-136 rwm`: older runc calls drivers by name, as old systemd had to."""
    kind, dash, rest = row.partition("-")
    name, _, access = rest.partition(" ")
    section = ""
    for line in read("/proc/devices").splitlines():
        if line.endswith(":"):
            section = {"C": "char", "B": "block"}[line[0]]
        elif dash and section == kind and line.split()[1:] == [name]:
            return f"{kind}-{line.split()[0]} {access}"
    return row


def present(row):
    """Older runc leaves out devices that the host lacks, as old systemd had to."""
    path = row.split(" ")[0].replace("/dev/", "/sys/dev/")
    return not path.startswith("/sys/dev/") or os.path.exists(path)


def seen(command, bundle, root, name):
    """What a runtime makes of a bundle: the unit's properties and the cgroup's files."""
    call = [command, "--root", root]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [*call, "--systemd-cgroup", "create", "--bundle", bundle.save(), name], check=True, **quiet
    )
    try:
        unit = f"same-{name}.scope"
        properties = dict(zip(SHOWN, show(unit, *SHOWN), strict=True))
        for key, value in properties.items():
            if isinstance(value, list):
                properties[key] = sorted(numbered(row) for row in value if present(row))
        values = {}
        with open(f"{root}/{name}/state.json") as file:
            paths = json.load(file)["cgroup_paths"]
        for controller, names in FILES.items():
            for entry in names.split():
                try:
                    text = read(f"{paths[controller]}/{entry}")
                    values[entry] = sorted(text.splitlines())
                except (OSError, KeyError):
                    values[entry] = None
        return properties, values
    finally:
        subprocess.run([*call, "delete", "--force", name], check=True, **quiet)


@needs_systemd
@pytest.mark.parametrize("case", CASES)
def test_unit_and_files_are_those_of_runc(sd, bundle, case):
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is missing")
    resources = CASES[case]
    need(*(name for name in ("memory", "cpu", "pids") if name in resources))
    need(*(["cpuset"] if "cpus" in resources.get("cpu", {}) else []))
    bundle.linux["resources"] = resources
    name = sd.id()
    bundle.linux["cgroupsPath"] = f"pytest-same.slice:same:{name}"
    sleeping(bundle)
    wanted = seen(runc, bundle, f"{sd.directory}/runc", name)
    got = seen(sd.command, bundle, f"{sd.directory}/ours", name)
    for ours, theirs in zip(got, wanted, strict=True):
        for key in set(ours) - DIFFERENT.get(case, set()):
            assert ours[key] == theirs[key], key


@needs_systemd
def test_what_runc_made_can_be_deleted(sd, bundle):
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is missing")
    name = sd.id()
    command = [runc, "--root", sd.root, "--systemd-cgroup", "create", "--bundle"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run([*command, sleeping(bundle).save(), name], check=True, **quiet)
    sd("delete", "--force", name)
    nothing_left(name)


@needs_systemd
def test_a_restored_container_is_a_scope(sd, bundle, criu, tmp_path):
    """With the limits of its configuration; the one that it came from is gone."""
    images = tmp_path / "images"
    first = up(sd, bundle)
    sd("checkpoint", "--image-path", images, first, env=criu)
    nothing_left(first)
    before = count(bundle)
    bundle.linux["resources"] = {"pids": {"limit": 77}}
    name = restore(sd, bundle, images, env=criu)
    goes_on(bundle, before)
    unit = f"runc-{name}.scope"
    assert show(unit, "ActiveState", "TasksMax") == ["active", "77"]
    assert unit in read(f"/proc/{sd.pid(name)}/cgroup")
    assert file(sd, name, "pids.max", "pids/pids.max") == "77"


# --- where systemd is not the init system ---


@pytest.mark.skipif(RUNNING, reason="systemd is PID 1")
def test_without_systemd_there_is_no_such_driver(pyrunc, bundle):
    runtime = Systemd(pyrunc.command, pyrunc.directory, pyrunc.prefix)
    result = runtime.create(sleeping(bundle), code=1)
    assert "systemd not running on this host, cannot use systemd cgroups manager" in result.message
    assert runtime.names() == []
