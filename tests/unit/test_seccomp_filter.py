"""What the kernel would do with the filters: every verdict comes from running the program."""

import ctypes  # noqa: TID251 - loads a filter without our own C
import errno
import json
import os
import sys

import bpf
import hypothesis
import pytest
from hypothesis import strategies

from pyrunc import seccomp_bpf
from pyrunc.errors import Error

seccomp_filter = pytest.importorskip("pyrunc.seccomp_filter", reason="built without libseccomp")
lib = pytest.importorskip("pyrunc._seccomp").lib

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRACE = 0x7FF00000
ERRNO = 0x00050000
TRAP = 0x00030000
NOTIFY = 0x7FC00000
KILL = 0x00000000
KILL_PROCESS = 0x80000000
EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS

# libseccomp's token, what the kernel calls it.
X86_64 = 0xC000003E
X86 = 0x40000003
X32 = 0x4000003E
KERNEL = {X86_64: X86_64, X86: X86, X32: X86_64}
NAMES = {"SCMP_ARCH_X86_64": X86_64, "SCMP_ARCH_X86": X86, "SCMP_ARCH_X32": X32}

EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "examples", "seccomp")
BIG = 1 << 32

pytestmark = pytest.mark.skipif(
    lib.seccomp_arch_native() != X86_64, reason="the expectations are those of an x86_64 host"
)


def section(default="SCMP_ACT_ERRNO", *rules, **more):
    return {"defaultAction": default, "syscalls": list(rules), **more}


def rule(names, action="SCMP_ACT_ALLOW", *args, **more):
    entry = {"names": names.split(), "action": action, **more}
    if args:
        entry["args"] = [
            dict(zip(("index", "op", "value", "valueTwo"), arg, strict=False)) for arg in args
        ]
    return entry


def number(name, arch=X86_64):
    found = lib.seccomp_syscall_resolve_name_arch(arch, name.encode())
    assert found >= 0, name
    return found


def _calls():
    with open(f"{EXAMPLES}/engine-default.json") as file:
        names = {name for entry in json.load(file)["syscalls"] for name in entry["names"]}
    return [
        name
        for name in sorted(names)
        if all(
            lib.seccomp_syscall_resolve_name_arch(arch, name.encode()) >= 0
            for arch in (X86_64, X32)
        )
    ]


CALLS = _calls()


class Filter:
    def __init__(self, profile):
        self.program = seccomp_filter.program(profile)
        bpf.check(self.program)

    def __call__(self, name, *args, arch=X86_64):
        nr = name if isinstance(name, int) else number(name, arch)
        return bpf.simulate(self.program, nr, KERNEL.get(arch, arch), args)


# Names, actions, architectures


def test_default_profile_of_an_engine():
    with open(f"{EXAMPLES}/engine-default.json") as file:
        verdict = Filter(json.load(file))
    for arch in (X86_64, X86, X32):
        assert verdict("read", arch=arch) == ALLOW
        assert verdict("chroot", arch=arch) == ALLOW
        assert verdict("mount", arch=arch) == EPERM
        assert verdict("kexec_load", arch=arch) == EPERM
        assert verdict("clone3", arch=arch) == ENOSYS
        assert verdict("personality", 8, arch=arch) == ALLOW
        assert verdict("personality", 0xFFFFFFFF, arch=arch) == ALLOW
        assert verdict("personality", 9, arch=arch) == EPERM
        assert verdict("clone", 0x11, arch=arch) == ALLOW
        assert verdict("clone", 0x10000000, arch=arch) == EPERM  # CLONE_NEWUSER
        assert verdict(1000 | (0x40000000 if arch == X32 else 0), arch=arch) == ENOSYS
    assert verdict("waitpid", arch=X86) == ALLOW
    assert verdict("read", arch=0xC00000B7) == KILL  # aarch64


