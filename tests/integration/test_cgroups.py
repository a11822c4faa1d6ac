"""Real cgroups: this machine's v1 hierarchies, and v2 in a mount namespace that shows nothing else.

Everything happens below a cgroup of the test's own, which is gone afterwards.
"""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import pyrunc
from harness import read, wait_for
from pyrunc import cgroups, host
from pyrunc.cgroups import fs, hierarchies
from pyrunc.errors import Error

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SITE = os.path.dirname(os.path.dirname(pyrunc.__file__))
MODE = hierarchies.mode()
v1_only = pytest.mark.skipif(MODE == "v2", reason="needs cgroup v1 hierarchies")
hybrid_only = pytest.mark.skipif(MODE != "hybrid", reason="needs v1 and a unified hierarchy")

# Does as it is told: each line of stdin is evaluated, the result printed.
SERVANT = """
import os, sys
def attempt(path, flags):
    try:
        os.close(os.open(path, flags))
        return "ok"
    except OSError as err:
        return err.strerror
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Servant:
    """A process that answers questions from inside its cgroup."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVANT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.ask("1")  # it has started

    def ask(self, expression):
        self.tell(expression)
        return self.process.stdout.readline().strip()

    def tell(self, expression):
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def parent():
    """A cgroup path of our own; whatever was made below it is removed."""
    path = f"/pyrunc-test-{os.getpid()}"
    yield path
    mounts = {entry["mount"] for entry in hierarchies.hierarchies()}
    if MODE == "v2":
        mounts = {hierarchies.ROOT}
    dirs = {hierarchies.below(mount, path) for mount in mounts}
    for top in dirs:
        for folder, _, _ in sorted(os.walk(top), reverse=True):
            os.rmdir(folder)
    assert not [top for top in dirs if os.path.exists(top)]


@pytest.fixture
def servant():
    made = []

    def make():
        made.append(Servant())
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def box(parent):
    """The created cgroups of one container."""
    paths = cgroups.paths(f"{parent}/c", "c")
    cgroups.create(paths, {})
    return paths


def refused(function, *args, **options):
    with pytest.raises(Error) as caught:
        function(*args, **options)
    return caught.value.message


def content(paths, controller, name):
    return read(f"{paths[controller]}/{name}").strip()


def cgroups_of(pid):
    return dict(hierarchies.memberships(read(f"/proc/{pid}/cgroup")))


