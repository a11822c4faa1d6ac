"""The static init: it checks a plan completely before it acts, and reports facts on its socket."""

import os
import socket
import struct
import subprocess
import threading

import pytest

from pyrunc import handshake
from pyrunc._core import lib
from pyrunc.errors import Error
from pyrunc.plan import Plan

pytestmark = pytest.mark.skipif(not os.path.exists(handshake.INIT), reason="init is not built")

HEADER = struct.Struct("<IIII")


class Bytes:
    """Stands where a Plan stands, with bytes nobody would encode."""

    ops: list = []

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encode(self) -> bytes:
        return self.data


def op(code: int, *args: bytes, size: "int | None" = None) -> bytes:
    body = b"".join(args)
    return struct.pack("<III", code, len(args), len(body) if size is None else size) + body


def number(value: int, kind: bytes = b"u", length: int = 8) -> bytes:
    return kind + struct.pack("<I", length) + value.to_bytes(8, "little")


def text(value: bytes, length: "int | None" = None) -> bytes:
    return b"s" + struct.pack("<I", len(value) if length is None else length) + value


def plan(*ops: bytes, magic: int = lib.PLAN_MAGIC, build: int = lib.PLAN_BUILD_ID, extra: int = 0):
    body = b"".join(ops)
    return HEADER.pack(magic, build, len(ops), HEADER.size + len(body) + extra) + body


def report(data: "bytes | Plan", fds: "tuple[int, ...]" = ()) -> "tuple[int, int, int, int]":
    """(kind, op, step, errno) of the first message init sends about a plan."""
    init = handshake.spawn(Bytes(data) if isinstance(data, bytes) else data, list(fds))
    try:
        message = os.read(init.socket, 4096)
        assert len(message) >= handshake.HEAD
        return struct.unpack_from("<IIIi", message)
    finally:
        handshake.end(init)


# If a malformed plan were run, this first op would end the first stage with a message of its own.
CLONE = op(lib.OP_CLONE, number(0))


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("shorter than a header", b"PPLN"),
        ("foreign magic", plan(CLONE, magic=1)),
        ("another build of plan.h", plan(CLONE, build=lib.PLAN_BUILD_ID ^ 1)),
        ("size is not the file's", plan(CLONE, extra=8)),
        ("op 0", plan(CLONE, op(0))),
        ("unknown op", plan(CLONE, op(lib.OP_LAST))),
        ("op number far out", plan(CLONE, op(0xFFFF))),
        ("op reaches past the end", plan(CLONE, op(lib.OP_NNP, size=64))),
        ("op longer than its arguments", plan(CLONE, op(lib.OP_UMASK, number(0), size=4096))),
        ("missing argument", plan(CLONE, op(lib.OP_UMASK))),
        ("one argument too many", plan(CLONE, op(lib.OP_UMASK, number(0), number(0)))),
        (
            "four thousand million arguments",
            plan(CLONE, struct.pack("<III", lib.OP_NNP, 0xFFFFFFFF, 0)),
        ),
        ("text where a number belongs", plan(CLONE, op(lib.OP_UMASK, text(b"x\0")))),
        ("number of four bytes", plan(CLONE, op(lib.OP_UMASK, number(0, length=4)))),
        ("text without its NUL", plan(CLONE, op(lib.OP_HOSTNAME, text(b"x")))),
        ("text with a NUL inside", plan(CLONE, op(lib.OP_HOSTNAME, text(b"a\0b\0")))),
        ("empty text argument", plan(CLONE, op(lib.OP_HOSTNAME, text(b"")))),
        ("length of 4 GiB", plan(CLONE, op(lib.OP_HOSTNAME, text(b"x\0", 0xFFFFFFFF)))),
        ("descriptor that was not passed", plan(CLONE, op(lib.OP_AWAIT, number(0, b"f")))),
        ("descriptor index that overflows", plan(CLONE, op(lib.OP_AWAIT, number(2**63, b"f")))),
        (
            "half an op header",
            HEADER.pack(lib.PLAN_MAGIC, lib.PLAN_BUILD_ID, 2, 16 + len(CLONE) + 6)
            + CLONE
            + bytes(6),
        ),
    ],
)
def test_a_malformed_plan_is_refused_before_its_first_op(what: str, data: bytes) -> None:
    kind, index, step, errno = report(data)
    assert (kind, step, errno) == (lib.MSG_FAIL, lib.STEP_PLAN, 22), what
    assert index == 0


