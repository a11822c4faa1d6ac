"""Translates linux.seccomp into classic BPF with libseccomp (touches nothing else of the host).

rules(section)    the OCI rules, one system call and only conditions that must all hold in each
program(section)  struct sock_filter[]: seccomp_bpf's prologue, then what libseccomp makes
"""

import errno
import os

from pyrunc import files, seccomp_bpf
from pyrunc._seccomp import ffi, lib
from pyrunc.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.seccomp_bpf import Alternative, Condition

    Rule = tuple[str, int, tuple[Condition, ...]]  # name, action, what must hold

# SECCOMP_RET_* of <linux/seccomp.h>; the low 16 bits of two of them carry an errno.
ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_TRAP": 0x00030000,
}
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
# With these as the default a profile is a list of what is forbidden: a newer call is let through.
PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

OPERATORS = {
    "SCMP_CMP_EQ": lib.SCMP_CMP_EQ,
    "SCMP_CMP_GE": lib.SCMP_CMP_GE,
    "SCMP_CMP_GT": lib.SCMP_CMP_GT,
    "SCMP_CMP_LE": lib.SCMP_CMP_LE,
    "SCMP_CMP_LT": lib.SCMP_CMP_LT,
    "SCMP_CMP_MASKED_EQ": lib.SCMP_CMP_MASKED_EQ,
    "SCMP_CMP_NE": lib.SCMP_CMP_NE,
}

# The specification's; libseccomp resolves the names, and may be too old for the last ones.
ARCHITECTURES = {
    f"SCMP_ARCH_{name}": name.lower().encode()
    for name in (
        "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 "
        "PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"
    ).split()
}

# <seccomp-syscalls.h>: from here down are the numbers of calls that an architecture does not have;
# from here to 0 those it reaches through another call.
NOT_THERE = -10000

# Beyond this many rules a binary tree is faster than a list, though slower to make.
TREE_RULES = 32
# The kernel's BPF_MAXINSNS.
MAX_INSTRUCTIONS = 4096


def library_path() -> str:
    """The file libseccomp was loaded from."""
    return os.fsdecode(ffi.string(lib.library_path()))


def version() -> str:
    """`2.5.4`"""
    found = lib.seccomp_version()
    return f"{found.major}.{found.minor}.{found.micro}"


def program(section: "dict[str, Any]", debug: "Callable[[str], None] | None" = None) -> bytes:
    """The whole filter of a linux.seccomp section.  debug: told about unknown system calls."""
    default = _action(section.get("defaultAction", ""), section.get("defaultErrnoRet"))
    wanted = rules(section)
    architectures = _architectures(section.get("architectures") or ())
    limits = {}
    if section["defaultAction"] not in PERMISSIVE:
        names = {name for rule in section.get("syscalls") or () for name in rule["names"]}
        limits = _limits(architectures, names)
    plain, judged = _split(wanted, architectures)
    result = seccomp_bpf.prologue(limits, judged, default)
    result += _translate(default, plain, architectures, debug)
    if len(result) > 8 * MAX_INSTRUCTIONS:
        raise Error(
            f"seccomp filter is too long: {len(result) // 8} instructions, "
            f"the kernel takes {MAX_INSTRUCTIONS}"
        )
    return result


def rules(section: "dict[str, Any]") -> "list[Rule]":
    """What to add to a filter, in the profile's order."""
    default = _action(section.get("defaultAction", ""), section.get("defaultErrnoRet"))
    result = []
    for entry in section.get("syscalls") or ():
        if not entry.get("names"):
            raise Error("seccomp rule names no system call")
        action = _action(entry.get("action", ""), entry.get("errnoRet"))
        if action == default:
            continue  # libseccomp refuses a rule that changes nothing
        conditions = [_condition(arg) for arg in entry.get("args") or ()]
        alternatives = [tuple(conditions)]
        if len({condition[0] for condition in conditions}) < len(conditions):
            # runc makes each condition of such a rule a rule of its own, as libseccomp compares an
            # argument once per rule.  Profiles rely on it.
            alternatives = [(condition,) for condition in conditions]
        result += [(name, action, one) for name in entry["names"] for one in alternatives]
    return result


def _action(name: str, number: "int | None") -> int:
    if name not in ACTIONS:
        raise Error(f"string {name} is not a valid action for seccomp")
    if name not in WITH_ERRNO:
        if number is not None:
            raise Error(f"seccomp action {name} does not take an errnoRet")
        return ACTIONS[name]
    if number is None:
        number = errno.EPERM
    if not 0 <= number <= 0xFFFF:
        # Cut to 16 bits it could become 0, which tells the caller that the call succeeded.
        raise Error(f"seccomp errnoRet {number} of {name} does not fit into 16 bits")
    return ACTIONS[name] | number