@contextlib.contextmanager
def nobody():
    """Act without root's rights."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def entered(pid, paths):
    """The cgroups a process is in, over all v1 hierarchies of a container."""
    rows = cgroups_of(pid).items()
    return {path for names, path in rows for name in names.split(",") if name and name in paths}


# --- make, join, remove ---


@v1_only
def test_a_cgroup_is_made_in_every_hierarchy_joined_and_removed(parent, servant):
    paths = cgroups.paths(f"{parent}/a/b", "c")
    assert list(paths)[:2] == ["cpuset", "devices"]
    cgroups.check_free(paths)
    made = cgroups.create(paths, {})
    assert set(paths.values()) <= set(made)
    assert cgroups.create(paths, {}) == []
    child = servant()
    cgroups.join(paths, child.pid)
    member = {name: path for row, path in cgroups_of(child.pid).items() for name in row.split(",")}
    assert {member[name] for name in paths} == {f"{parent}/a/b"}
    assert cgroups.pids(paths) == [child.pid]
    child.end()
    cgroups.remove(paths)
    cgroups.discard([path for path in made if path not in paths.values()])
    assert not [path for path in made if os.path.exists(path)]
    cgroups.remove(paths)  # gone is as good as removed


@v1_only
def test_no_name_is_the_id_below_our_own_cgroup():
    paths = cgroups.paths("", "some-id")
    own = cgroups_of("self")
    mounts = {entry["subsystems"][0]: entry["mount"] for entry in hierarchies.hierarchies()}
    for name in ("memory", "devices"):
        assert paths[name] == hierarchies.below(mounts[name], own[name]) + "/some-id"


@v1_only
def test_new_cpusets_take_over_what_is_above(parent):
    paths = cgroups.paths(f"{parent}/a/b", "c")
    cgroups.create(paths, {})
    top = os.path.dirname(os.path.dirname(os.path.dirname(paths["cpuset"])))
    for kind in ("cpus", "mems"):
        assert content(paths, "cpuset", f"cpuset.{kind}") == read(f"{top}/cpuset.{kind}").strip()


@v1_only
def test_an_empty_cpuset_made_by_others_is_filled(parent):
    paths = cgroups.paths(f"{parent}/a", "c")
    os.makedirs(paths["cpuset"])
    assert content(paths, "cpuset", "cpuset.cpus") == ""
    cgroups.create(paths, {})
    assert content(paths, "cpuset", "cpuset.cpus") != ""
    assert content(paths, "cpuset", "cpuset.mems") != ""


@v1_only
def test_a_failed_creation_leaves_nothing(parent):
    paths = cgroups.paths(f"{parent}/c", "c")
    bad = paths["pids"] = f"{paths['pids']}/a\nb"  # a character that cgroups cannot have
    assert refused(cgroups.create, paths, {}) == f"mkdir {bad}: invalid argument"
    assert not [path for path in paths.values() if os.path.exists(os.path.dirname(path) + "/c")]


@v1_only
def test_who_may_not_make_cgroups_can_do_without_if_none_was_asked_for(parent, box, servant):
    child = servant()
    paths = cgroups.paths(f"{parent}-x", "c")
    with nobody():
        text = refused(cgroups.create, dict(paths), {})
        assert text == f"mkdir {paths['cpuset']}: permission denied"
        assert cgroups.create(paths, {}, tolerant=True) == []
        assert paths == {}
        text = refused(cgroups.join, {"pids": box["pids"]}, child.pid)
        path = f"{box['pids']}/cgroup.procs"
        assert text == f"failed to write {child.pid}: open {path}: permission denied"
        cgroups.join(box, child.pid, tolerant=True)
    assert box == {}


@hybrid_only
def test_a_hybrid_host_may_refuse_its_unified_hierarchy(parent, box, servant):
    child = servant()
    unified = box[""]
    os.rmdir(unified)
    cgroups.join(box, child.pid)
    assert "" not in box
    assert cgroups.pids(box) == [child.pid]


@v1_only
def test_a_process_that_is_gone_cannot_join(box):
    child = subprocess.Popen(["true"])
    child.wait()
    path = f"{next(iter(box.values()))}/cgroup.procs"
    assert refused(cgroups.join, box, child.pid) == (
        f"failed to write {child.pid}: write {path}: no such process"
    )
    cgroups.join(box, -1)


@v1_only
def test_a_process_can_enter_by_itself(parent, box):
    tasks, unified = cgroups.entries(box)
    script = "import os, sys; [os.write(int(fd), b'0') for fd in sys.argv[1:]]; input()"
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, tasks)], pass_fds=tasks, stdin=subprocess.PIPE
    )
    try:
        wait_for(
            lambda: entered(child.pid, box) == {f"{parent}/c"},
            what="entry into every hierarchy",
        )
        if MODE == "hybrid":
            assert os.path.samestat(os.fstat(unified), os.stat(box[""]))
            os.close(unified)
    finally:
        for fd in tasks:
            os.close(fd)
        child.kill()
        child.communicate()


def test_a_cgroup_in_use_is_not_free(box, servant):
    child, other = servant(), servant()
    cgroups.join(box, child.pid)
    below = {name: f"{path}/sub" for name, path in box.items()}
    if MODE != "v2":
        cgroups.create(below, {})
        cgroups.join(below, other.pid)
        assert refused(cgroups.check_free, box) == (
            "container's cgroup is not empty: 2 process(es) found"
        )
        assert cgroups.pids(box) == sorted([child.pid, other.pid])


def test_a_frozen_cgroup_is_not_free(box):
    cgroups.freeze(box, True)
    assert refused(cgroups.check_free, box) == "container's cgroup unexpectedly frozen"
    cgroups.freeze(box, False)
    cgroups.check_free(box)


@v1_only
def test_removal_takes_what_the_payload_made(box, servant):
    for path in box.values():
        os.makedirs(f"{path}/x/y")
        os.mkdir(f"{path}/z")
    cgroups.remove(box)
    assert not [path for path in box.values() if os.path.exists(path)]


@v1_only
def test_nothing_is_too_deep(box, servant):
    """The payload may make more levels than a path can have, or calls within calls."""
    child = servant()
    fd = os.open(box["devices"], os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=fd)
        above, fd = fd, os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(above)
    with open(os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd), "w") as file:
        file.write(str(child.pid))
    os.close(fd)
    assert cgroups.pids(box) == [child.pid]
    cgroups.kill_all(box, signal.SIGKILL)
    child.end()
    cgroups.remove(box)
    assert not [path for path in box.values() if os.path.exists(path)]


@v1_only
def test_removal_waits_for_the_end_of_a_process(box):
    child = subprocess.Popen(["sleep", "0.3"])
    cgroups.join(box, child.pid)
    before = time.monotonic()
    cgroups.remove(box)
    assert time.monotonic() - before < 3
    assert not [path for path in box.values() if os.path.exists(path)]
    child.wait()


@v1_only
def test_removal_that_fails_names_who_is_left(box, servant, monkeypatch):
    monkeypatch.setattr(fs, "PATIENCE", 0.2)
    child = servant()
    cgroups.join(box, child.pid)
    text = refused(cgroups.remove, {"pids": box["pids"]})
    assert text == (
        f"rmdir {box['pids']}: device or resource busy (1 process(es) left: {child.pid} (state S))"
    )


@v1_only
def test_hierarchies_are_found_where_a_container_has_them(parent, box, servant):
    """A container without a cgroup namespace: its own cgroup, bound to another place."""
    child = servant()
    cgroups.join(box, child.pid)
    code = f"""
