"""scheduler, ioPriority, execCPUAffinity, personality, memoryPolicy: numbers, and refusals."""

import pytest

from pyrunc import process, scheduling
from pyrunc.errors import Error
from pyrunc.plan import Plan


def ops(spec_process=None, linux=None):
    plan = Plan()
    process.scheduling(plan, spec_process or {}, linux or {})
    return [(name, *args) for name, args, _ in plan.ops]


def refusal(spec_process=None, linux=None):
    with pytest.raises(Error) as caught:
        ops(spec_process, linux)
    return caught.value.message


def test_nothing_means_nothing():
    assert ops() == []
    assert ops({"args": ["sh"]}, {"resources": {"cpu": {"cpus": "0"}}}) == []


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({"policy": "SCHED_OTHER", "nice": -5}, (0, 0, 2**64 - 5, 0, 0, 0, 0)),
        ({"policy": "SCHED_BATCH", "nice": 19}, (3, 0, 19, 0, 0, 0, 0)),
        ({"policy": "SCHED_FIFO", "priority": 10}, (1, 0, 0, 10, 0, 0, 0)),
        (
            {"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            (2, 1, 0, 99, 0, 0, 0),
        ),
        ({"policy": "SCHED_IDLE", "nice": 100}, (5, 0, 100, 0, 0, 0, 0)),
        (
            {
                "policy": "SCHED_DEADLINE",
                "runtime": 1,
                "deadline": 2,
                "period": 3,
                "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"],
            },
            (6, 6, 0, 0, 1, 2, 3),
        ),
    ],
)
def test_scheduler(wanted, numbers):
    assert ops({"scheduler": wanted}) == [("scheduler", *numbers)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "scheduler policy is required"),
        ({"policy": ""}, "scheduler policy is required"),
        ({"policy": "SCHED_NONE"}, "invalid scheduler policy: SCHED_NONE"),
        (
            {"policy": "SCHED_OTHER", "nice": 20},
            "invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER",
        ),
        (
            {"policy": "SCHED_BATCH", "nice": -21},
            "invalid scheduler.nice: -21 when scheduler.policy is SCHED_BATCH",
        ),
        (
            {"policy": "SCHED_OTHER", "priority": 1},
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ),
        (
            {"policy": "SCHED_RR", "priority": 1, "period": 1},
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ),
        ({"policy": "SCHED_IDLE", "flags": ["X"]}, "invalid scheduler flag: X"),
    ],
)
def test_scheduler_refused(wanted, message):
    assert refusal({"scheduler": wanted}) == message


def test_an_origin_tells_that_there_are_cpus():
    plan = Plan()
    linux = {"resources": {"cpu": {"cpus": "0"}}}
    process.scheduling(plan, {"scheduler": {"policy": "SCHED_OTHER"}}, linux)
    assert plan.ops[0][2] == "linux.resources.cpu.cpus"


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"class": "IOPRIO_CLASS_RT"}, 0x2000),
        ({"class": "IOPRIO_CLASS_BE", "priority": 7}, 0x4007),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 0}, 0x6000),
    ],
)
def test_io_priority(wanted, value):
    assert ops({"ioPriority": wanted}) == [("ioprio", value)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 8}, "invalid ioPriority.Priority: 8"),
        ({"class": "IOPRIO_CLASS_BE", "priority": -1}, "invalid ioPriority.Priority: -1"),
        ({"class": "IOPRIO_CLASS_NONE"}, 'invalid ioPriority.Class: "IOPRIO_CLASS_NONE"'),
        ({}, 'invalid ioPriority.Class: ""'),
    ],
)
def test_io_priority_refused(wanted, message):
    assert refusal({"ioPriority": wanted}) == message


def test_personality():
    assert ops(linux={"personality": {"domain": "LINUX32"}}) == [("personality", 8)]
    assert ops(linux={"personality": {"domain": "LINUX", "flags": []}}) == [("personality", 0)]
    assert refusal(linux={"personality": {"domain": "BSD"}}) == "invalid personality domain BSD"
    flags = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}
    assert refusal(linux={"personality": flags}) == (
        "unsupported personality flag ADDR_NO_RANDOMIZE"
    )


