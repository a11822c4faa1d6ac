"""The instructions that stand before libseccomp's: what it cannot say, in classic BPF (pure).

    system calls newer than the profile return ENOSYS
    system calls with several conditional rules are judged here, rule by rule

libseccomp merges the rules of a system call into one tree of comparisons, and does not come back
from a branch that fails further down.  Rules that can hold at the same time then hide each other:
beside "a0 <= 0 and a1 > 8 and a3 != 2" it does not see "a0 <= 1 and a3 > 7" (libseccomp 2.5.4), and
a call that the profile kills goes through.  Some such pairs it refuses, some make it loop for ever.
"""

import errno
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    Condition = tuple[int, str, int, int]  # argument, operator, value, valueTwo
    Alternative = tuple[int, tuple[Condition, ...]]  # action, what must hold
    Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jt, jf, k

# libseccomp's tokens are the kernel's AUDIT_ARCH_*, except that x32 shares x86_64's in the kernel
# and is told apart by a bit of the number.
X86_64 = 0xC000003E
X32 = 0x4000003E
X32_BIT = 0x40000000
S390 = (0x00000016, 0x80000016)
# __AUDIT_ARCH_64BIT, and the two MIPS ABIs with 32-bit arguments that have it nevertheless.
WIDE = 0x80000000
MIPS_N32 = (0xA0000008, 0xE0000008)

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS: A = data[k]
AND = 0x54  # A &= k
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_GREATER_EQUAL = 0x35
JUMP_SET = 0x45
RETURN = 0x06

# struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}
DATA_NUMBER = 0
DATA_ARCH = 4
DATA_ARGS = 16
HIGH, LOW = (4, 0) if sys.byteorder == "little" else (0, 4)

RET_ENOSYS = 0x00050000 | errno.ENOSYS

# How a 64-bit comparison is made of 32-bit ones: the jumps after a word is loaded, and where each
# goes if it is taken or not: to the condition's end as true, as false, or to what follows.
TRUE, FALSE, NEXT = "true", "false", ""
HIGH_WORD = {
    "SCMP_CMP_EQ": ((JUMP_EQUAL, NEXT, FALSE),),
    "SCMP_CMP_MASKED_EQ": ((JUMP_EQUAL, NEXT, FALSE),),
    "SCMP_CMP_NE": ((JUMP_EQUAL, NEXT, TRUE),),
    "SCMP_CMP_GT": ((JUMP_GREATER, TRUE, NEXT), (JUMP_EQUAL, NEXT, FALSE)),
    "SCMP_CMP_GE": ((JUMP_GREATER, TRUE, NEXT), (JUMP_EQUAL, NEXT, FALSE)),
    "SCMP_CMP_LT": ((JUMP_GREATER, FALSE, NEXT), (JUMP_EQUAL, NEXT, TRUE)),
    "SCMP_CMP_LE": ((JUMP_GREATER, FALSE, NEXT), (JUMP_EQUAL, NEXT, TRUE)),
}
LOW_WORD = {
    "SCMP_CMP_EQ": ((JUMP_EQUAL, TRUE, FALSE),),
    "SCMP_CMP_MASKED_EQ": ((JUMP_EQUAL, TRUE, FALSE),),
    "SCMP_CMP_NE": ((JUMP_EQUAL, FALSE, TRUE),),
    "SCMP_CMP_GT": ((JUMP_GREATER, TRUE, FALSE),),
    "SCMP_CMP_GE": ((JUMP_GREATER_EQUAL, TRUE, FALSE),),
    "SCMP_CMP_LT": ((JUMP_GREATER_EQUAL, FALSE, TRUE),),
    "SCMP_CMP_LE": ((JUMP_GREATER, FALSE, TRUE),),
}