import os, sys
sys.path.insert(0, {SITE!r})
os.write(os.open("{box["devices"]}/cgroup.procs", os.O_WRONLY), b"%d" % os.getpid())
os.write(os.open("{box["pids"]}/cgroup.procs", os.O_WRONLY), b"%d" % os.getpid())
def mount(*argv):
    assert os.spawnvp(os.P_WAIT, "mount", ["mount", *argv]) == 0
mount("-t", "tmpfs", "none", "/mnt")
for name in ("devices", "pids"):
    os.mkdir("/mnt/" + name)
os.mkdir("/mnt/deeper dir")
mount("--bind", "{box["devices"]}", "/mnt/devices")
mount("--bind", "{box["pids"]}", "/mnt/deeper dir")
mount("--move", "/mnt", "/sys/fs/cgroup")  # the mounts below stay, but nobody sees them
from pyrunc.cgroups import hierarchies
print(hierarchies.paths("rel", "c"), hierarchies.paths("/abs", "c"), sep="\\n")
"""
    argv = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", code]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line, name in zip(done.stdout.splitlines(), ("rel", "abs"), strict=True):
        assert line == str(
            {
                "devices": f"/sys/fs/cgroup/devices/{name}",
                "pids": f"/sys/fs/cgroup/deeper dir/{name}",
            }
        )


# --- limits ---


@v1_only
def test_v1_limits_arrive(box):
    resources = {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 7},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 1000, "cpus": "0"},
        "pids": {"limit": 17},
        "blockIO": {"throttleReadBpsDevice": []},
    }
    cgroups.validate(resources, MODE)
    cgroups.apply(box, resources, MODE)
    assert content(box, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert content(box, "memory", "memory.soft_limit_in_bytes") == str(32 << 20)
    assert content(box, "memory", "memory.swappiness") == "7"
    assert content(box, "cpu", "cpu.shares") == "512"
    assert content(box, "cpu", "cpu.cfs_quota_us") == "50000"
    assert content(box, "cpuset", "cpuset.cpus") == "0"
    assert content(box, "pids", "pids.max") == "17"


@v1_only
def test_v1_memory_and_swap_go_up_and_down(box):
    if not os.path.exists(f"{box['memory']}/memory.memsw.limit_in_bytes"):
        pytest.skip("the kernel does not count swap")
    for limit, swap in ((64, 128), (256, 512), (32, 64), (32, 32), (-1, 0), (16, 16)):
        memory = {"limit": limit << 20 if limit > 0 else limit, "swap": swap << 20}
        cgroups.apply(box, {"memory": memory}, MODE, devices=False)
        if limit > 0:
            assert content(box, "memory", "memory.limit_in_bytes") == str(limit << 20)
            assert content(box, "memory", "memory.memsw.limit_in_bytes") == str(swap << 20)


@v1_only
def test_v1_memory_limit_below_what_is_in_use(box, servant):
    if len(read("/proc/swaps").splitlines()) > 1:
        pytest.skip("memory in use can be swapped out here")
    child = servant()
    cgroups.join(box, child.pid)
    child.ask("len(globals().setdefault('x', bytearray(48 << 20)))")
    child.ask("len(globals().setdefault('y', b'1' * (48 << 20)))")
    text = refused(cgroups.apply, box, {"memory": {"limit": 8 << 20}}, MODE, devices=False)
    assert text.startswith(f"unable to set memory limit to {8 << 20} (current usage: ")
    assert ", peak usage: " in text


@v1_only
def test_v1_cpu_shares_have_bounds(box):
    def setting(shares):
        return refused(cgroups.apply, box, {"cpu": {"shares": shares}}, MODE, devices=False)

    assert setting(1) == "the minimum allowed cpu-shares is 2"
    assert setting(1 << 30) == "the maximum allowed cpu-shares is 262144"


@v1_only
def test_v1_a_period_that_only_fits_the_new_quota(parent):
    above, below = (cgroups.paths(f"{parent}{name}", "c") for name in ("/p", "/p/c"))
    for paths in (above, below):
        cgroups.create(paths, {})
        cpu = {"quota": 50000, "period": 100000}
        cgroups.apply(paths, {"cpu": cpu}, MODE, devices=False)
    cgroups.apply(below, {"cpu": {"quota": 5000, "period": 10000}}, MODE, devices=False)
    assert content(below, "cpu", "cpu.cfs_period_us") == "10000"
    assert content(below, "cpu", "cpu.cfs_quota_us") == "5000"


@v1_only
def test_v1_real_time_budget_is_there_before_anyone_joins(parent):
    paths = cgroups.paths(f"{parent}", "c")
    if not os.path.exists(f"{os.path.dirname(paths['cpu'])}/cpu.rt_runtime_us"):
        pytest.skip("the kernel has no real-time group scheduling")
    cgroups.create(paths, {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500000}})
    assert content(paths, "cpu", "cpu.rt_runtime_us") == "1000"
    assert content(paths, "cpu", "cpu.rt_period_us") == "500000"


@v1_only
def test_v1_a_real_time_period_below_the_old_runtime(parent):
    paths = cgroups.paths(f"{parent}", "c")
    if not os.path.exists(f"{os.path.dirname(paths['cpu'])}/cpu.rt_runtime_us"):
        pytest.skip("the kernel has no real-time group scheduling")
    cgroups.create(paths, {"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 20000}})
    for period, runtime in ((10000, 100), (1000000, 20000), (10000, 100)):
        budget = {"realtimePeriod": period, "realtimeRuntime": runtime}
        cgroups.apply(paths, {"cpu": budget}, MODE, devices=False)
        assert content(paths, "cpu", "cpu.rt_period_us") == str(period)
        assert content(paths, "cpu", "cpu.rt_runtime_us") == str(runtime)


@v1_only
def test_v1_refused_values_are_named(box):
    path = f"{box['cpuset']}/cpuset.cpus"
    text = refused(cgroups.apply, box, {"cpu": {"cpus": "99999"}}, MODE, devices=False)
    assert text in (
        f'failed to write "99999": write {path}: {why}'
        for why in ("invalid argument", "numerical result out of range")
    )


@v1_only
def test_v1_kills_by_the_oom_killer_are_counted(box, servant):
    child = servant()
    cgroups.join(box, child.pid)
    assert cgroups.oom_killed(box) == 0
    cgroups.apply(box, {"memory": {"limit": 24 << 20, "swap": 24 << 20}}, MODE, devices=False)
    assert child.ask("len(b'1' * (256 << 20))") == ""
    wait_for(lambda: cgroups.oom_killed(box) == 1, what="OOM kill")


# --- devices, v1 ---


@v1_only
def test_v1_devices_are_denied_unless_allowed(box, servant):
    child = servant()
    cgroups.join(box, child.pid)
    assert child.ask("attempt('/dev/kmsg', os.O_RDONLY)") == "ok"
    cgroups.apply(box, {}, MODE)
    assert child.ask("attempt('/dev/kmsg', os.O_RDONLY)") == "Operation not permitted"
    assert child.ask("attempt('/dev/null', os.O_RDWR)") == "ok"
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    cgroups.apply(box, {"devices": [{"allow": False, "access": "rwm"}, rule]}, MODE)
    assert child.ask("attempt('/dev/kmsg', os.O_RDONLY)") == "ok"
    assert child.ask("attempt('/dev/kmsg', os.O_WRONLY)") == "Operation not permitted"
    cgroups.apply(box, {}, MODE)
    assert child.ask("attempt('/dev/kmsg', os.O_RDONLY)") == "Operation not permitted"
    cgroups.apply(box, {"devices": [{"allow": True, "access": "rwm"}]}, MODE)
    assert child.ask("attempt('/dev/kmsg', os.O_RDWR)") == "ok"


USE = """
import os, sys
refused = 0
print("using", flush=True)
os.set_blocking(0, False)
while True:
    for _ in range(50):
        for path, flags in (("/dev/kmsg", os.O_RDONLY), ("/dev/null", os.O_RDWR)):
            try:
                os.close(os.open(path, flags))
            except PermissionError:
                refused += 1
    try:
        if not os.read(0, 1):
            break
    except BlockingIOError:
        pass
