"""linux.intelRdt, on a directory that stands for resctrl: resctrl.c plays the kernel's part."""

import json
import os
import subprocess

import pytest

from harness import Runtime, read, wait_for

FILES = {
    "tasks": "",
    "schemata": "    MB:0=100\n    L3:0=ff;1=ff\n",
    "info/last_cmd_status": "ok\n",
    "info/L3/cbm_mask": "ff\n",
    "info/L3/min_cbm_bits": "2\n",
    "info/L3/num_closids": "16\n",
    "info/MB/bandwidth_gran": "10\n",
    "info/MB/delay_linear": "1\n",
    "info/MB/min_bandwidth": "10\n",
    "info/MB/num_closids": "8\n",
    "mon_groups/.keep": "",
}


@pytest.fixture(scope="session")
def kernel(tmp_path_factory):
    """The library that plays resctrl."""
    output = str(tmp_path_factory.mktemp("resctrl") / "resctrl.so")
    source = os.path.join(os.path.dirname(__file__), "..", "resctrl.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", output, source, "-ldl"], check=True)
    return output


@pytest.fixture
def resctrl(tmp_path):
    """Where it is."""
    top = tmp_path / "resctrl"
    for name, text in FILES.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    mount = f"900 1 0:900 / {top} rw,relatime - resctrl resctrl rw\n"
    (tmp_path / "mountinfo").write_text(read("/proc/self/mountinfo") + mount)
    return top


@pytest.fixture
def rdt(pyrunc, kernel, resctrl, tmp_path):
    """The command, where resctrl is mounted; what is there afterwards is what was before."""
    script = tmp_path / "pyrunc-rdt"
    script.write_text(
        f'#!/bin/sh\nRESCTRL={resctrl} LD_PRELOAD={kernel} exec {pyrunc.command} "$@"\n'
    )
    script.chmod(0o755)
    runtime = Runtime(str(script), tmp_path, pyrunc.prefix)
    yield runtime
    for name in runtime.names():
        runtime("delete", "--force", name)
    assert not [name for name in os.listdir(resctrl) if name.startswith(pyrunc.prefix)]
    assert os.listdir(resctrl / "mon_groups") == [".keep"]


@pytest.fixture
def old(resctrl):
    """A class that somebody made."""
    for name, text in (("schemata", "    MB:0=20\n    L3:0=f;1=3\n"), ("tasks", "")):
        path = resctrl / "old" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return resctrl / "old"


def schemata(group):
    return sorted(line.strip() for line in (group / "schemata").read_text().splitlines())