def prologue(
    limits: "dict[int, int]",
    judged: "dict[int, dict[int, list[Alternative]]]",
    default: int = 0,
) -> bytes:
    """What to put before a filter; falls through to it.

    limits: architecture -> number above which a system call does not exist.
    judged: architecture -> number -> its rules; default: the action when none of them holds.

    Everything far is reached by the plain jump, whose distance has 32 bits.  The conditional ones
    have 8, so they stay within a rule or step over such a jump.
    """
    blocks: dict[int, list[Instruction]] = {}
    if X86_64 in limits or X32 in limits:
        blocks[X86_64] = _limit_x86_64(limits)
    for arch, limit in limits.items():
        if arch not in (X86_64, X32):
            blocks[arch] = _limit(arch, limit)
    for arch, calls in judged.items():
        block = blocks.setdefault(X86_64 if arch == X32 else arch, [])
        for number, alternatives in calls.items():
            verdict = _judge(alternatives, default, arch & WIDE != 0 and arch not in MIPS_N32)
            block += [(JUMP_EQUAL, 1, 0, number), (JUMP, 0, 0, len(verdict)), *verdict]

    result: list[Instruction] = []
    left = sum(len(block) + 4 for block in blocks.values())
    if blocks:
        result.append((LOAD, 0, 0, DATA_ARCH))
    for arch, block in blocks.items():
        left -= len(block) + 4
        result += [
            (JUMP_EQUAL, 1, 0, arch),
            (JUMP, 0, 0, len(block) + 2),
            (LOAD, 0, 0, DATA_NUMBER),
            *block,
            (JUMP, 0, 0, left),
        ]
    return b"".join(_encode(*instruction) for instruction in result)


def _encode(code: int, if_true: int, if_false: int, operand: int) -> bytes:
    order = sys.byteorder
    return code.to_bytes(2, order) + bytes((if_true, if_false)) + operand.to_bytes(4, order)


def _limit(arch: int, limit: int) -> "list[Instruction]":
    above = [(JUMP_GREATER, 0, 1, limit), (RETURN, 0, 0, RET_ENOSYS)]
    if arch in S390:
        # Number 0 is no system call: the kernel takes the real one from a register later.
        return [(JUMP_EQUAL, 1, 0, 0), *above]
    return above


def _limit_x86_64(limits: "dict[int, int]") -> "list[Instruction]":
    # Without a known name no number is too new.  An x32 call in a filter without x32 is none of
    # ours: to libseccomp's part it is a call of another architecture.
    none = 0xFFFFFFFF
    return [
        (JUMP_SET, 0, 1, X32_BIT),
        (JUMP_GREATER, 1, 2, limits.get(X32, none)),
        (JUMP_GREATER, 0, 1, limits.get(X86_64, none)),
        (RETURN, 0, 0, RET_ENOSYS),
    ]


def _judge(alternatives: "list[Alternative]", default: int, wide: bool) -> "list[Instruction]":
    """Returns, always.  Where several rules hold the strictest action wins, as between filters.

    libseccomp has no order either, only accidents of its tree.  The kernel's order is that of the
    actions' numbers, where KILL_PROCESS is negative.
    """
    result: list[Instruction] = []
    for action, conditions in sorted(alternatives, key=lambda one: one[0] ^ 0x80000000):
        rule = [(RETURN, 0, 0, action)]
        for condition in reversed(conditions):
            rule = _condition(condition, wide, len(rule)) + rule
        result += rule
    return [*result, (RETURN, 0, 0, default)]


def _condition(condition: "Condition", wide: bool, rest: int) -> "list[Instruction]":
    """Falls through if it holds, else jumps over the rest of the rule.

    Where arguments have 32 bits the values are cut to that, as libseccomp does.
    """
    index, op, value, value_two = condition
    mask = 0xFFFFFFFFFFFFFFFF
    if op == "SCMP_CMP_MASKED_EQ":
        mask, value = value, value_two & value
    tests = []
    for shift, offset, jumps in ((32, HIGH, HIGH_WORD[op]), (0, LOW, LOW_WORD[op])):
        if shift and not wide:
            continue
        tests.append((LOAD, NEXT, NEXT, DATA_ARGS + 8 * index + offset))
        if op == "SCMP_CMP_MASKED_EQ":
            tests.append((AND, NEXT, NEXT, mask >> shift & 0xFFFFFFFF))
        tests += [(code, yes, no, value >> shift & 0xFFFFFFFF) for code, yes, no in jumps]
    result = []
    for at, (code, yes, no, operand) in enumerate(tests):
        holds = len(tests) - at - 1
        distance = {NEXT: 0, TRUE: holds, FALSE: holds + rest}
        result.append((code, distance[yes], distance[no], operand))
    return result