def _condition(arg: "dict[str, Any]") -> "Condition":
    if arg["op"] not in OPERATORS:
        raise Error(f"string {arg['op']} is not a valid operator for seccomp")
    if not 0 <= arg["index"] <= 5:
        raise Error(f"seccomp argument index {arg['index']}: a system call has 6 arguments")
    return arg["index"], arg["op"], arg["value"], arg.get("valueTwo", 0)


def _architectures(names: "list[str] | tuple[str, ...]") -> "list[int]":
    """libseccomp's tokens: the native one, then those of the profile."""
    tokens = [int(lib.seccomp_arch_native())]
    for name in names:
        if name not in ARCHITECTURES:
            raise Error(f"string {name} is not a valid arch for seccomp")
        token = int(lib.seccomp_arch_resolve_name(ARCHITECTURES[name]))
        if token == 0:
            raise Error(f"seccomp architecture {name} is not known to libseccomp {version()}")
        if token not in tokens:
            tokens.append(token)
    return tokens


def _limits(architectures: "list[int]", names: "set[str]") -> "dict[int, int]":
    """Per architecture the largest number among the named system calls."""
    limits = {}
    encoded = [os.fsencode(name) for name in names]
    for token in architectures:
        numbers = [lib.seccomp_syscall_resolve_name_arch(token, name) for name in encoded]
        # A name that is unknown, or of another architecture, has a negative number.
        largest = max(numbers, default=-1)
        if largest >= 0:
            limits[token] = largest
    return limits


def _split(
    wanted: "list[Rule]", architectures: "list[int]"
) -> "tuple[list[Rule], dict[int, dict[int, list[Alternative]]]]":
    """What libseccomp gets, and what is judged before it: architecture -> number -> its rules."""
    calls: dict[str, list[Alternative]] = {}
    for name, action, conditions in wanted:
        alternatives = calls.setdefault(name, [])
        if not all(held for _, held in alternatives):
            continue
        if not conditions:
            # libseccomp drops the conditional rules then, and profiles are written for that.
            alternatives.clear()
        alternatives.append((action, conditions))
    ours = {name for name, alternatives in calls.items() if _overlap(alternatives)}
    judged: dict[int, dict[int, list[Alternative]]] = {}
    shared = set()
    for name in ours:
        for token in architectures:
            number = lib.seccomp_syscall_resolve_name_arch(token, os.fsencode(name))
            if number >= 0:
                judged.setdefault(token, {})[number] = calls[name]
            elif number > NOT_THERE:
                # Reached through another call, as socket is through 32-bit x86's socketcall.
                shared.add(name)
    plain = [
        (name, *alternative)
        for name, alternatives in calls.items()
        if name not in ours or name in shared
        for alternative in alternatives
    ]
    # Rules without conditions first: after a rule for socketcall itself, one for socket that
    # libseccomp could not express by it is no conflict any more.
    plain.sort(key=lambda rule: bool(rule[2]))
    return plain, judged


def _overlap(alternatives: "list[Alternative]") -> bool:
    """Can several rules of a system call hold at once, so that libseccomp may get it wrong?"""
    if len(alternatives) == 1:
        return False
    kinds = {
        (action, tuple((index, op) for index, op, _, _ in conditions))
        for action, conditions in alternatives
    }
    _, first = alternatives[0]
    return len(kinds) > 1 or len(first) > 1 or first[0][1] != "SCMP_CMP_EQ"


def _translate(
    default: int,
    wanted: "list[Rule]",
    architectures: "list[int]",
    debug: "Callable[[str], None] | None",
) -> bytes:
    """The filter as libseccomp makes it.  Calls of other architectures kill, its default."""
    context = lib.seccomp_init(default)
    if context == ffi.NULL:
        raise Error("error creating seccomp filter: the default action is not supported")
    context = ffi.gc(context, lib.seccomp_release)
    for token in architectures[1:]:
        _check(lib.seccomp_arch_add(context, token), "adding architecture to seccomp filter")
    if len(wanted) > TREE_RULES:
        _check(
            lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_OPTIMIZE, 2),
            "setting the optimization level of the seccomp filter",
        )
    for name, action, conditions in wanted:
        number = lib.seccomp_syscall_resolve_name(os.fsencode(name))
        if number == lib.__NR_SCMP_ERROR:
            if debug:
                debug(f"unknown seccomp syscall {name!r} ignored")
            continue
        array = [(index, OPERATORS[op], one, two) for index, op, one, two in conditions]
        ret = lib.seccomp_rule_add_array(context, action, number, len(array), array)
        _check(ret, f"adding seccomp rule for syscall {name}")
    fd = os.memfd_create("pyrunc-seccomp", os.MFD_CLOEXEC)
    try:
        _check(lib.seccomp_export_bpf(context, fd), "exporting seccomp filter")
        os.lseek(fd, 0, os.SEEK_SET)
        return files.read_fd(fd)
    finally:
        os.close(fd)


def _check(ret: int, what: str) -> None:
    if ret < 0:
        raise Error(f"error {what}: {strerror(-ret)}")