print(refused)
"""


@v1_only
def test_v1_who_uses_a_device_notices_no_change_of_rules(box):
    """Rules change all the time, but /dev/kmsg may be read, and /dev/null used, by each of them."""

    def kmsg(major, minor, access="r"):
        return {"allow": True, "type": "c", "major": major, "minor": minor, "access": access}

    denied = {"allow": False, "access": "rwm"}
    rules = [
        [denied, kmsg(1, 11)],
        [denied, kmsg(1, -1)],
        [denied, kmsg(-1, 11, "rw")],
        [denied, kmsg(-1, -1, "rwm")],
        [denied, kmsg(1, 11, "rm"), kmsg(7, 0)],
    ]
    cgroups.apply(box, {"devices": rules[-1]}, MODE)
    child = subprocess.Popen(
        [sys.executable, "-c", USE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "using\n"
        cgroups.join(box, child.pid)
        for _ in range(300):
            for devices in rules:
                cgroups.apply(box, {"devices": devices}, MODE)
        child.stdin.close()
        assert child.stdout.readline() == "0\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@v1_only
def test_v1_a_device_the_cgroup_above_lacks_cannot_be_allowed(parent):
    above, below = (cgroups.paths(f"{parent}{name}", "c") for name in ("/p", "/p/c"))
    cgroups.create(above, {})
    cgroups.apply(above, {}, MODE)
    cgroups.create(below, {})
    rule = {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "rw"}
    path = f"{below['devices']}/devices.allow"
    text = f'failed to write "b 8:0 rw": write {path}: operation not permitted'
    assert refused(cgroups.apply, below, {"devices": [rule]}, MODE) == text
    cgroups.apply(below, {"devices": [rule]}, MODE, rootless=True)


# --- freeze and kill, v1 and hybrid ---


@v1_only
def test_v1_freezing_stops_processes_until_they_are_thawed(box, servant):
    child = servant()
    cgroups.join(box, child.pid)
    cgroups.freeze(box, True)
    assert cgroups.frozen(box)
    child.tell("7")
    time.sleep(0.05)
    cgroups.freeze(box, False)
    assert not cgroups.frozen(box)
    assert child.process.stdout.readline().strip() == "7"


@v1_only
def test_v1_frozen_from_above_is_not_paused(parent):
    above, below = (cgroups.paths(f"{parent}{name}", "c") for name in ("/p", "/p/c"))
    for paths in (above, below):
        cgroups.create(paths, {})
    cgroups.freeze(above, True)
    assert cgroups.frozen(above)
    assert not cgroups.frozen(below)
    cgroups.freeze(above, False)


def test_without_cgroups_there_is_nothing_to_freeze():
    text = "cannot toggle freezer: cgroups not configured for container"
    assert refused(cgroups.freeze, {}, True) == text
    cgroups.freeze({}, False)
    assert not cgroups.frozen({})
    assert cgroups.pids({}) == []
    cgroups.remove({})


@v1_only
@pytest.mark.parametrize("unified", [True, False])
@pytest.mark.parametrize("paused", [True, False])
def test_killing_reaches_sub_cgroups_and_paused_processes(box, servant, unified, paused):
    if not unified:
        box = {name: path for name, path in box.items() if name}
    elif "" not in box:
        pytest.skip("no unified hierarchy")
    child, other = servant(), servant()
    cgroups.join(box, child.pid)
    below = {name: f"{path}/sub" for name, path in box.items()}
    cgroups.create(below, {})
    cgroups.join(below, other.pid)
    if paused:
        cgroups.freeze(box, True)
    cgroups.kill_all(box, signal.SIGKILL)
    if paused:
        cgroups.freeze(box, False)
    assert child.process.wait(5) == other.process.wait(5) == -signal.SIGKILL
    assert not cgroups.frozen(box)
    cgroups.remove(box)
    assert refused(cgroups.kill_all, box, signal.SIGKILL) == "container not running"


@hybrid_only
def test_killing_finds_who_is_missing_from_the_unified_hierarchy(box, servant):
    child = servant()
    cgroups.join({name: path for name, path in box.items() if name}, child.pid)
    cgroups.kill_all(box, signal.SIGKILL)
    assert child.process.wait(5) == -signal.SIGKILL


@v1_only
def test_other_signals_reach_all_as_well(box, servant):
    child = servant()
    cgroups.join(box, child.pid)
    cgroups.kill_all(box, signal.SIGTERM)
    assert child.process.wait(5) == -signal.SIGTERM


# --- v2, in a mount namespace of its own ---

PRELUDE = """
import os, subprocess, sys, time, signal
sys.path.insert(0, %r)
sys.path.insert(0, %r)
from test_cgroups import Servant, refused, content, cgroups_of, nobody
from harness import wait_for
from pyrunc import cgroups
from pyrunc.cgroups import devices, fs
PARENT = %r
def box(name="/c", resources={}):
    paths = cgroups.paths(PARENT + name, "c")
    cgroups.create(paths, resources)
    return paths
