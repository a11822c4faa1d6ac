"""Runs a seccomp program as the kernel would: tests assert what a filter does, not its bytes."""

import struct

# struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}
DATA_SIZE = 64

LD_ABS = 0x20
LD_IMM = 0x00
ALU_AND = 0x54
RET = 0x06
JA = 0x05
JUMPS = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: a & k != 0,
}


def decode(program: bytes) -> "list[tuple[int, int, int, int]]":
    """struct sock_filter[]: (code, jt, jf, k)."""
    assert len(program) % 8 == 0
    return list(struct.iter_unpack("=HBBI", program))


def check(program: bytes) -> None:
    """What the kernel checks before it accepts a program."""
    code = decode(program)
    assert 0 < len(code) <= 4096
    for at, (op, jt, jf, k) in enumerate(code):
        if op in JUMPS:
            assert at + 1 + max(jt, jf) < len(code)
        elif op == JA:
            assert at + 1 + k < len(code)
        elif op == LD_ABS:
            assert k % 4 == 0 and k < DATA_SIZE
        else:
            assert op in (LD_IMM, ALU_AND, RET)
    assert code[-1][0] == RET


def simulate(program: bytes, number: int, arch: int, args: "tuple[int, ...]" = ()) -> int:
    """The SECCOMP_RET_* a call of `number` gets."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    # The instruction pointer: some address that no rule looks at.
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0x7F0012345678, *padded)
    code = decode(program)
    at = accumulator = 0
    while True:
        op, jt, jf, k = code[at]
        at += 1
        if op == RET:
            return k
        if op == LD_ABS:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif op == LD_IMM:
            accumulator = k
        elif op == ALU_AND:
            accumulator &= k
        elif op == JA:
            at += k
        else:
            at += jt if JUMPS[op](accumulator, k) else jf
