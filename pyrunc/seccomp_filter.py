"""Translates linux.seccomp into classic BPF with libseccomp (touches nothing else of the host).

rules(section)   the OCI rules as libseccomp wants them: (name, action, conditions)
enosys(limits)   the prologue: system calls newer than the profile do not exist
program(section) both, as struct sock_filter[]
"""

import errno
import os
import sys

from pyrunc import files
from pyrunc._seccomp import ffi, lib
from pyrunc.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Condition = tuple[int, int, int, int]  # argument, operator, value, valueTwo
    Rule = tuple[str, int, tuple[Condition, ...]]

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

# libseccomp's tokens are the kernel's AUDIT_ARCH_*, except that x32 shares x86_64's in the kernel
# and is told apart by a bit of the number.
X86_64 = 0xC000003E
X32 = 0x4000003E
X32_BIT = 0x40000000
S390 = (0x00000016, 0x80000016)

# From this many rules on a binary tree is faster than a list, though slower to make.
TREE_RULES = 32
# The kernel's BPF_MAXINSNS.
MAX_INSTRUCTIONS = 4096

# Classic BPF, and struct seccomp_data {int nr; u32 arch; ...}.
LOAD = 0x20
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_SET = 0x45
RETURN = 0x06
DATA_NUMBER = 0
DATA_ARCH = 4


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
    result = _translate(default, wanted, architectures, debug)
    if default & 0xFFFF0000 not in (
        ACTIONS["SCMP_ACT_ALLOW"],
        ACTIONS["SCMP_ACT_LOG"],
        ACTIONS["SCMP_ACT_TRACE"],
    ):
        names = {name for rule in section.get("syscalls") or () for name in rule["names"]}
        result = enosys(_limits(architectures, names)) + result
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
            # libseccomp compares an argument once per rule.  runc makes every condition of such a
            # rule a rule of its own, and profiles rely on it: any of them suffices.
            alternatives = [(condition,) for condition in conditions]
        result += [(name, action, one) for name in entry["names"] for one in alternatives]
    return result


def enosys(limits: "dict[int, int]") -> bytes:
    """Instructions to put before a filter: ENOSYS for numbers above limits[architecture].

    A C library tries a new system call and falls back to an old one if the kernel says ENOSYS.
    A profile written before that call existed would answer EPERM instead, or kill.

    Falls through to what follows, and every jump but that one stays within an architecture's block,
    so the 8 bits of a conditional jump's distance always suffice.
    """
    refuse = (RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)
    blocks = []
    for arch, limit in limits.items():
        above = (JUMP_GREATER, 0, 1, limit)
        if arch == X32 or (arch == X86_64 and X32 in limits):
            continue  # below
        if arch == X86_64:
            # Of an architecture that is not in the filter: libseccomp's part refuses it.
            blocks.append((arch, [(JUMP_SET, 2, 0, X32_BIT), above, refuse]))
        elif arch in S390:
            # Number 0 is no system call: the kernel takes the real one from a register later.
            blocks.append((arch, [(JUMP_EQUAL, 1, 0, 0), above, refuse]))
        else:
            blocks.append((arch, [above, refuse]))
    if X32 in limits:
        # Without a known name for x86_64 no number is too new for it.
        block = [
            (JUMP_SET, 0, 1, X32_BIT),
            (JUMP_GREATER, 1, 2, limits[X32]),
            (JUMP_GREATER, 0, 1, limits.get(X86_64, 0xFFFFFFFF)),
            refuse,
        ]
        blocks.insert(0, (X86_64, block))

    result = []
    left = sum(len(block) + 3 for _, block in blocks)
    if blocks:
        result.append((LOAD, 0, 0, DATA_ARCH))
    for arch, block in blocks:
        left -= len(block) + 3
        result.append((JUMP_EQUAL, 0, len(block) + 2, arch))
        result.append((LOAD, 0, 0, DATA_NUMBER))
        result += block
        result.append((JUMP, 0, 0, left))
    return b"".join(_encode(*instruction) for instruction in result)


def _encode(code: int, if_true: int, if_false: int, operand: int) -> bytes:
    order = sys.byteorder
    jumps = bytes((if_true, if_false))
    return code.to_bytes(2, order) + jumps + operand.to_bytes(4, order)


def _action(name: str, number: "int | None") -> int:
    if name not in ACTIONS:
        raise Error(f"string {name} is not a valid action for seccomp")
    if name == "SCMP_ACT_NOTIFY":
        raise Error("linux.seccomp: SCMP_ACT_NOTIFY is not supported yet")
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
    return arg["index"], OPERATORS[arg["op"]], arg["value"], arg.get("valueTwo", 0)


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
        ret = lib.seccomp_rule_add_array(context, action, number, len(conditions), conditions)
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
