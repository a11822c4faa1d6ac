"""Scheduler, I/O priority, CPU affinity, personality and memory policy, of run and of exec."""

import json
import os
import re
import subprocess

import pytest

from harness import read

BATCH, FIFO, IDLE = 3, 1, 5
NUMA = os.path.isdir("/sys/devices/system/node/node0")


@pytest.fixture
def tuned(pyrunc, bundle):
    """A running container with a bit of everything, and its bundle."""
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    bundle.linux["personality"] = {"domain": "LINUX32"}
    if NUMA:
        bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    return pyrunc.up(bundle.args("sleep", "1000"))


def process_file(pyrunc, bundle, **changes):
    path = f"{pyrunc.directory}/process.json"
    with open(path, "w") as file:
        json.dump({**bundle.process, "args": ["probe"], **changes}, file)
    return path


def test_scheduler_of_the_first_process(pyrunc, bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    seen = pyrunc.probe(bundle)
    assert (seen["sched_policy"], seen["nice"]) == (BATCH, 5)


def test_a_real_time_policy_needs_a_budget_in_its_cgroup(pyrunc, bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 3}
    bundle.linux["resources"]["cpu"] = {"realtimeRuntime": 10000, "realtimePeriod": 1000000}
    result = pyrunc.run(bundle.args("probe"), code=None)
    if result.code:  # no budget to give away, or none to be had
        assert "error setting scheduler: operation not permitted" in result.message or (
            "cpu.rt_" in result.message
        )
        pytest.skip("no real-time scheduling in cgroups here")
    seen = json.loads(result.stdout)
    assert (seen["sched_policy"], seen["sched_priority"]) == (FIFO, 3)


def test_io_priority_of_the_first_process(pyrunc, bundle):
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    assert pyrunc.probe(bundle)["ioprio"] >> 13 == 3


def test_personality_of_the_first_process(pyrunc, bundle):
    bundle.linux["personality"] = {"domain": "LINUX32"}
    seen = pyrunc.probe(bundle)
    assert seen["personality"] & 0xFF == 8
    assert seen["machine"] != os.uname().machine


@pytest.mark.skipif(not NUMA, reason="needs a kernel with NUMA")
def test_memory_policy_of_the_first_process(pyrunc, bundle):
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    seen = pyrunc.probe(bundle)
    assert (seen["mempolicy"], seen["mempolicy_nodes"]) == (2, 1)


def test_a_node_that_is_not_there(pyrunc, bundle):
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1000"}
    message = pyrunc.run(bundle, code=1).message
    assert "failed to set memory policy: " in message
    assert pyrunc.names() == []


@pytest.mark.parametrize(
    ("place", "key", "value", "text"),
    [
        ("process", "scheduler", {"policy": "SCHED_OTHER", "nice": 20}, "invalid scheduler.nice"),
        ("process", "scheduler", {"nice": 1}, "scheduler policy is required"),
        ("process", "ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 9}, "ioPriority"),
        ("process", "execCPUAffinity", {"initial": "x"}, "bad CPUAffinity.Initial: "),
        ("linux", "memoryPolicy", {"mode": "MPOL_BIND"}, "memory policy mode requires"),
        ("linux", "personality", {"domain": "BSD"}, "invalid personality domain BSD"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    pyrunc, bundle, place, key, value, text
):
    getattr(bundle, place)[key] = value
    assert text in pyrunc.run(bundle, code=1).message
    assert pyrunc.names() == []


# --- exec ---


def test_an_exec_has_what_the_container_has(pyrunc, tuned):
    seen = json.loads(pyrunc("exec", tuned, "probe").stdout)
    assert (seen["sched_policy"], seen["nice"], seen["ioprio"]) == (BATCH, 7, 2 << 13 | 6)
    assert seen["personality"] & 0xFF == 8
    assert (seen["mempolicy"], seen["mempolicy_nodes"]) == ((2, 1) if NUMA else (-1, 0))


def test_a_process_file_has_its_own_but_for_what_is_linuxs(pyrunc, bundle, tuned):
    file = process_file(
        pyrunc,
        bundle,
        scheduler={"policy": "SCHED_IDLE"},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 1},
    )
    seen = json.loads(pyrunc("exec", "-p", file, tuned).stdout)
    assert (seen["sched_policy"], seen["ioprio"]) == (IDLE, 2 << 13 | 1)
    assert seen["personality"] & 0xFF == 8


def test_a_bad_process_file_is_refused(pyrunc, bundle, tuned):
    file = process_file(pyrunc, bundle, scheduler={"policy": "SCHED_NONE"})
    message = pyrunc("exec", "-p", file, tuned, code=255).message
    assert "invalid scheduler policy: SCHED_NONE" in message


def allowed(pyrunc, name, *command):
    """Cpus_allowed_list of an exec, by a caller that was pinned to the first CPU."""
    argv = pyrunc.argv("exec", *command[:-1], name, command[-1])
    one = str(min(os.sched_getaffinity(0)))
    done = subprocess.run(["taskset", "-c", one, *argv], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["Cpus_allowed_list"]


@pytest.fixture
def cpus():
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        pytest.skip("needs two CPUs")
    return found


def whole():
    return read("/proc/self/status").partition("Cpus_allowed_list:")[2].split()[0]


def test_affinity_is_all_the_cpuset_has_unless_configured(pyrunc, bundle, cpus):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    assert allowed(pyrunc, name, "probe") == whole()


def test_final_affinity(pyrunc, bundle, cpus):
    bundle.process["execCPUAffinity"] = {"initial": str(cpus[0]), "final": str(cpus[1])}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    assert allowed(pyrunc, name, "probe") == str(cpus[1])
    file = process_file(pyrunc, bundle, execCPUAffinity={"final": str(cpus[0])})
    assert json.loads(pyrunc("exec", "-p", file, name).stdout)["Cpus_allowed_list"] == str(cpus[0])


def test_initial_affinity_is_init_before_it_enters_the_container(pyrunc, bundle, cpus):
    # The exec itself, and init, run there; the kernel decides when the cpuset is entered.
    bundle.process["execCPUAffinity"] = {"initial": str(cpus[1])}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    assert allowed(pyrunc, name, "probe") in (str(cpus[1]), whole())


def test_affinity_outside_of_the_cpuset(pyrunc, bundle):
    bundle.process["execCPUAffinity"] = {"final": "1000"}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    message = pyrunc("exec", name, "true", code=255).message
    assert message.endswith("error setting CPU affinity: invalid argument")


def test_debug_shows_the_initial_affinity(pyrunc, bundle, cpus):
    bundle.process["execCPUAffinity"] = {"initial": str(cpus[1])}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    done = pyrunc("--debug", "exec", name, "true")
    assert re.search(rf"nsexec\[\d+\]: affinity: {1 << cpus[1]:#x}\"", done.stderr)