@pytest.mark.parametrize(
    ("wanted", "mode", "nodes"),
    [
        ({"mode": "MPOL_DEFAULT"}, 0, set()),
        ({"mode": "MPOL_PREFERRED", "nodes": ""}, 1, set()),
        (
            {"mode": "MPOL_BIND", "nodes": "0-2, 9", "flags": ["MPOL_F_STATIC_NODES"]},
            0x8002,
            {0, 1, 2, 9},
        ),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "1023"}, 3, {1023}),
        ({"mode": "MPOL_LOCAL"}, 4, set()),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "1"}, 5, {1}),
        (
            {
                "mode": "MPOL_WEIGHTED_INTERLEAVE",
                "nodes": "0",
                "flags": ["MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING"],
            },
            0x6006,
            {0},
        ),
    ],
)
def test_memory_policy(wanted, mode, nodes):
    [(name, number, mask)] = ops(linux={"memoryPolicy": wanted})
    assert (name, number) == ("mempolicy", mode)
    assert len(mask) == (128 if nodes else 0)
    bits = int.from_bytes(mask, "little")
    assert {bit for bit in range(1024) if bits >> bit & 1} == nodes


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"mode": "MPOL_X"}, 'invalid memory policy mode "MPOL_X"'),
        ({}, 'invalid memory policy mode ""'),
        ({"mode": "MPOL_LOCAL", "flags": ["X"]}, 'invalid memory policy flag "X"'),
        (
            {"mode": "MPOL_LOCAL", "nodes": "0-1"},
            "memory policy mode requires 0 nodes but got 2",
        ),
        ({"mode": "MPOL_BIND"}, "memory policy mode requires at least one node"),
        (
            {"mode": "MPOL_BIND", "nodes": "a"},
            'invalid memory policy nodes "a": strconv.ParseUint: parsing "a": invalid syntax',
        ),
        (
            {"mode": "MPOL_BIND", "nodes": "1024"},
            'invalid memory policy nodes "1024": values larger than 1023 are not supported',
        ),
    ],
)
def test_memory_policy_refused(wanted, message):
    assert refusal(linux={"memoryPolicy": wanted}) == message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", set()),
        ("0", {0}),
        ("0-3,5", {0, 1, 2, 3, 5}),
        (" 1 ,, 2-2 ,", {1, 2}),
        ("1023", {1023}),
    ],
)
def test_numbers(text, found):
    assert scheduling.numbers(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'strconv.ParseUint: parsing "x": invalid syntax'),
        ("1-", 'strconv.ParseUint: parsing "": invalid syntax'),
        ("-1", 'strconv.ParseUint: parsing "": invalid syntax'),
        ("1 - 2", 'strconv.ParseUint: parsing "1 ": invalid syntax'),
        ("3-1", "invalid range: 3-1"),
        ("0-1024", "values larger than 1023 are not supported"),
    ],
)
def test_bad_numbers(text, message):
    with pytest.raises(ValueError) as caught:
        scheduling.numbers(text)
    assert str(caught.value) == message


def test_affinity():
    assert process.affinity({}) == (set(), set())
    assert process.affinity({"execCPUAffinity": {"initial": "0-1"}}) == ({0, 1}, set())
    assert process.affinity({"execCPUAffinity": {"initial": "", "final": "3"}}) == (set(), {3})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"initial": ","}, 'bad CPUAffinity.Initial: no CPUs found in ","'),
        ({"final": "1-x"}, 'bad CPUAffinity.Final: strconv.ParseUint: parsing "x": invalid syntax'),
    ],
)
def test_a_bad_affinity_is_refused_by_create_too(wanted, message):
    assert refusal({"execCPUAffinity": wanted}) == message