def test_each_action():
    actions = {
        "SCMP_ACT_ALLOW": ALLOW,
        "SCMP_ACT_ERRNO": EPERM,
        "SCMP_ACT_KILL": KILL,
        "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
        "SCMP_ACT_KILL_THREAD": KILL,
        "SCMP_ACT_LOG": LOG,
        "SCMP_ACT_TRACE": TRACE | errno.EPERM,
        "SCMP_ACT_TRAP": TRAP,
    }
    assert {*actions, "SCMP_ACT_NOTIFY"} == set(seccomp_filter.ACTIONS)
    notified = Filter(section("SCMP_ACT_ALLOW", rule("getpid", "SCMP_ACT_NOTIFY")))
    assert (notified("getpid"), notified("read")) == (NOTIFY, ALLOW)
    for action, expected in actions.items():
        other = "SCMP_ACT_TRAP" if expected == ALLOW else "SCMP_ACT_ALLOW"
        assert Filter(section(other, rule("getpid", action)))("getpid") == expected
        assert Filter(section(action, rule("getpid", other)))("read") == expected


def test_errno_ret():
    verdict = Filter(
        section(
            "SCMP_ACT_ERRNO",
            rule("mkdir", "SCMP_ACT_ERRNO", errnoRet=errno.EROFS),
            rule("rmdir", "SCMP_ACT_TRACE", errnoRet=40000),
            rule("chmod", "SCMP_ACT_ERRNO"),
            rule("chown", "SCMP_ACT_ERRNO", errnoRet=0),
            rule("pipe2"),
            defaultErrnoRet=errno.EINVAL,
        )
    )
    assert verdict("mkdir") == ERRNO | errno.EROFS
    assert verdict("rmdir") == TRACE | 40000
    assert verdict("chmod") == EPERM
    assert verdict("chown") == ERRNO | 0
    assert verdict("read") == ERRNO | errno.EINVAL


def test_architectures():
    only_native = Filter(section("SCMP_ACT_ALLOW", rule("mkdir", "SCMP_ACT_ERRNO")))
    assert only_native("mkdir") == EPERM
    assert only_native("mkdir", arch=X86) == KILL
    assert only_native("mkdir", arch=X32) == KILL
    native_is_implied = Filter(
        section(
            "SCMP_ACT_ALLOW",
            rule("mkdir", "SCMP_ACT_ERRNO"),
            architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X86"],
        )
    )
    assert native_is_implied("mkdir") == EPERM
    assert native_is_implied("mkdir", arch=X86) == EPERM
    assert native_is_implied("mkdir", arch=X32) == KILL


def test_multiplexed_calls_of_32_bit_x86():
    verdict = Filter(
        section("SCMP_ACT_ERRNO", rule("socket read clone3"), architectures=["SCMP_ARCH_X86"])
    )
    assert verdict("socketcall", 1, arch=X86) == ALLOW  # SYS_SOCKET
    assert verdict("socketcall", 2, arch=X86) == EPERM  # SYS_BIND
    assert verdict(359, arch=X86) == ALLOW  # the direct call


def test_unknown_names_are_ignored_and_told():
    said = []
    program = seccomp_filter.program(
        section("SCMP_ACT_ERRNO", rule("read no_such_call arm_fadvise64_64")), said.append
    )
    assert bpf.simulate(program, number("read"), X86_64) == ALLOW
    assert said == ["unknown seccomp syscall 'no_such_call' ignored"]


def test_a_rule_that_says_the_default_is_skipped():
    profile = section("SCMP_ACT_ERRNO", rule("mkdir", "SCMP_ACT_ERRNO"), rule("read"))
    assert [entry[0] for entry in seccomp_filter.rules(profile)] == ["read"]
    assert Filter(profile)("mkdir") == EPERM