def test_a_group_of_its_own(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {
        "l3CacheSchema": "L3:0=f;1=3",
        "memBwSchema": "MB:0=20",
        "schemata": ["L3:0=7;1=3"],
    }
    name = rdt.create(bundle.sh("sleep 100"))
    group = resctrl / name
    assert (group / "tasks").read_text() == f"{rdt.pid(name)}\n"
    assert schemata(group) == ["L3:0=7;1=3", "MB:0=20"], "schemata come last"
    assert rdt.record(name)["intel_rdt_path"] == str(group)
    rdt("start", name)
    rdt("delete", "--force", name)
    assert not group.exists()


def test_nothing_to_limit(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {}
    name = rdt.create(bundle)
    assert (resctrl / name / "tasks").read_text() == f"{rdt.pid(name)}\n"
    assert schemata(resctrl / name) == ["L3:0=ff;1=ff", "MB:0=100"]
    rdt("kill", name, "KILL")
    rdt.stopped(name)
    rdt("delete", name)
    assert not (resctrl / name).exists()


def test_without_intel_rdt_resctrl_is_not_touched(rdt, resctrl, bundle):
    before = sorted(os.listdir(resctrl))
    name = rdt.create(bundle)
    assert sorted(os.listdir(resctrl)) == before
    assert (resctrl / "tasks").read_text() == ""
    assert rdt.record(name)["intel_rdt_path"] == ""


def test_a_group_that_was_there_stays(rdt, resctrl, bundle):
    name = f"{rdt.prefix}1"
    (resctrl / name).mkdir()
    (resctrl / name / "tasks").touch()
    bundle.linux["intelRdt"] = {}
    assert rdt.create(bundle) == name
    rdt("delete", "--force", name)
    assert (resctrl / name / "tasks").exists()
    (resctrl / name / "tasks").unlink()
    (resctrl / name).rmdir()


def test_the_container_of_a_class(rdt, old, bundle):
    bundle.linux["intelRdt"] = {"closID": "old"}
    name = rdt.create(bundle)
    assert (old / "tasks").read_text() == f"{rdt.pid(name)}\n"
    assert schemata(old) == ["L3:0=f;1=3", "MB:0=20"]
    rdt("delete", "--force", name)
    assert old.exists()


@pytest.mark.parametrize(
    "same",
    [
        {"l3CacheSchema": "L3:0=f;1=3"},
        {"l3CacheSchema": "L3:1=0x3"},
        {"l3CacheSchema": "L3: 0 = 0f"},
        {"memBwSchema": "MB:0=11"},  # which the kernel rounds up
    ],
)
def test_a_class_with_the_same_limits(rdt, old, bundle, same):
    bundle.linux["intelRdt"] = {"closID": "old", **same}
    name = rdt.create(bundle)
    assert (old / "tasks").read_text() == f"{rdt.pid(name)}\n"


@pytest.mark.parametrize("other", [{"l3CacheSchema": "L3:0=7;1=3"}, {"memBwSchema": "MB:0=30"}])
def test_a_class_with_other_limits(rdt, old, bundle, other):
    bundle.linux["intelRdt"] = {"closID": "old", **other}
    message = rdt.create(bundle, code=1).message
    assert "does not match the schemata of" in message and f"{old}: " in message
    assert schemata(old) == ["L3:0=f;1=3", "MB:0=20"]
    assert (old / "tasks").read_text() == ""
    assert rdt.names() == []


def test_a_class_to_be_made_outlives_its_container(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"closID": "new", "memBwSchema": "MB:0=50"}
    name = rdt.create(bundle)
    assert schemata(resctrl / "new") == ["L3:0=ff;1=ff", "MB:0=50"]
    rdt("delete", "--force", name)
    assert (resctrl / "new").exists()


def test_a_class_without_limits_has_to_be_there(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"closID": "absent"}
    assert "there is no directory" in rdt.create(bundle, code=1).message
    assert not (resctrl / "absent").exists()


def test_the_default_class(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"closID": "/", "enableMonitoring": True}
    name = rdt.create(bundle)
    monitor = resctrl / "mon_groups" / name
    pid = f"{rdt.pid(name)}\n"
    assert (resctrl / "tasks").read_text() == pid
    assert (monitor / "tasks").read_text() == pid
    assert rdt.record(name)["intel_rdt_mon_path"] == str(monitor)
    rdt("delete", "--force", name)
    assert not monitor.exists()
    assert resctrl.exists()


def test_monitoring_of_a_group_of_its_own(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"enableMonitoring": True}
    name = rdt.create(bundle)
    monitor = resctrl / name / "mon_groups" / name
    assert (monitor / "tasks").read_text() == f"{rdt.pid(name)}\n"
    data = json.loads(rdt("events", "--stats", name).stdout)["data"]["intel_rdt"]
    assert data["cmt_stats"] == [{"llc_occupancy": 7}]
    rdt("delete", "--force", name)
    assert not (resctrl / name).exists()


def test_a_monitoring_group_of_somebody_else(rdt, resctrl, bundle):
    other = resctrl / "mon_groups" / f"{rdt.prefix}1"
    other.mkdir()
    bundle.linux["intelRdt"] = {"closID": "/", "enableMonitoring": True}
    message = rdt.create(bundle, code=1).message
    assert message.endswith(f"mkdir {other}: file exists")
    assert other.exists()
    other.rmdir()


def test_exec_joins_the_groups(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"enableMonitoring": True}
    name = rdt.up(bundle.sh("sleep 100"))
    pid_file = f"{rdt.directory}/pid"
    rdt("exec", "--detach", "--pid-file", pid_file, name, "sleep", "50")
    pids = f"{rdt.pid(name)}\n{read(pid_file)}\n"
    assert (resctrl / name / "tasks").read_text() == pids
    assert (resctrl / name / "mon_groups" / name / "tasks").read_text() == pids


def test_stats(rdt, bundle):
    bundle.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f;1=3", "memBwSchema": "MB:0=20"}
    name = rdt.create(bundle)
    assert json.loads(rdt("events", "--stats", name).stdout)["data"]["intel_rdt"] == {
        "l3_cache_info": {"cbm_mask": "ff", "min_cbm_bits": 2, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=ff;1=ff",
        "l3_cache_schema": "L3:0=f;1=3",
        "mem_bw_info": {
            "bandwidth_gran": 10,
            "delay_linear": 1,
            "min_bandwidth": 10,
            "num_closids": 8,
        },
        "mem_bw_schema_root": "MB:0=100",
        "mem_bw_schema": "MB:0=20",
        "schemata": ["MB:0=20", "L3:0=f;1=3"],
        "mbm_stats": [{"mbm_total_bytes": 2000}],
        "cmt_stats": [{"llc_occupancy": 4096}],
    }


def test_update(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f;1=3"}
    name = rdt.create(bundle)
    rdt("update", "--mem-bw-schema", "MB:0=70", "--l3-cache-schema", "L3:0=3;1=3", name)
    assert schemata(resctrl / name) == ["L3:0=3;1=3", "MB:0=70"]
    config = rdt.record(name)["config"]["intel_rdt"]
    assert config == {"l3CacheSchema": "L3:0=3;1=3", "memBwSchema": "MB:0=70"}
    # All or nothing: a refused line, and a refused limit.
    flags = ("--l3-cache-schema", "L3:0=f;1=f")
    message = rdt("update", *flags, "--mem-bw-schema", "XX:0=1", name, code=1).message
    assert message.endswith(
        "invalid argument, last_cmd_status: Unknown or unsupported resource name"
    )
    rdt("update", *flags, "--cpuset-cpus", "4000", name, code=1)
    assert schemata(resctrl / name) == ["L3:0=3;1=3", "MB:0=70"]
    assert rdt.record(name)["config"]["intel_rdt"] == config


def test_nothing_to_update(rdt, bundle):
    name = rdt.create(bundle)
    message = rdt("update", "--l3-cache-schema", "L3:0=f", name, code=1).message
    assert message == "updating a non-existent Intel RDT configuration is not supported"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"closID": "."}, 'invalid intelRdt.ClosID "."'),
        ({"closID": ".."}, 'invalid intelRdt.ClosID ".."'),
        ({"closID": "a/b"}, 'invalid intelRdt.ClosID "a/b"'),
        ({"closID": "a\0b"}, 'invalid intelRdt.ClosID "a\0b"'),
        ({"schemata": ["L3:0=f\nMB:0=1"]}, "a line of intelRdt's schemata has a newline"),
        ({"schemata": ["XX:0=f"]}, "last_cmd_status: Unknown or unsupported resource name"),
    ],
)
def test_what_cannot_be(rdt, resctrl, bundle, config, message):
    before = sorted(os.listdir(resctrl))
    bundle.linux["intelRdt"] = config
    assert message in rdt.create(bundle, code=1).message
    assert sorted(os.listdir(resctrl)) == before
    assert rdt.names() == []


