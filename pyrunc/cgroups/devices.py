"""Access to devices: the rules of linux.resources.devices, for v1 files and as a v2 BPF program.

May touch: devices.{list,allow,deny} of a v1 cgroup; bpf(2) on a v2 cgroup.
OCI runtime-spec 1.3, config-linux.md "Allowed Device list".

Both versions go through the same picture of the rules, the one a v1 cgroup has in the kernel:

    (default, exceptions)     default: are devices allowed that no exception names?
                              exceptions: {(type, major, minor): access bits}, denied ones if the
                              default is to allow, allowed ones if it is to deny
"""

import errno
import os

from pyrunc.cgroups.fs import read
from pyrunc.errors import Error, reason, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Key = tuple[str, int, int]
    Rules = tuple[bool, dict[Key, int]]
    Rule = tuple[bool, str, int, int, int]  # allow, type, major, minor, access

ANY = -1
# As the BPF context has them.
MKNOD, READ, WRITE = 1, 2, 4
ALL = MKNOD | READ | WRITE
LETTERS = (("r", READ), ("w", WRITE), ("m", MKNOD))
BITS = dict(LETTERS)

# After the configured rules, so that a container always has what it cannot do without.  One with a
# path gives way to an entry of that path in linux.devices.
DEFAULTS = (
    ("", "c", ANY, ANY, MKNOD),
    ("", "b", ANY, ANY, MKNOD),
    ("/dev/null", "c", 1, 3, ALL),
    ("/dev/random", "c", 1, 8, ALL),
    ("/dev/full", "c", 1, 7, ALL),
    ("/dev/tty", "c", 5, 0, ALL),
    ("/dev/zero", "c", 1, 5, ALL),
    ("/dev/urandom", "c", 1, 9, ALL),
    ("", "c", 136, ANY, ALL),  # /dev/pts/*
    ("", "c", 5, 2, ALL),  # /dev/ptmx
    ("", "c", 10, 200, ALL),  # /dev/net/tun
)


# --- rules ---


def configured(devices: "list[dict[str, Any]]", paths: "Iterable[str]") -> "list[Rule]":
    """linux.resources.devices, then the defaults. paths: those of linux.devices."""
    rules = [parse(device, index) for index, device in enumerate(devices)]
    taken = {os.path.normpath(path) for path in paths}
    for path, kind, major, minor, access in DEFAULTS:
        if path not in taken:
            rules.append((True, kind, major, minor, access))
    return rules


def parse(device: "dict[str, Any]", index: int) -> "Rule":
    """One entry of linux.resources.devices."""
    kind = device.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise Error(f'invalid cgroup device type "{kind}"')
    letters = device.get("access") or ""
    if not letters:
        raise Error(f"device access at {index} field cannot be empty")
    access = 0
    for letter in letters:
        if letter not in BITS:
            raise Error(f'invalid device access "{letters}" at {index}')
        access |= BITS[letter]
    numbers = []
    for name in ("major", "minor"):
        number = device.get(name)
        number = ANY if number is None else number
        if not ANY <= number < 1 << 32:
            raise Error(f"invalid device {name} number {number} at {index}")
        numbers.append(number)
    return bool(device.get("allow")), kind, numbers[0], numbers[1], access


def emulate(rules: "list[Rule]") -> "Rules":
    """What the kernel would have after these writes to a v1 cgroup that denies everything."""
    default = False
    exceptions: "dict[Key, int]" = {}
    for allow, kind, major, minor, access in rules:
        if kind == "a" and (not allow or (major, minor, access) == (ANY, ANY, ALL)):
            default = allow
            exceptions = {}
            continue
        # The kernel would take an "a" that allows something for leave to do anything.
        for key in ((each, major, minor) for each in ("cb" if kind == "a" else kind)):
            if allow != default:
                exceptions[key] = exceptions.get(key, 0) | access
                continue
            _refuse_hole(exceptions, key, access)
            if key in exceptions:
                exceptions[key] &= ~access
                if not exceptions[key]:
                    del exceptions[key]
    return default, exceptions


def _refuse_hole(exceptions: "dict[Key, int]", key: "Key", access: int) -> None:
    """The kernel ignores, silently, the removal of a part of what a wildcard covers."""
    kind, major, minor = key
    for wider in ((kind, ANY, minor), (kind, major, ANY), (kind, ANY, ANY)):
        if wider != key and exceptions.get(wider, 0) & access:
            raise Error(
                f"requested rule [{line(key, access)}] not supported by devices cgroupv1 "
                f"(cannot punch hole in existing wildcard rule [{line(wider, exceptions[wider])}])"
            )