def test_hundreds_of_rules_become_a_tree_with_the_same_verdicts():
    allowed, refused = CALLS[::2], CALLS[1::2]
    assert len(allowed) > seccomp_filter.TREE_RULES
    profile = section("SCMP_ACT_ERRNO", rule(" ".join(allowed)), architectures=[*NAMES])
    verdict = Filter(profile)
    for arch in (X86_64, X32):
        assert {verdict(name, arch=arch) for name in allowed} == {ALLOW}
        last = max(number(name, arch) for name in allowed)
        older = [name for name in refused if number(name, arch) < last]
        assert {verdict(name, arch=arch) for name in older} == {EPERM}


# Conditions

OPERATORS = {
    "SCMP_CMP_EQ": lambda a, one, _: a == one,
    "SCMP_CMP_NE": lambda a, one, _: a != one,
    "SCMP_CMP_LT": lambda a, one, _: a < one,
    "SCMP_CMP_LE": lambda a, one, _: a <= one,
    "SCMP_CMP_GT": lambda a, one, _: a > one,
    "SCMP_CMP_GE": lambda a, one, _: a >= one,
    "SCMP_CMP_MASKED_EQ": lambda a, one, two: a & one == two & one,
}
VALUES = [0, 1, 2, 5, 0xFFFFFFFE, BIG - 1, BIG, BIG + 1, BIG + 5, 5 * BIG, (1 << 64) - 1]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("index", range(6))
def test_each_operator_on_each_argument(op, index):
    for value in VALUES:
        for two in (0, 5, BIG + 1):
            verdict = Filter(
                section("SCMP_ACT_ERRNO", rule("mremap", "SCMP_ACT_LOG", (index, op, value, two)))
            )
            for given in VALUES:
                args = [7] * 6
                args[index] = given
                expected = LOG if OPERATORS[op](given, value, two) else EPERM
                assert verdict("mremap", *args) == expected, (op, value, two, given)


def test_masked_equal_takes_the_mask_first():
    verdict = Filter(section("SCMP_ACT_ERRNO", rule("kill", "SCMP_ACT_LOG", MASKED)))
    assert verdict("kill", 0x1234) == LOG
    assert verdict("kill", 0x1334) == EPERM


MASKED = (0, "SCMP_CMP_MASKED_EQ", 0xFF00, 0x1200)


def test_conditions_on_different_arguments_must_all_hold():
    verdict = Filter(
        section(
            "SCMP_ACT_ERRNO",
            rule("kill", "SCMP_ACT_LOG", (0, "SCMP_CMP_EQ", 1), (1, "SCMP_CMP_GT", 2)),
        )
    )
    assert verdict("kill", 1, 3) == LOG
    assert verdict("kill", 1, 2) == EPERM
    assert verdict("kill", 2, 3) == EPERM


def test_conditions_on_one_argument_are_alternatives():
    conditions = [(0, "SCMP_CMP_EQ", 1), (0, "SCMP_CMP_EQ", 5), (1, "SCMP_CMP_EQ", 9)]
    verdict = Filter(section("SCMP_ACT_ERRNO", rule("kill", "SCMP_ACT_LOG", *conditions)))
    assert verdict("kill", 1, 0) == LOG
    assert verdict("kill", 5, 0) == LOG
    assert verdict("kill", 7, 9) == LOG
    assert verdict("kill", 7, 0) == EPERM


def test_socket_rules_of_an_engine():
    einval = ERRNO | errno.EINVAL
    verdict = Filter(
        section(
            "SCMP_ACT_ERRNO",
            rule(
                "socket",
                "SCMP_ACT_ERRNO",
                (0, "SCMP_CMP_EQ", 16),
                (2, "SCMP_CMP_EQ", 9),
                errnoRet=errno.EINVAL,
            ),
            rule("socket", "SCMP_ACT_ALLOW", (2, "SCMP_CMP_NE", 9)),
            rule("socket", "SCMP_ACT_ALLOW", (0, "SCMP_CMP_NE", 16)),
            rule("socketcall clone3"),
            architectures=[*NAMES],
        )
    )
    for arch in (X86_64, X32):
        assert verdict("socket", 16, 3, 9, arch=arch) == einval
        assert verdict("socket", 16, 3, 0, arch=arch) == ALLOW
        assert verdict("socket", 2, 3, 9, arch=arch) == ALLOW
    direct = 359  # the name stands for socketcall, too, whose arguments a filter cannot see
    assert verdict("socketcall", 1, arch=X86) == ALLOW
    assert verdict(direct, 16, 3, 9, arch=X86) == einval
    assert verdict(direct, 16, 3, 0, arch=X86) == ALLOW
    assert verdict(direct, 2, 3, 9, arch=X86) == ALLOW