def test_every_truncation_of_a_plan_is_refused() -> None:
    p = Plan()
    p.clone(0)
    p.hostname("name")
    p.exec(0, ["a"], ["B=c"])
    whole = p.encode()
    for length in range(0, len(whole), 3):
        data = whole[:length]
        if length >= HEADER.size:
            data = data[:12] + struct.pack("<I", length) + data[16:]
        assert report(data)[:3] == (lib.MSG_FAIL, 0, lib.STEP_PLAN), length


def test_a_failing_op_names_itself_its_step_and_errno() -> None:
    p = Plan()
    p.umask(0o22)
    p.chdir("/absent", 0)
    assert report(p) == (lib.MSG_FAIL, 1, lib.STEP_CHDIR, 2)


def test_a_failure_becomes_an_error_in_runcs_words() -> None:
    p = Plan()
    p.clone(0)
    p.lookup("no-such-program", 1, "/nowhere:/bin")
    init = handshake.spawn(p, [])
    with pytest.raises(Error) as caught:
        handshake.converse(init, lambda *_: None, lambda _: None)
    handshake.end(init)
    assert caught.value.message == ('exec: "no-such-program": executable file not found in $PATH')


def test_init_ends_when_its_creator_hangs_up() -> None:
    p = Plan()
    p.clone(0)
    p.sync(lib.SYNC_JOINED)
    p.exec(0, ["true"], [])
    init = handshake.spawn(p, [])
    packets = [os.read(init.socket, 4096) for _ in range(2)]
    pid = next(
        struct.unpack_from("<Q", packet, 16)[0]
        for packet in packets
        if struct.unpack_from("<I", packet)[0] == lib.MSG_PID
    )
    os.waitpid(init.first, 0)
    init.first = 0
    os.close(init.socket)
    init.socket = -1
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 255


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_init_cannot_be_looked_into_whoever_it_is() -> None:
    # CVE-2016-9962: what belongs to the user's own processes belongs to root here.
    p = Plan()
    p.clone(0)
    p.user(1000, 1000, 1)
    p.sync(lib.SYNC_READY)
    init = handshake.spawn(p, [])
    owners = []

    def look(init: handshake.Init, _: int) -> None:
        with open(f"/proc/{init.pid}/status") as file:
            assert "Uid:\t1000\t1000" in file.read()
        owners.append(os.stat(f"/proc/{init.pid}/environ").st_uid)
        raise Error("seen")

    try:
        with pytest.raises(Error):
            handshake.converse(init, look, lambda _: None)
    finally:
        handshake.end(init)
    assert owners == [0]


def test_silence_leaves_time_for_something_else() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        init = handshake.Init(Plan(), 0, ours.fileno())
        with pytest.raises(Error) as caught:
            handshake.converse(init, lambda *_: None, lambda _: None, theirs.close)
    assert caught.value.message == "init ended before the container was ready"


def test_the_sealed_copy_cannot_be_changed() -> None:
    fd = lib.core_seal(os.fsencode(handshake.INIT))
    assert fd >= 0
    try:
        for attempt in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 0)):
            with pytest.raises(PermissionError):
                attempt()
    finally:
        os.close(fd)