def line(key: "Key", access: int) -> str:
    """`c 1:3 rwm`, as v1 files have it."""
    kind, major, minor = key
    letters = "".join(letter for letter, bit in LETTERS if access & bit)
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {letters}"


# --- v1 ---


def listed(text: str) -> "Rules":
    """devices.list of a v1 cgroup.  Exceptions to allowing everything are not shown there."""
    exceptions: "dict[Key, int]" = {}
    for row in text.splitlines():
        kind, numbers, letters = row.split()
        if kind == "a":
            return True, {}
        major, _, minor = numbers.partition(":")
        key = (kind, ANY if major == "*" else int(major), ANY if minor == "*" else int(minor))
        access = 0
        for letter in letters:
            access |= BITS[letter]
        exceptions[key] = exceptions.get(key, 0) | access
    return False, exceptions


def transition(now: "Rules", target: "Rules") -> "list[tuple[bool, str]]":
    """The writes (allow?, line) that lead from one to the other.

    Only a change of the default makes a gap: exceptions are added before others are removed, so who
    uses a device that both allow notices nothing.
    """
    default, wanted = target
    present = now[1]
    steps = []
    if now[0] != default:
        steps.append((default, line(("a", ANY, ANY), ALL)))
        present = {}
    for key, access in wanted.items():
        lacking = access & ~present.get(key, 0)
        if lacking:
            steps.append((not default, line(key, lacking)))
    for key, access in present.items():
        surplus = access & ~wanted.get(key, 0)
        if surplus:
            steps.append((default, line(key, surplus)))
    return steps


def apply_v1(path: str, rules: "list[Rule]") -> None:
    """Make devices.list of a v1 cgroup say what the rules say."""
    target = emulate(rules)
    steps = transition(listed(read(path, "devices.list") or ""), target)
    if not steps:
        return
    fds = {}
    try:
        for allow in {allow for allow, _ in steps}:
            name = f"{path}/devices.{'allow' if allow else 'deny'}"
            try:
                fds[allow] = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
            except OSError as err:
                raise Error.os("open", name, err) from err
        for allow, text in steps:
            try:
                os.write(fds[allow], text.encode())
            except OSError as err:
                name = f"{path}/devices.{'allow' if allow else 'deny'}"
                what = reason(err)
                raise Error(f'failed to write "{text}": write {name}: {what}') from err
    finally:
        for fd in fds.values():
            os.close(fd)
    result = listed(read(path, "devices.list") or "")
    if result[0] != target[0]:
        raise Error("resulting devices cgroup doesn't match target mode")
    if not target[0] and result[1] != target[1]:
        raise Error("resulting devices cgroup doesn't precisely match target")


# --- v2: bpf(2), linux/bpf.h ---

BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH = 5, 8, 9
BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY = 13, 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI, BPF_F_REPLACE = 2, 4
MAX_PROGRAMS = 64  # the kernel's own limit for one cgroup
TYPES = {"b": 1, "c": 2}

# Instructions.  A jump's offset counts from the next one.
LDXW, MOV_IMM, EXIT = 0x61, 0xB4, 0x95
MOV32, AND32, RSH32 = 0xBC, 0x54, 0x74
JEQ32, JNE32 = 0x16, 0x56


def instruction(code: int, dst: int = 0, src: int = 0, jump: int = 0, value: int = 0) -> bytes:
    """One struct bpf_insn."""
    return (
        bytes((code, dst | src << 4))
        + jump.to_bytes(2, "little", signed=True)
        + (value & 0xFFFFFFFF).to_bytes(4, "little")
    )