# Several conditional rules of one system call, where libseccomp alone gets it wrong


def test_rules_do_not_hide_each_other():
    verdict = Filter(
        section(
            "SCMP_ACT_ALLOW",
            rule("ptrace", "SCMP_ACT_KILL", (0, "SCMP_CMP_LE", 1), (3, "SCMP_CMP_GT", 7)),
            rule(
                "ptrace",
                "SCMP_ACT_KILL",
                (0, "SCMP_CMP_LE", 0),
                (1, "SCMP_CMP_GT", 8),
                (3, "SCMP_CMP_NE", 2),
            ),
        )
    )
    assert verdict("ptrace", 0, 8, 0, 8) == KILL
    assert verdict("ptrace", 0, 9, 0, 3) == KILL
    assert verdict("ptrace", 0, 8, 0, 7) == ALLOW


def test_alternatives_beyond_32_bits():
    conditions = [(2, "SCMP_CMP_GT", BIG), (2, "SCMP_CMP_LT", 2)]
    verdict = Filter(section("SCMP_ACT_KILL", rule("lseek", "SCMP_ACT_ALLOW", *conditions)))
    assert verdict("lseek", 0, 0, 8) == KILL
    assert verdict("lseek", 0, 0, 1) == ALLOW
    assert verdict("lseek", 0, 0, BIG) == KILL
    assert verdict("lseek", 0, 0, BIG + 1) == ALLOW


def test_rules_that_libseccomp_never_finishes():
    verdict = Filter(
        section(
            "SCMP_ACT_TRAP",
            rule("kill", "SCMP_ACT_ALLOW", (0, "SCMP_CMP_GT", 0), (1, "SCMP_CMP_LE", 2)),
            rule("kill", "SCMP_ACT_ERRNO", (0, "SCMP_CMP_GT", 0), (2, "SCMP_CMP_NE", 0)),
        )
    )
    assert verdict("kill", 1, 2, 0) == ALLOW
    assert verdict("kill", 1, 3, 1) == EPERM
    assert verdict("kill", 1, 3, 0) == TRAP


def test_the_strictest_of_several_actions_wins_in_any_order():
    rules = [
        rule("kill", "SCMP_ACT_ALLOW", (0, "SCMP_CMP_GE", 1)),
        rule("kill", "SCMP_ACT_LOG", (0, "SCMP_CMP_GE", 2)),
        rule("kill", "SCMP_ACT_ERRNO", (0, "SCMP_CMP_GE", 3)),
        rule("kill", "SCMP_ACT_TRAP", (0, "SCMP_CMP_GE", 4)),
        rule("kill", "SCMP_ACT_KILL_THREAD", (0, "SCMP_CMP_GE", 5)),
        rule("kill", "SCMP_ACT_KILL_PROCESS", (0, "SCMP_CMP_GE", 6)),
    ]
    expected = [TRACE | errno.EPERM, ALLOW, LOG, EPERM, TRAP, KILL, KILL_PROCESS]
    for order in (1, -1):
        verdict = Filter(section("SCMP_ACT_TRACE", *rules[::order]))
        assert [verdict("kill", value) for value in range(7)] == expected


def test_a_rule_without_conditions_replaces_those_with():
    conditional = rule("kill", "SCMP_ACT_ERRNO", (0, "SCMP_CMP_EQ", 1))
    for rules in ([conditional, rule("kill")], [rule("kill"), conditional]):
        verdict = Filter(section("SCMP_ACT_TRAP", *rules))
        assert verdict("kill", 1) == ALLOW
        assert verdict("kill", 2) == ALLOW


