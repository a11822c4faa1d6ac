"""Device rules: what a container may open, asked of the emulator and of the BPF program."""

import itertools

import pytest

from pyrunc.cgroups import devices
from pyrunc.cgroups.devices import ALL, ANY, MKNOD, READ, WRITE
from pyrunc.errors import Error

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}


def rule(allow, kind, major, minor, access):
    entry = {"allow": allow, "type": kind, "access": access}
    if major is not None:
        entry["major"] = major
    if minor is not None:
        entry["minor"] = minor
    return entry


def emulate(*entries, paths=()):
    return devices.emulate(devices.configured(list(entries), paths))


def only(*entries):
    """Without the defaults."""
    return devices.emulate([devices.parse(entry, i) for i, entry in enumerate(entries)])


def run(program, kind, major, minor, access):
    """The verdict of a BPF program: a small simulator of the instructions we use."""
    context = (access << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [None] * 11
    registers[1] = "context"
    at = 0
    for _ in range(10000):
        code, operands = program[at * 8], program[at * 8 + 1]
        jump = int.from_bytes(program[at * 8 + 2 : at * 8 + 4], "little", signed=True)
        value = int.from_bytes(program[at * 8 + 4 : at * 8 + 8], "little")
        dst, src = operands & 15, operands >> 4
        at += 1
        if code == 0x61:  # r[dst] = *(u32 *)(r[src] + offset)
            assert registers[src] == "context"
            registers[dst] = context[jump // 4]
        elif code == 0xB4:
            registers[dst] = value
        elif code == 0xBC:
            registers[dst] = registers[src]
        elif code == 0x54:
            registers[dst] &= value
        elif code == 0x74:
            registers[dst] >>= value
        elif code == 0x16:
            at += jump if registers[dst] == value else 0
        elif code == 0x56:
            at += jump if registers[dst] != value else 0
        elif code == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"unknown instruction {code:#x}")
    raise AssertionError("endless program")


def kernel_v1(rules, kind, major, minor, access):
    """security/device_cgroup.c: a full match allows, a partial one denies."""
    default, exceptions = rules
    for (k, a, b), bits in exceptions.items():
        if k == kind and a in (ANY, major) and b in (ANY, minor):
            if default and access & bits:
                return False
            if not default and not access & ~bits:
                return True
    return default


# --- rules ---


def test_nothing_configured_denies_all_but_the_defaults():
    default, exceptions = emulate()
    assert default is False
    assert exceptions == {
        ("c", ANY, ANY): MKNOD,
        ("b", ANY, ANY): MKNOD,
        ("c", 1, 3): ALL,
        ("c", 1, 8): ALL,
        ("c", 1, 7): ALL,
        ("c", 5, 0): ALL,
        ("c", 1, 5): ALL,
        ("c", 1, 9): ALL,
        ("c", 136, ANY): ALL,
        ("c", 5, 2): ALL,
        ("c", 10, 200): ALL,
    }


def test_defaults_win_over_a_configured_denial():
    assert emulate(rule(False, "c", 1, 3, "rwm")) == emulate()


def test_a_configured_device_takes_the_place_of_the_default():
    assert ("c", 1, 3) not in emulate(paths=("/dev/null",))[1]
    assert ("c", 1, 3) not in emulate(paths=("/dev//null",))[1]
    assert ("c", 1, 5) in emulate(paths=("/dev/null",))[1]


def test_the_last_rule_for_everything_forgets_those_before():
    assert only(rule(True, "c", 7, 1, "rw"), DENY_ALL) == (False, {})
    assert only(rule(True, "c", 7, 1, "rw"), ALLOW_ALL) == (True, {})
    assert only(ALLOW_ALL, rule(False, "b", 8, 0, "w")) == (True, {("b", 8, 0): WRITE})


def test_permissions_of_one_device_add_up_and_go_away():
    assert only(rule(True, "c", 7, 1, "r"), rule(True, "c", 7, 1, "w")) == (
        False,
        {("c", 7, 1): READ | WRITE},
    )
    assert only(rule(True, "c", 7, 1, "rw"), rule(False, "c", 7, 1, "w")) == (
        False,
        {("c", 7, 1): READ},
    )
    assert only(rule(True, "c", 7, 1, "rw"), rule(False, "c", 7, 1, "rwm")) == (False, {})
    assert only(ALLOW_ALL, rule(False, "c", 7, 1, "rw"), rule(True, "c", 7, 1, "r")) == (
        True,
        {("c", 7, 1): WRITE},
    )


@pytest.mark.parametrize("wide", [(None, None), (7, None), (None, 1)])
def test_a_hole_in_a_wildcard_is_refused(wide):
    with pytest.raises(Error, match=r"\(cannot punch hole in existing wildcard rule \[c "):
        only(rule(True, "c", *wide, "rw"), rule(False, "c", 7, 1, "w"))
    # Nothing of what goes is covered by the wildcard; the wildcard itself may go.
    only(rule(True, "c", *wide, "rw"), rule(False, "c", 7, 1, "m"))
    assert only(rule(True, "c", *wide, "rw"), rule(False, "c", *wide, "rw")) == (False, {})


def test_any_type_with_numbers_is_no_leave_to_do_anything():
    assert only({"allow": True, "major": 7, "minor": 1, "access": "rwm"}) == (
        False,
        {("c", 7, 1): ALL, ("b", 7, 1): ALL},
    )
    assert only({"allow": True, "type": "a", "access": "r"}) == (
        False,
        {("c", ANY, ANY): READ, ("b", ANY, ANY): READ},
    )


def test_minus_one_is_any_number():
    assert only(rule(True, "c", -1, 3, "r")) == (False, {("c", ANY, 3): READ})


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"allow": True, "type": "p", "access": "r"}, 'invalid cgroup device type "p"'),
        ({"allow": True, "type": "c"}, "device access at 0 field cannot be empty"),
        ({"allow": True, "access": ""}, "device access at 0 field cannot be empty"),
        ({"allow": True, "access": "rx"}, 'invalid device access "rx" at 0'),
        (rule(True, "c", -2, 0, "r"), "invalid device major number -2 at 0"),
        (rule(True, "c", 1, 1 << 32, "r"), "invalid device minor number 4294967296 at 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(entry, text):
    with pytest.raises(Error) as caught:
        devices.configured([entry], ())
    assert caught.value.message == text


# --- v1 ---


def test_list_of_the_kernel_is_read():
    assert devices.listed("a *:* rwm\n") == (True, {})
    assert devices.listed("") == (False, {})
    assert devices.listed("c *:* m\nb 8:* rw\nc 136:* rwm\n") == (
        False,
        {("c", ANY, ANY): MKNOD, ("b", 8, ANY): READ | WRITE, ("c", 136, ANY): ALL},
    )


def test_transition_writes_no_more_than_is_needed():
    now = (False, {("c", 1, 3): ALL, ("c", 7, 1): READ | WRITE, ("b", 8, 0): READ})
    target = (False, {("c", 1, 3): ALL, ("c", 7, 1): READ | MKNOD, ("b", 9, 0): READ})
    assert devices.transition(now, target) == [
        (True, "c 7:1 m"),
        (True, "b 9:0 r"),
        (False, "c 7:1 w"),
        (False, "b 8:0 r"),
    ]
    assert devices.transition(target, target) == []


def test_transition_between_the_defaults_starts_afresh():
    allowed = (True, {})
    denied = (False, {("c", 1, 3): ALL})
    assert devices.transition(allowed, denied) == [(False, "a *:* rwm"), (True, "c 1:3 rwm")]
    assert devices.transition(denied, allowed) == [(True, "a *:* rwm")]
    assert devices.transition(denied, (True, {("b", 8, ANY): WRITE})) == [
        (True, "a *:* rwm"),
        (False, "b 8:* w"),
    ]


# Rules of one default that name the same devices one by one, and all at once.
NEIGHBOURS = [
    [("c", ANY, ANY, ALL)],
    [("c", 7, ANY, ALL)],
    [("c", ANY, 1, READ | WRITE)],
    [("c", 7, 1, READ | WRITE), ("c", 1, 3, ALL)],
    [("c", 7, 1, READ), ("c", 7, ANY, WRITE), ("b", 7, 1, READ)],
    [],
]


def written(rules, step):
    """What the kernel makes of a line that names one device."""
    default, exceptions = rules
    allow, text = step
    (key, access), *_ = devices.listed(text)[1].items()
    left = {**exceptions, key: exceptions.get(key, 0) | access}
    if allow == default:
        left[key] = exceptions.get(key, 0) & ~access
    return default, {key: access for key, access in left.items() if access}


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize("now", NEIGHBOURS)
@pytest.mark.parametrize("target", NEIGHBOURS)
def test_on_the_way_nothing_changes_that_is_the_same_at_both_ends(default, now, target):
    """Neither is access cut for a moment that stays, nor given that was not and will not be."""
    ends = [(default, {row[:3]: row[3] for row in rows}) for rows in (now, target)]
    rules = ends[0]
    requests = list(itertools.product("bc", (1, 7), (1, 3), (READ, WRITE, MKNOD)))
    for step in devices.transition(*ends):
        rules = written(rules, step)
        for request in requests:
            before, after = (kernel_v1(end, *request) for end in ends)
            if before == after:
                assert kernel_v1(rules, *request) == before, (step, request)
    assert rules == ends[1]


# --- v2 ---

SETS = [
    (),
    (ALLOW_ALL,),
    (ALLOW_ALL, rule(False, "b", 8, 1, "w"), rule(False, "c", 7, None, "rwm")),
    (DENY_ALL, rule(True, "c", 7, 1, "rw"), rule(True, "b", None, 1, "r")),
    (DENY_ALL, rule(True, "c", 7, 1, "r"), rule(True, "c", 7, None, "w")),
    (rule(True, "b", 8, None, "rwm"), rule(True, "b", None, None, "r")),
]


@pytest.mark.parametrize("entries", SETS)
def test_program_decides_as_v1_of_the_kernel(entries):
    rules = emulate(*entries)
    program = devices.program(rules)
    requests = itertools.product("bc", (1, 5, 7, 8, 136), (0, 1, 3, 9, 1 << 20), range(1, 8))
    for request in requests:
        assert run(program, *request) == kernel_v1(rules, *request), request


def test_denied_writing_is_not_granted_to_who_asks_for_reading_too():
    program = devices.program(only(ALLOW_ALL, rule(False, "c", 7, 1, "w")))
    assert run(program, "c", 7, 1, READ)
    assert not run(program, "c", 7, 1, WRITE)
    assert not run(program, "c", 7, 1, READ | WRITE)


def test_large_numbers_are_compared_whole():
    program = devices.program(only(rule(True, "c", (1 << 32) - 1, 1 << 31, "r")))
    assert run(program, "c", (1 << 32) - 1, 1 << 31, READ)
    assert not run(program, "c", (1 << 31) - 1, 1 << 31, READ)


def test_instructions_are_encoded_as_the_kernel_defines_them():
    assert devices.instruction(0x61, 2, 1, 8) == bytes.fromhex("6112080000000000")
    assert devices.instruction(0x56, 2, 0, -1, -2) == bytes.fromhex("5602fffffeffffff")
    assert devices.program((True, {}))[-16:] == bytes.fromhex("b4000000010000009500000000000000")