def test_init_inherits_nothing_but_what_it_is_given() -> None:
    stray = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(stray, True)
    read, write = os.pipe()
    p = Plan()
    p.clone(0)
    p.sync(lib.SYNC_JOINED)
    init = handshake.spawn(p, [read])
    try:
        found = {}

        def look(init: handshake.Init, _: int) -> None:
            for fd in os.listdir(f"/proc/{init.pid}/fd"):
                found[int(fd)] = os.readlink(f"/proc/{init.pid}/fd/{fd}")
            raise Error("seen")

        with pytest.raises(Error, match="seen"):
            handshake.converse(init, look, lambda _: None)
    finally:
        handshake.end(init)
        for fd in (stray, read, write):
            os.close(fd)
    base = handshake.BASE
    assert found[base].startswith("socket:")
    assert found[base + 2].startswith("pipe:")
    # besides stdio: the socket, the pipe, and init's own procfs
    assert sorted(
        fd for fd in found if fd > 2 and "/proc" not in found[fd] and found[fd] != "/"
    ) == [
        base,
        base + 2,
    ]


def test_what_a_stage_asks_may_come_before_its_pid() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stages = [subprocess.Popen(["sleep", "100"]) for _ in range(2)]
    init = handshake.Init(Plan(), stages[0].pid, ours.detach())
    stages[0].kill()
    message = struct.Struct("<IIIiQ")
    theirs.send(message.pack(lib.MSG_UNREACHABLE, 0, 1, 0, 7) + b"/path")
    theirs.send(message.pack(lib.MSG_PID, 0, 0, 0, stages[1].pid))
    theirs.shutdown(socket.SHUT_WR)
    asked = []

    def answer(init: handshake.Init, path: str, number: int) -> int:
        asked.append((init.pid, path, number))
        stages[1].kill()
        return -1

    with pytest.raises(Error, match="init ended before the container was ready"):
        handshake.converse(init, lambda *_: None, print, on_unreachable=answer)
    assert asked == [(stages[1].pid, "/path", 7)]
    assert theirs.recv(16) == b"g"
    handshake.end(init)
    theirs.close()
    for stage in stages:
        stage.wait()


def test_a_stage_that_is_killed_before_it_tells_the_pid_of_the_next_is_the_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stage = subprocess.Popen(["sleep", "100"])
    init = handshake.Init(Plan(), stage.pid, ours.detach())
    stage.kill()
    # The one that it has cloned lives, holds the socket, and waits for an answer.
    theirs.send(struct.pack("<IIIiQ", lib.MSG_SYNC, 0, 1, 0, lib.SYNC_MOUNTED))
    hung = threading.Timer(10, theirs.shutdown, [socket.SHUT_WR])
    hung.start()
    with pytest.raises(Error, match="init ended before the container was ready: signal: killed"):
        handshake.converse(init, lambda *_: None, print)
    assert hung.is_alive()
    hung.cancel()
    handshake.end(init)
    theirs.close()
    stage.wait()


def test_init_that_dies_with_an_answer_unread_has_ended() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stage = subprocess.Popen(["sleep", "100"])
    init = handshake.Init(Plan(), stage.pid, ours.detach())
    os.write(init.socket, b"g")
    stage.kill()
    theirs.send(struct.pack("<IIIiQ", lib.MSG_WARN, 0, lib.STEP_AMBIENT, 1, 1))
    theirs.close()
    heard: list[str] = []
    with pytest.raises(Error, match="^init ended before the container was ready: signal: killed$"):
        handshake.converse(init, lambda *_: None, heard.append)
    assert len(heard) == 1  # what it said before
    handshake.end(init)
    stage.wait()


def test_a_descriptor_for_init_is_closed_also_when_init_is_gone() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    init = handshake.Init(Plan(), 0, ours.detach())
    fd = os.open("/", os.O_RDONLY)
    handshake._go(init, fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    handshake.close(init)


def test_only_a_child_of_ours_can_be_the_next_stage() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stage = subprocess.Popen(["true"])
    init = handshake.Init(Plan(), stage.pid, ours.detach())
    theirs.send(struct.pack("<IIIiQ", lib.MSG_PID, 0, 0, 0, os.getpid()))
    theirs.send(struct.pack("<IIIiQ", lib.MSG_SYNC, 0, 1, 0, lib.SYNC_READY))
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(Error, match="init named a process that is not its own"):
        handshake.converse(init, lambda *_: None, print)
    assert not init.pid
    handshake.end(init)
    theirs.close()
    stage.wait()