def test_many_long_rules_need_long_jumps():
    rules = [
        rule(name, "SCMP_ACT_LOG", *((at, "SCMP_CMP_GE", BIG * value + 1) for at in range(6)))
        for name in ("mmap", "mremap", "futex")
        for value in range(20)
    ]
    verdict = Filter(section("SCMP_ACT_ERRNO", *rules, rule("clone3"), architectures=[*NAMES]))
    assert len(verdict.program) > 8 * 2000
    for arch in (X86_64, X32):
        assert verdict("futex", *[BIG * 30] * 6) == LOG
        assert verdict("futex", *[BIG * 30] * 5, 0) == EPERM
        assert verdict("clone3", arch=arch) == ALLOW
        assert verdict("read", arch=arch) == EPERM


# ENOSYS for what is newer than the profile


@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"])
def test_calls_above_the_largest_named_do_not_exist(default):
    verdict = Filter(section(default, rule("read openat2"), architectures=[*NAMES]))
    other = {"SCMP_ACT_ERRNO": EPERM, "SCMP_ACT_KILL": KILL, "SCMP_ACT_TRAP": TRAP}[default]
    for arch in (X86_64, X86, X32):
        assert verdict("openat2", arch=arch) == ALLOW
        assert verdict("clone3", arch=arch) == other
        assert verdict(number("openat2", arch) + 1, arch=arch) == ENOSYS
        assert verdict(number("openat2", arch) + 900, arch=arch) == ENOSYS
    assert verdict("read", arch=0x40000028) == KILL  # arm


def test_the_largest_is_each_architecture_s_own():
    # 32-bit x86 has numbers above 400 for what 64 bits had from the start.
    verdict = Filter(
        section("SCMP_ACT_ERRNO", rule("read semtimedop_time64"), architectures=[*NAMES])
    )
    assert verdict("clone3", arch=X86) == ENOSYS
    assert verdict("pidfd_send_signal", arch=X86) == ENOSYS
    assert verdict("clock_gettime64", arch=X86) == EPERM
    assert verdict("write") == ENOSYS
    assert verdict("write", arch=X32) == ENOSYS
    assert verdict("read", arch=X32) == ALLOW


def test_skipped_and_conditional_rules_count_as_named():
    verdict = Filter(
        section("SCMP_ACT_ERRNO", rule("read"), rule("clone3", "SCMP_ACT_ERRNO"), rule("nope"))
    )
    assert verdict("clone3") == EPERM
    assert verdict("close_range") == ENOSYS


def test_x32_calls_are_not_newer_calls_of_x86_64():
    without = Filter(section("SCMP_ACT_ERRNO", rule("read")))
    assert without("read", arch=X32) == KILL
    assert without(0x40000000 + 900, arch=X32) == KILL
    only_x32 = seccomp_bpf.prologue({X32: 0x40000000 + 10}, {}) + ret(ALLOW)
    assert bpf.simulate(only_x32, 0x40000000 + 11, X86_64) == ENOSYS
    assert bpf.simulate(only_x32, 900, X86_64) == ALLOW


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_no_call_is_too_new_for_a_permissive_default(default):
    verdict = Filter(section(default, rule("mkdir", "SCMP_ACT_KILL")))
    expected = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_LOG": LOG}.get(default, TRACE | errno.EPERM)
    assert verdict(900) == expected
    assert verdict("mkdir") == KILL


def ret(action):
    return bytes((6, 0, 0, 0)) + action.to_bytes(4, sys.byteorder)