@pytest.mark.parametrize(
    ("resource", "member", "value", "what"),
    [
        ("L3", "l3CacheSchema", "L3:0=f", "Intel RDT/CAT"),
        ("MB", "memBwSchema", "MB:0=50", "Intel RDT/MBA"),
    ],
)
def test_what_the_hardware_lacks(rdt, resctrl, bundle, resource, member, value, what):
    (resctrl / "info" / resource).rename(resctrl / "info" / "X")
    bundle.linux["intelRdt"] = {member: value}
    message = rdt.create(bundle, code=1).message
    assert message.endswith(f"intelRdt.{member} is specified in config, but {what} is not enabled")


def test_a_later_failure_leaves_no_group(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"enableMonitoring": True}
    rdt.create(bundle.args("/does/not/exist"), code=1)
    assert not (resctrl / f"{rdt.prefix}1").exists()


def test_a_killed_create_is_undone(rdt, resctrl, bundle):
    bundle.linux["intelRdt"] = {"enableMonitoring": True}
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "sleep 100"]}
    bundle.config["hooks"] = {"prestart": [hook]}
    name = rdt.id()
    child = rdt.popen("create", "--bundle", bundle.save(), name)
    group = resctrl / name
    tasks = group / "tasks"
    wait_for(lambda: tasks.exists() and tasks.read_text(), what="a group with a task")
    child.kill()
    child.wait()
    rdt("delete", "--force", name)
    assert not group.exists()


def test_no_resctrl(pyrunc, bundle):
    if " - resctrl " in read("/proc/self/mountinfo"):
        pytest.skip("resctrl is mounted")
    bundle.linux["intelRdt"] = {"closID": "/"}
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("intelRdt is specified in config, but Intel RDT is not enabled")
    assert pyrunc.names() == []