def program(rules: "Rules") -> bytes:
    """A BPF program that answers 1 (allow) or 0 to a request for a device.

    The context is three words: access << 16 | type, major, minor.  An exception that allows has to
    cover all that is requested; one that denies holds if it touches any of it (as on v1).
    """
    default, exceptions = rules
    code = [
        instruction(LDXW, 2, 1, 0),
        instruction(MOV32, 3, 2),
        instruction(AND32, 2, value=0xFFFF),  # r2: type
        instruction(RSH32, 3, value=16),  # r3: access
        instruction(LDXW, 4, 1, 4),  # r4: major
        instruction(LDXW, 5, 1, 8),  # r5: minor
    ]
    for (kind, major, minor), access in reversed(exceptions.items()):
        # (instructions before the test, its opcode and operands): each test leads to the next block
        tests = [(b"", JNE32, 2, TYPES[kind])]
        if access != ALL:
            mask = access if default else ALL & ~access
            prepare = instruction(MOV32, 1, 3) + instruction(AND32, 1, value=mask)
            tests.append((prepare, JEQ32 if default else JNE32, 1, 0))
        if major != ANY:
            tests.append((b"", JNE32, 4, major))
        if minor != ANY:
            tests.append((b"", JNE32, 5, minor))
        verdict = instruction(MOV_IMM, value=not default) + instruction(EXIT)
        block = verdict
        for prepare, opcode, register, value in reversed(tests):
            jump = instruction(opcode, register, 0, len(block) // 8, value)
            block = prepare + jump + block
        code.append(block)
    code += [instruction(MOV_IMM, value=default), instruction(EXIT)]
    return b"".join(code)


def apply_v2(path: str, rules: "list[Rule]") -> None:
    """Attach the rules to a v2 cgroup in place of the program it has, if any."""
    code = program(emulate(rules))
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise Error.os("open", path, err) from err
    try:
        new = _load(code)
        try:
            _attach(folder, new)
        finally:
            os.close(new)
    finally:
        os.close(folder)


def _load(code: bytes) -> int:
    """The descriptor of a loaded program."""
    from pyrunc._core import ffi

    text = ffi.from_buffer(code)
    licence = ffi.new("char[]", b"Apache")
    attr = bytearray(128)
    _put(attr, 0, BPF_PROG_TYPE_CGROUP_DEVICE)
    _put(attr, 4, len(code) // 8)
    _put(attr, 8, int(ffi.cast("uintptr_t", text)), 8)
    _put(attr, 16, int(ffi.cast("uintptr_t", licence)), 8)
    fd = _bpf(BPF_PROG_LOAD, attr)
    if fd == -errno.EPERM and _lift_memlock():
        fd = _bpf(BPF_PROG_LOAD, attr)
    return _check(fd, "bpf_prog_load")


def _lift_memlock() -> bool:
    """Before Linux 5.11 programs count against RLIMIT_MEMLOCK, which is small."""
    from pyrunc._core import lib

    unlimited = (1 << 64) - 1
    memlock = 8
    return bool(lib.core_prlimit(0, memlock, unlimited, unlimited) == 0)


def _attach(folder: int, new: int) -> None:
    old = _attached(folder)
    try:
        if len(old) == 1:
            attr = _target(folder, new, BPF_F_ALLOW_MULTI | BPF_F_REPLACE)
            _put(attr, 16, old[0])
            if _bpf(BPF_PROG_ATTACH, attr) >= 0:
                return
            # Linux < 5.6 has no BPF_F_REPLACE: for a moment both have to agree.
        attr = _target(folder, new, BPF_F_ALLOW_MULTI)
        _check(_bpf(BPF_PROG_ATTACH, attr), "bpf_prog_attach(BPF_CGROUP_DEVICE)")
        for fd in old:
            attr = _target(folder, fd, 0)
            _check(_bpf(BPF_PROG_DETACH, attr), "bpf_prog_detach(BPF_CGROUP_DEVICE)")
    finally:
        for fd in old:
            os.close(fd)


def _attached(folder: int) -> "list[int]":
    """Descriptors of the cgroup's own device programs, as far as we may open them."""
    from pyrunc._core import ffi

    ids = ffi.new("uint32_t[]", MAX_PROGRAMS)
    attr = bytearray(128)
    _put(attr, 0, folder)
    _put(attr, 4, BPF_CGROUP_DEVICE)
    _put(attr, 16, int(ffi.cast("uintptr_t", ids)), 8)
    _put(attr, 24, MAX_PROGRAMS)
    _check(_bpf(BPF_PROG_QUERY, attr), "bpf_prog_query(BPF_CGROUP_DEVICE)")
    found: "list[int]" = []
    for index in range(int.from_bytes(attr[24:28], "little")):
        attr = bytearray(128)
        _put(attr, 0, ids[index])
        fd = _bpf(BPF_PROG_GET_FD_BY_ID, attr)
        if fd in (-errno.EPERM, -errno.EACCES, -errno.ENOENT):
            continue  # systemd's, for instance
        found.append(_check(fd, "bpf_prog_get_fd_by_id"))
    return found


def _target(folder: int, program: int, flags: int) -> bytearray:
    attr = bytearray(128)
    for index, value in enumerate((folder, program, BPF_CGROUP_DEVICE, flags)):
        _put(attr, index * 4, value)
    return attr


def _put(attr: bytearray, offset: int, value: int, size: int = 4) -> None:
    attr[offset : offset + size] = value.to_bytes(size, "little")


def _bpf(command: int, attr: bytearray) -> int:
    from pyrunc._core import ffi, lib

    return int(lib.core_bpf(command, ffi.from_buffer(attr), len(attr)))


def _check(result: int, what: str) -> int:
    if result < 0:
        raise Error(f"{what}: {strerror(-result)}")
    return result