@pytest.mark.parametrize("order", [1, -1])
def test_prologue_for_every_architecture_at_once(order):
    tokens = [
        int(lib.seccomp_arch_resolve_name(name)) for name in seccomp_filter.ARCHITECTURES.values()
    ]
    tokens = [token for token in tokens if token]
    assert len(tokens) > 15
    limits = {token: 100 + at for at, token in enumerate(tokens)}
    limits[X32] |= 0x40000000
    prologue = seccomp_bpf.prologue(dict([*limits.items()][::order]), {})
    program = prologue + ret(TRAP) * 3000
    bpf.check(program)
    for token, limit in limits.items():
        arch = KERNEL.get(token, token)
        assert bpf.simulate(program, limit, arch) == TRAP
        assert bpf.simulate(program, limit + 1, arch) == ENOSYS
        zero = ENOSYS if token in seccomp_bpf.S390 else TRAP
        assert bpf.simulate(program, limit & 0x40000000, arch) == zero
    assert bpf.simulate(program, 5000, 0x1234) == TRAP
    assert seccomp_bpf.prologue({}, {}) == b""


# The kernel's word


def test_the_kernel_loads_and_obeys():
    profile = section(
        "SCMP_ACT_ALLOW", rule("mkdir mkdirat", "SCMP_ACT_ERRNO", errnoRet=errno.EXDEV)
    )
    with open(f"{EXAMPLES}/engine-default.json") as file:
        programs = [seccomp_filter.program(json.load(file)), seccomp_filter.program(profile)]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
            for program in programs:
                buffer = ctypes.create_string_buffer(program, len(program))
                head = (len(program) // 8).to_bytes(8, sys.byteorder)
                prog = head + ctypes.addressof(buffer).to_bytes(8, sys.byteorder)
                assert libc.syscall(317, 1, 0, prog) == 0, ctypes.get_errno()
            try:
                os.mkdir("/no/such")
            except OSError as err:
                status = 0 if err.errno == errno.EXDEV else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Any profile


def evaluate(profile, name, args, arch):
    """The profile as its author reads it, without libseccomp and BPF."""
    default = action(profile["defaultAction"])
    named = {name for entry in profile["syscalls"] for name in entry["names"]}
    newest = max((number(name, arch) for name in named), default=1 << 32)
    if default not in STRICTNESS[-3:] and number(name, arch) > newest:
        return ENOSYS
    mask = 0xFFFFFFFFFFFFFFFF if arch == X86_64 else 0xFFFFFFFF
    matching, always = [], []
    for entry in profile["syscalls"]:
        verdict = action(entry["action"])
        if name not in entry["names"] or verdict == default:
            continue
        holds, indexes = [], set()
        for arg in entry["args"]:
            given, one, two = (
                value & mask for value in (args[arg["index"]], arg["value"], arg["valueTwo"])
            )
            holds.append(OPERATORS[arg["op"]](given, one, two))
            indexes.add(arg["index"])
        if not holds:
            always.append(verdict)
        elif all(holds) if len(indexes) == len(holds) else any(holds):
            matching.append(verdict)
    return always[0] if always else min(matching, key=STRICTNESS.index, default=default)


def action(name):
    value = seccomp_filter.ACTIONS[name]
    return value | errno.EPERM if name in seccomp_filter.WITH_ERRNO else value


STRICTNESS = [KILL_PROCESS, KILL, TRAP, EPERM, TRACE | errno.EPERM, LOG, ALLOW]
POOL = "read write openat ptrace personality clone kill getpid mkdir clone3 openat2".split()
actions = strategies.sampled_from(sorted({*seccomp_filter.ACTIONS} - {"SCMP_ACT_NOTIFY"}))
values = strategies.one_of(
    strategies.sampled_from(VALUES),
    strategies.integers(0, 9),
    strategies.integers(0, (1 << 64) - 1),
)
conditions = strategies.fixed_dictionaries(
    {
        "index": strategies.integers(0, 5),
        "op": strategies.sampled_from(sorted(OPERATORS)),
        "value": values,
        "valueTwo": values,
    }
)
profiles = strategies.fixed_dictionaries(
    {
        "defaultAction": actions,
        "architectures": strategies.just([*NAMES]),
        "syscalls": strategies.lists(
            strategies.fixed_dictionaries(
                {
                    # Often the same few, so that rules meet.
                    "names": strategies.lists(
                        strategies.sampled_from(POOL[:5]) | strategies.sampled_from(POOL),
                        min_size=1,
                        max_size=3,
                        unique=True,
                    ),
                    "action": actions,
                    "args": strategies.lists(conditions, max_size=4),
                }
            ),
            max_size=8,
        ),
    }
)


@hypothesis.settings(deadline=None, max_examples=100, derandomize=True, database=None)
@hypothesis.given(profiles, strategies.lists(strategies.tuples(*[values] * 6), min_size=1))
def test_the_kernel_says_what_the_profile_says(profile, calls):
    verdict = Filter(profile)
    # Arguments at, just below and just above what the rules compare with.
    literals = {arg["value"] for entry in profile["syscalls"] for arg in entry["args"]}
    calls += [((one + step) % (1 << 64),) * 6 for one in sorted(literals) for step in (-1, 0, 1)]
    for arch in NAMES.values():
        mask = 0xFFFFFFFFFFFFFFFF if arch == X86_64 else 0xFFFFFFFF
        for name in POOL:
            for args in calls:
                args = tuple(arg & mask for arg in args)
                assert verdict(name, *args, arch=arch) == evaluate(profile, name, args, arch)


# Refusals


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (section("SCMP_ACT_X"), "string SCMP_ACT_X is not a valid action for seccomp"),
        (section("", rule("read")), "string  is not a valid action for seccomp"),
        (
            section("SCMP_ACT_ALLOW", rule("read", "KILL")),
            "string KILL is not a valid action for seccomp",
        ),
        (
            section("SCMP_ACT_ERRNO", rule("read", "SCMP_ACT_ALLOW", (0, "EQ", 1))),
            "string EQ is not a valid operator for seccomp",
        ),
        (
            section("SCMP_ACT_ERRNO", rule("read", "SCMP_ACT_ALLOW", (6, "SCMP_CMP_EQ", 1))),
            "seccomp argument index 6: a system call has 6 arguments",
        ),
        (
            section(architectures=["SCMP_ARCH_Z80"]),
            "string SCMP_ARCH_Z80 is not a valid arch for seccomp",
        ),
        (
            section(architectures=["SCMP_ARCH_NATIVE"]),
            "string SCMP_ARCH_NATIVE is not a valid arch for seccomp",
        ),
        (
            section(architectures=["SCMP_ARCH_S390X"]),  # another byte order
            "error adding architecture to seccomp filter: numerical argument out of domain",
        ),
        (
            section("SCMP_ACT_ALLOW", rule("read", "SCMP_ACT_KILL", errnoRet=1)),
            "seccomp action SCMP_ACT_KILL does not take an errnoRet",
        ),
        (
            section("SCMP_ACT_ALLOW", defaultErrnoRet=1),
            "seccomp action SCMP_ACT_ALLOW does not take an errnoRet",
        ),
        (
            section("SCMP_ACT_ERRNO", defaultErrnoRet=65536),
            "seccomp errnoRet 65536 of SCMP_ACT_ERRNO does not fit into 16 bits",
        ),
        (section("SCMP_ACT_ERRNO", rule("")), "seccomp rule names no system call"),
    ],
)
def test_refusals(profile, message):
    with pytest.raises(Error) as caught:
        seccomp_filter.program(profile)
    assert caught.value.message == message


def test_a_listener_path_without_notify_is_ignored():
    assert Filter(section("SCMP_ACT_ERRNO", rule("read"), listenerPath="/run/x"))("read") == ALLOW


def test_a_filter_longer_than_the_kernel_takes_is_refused(monkeypatch):
    monkeypatch.setattr(seccomp_filter, "MAX_INSTRUCTIONS", 10)
    with pytest.raises(Error, match=r"^seccomp filter is too long: \d+ instructions, the kernel"):
        seccomp_filter.program(section("SCMP_ACT_ERRNO", rule("read write")))
