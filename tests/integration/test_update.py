"""update: other limits for a container that lives; all of them, or none."""

import concurrent.futures
import json
import os
import subprocess

import pytest

from harness import read, wait_for

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def v1(cgroup_mode):
    if cgroup_mode == "v2":
        pytest.skip("looks into v1 files")


@pytest.fixture
def limit(pyrunc):
    """limit(name, "memory.limit_in_bytes"): what the kernel has for a container."""

    def value(name, file):
        folder = pyrunc.record(name)["cgroup_paths"][file.partition(".")[0]]
        text = read(f"{folder}/{file}").strip()
        return int(text) if text.lstrip("-").isdigit() else text

    return value


@pytest.fixture
def name(pyrunc, bundle):
    """A running container with some limits."""
    bundle.linux["resources"].update(
        memory={"limit": 32 * MEGABYTE, "reservation": 24 * MEGABYTE},
        cpu={"shares": 100, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        pids={"limit": 20},
    )
    return pyrunc.up(bundle.sh("sleep 100"))


def stored(pyrunc, name):
    return pyrunc.record(name)["config"]["cgroups"]


def refused(pyrunc, *args, **options):
    return pyrunc("update", *args, code=1, **options).message


def test_flags_arrive(pyrunc, name, limit):
    flags = (
        "--memory 64M --memory-reservation 33554432 --cpu-share 200 --pids-limit 30 "
        "--cpu-period 200000 --cpu-quota 80000 --cpu-burst 1000 --cpuset-cpus 0 --cpuset-mems 0"
    )
    result = pyrunc("update", *flags.split(), name)
    assert (result.stdout, result.stderr) == ("", "")
    assert limit(name, "memory.limit_in_bytes") == 64 * MEGABYTE
    assert limit(name, "memory.soft_limit_in_bytes") == 32 * MEGABYTE
    assert limit(name, "cpu.shares") == 200
    assert limit(name, "cpu.cfs_period_us") == 200000
    assert limit(name, "cpu.cfs_quota_us") == 80000
    assert limit(name, "cpu.cfs_burst_us") == 1000
    assert limit(name, "cpuset.cpus") == 0
    assert limit(name, "pids.max") == 30
    assert stored(pyrunc, name)["memory"] == 64 * MEGABYTE


def test_flags_after_the_id(pyrunc, name, limit):
    pyrunc("update", name, "--memory", "48M", "--pids-limit=-1")
    assert limit(name, "memory.limit_in_bytes") == 48 * MEGABYTE
    assert limit(name, "pids.max") == "max"


def test_what_is_not_mentioned_stays(pyrunc, name, limit):
    pyrunc("update", "--cpu-share", "300", name)
    assert limit(name, "cpu.shares") == 300
    assert limit(name, "memory.limit_in_bytes") == 32 * MEGABYTE
    assert limit(name, "cpu.cfs_quota_us") == 50000
    assert limit(name, "pids.max") == 20
    assert stored(pyrunc, name)["memory"] == 32 * MEGABYTE


def test_a_quota_keeps_the_recorded_period_until_it_is_forgotten(pyrunc, name, limit):
    pyrunc("update", "--cpu-period", "200000", name)
    assert (stored(pyrunc, name)["cpu_quota"], stored(pyrunc, name)["cpu_period"]) == (
        50000,
        200000,
    )
    pyrunc("update", "--cpu-share", "300", name)
    assert (stored(pyrunc, name)["cpu_quota"], stored(pyrunc, name)["cpu_period"]) == (0, 0)
    pyrunc("update", "--cpu-quota", "40000", name)
    assert stored(pyrunc, name)["cpu_period"] == 0
    assert limit(name, "cpu.cfs_period_us") == 200000
    assert limit(name, "cpu.cfs_quota_us") == 40000


def test_no_memory_limit_means_none_for_swap_either(pyrunc, name, limit):
    pyrunc("update", "--memory", "16M", "--memory-swap", "20M", name)
    assert limit(name, "memory.memsw.limit_in_bytes") == 20 * MEGABYTE
    pyrunc("update", "--memory", "64M", "--memory-swap", "80M", name)  # both up, swap first
    assert limit(name, "memory.limit_in_bytes") == 64 * MEGABYTE
    pyrunc("update", "--memory", "-1", name)
    assert limit(name, "memory.limit_in_bytes") > 1 << 60
    assert limit(name, "memory.memsw.limit_in_bytes") > 1 << 60
    assert stored(pyrunc, name)["memory"] == -1
    assert stored(pyrunc, name)["memory_swap"] == 0


def test_idle(pyrunc, name, limit):
    pyrunc("update", "--cpu-idle", "1", name)
    assert limit(name, "cpu.idle") == 1
    assert stored(pyrunc, name)["cpu_shares"] == 0
    pyrunc("update", "--memory", "40M", name)
    assert limit(name, "cpu.idle") == 1
    pyrunc("update", "--cpu-idle", "0", "--cpu-share", "100", name)
    assert (limit(name, "cpu.idle"), limit(name, "cpu.shares")) == (0, 100)


RESOURCES = {
    "Memory": {"limit": 40 * MEGABYTE, "swap": None},
    "cpu": {"shares": 150, "realtimeRuntime": 0},
    "pids": {"limit": 25},
    "blockIO": None,
    "devices": [{"allow": True, "access": "rwm"}],
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "network": {"classID": 5},
    "unknown": 1,
}


@pytest.mark.parametrize("form", ["-r FILE", "--resources=-", "--resources -"])
def test_a_document(pyrunc, name, limit, tmp_path, form):
    text = json.dumps(RESOURCES)
    before = read(f"{pyrunc.record(name)['cgroup_paths']['devices']}/devices.list")
    (tmp_path / "resources.json").write_text(text)
    args = form.replace("FILE", f"{tmp_path}/resources.json").split()
    result = pyrunc("update", *args, name, stdin=text if "-" in form[5:] else None)
    assert (result.stdout, result.stderr) == ("", "")
    assert limit(name, "memory.limit_in_bytes") == 40 * MEGABYTE
    assert limit(name, "cpu.shares") == 150
    assert limit(name, "pids.max") == 25
    assert read(f"{pyrunc.record(name)['cgroup_paths']['devices']}/devices.list") == before


def test_devices_stay_in_use(pyrunc, bundle):
    """Rules for devices in a document change nothing, not even for a moment."""
    bundle.sh("while :; do : > /dev/null || echo >> /refused; echo x >> /uses; done 2>/dev/null")
    name = pyrunc.up(bundle)
    uses = f"{bundle.rootfs}/uses"
    path = f"{pyrunc.record(name)['cgroup_paths']['devices']}/devices.list"
    before = read(path)
    rules = (
        [{"allow": False, "access": "rwm"}],
        [{"allow": True, "access": "rwm"}],
        [{"allow": False, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
    )
    for turn in range(12):
        wait_for(lambda: os.path.exists(uses), what="use of /dev/null")
        os.unlink(uses)  # so that there is a use between two updates
        document = {"devices": rules[turn % 3], "pids": {"limit": 50 + turn}}
        pyrunc("update", "-r", "-", name, stdin=json.dumps(document))
        assert read(path) == before
    assert not os.path.exists(f"{bundle.rootfs}/refused")


def test_stdin_that_stays_open(pyrunc, name, limit):
    with pyrunc.popen("update", "-r", "-", name, stdin=subprocess.PIPE) as child:
        child.stdin.write(b'{"pids": {"limit": 40}}')
        child.stdin.flush()
        assert child.wait(20) == 0
    assert limit(name, "pids.max") == 40


def test_a_document_makes_flags_void(pyrunc, name, limit):
    pyrunc("update", "--pids-limit", "9", "--memory", "bad", "-r", "-", name, stdin="{}")
    assert limit(name, "pids.max") == 20


def test_documents_that_are_not_taken(pyrunc, name, tmp_path):
    assert refused(pyrunc, "-r", f"{tmp_path}/none", name) == (
        f"open {tmp_path}/none: no such file or directory"
    )
    assert "unexpected EOF" in refused(pyrunc, "-r", "-", name, stdin='{"memory":')
    message = refused(pyrunc, "-r", "-", name, stdin='{"memory": {"limit": "1G"}}')
    assert message.startswith("stdin: memory.limit: expected an integer from ")
    assert message.endswith(', found "1G"')
    assert "cannot use unified on cgroup v1" in refused(
        pyrunc, "-r", "-", name, stdin='{"unified": {"memory.high": "1"}}'
    )


def test_a_throttled_device(pyrunc, name, limit):
    device = os.stat("/dev").st_dev
    disk = next(
        (read(f"/sys/block/{disk}/dev").strip() for disk in sorted(os.listdir("/sys/block"))), None
    )
    if disk is None:
        pytest.skip(f"no block device (/dev is {device:x})")
    major, minor = map(int, disk.split(":"))

    def rate(value):
        entry = {"major": major, "minor": minor, "rate": value}
        return json.dumps({"blockIO": {"throttleReadBpsDevice": [entry]}})

    pyrunc("update", "-r", "-", name, stdin=rate(1000000))
    pyrunc("update", "-r", "-", name, stdin=rate(2000000))
    assert limit(name, "blkio.throttle.read_bps_device") == f"{disk} 2000000"
    assert stored(pyrunc, name)["blkio_throttle_read_bps_device"] == [
        {"major": major, "minor": minor, "rate": 2000000}
    ]
    pyrunc("update", "-r", "-", name, stdin=rate(0))


def test_a_failed_update_changes_nothing(pyrunc, name, limit):
    record = read(f"{pyrunc.root}/{name}/state.json")
    message = refused(
        pyrunc, *"--memory 64M --memory-swap 70M --cpu-quota 1 --pids-limit 5".split(), name
    )
    assert message.endswith("cpu.cfs_quota_us: invalid argument")
    assert limit(name, "memory.limit_in_bytes") == 32 * MEGABYTE
    assert limit(name, "memory.memsw.limit_in_bytes") > 1 << 60
    assert limit(name, "cpu.cfs_quota_us") == 50000
    assert limit(name, "pids.max") == 20
    assert read(f"{pyrunc.root}/{name}/state.json") == record


def test_a_failed_update_takes_rates_back(pyrunc, bundle, limit):
    disks = [read(f"/sys/block/{name}/dev").strip() for name in sorted(os.listdir("/sys/block"))]
    if len(disks) < 2:
        pytest.skip("needs two block devices")

    def rates(*rows):
        entries = []
        for device, rate in rows:
            major, _, minor = device.partition(":")
            entries.append({"major": int(major), "minor": int(minor), "rate": rate})
        return {"throttleReadBpsDevice": entries}

    bundle.linux["resources"]["blockIO"] = rates((disks[0], 1000))
    name = pyrunc.up(bundle.sh("sleep 100"))
    file = "blkio.throttle.read_bps_device"
    assert limit(name, file) == f"{disks[0]} 1000"
    # Nobody has a device of this number.
    wanted = rates((disks[0], 3000), (disks[1], 2000), ("4000:0", 1))
    message = refused(pyrunc, "-r", "-", name, stdin=json.dumps({"blockIO": wanted}))
    assert message.endswith(f"{file}: no such device")
    assert limit(name, file) == f"{disks[0]} 1000"


def test_a_limit_below_what_is_in_use(pyrunc, bundle, limit):
    bundle.linux["resources"]["memory"] = {"limit": 64 * MEGABYTE, "swap": 64 * MEGABYTE}
    script = (
        "dd if=/dev/zero bs=16M count=1 2>/dev/null | (sleep 0.2; tail -c 16000000) > /dev/shm/x"
    )
    name = pyrunc.up(bundle.sh(f"{script}; touch /ready; sleep 100"))
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/ready"), what="memory in use")
    document = json.dumps({"memory": {"limit": 4 * MEGABYTE, "checkBeforeUpdate": True}})
    message = refused(pyrunc, "-r", "-", name, stdin=document)
    assert message.startswith(f"rejecting memory limit {4 * MEGABYTE} <= usage ")
    assert limit(name, "memory.limit_in_bytes") == 64 * MEGABYTE


def test_every_status_but_stopped(pyrunc, bundle, limit):
    name = pyrunc.create(bundle.sh("sleep 100"))
    pyrunc("update", "--pids-limit", "11", name)
    assert limit(name, "pids.max") == 11
    assert pyrunc.status(name) == "created"
    pyrunc("start", name)
    pyrunc("pause", name)
    pyrunc("update", "--pids-limit", "12", name)
    assert limit(name, "pids.max") == 12
    assert pyrunc.status(name) == "paused"
    pyrunc("resume", name)
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
    assert refused(pyrunc, "--pids-limit", "13", name) == "container not running"
    assert refused(pyrunc, "--pids-limit", "13", "nobody") == "container does not exist"


def test_what_cannot_be_updated(pyrunc, name):
    assert refused(pyrunc, "--l3-cache-schema", "L3:0=f", name) == (
        "Intel RDT/CAT: l3 cache schema is not enabled"
    )
    assert refused(pyrunc, "-r", "-", "--mem-bw-schema", "MB:0=9", name, stdin="{}") == (
        "Intel RDT/MBA: memory bandwidth schema is not enabled"
    )
    result = pyrunc("update", "--kernel-memory", "1M", name)
    assert result.message == "Kernel memory settings are ignored and will be removed"
    assert "level=warning" in result.stderr
    assert refused(pyrunc, "--memory", "1X", name) == (
        "invalid value for memory: invalid suffix: 'x'"
    )


def test_the_record_stays_a_record(pyrunc, name):
    """The native half of the command reads it, too."""
    before = pyrunc.record(name)
    state = pyrunc("state", name).stdout
    pyrunc("update", "--memory", "33M", name)
    after = pyrunc.record(name)
    assert list(after) == list(before)
    assert list(after["config"]["cgroups"]) == list(before["config"]["cgroups"])
    assert pyrunc("state", name).stdout == state
    assert os.stat(f"{pyrunc.root}/{name}/state.json").st_mode & 0o777 == 0o600
    assert sorted(os.listdir(f"{pyrunc.root}/{name}")) == ["state.json"]


def test_two_at_a_time(pyrunc, name, limit):
    def update(*flags):
        return subprocess.run(
            pyrunc.argv("update", *flags, name), capture_output=True, check=False, timeout=60
        )

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        todo = [("--cpu-share", str(200 + i)) for i in range(6)]
        todo += [("--memory", f"{40 + i}M") for i in range(6)]
        results = list(pool.map(lambda flags: update(*flags), todo))
    assert [result.returncode for result in results] == [0] * 12
    assert stored(pyrunc, name)["cpu_shares"] == limit(name, "cpu.shares") > 100
    assert stored(pyrunc, name)["memory"] == limit(name, "memory.limit_in_bytes") > 32 * MEGABYTE