"""


@pytest.fixture
def v2(parent):
    """Runs code where /sys/fs/cgroup is a cgroup2 mount; the host's root stays as it was."""
    if MODE == "v1":
        pytest.skip("needs cgroup2")
    unified = hierarchies.ROOT if MODE == "v2" else f"{hierarchies.ROOT}/unified"
    control = f"{unified}/cgroup.subtree_control"
    before = read(control).split()

    def run(code):
        prelude = PRELUDE % (SITE, os.path.dirname(__file__), parent)
        mount = "" if MODE == "v2" else "mount -t cgroup2 none /sys/fs/cgroup && "
        shell = mount + 'exec "$@"'
        argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", shell, "sh"]
        done = subprocess.run(
            [*argv, sys.executable, "-c", prelude + textwrap.dedent(code)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    yield run
    try:
        top = f"{unified}{parent}"
        if os.path.exists(top):
            with open(f"{top}/cgroup.kill", "w") as file:
                file.write("1")
            fs.remove({"": top})
    finally:
        # Where it is the only hierarchy, the service manager's other cgroups use them meanwhile.
        for name in set() if MODE == "v2" else set(read(control).split()) - set(before):
            with open(control, "w") as file:
                file.write(f"-{name}")


def test_v2_levels_pass_controllers_on_but_the_last(v2):
    v2("""
        assert cgroups.mode() == "v2"
        available = open("/sys/fs/cgroup/cgroup.controllers").read().split()
        paths = cgroups.paths(PARENT + "/a/b", "c")
        assert paths == {"": f"/sys/fs/cgroup{PARENT}/a/b"}
        cgroups.check_free(paths)
        made = cgroups.create(paths, {})
        assert made == [f"/sys/fs/cgroup{PARENT}{x}" for x in ("", "/a", "/a/b")], made
        for path in ("/sys/fs/cgroup", *made[:2]):
            control = open(f"{path}/cgroup.subtree_control").read().split()
            assert set(available) <= set(control), (path, control)
        assert open(f"{made[2]}/cgroup.subtree_control").read().split() == []
        child = Servant()
        cgroups.join(paths, child.pid)
        assert cgroups_of(child.pid)[""] == f"{PARENT}/a/b"
        assert cgroups.pids(paths) == [child.pid]
        assert refused(cgroups.check_free, paths).endswith("is not empty: 1 process(es) found")
        child.end()
        cgroups.remove(paths)
        cgroups.discard(made)
        assert not any(os.path.exists(path) for path in made)
    """)


def test_v2_limits_arrive(v2):
    v2("""
        paths = box()
        if "hugetlb" in open(paths[""] + "/cgroup.controllers").read().split():
            limit = [{"pageSize": "2MB", "limit": 4 << 20}]
            cgroups.apply(paths, {"hugepageLimits": limit}, "v2", devices=False)
            assert content(paths, "", "hugetlb.2MB.max") == str(4 << 20)
            assert content(paths, "", "hugetlb.2MB.rsvd.max") == str(4 << 20)
            unified = {"hugetlb.2MB.max": "2097152"}
            cgroups.apply(paths, {"hugepageLimits": limit, "unified": unified}, "v2", devices=False)
            assert content(paths, "", "hugetlb.2MB.max") == "2097152"
        cgroups.apply(paths, {"unified": {"cgroup.max.depth": "3"}}, "v2", devices=False)
        assert content(paths, "", "cgroup.max.depth") == "3"
        missing = {"unified": {"nothing.max": "1"}}
        assert refused(cgroups.apply, paths, missing, "v2", devices=False) == (
            'unified resource "nothing.max" can\\'t be set: controller "nothing" not available'
        )
        path = paths[""] + "/cgroup.max.depth"
        wrong = {"unified": {"cgroup.max.depth": "many"}}
        assert refused(cgroups.apply, paths, wrong, "v2", devices=False) == (
            'unable to set unified resource "cgroup.max.depth": failed to write "many": '
            f"write {path}: invalid argument"
        )
    """)


def test_v2_devices_are_denied_unless_allowed(v2):
    v2("""
        def look(access):
            return child.ask(f"attempt('/dev/kmsg', os.{access})")
        paths = box()
        child = Servant()
        cgroups.join(paths, child.pid)
        assert look("O_RDONLY") == "ok"
        cgroups.apply(paths, {}, "v2")
        assert look("O_RDONLY") == "Operation not permitted"
        assert child.ask("attempt('/dev/null', os.O_RDWR)") == "ok"
        assert child.ask("attempt('/dev/urandom', os.O_RDONLY)") == "ok"
        rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
        cgroups.apply(paths, {"devices": [{"allow": False, "access": "rwm"}, rule]}, "v2")
        assert look("O_RDONLY") == "ok"
        assert look("O_WRONLY") == "Operation not permitted"
        assert look("O_RDWR") == "Operation not permitted"
        everything = {"allow": True, "access": "rwm"}
        rule = {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}
        cgroups.apply(paths, {"devices": [everything, rule]}, "v2")
        assert look("O_RDONLY") == "ok"
        assert look("O_RDWR") == "Operation not permitted"
        # Each program took the place of the one before.
        folder = os.open(paths[""], os.O_RDONLY)
        attached = devices._attached(folder)
        assert len(attached) == 1
        for fd in attached: os.close(fd)
        os.close(folder)
        cgroups.apply(paths, {"devices": [everything]}, "v2")
        assert look("O_RDWR") == "ok"
        child.end()
        cgroups.remove(paths)
    """)


def test_v2_several_old_programs_are_all_replaced(v2):
    v2("""
        paths = box()
        folder = os.open(paths[""], os.O_RDONLY)
        rules = devices.emulate(devices.configured([], ()))
        for _ in range(3):
            program = devices._load(devices.program(rules))
            flags = devices.BPF_F_ALLOW_MULTI
            attr = devices._target(folder, program, flags)
            assert devices._bpf(devices.BPF_PROG_ATTACH, attr) == 0
            os.close(program)
        assert len(devices._attached(folder)) == 3
        cgroups.apply(paths, {}, "v2")
        assert len(devices._attached(folder)) == 1
    """)


def test_v2_freeze_and_thaw(v2):
    v2("""
        paths = box()
        child = Servant()
        cgroups.join(paths, child.pid)
        cgroups.freeze(paths, True)
        assert cgroups.frozen(paths)
        assert "frozen 1" in content(paths, "", "cgroup.events")
        child.tell("7")
        cgroups.freeze(paths, False)
        assert not cgroups.frozen(paths)
        assert child.process.stdout.readline().strip() == "7"
        child.end()
    """)


def test_v2_killing_reaches_sub_cgroups(v2):
    v2("""
        paths = box()
        children = [Servant() for _ in range(3)]
        for number, child in enumerate(children):
            below = {"": paths[""] + "/x" * number}
            os.makedirs(below[""], exist_ok=True)
            cgroups.join(below, child.pid)
        cgroups.freeze(paths, True)
        cgroups.kill_all(paths, signal.SIGKILL)
        for child in children:
            assert child.process.wait(5) == -signal.SIGKILL
        cgroups.freeze(paths, False)
        cgroups.remove(paths)
        assert not os.path.exists(paths[""])
        assert cgroups.pids(paths) == []
        assert not cgroups.frozen(paths)
    """)


def test_v2_removal_is_woken_by_the_last_exit(v2):
    v2("""
        paths = box()
        child = subprocess.Popen(["sleep", "0.3"])
        cgroups.join(paths, child.pid)
        cgroups.remove(paths)
        assert not os.path.exists(paths[""])
        fs.PATIENCE = 0.2
        paths = box()
        child = subprocess.Popen(["sleep", "100"])
        cgroups.join(paths, child.pid)
        text = refused(cgroups.remove, paths)
        assert text.endswith(f"(1 process(es) left: {child.pid} (state S))"), text
        child.kill()
        child.wait()
        cgroups.remove(paths)
    """)


def test_v2_who_may_not_make_a_cgroup(v2):
    v2("""
        available = open("/sys/fs/cgroup/cgroup.controllers").read().split()
        paths = cgroups.paths(PARENT + "/c", "c")
        path = f"/sys/fs/cgroup{PARENT}"
        with nobody():
            assert refused(cgroups.create, paths, {}) == f"mkdir {path}: permission denied"
            if "hugetlb" in available:
                limits = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
                assert refused(cgroups.create, paths, limits, tolerant=True) == (
                    "rootless needs no limits + no cgrouppath when no permission is granted for "
                    f"cgroups: mkdir {path}: permission denied"
                )
            assert cgroups.create(paths, {}, tolerant=True) == []
        assert paths == {}
        cgroups.join(paths, 1, tolerant=True)
        cgroups.apply(paths, {}, "v2", rootless=True)
    """)


def test_v2_threaded_parents(v2):
    v2("""
        above = f"/sys/fs/cgroup{PARENT}/p"
        os.makedirs(f"{above}/t")
        with open(f"{above}/t/cgroup.type", "w") as file:
            file.write("threaded")
        path = f"{above}/new"
        limits = {"cpu": {"shares": 5}}
        assert refused(cgroups.create, {"": path}, limits) == (
            f'cannot enter cgroupv2 "{above}" with domain controllers '
            "-- it is in domain threaded mode"
        )
        assert not os.path.exists(path)
        new = box("/p/new")
        assert content(new, "", "cgroup.type") == "threaded"
    """)


# --- host ---


def test_facts_about_this_host():
    facts = host.facts("cgroup_mode", "cgroup_mounts", "last_cap", "kcore", "proc_mounts", "procfs")
    assert facts["cgroup_mode"] == MODE
    assert facts["last_cap"] >= 39
    assert facts["kcore"] == os.path.exists("/proc/kcore")
    assert "/proc" in facts["procfs"]
    assert set(facts["procfs"]) <= set(facts["proc_mounts"])
    for entry in facts["cgroup_mounts"]:
        assert os.path.ismount(entry["mount"])
        assert entry["dest"] == os.path.basename(entry["mount"])
        assert str(os.getpid()) in read(f"{entry['own']}/cgroup.procs").split()
        assert "" not in entry["subsystems"]


@pytest.mark.parametrize("type", ["network", "mount", "pid", "ipc", "uts", "cgroup", "user"])
def test_same_namespace(type):
    file = host.NAMESPACE_FILES.get(type, type)
    assert host.same_namespace(f"/proc/{os.getpid()}/ns/{file}", type)
    other = "net" if type != "network" else "uts"
    assert not host.same_namespace(f"/proc/self/ns/{other}", type)


def test_same_namespace_of_nothing():
    assert refused(host.same_namespace, "/proc/self/ns/nope", "network") == (
        "stat /proc/self/ns/nope: no such file or directory"
    )
