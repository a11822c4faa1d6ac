"""The plan: the ordered list of ops that init runs.  Pure: no open, no syscall, no environment.

Plan records ops and encodes them for init; listing.py prints them.  The recipe is plan_create.py's.
The numbers and the wire format are those of csrc/plan.h.  Every op remembers the key of the spec it
came from, so that a failure can name it.
"""

import os

from pyrunc._core import lib
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Numbers = tuple[int, ...] | list[int]


def clean(path: str) -> str:
    """An absolute path inside the container, lexically clean; a relative one is taken from "/"."""
    return "/" + os.path.normpath("/" + path).lstrip("/")  # normpath keeps two leading slashes


class Fd:
    """An argument that stands for a descriptor: its index among those that init is given."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Plan:
    """An ordered list of ops.

    ops: (name, arguments, origin) each; an argument is an int, str, bytes or Fd.
    warnings: sentences for the caller to log.
    """

    __slots__ = ("ops", "warnings")

    def __init__(self) -> None:
        self.ops: "list[tuple[str, tuple[Any, ...], str]]" = []
        self.warnings: "list[str]" = []

    def add(self, name: str, *args: object, origin: str = "") -> None:
        """Append the op `name` of plan.h.  origin: the spec key it carries out."""
        self.ops.append((name, args, origin))

    # One method for each op, in the order of plan.h, which says what each argument means.

    def join(self, fd: int, kind: int, how: int = 0, origin: str = "") -> None:
        self.add("join", Fd(fd), kind, how, origin=origin)

    def unshare(self, kinds: int, origin: str = "") -> None:
        self.add("unshare", kinds, origin=origin)

    def clone(self, kinds: int, cgroups: "Numbers" = (), origin: str = "") -> None:
        self.add("clone", kinds, *[Fd(fd) for fd in cgroups], origin=origin)

    def enter(self, tasks: "list[int]") -> None:
        self.add("enter", *[Fd(fd) for fd in tasks], origin="linux.cgroupsPath")

    def dumpable(self, on: int) -> None:
        self.add("dumpable", on, origin="linux.uidMappings")

    def owner(self, drop_groups: int) -> None:
        self.add("owner", drop_groups, origin="linux.uidMappings")

    def sync(self, point: int) -> None:
        self.add("sync", point)

    def keyring(self, name: str, permissions: int) -> None:
        self.add("keyring", name, permissions)

    def loopback(self, origin: str = "") -> None:
        self.add("loopback", origin=origin)

    def hostname(self, name: str) -> None:
        self.add("hostname", name, origin="hostname")

    def domainname(self, name: str) -> None:
        self.add("domainname", name, origin="domainname")

    def sysctl(self, path: str, value: str, origin: str = "") -> None:
        self.add("sysctl", path, value, origin=origin)

    def propagate(self, flags: int, origin: str = "linux.rootfsPropagation") -> None:
        self.add("propagate", flags, origin=origin)

    def root(self, path: str, own_mounts: int) -> None:
        self.add("root", path, own_mounts, origin="root.path")

    def idmap(self, fd: int, below: int, asked: int = 0, origin: str = "") -> None:
        self.add("idmap", Fd(fd), below, asked, origin=origin)

    def mount(
        self,
        source: str,
        target: str,
        fstype: str,
        data: str,
        *,
        flags: int,
        options: int = 0,
        fallback: str = "",
        propagation: "Numbers" = (),
        origin: str = "",
    ) -> None:
        args = (source, target, fstype, data, flags, options, fallback, *propagation)
        self.add("mount", *args, origin=origin)

    def bind(
        self,
        source: str,
        target: str,
        *,
        flags: int,
        cleared: int = 0,
        recursive: "tuple[int, int]" = (0, 0),
        propagation: "Numbers" = (),
        origin: str = "",
    ) -> None:
        args = (source, target, flags, cleared, *recursive, *propagation)
        self.add("bind", *args, origin=origin)

    def tree(self, fd: int) -> None:
        self.add("tree", Fd(fd))

    def unmount(self, target: str) -> None:
        self.add("unmount", target)

    def remount(self, target: str, flags: int, origin: str = "") -> None:
        self.add("remount", target, flags, origin=origin)

    def symlink(self, content: str, path: str, replace: int = 0, origin: str = "") -> None:
        self.add("symlink", content, path, replace, origin=origin)

    def device(
        self,
        path: str,
        mode: int,
        numbers: "tuple[int, int]",
        owner: "tuple[int, int]" = (0, 0),
        source: str = "",
        strict: int = 0,
        origin: str = "",
    ) -> None:
        self.add("device", path, mode, *numbers, *owner, source, strict, origin=origin)

    def source(self, path: str, flags: int = 0) -> None:
        self.add("source", path, flags)

    def mkdir(self, path: str, mode: int, origin: str = "") -> None:
        self.add("mkdir", path, mode, origin=origin)

    def pivot(self) -> None:
        self.add("pivot")

    def hide(self, path: str) -> None:
        self.add("hide", path, origin="--no-pivot")

    def move(self) -> None:
        self.add("move", origin="--no-pivot")

    def chroot(self) -> None:
        self.add("chroot")

    def nullio(self) -> None:
        self.add("nullio")

    def readonly(self, path: str, origin: str = "") -> None:
        self.add("readonly", path, origin=origin)

    def relabel(self, path: str, label: str, origin: str = "") -> None:
        self.add("relabel", path, label, origin=origin)

    def mask(self, path: str, *data: str, origin: str = "") -> None:
        self.add("mask", path, *data, origin=origin)

    def console(self, socket: int, size: "tuple[int, int]", bind: int) -> None:
        self.add("console", Fd(socket), *size, bind, origin="process.terminal")

    def pidfd(self, socket: int, text: str) -> None:
        self.add("pidfd", Fd(socket), text, origin="--pidfd-socket")

    def umask(self, mask: int, origin: str = "") -> None:
        self.add("umask", mask, origin=origin)

    def rlimit(self, resource: int, soft: int, hard: int, origin: str = "") -> None:
        self.add("rlimit", resource, soft, hard, origin=origin)

    def label(self, value: str, *files: str, origin: str = "") -> None:
        self.add("label", value, *files, origin=origin)

    def nnp(self) -> None:
        self.add("nnp", origin="process.noNewPrivileges")

    def scheduler(self, numbers: "Numbers", times: "Numbers", origin: str) -> None:
        self.add("scheduler", *numbers, *times, origin=origin)

    def ioprio(self, value: int) -> None:
        self.add("ioprio", value, origin="process.ioPriority")

    def personality(self, domain: int) -> None:
        self.add("personality", domain, origin="linux.personality")

    def mempolicy(self, mode: int, nodes: bytes) -> None:
        self.add("mempolicy", mode, nodes, origin="linux.memoryPolicy")

    def seccomp(self, program: bytes, flags: int) -> None:
        self.add("seccomp", program, flags, origin="linux.seccomp")

    def chdir(self, path: str, forgive: int) -> None:
        self.add("chdir", path, forgive, origin="process.cwd")

    def bounding(self, keep: int) -> None:
        self.add("bounding", keep, origin="process.capabilities.bounding")

    def user(self, uid: int, gid: int, setgroups: int, groups: "Numbers" = ()) -> None:
        self.add("user", uid, gid, setgroups, *groups, origin="process.user")

    def caps(self, effective: int, permitted: int, inheritable: int, ambient: int) -> None:
        masks = (effective, permitted, inheritable, ambient)
        self.add("caps", *masks, origin="process.capabilities")

    def home(self, uid: int) -> None:
        self.add("home", uid, origin="process.env")

    def lookup(self, name: str, path_is_set: int, path: str) -> None:
        self.add("lookup", name, path_is_set, path, origin="process.args")

    def hook(
        self,
        label: str,
        path: str,
        state: "tuple[str, str]",
        *,
        timeout: int,
        append_home: int = 0,
        argv: "list[str]",
        env: "list[str]",
        origin: str = "",
    ) -> None:
        numbers = (timeout, append_home, len(argv))
        self.add("hook", label, path, *state, *numbers, *argv, *env, origin=origin)

    def await_(self, fd: int) -> None:
        self.add("await", Fd(fd))

    def exec(self, append_home: int, argv: "list[str]", env: "list[str]") -> None:
        self.add("exec", append_home, len(argv), *argv, *env, origin="process.args")

    def encode(self) -> bytes:
        """The plan as init reads it; see plan.h."""
        parts = []
        size = 16
        for name, args, origin in self.ops:
            body = b"".join([_encode(arg, origin or name) for arg in args])
            code: int = getattr(lib, "OP_" + name.upper())
            for number in (code, len(args), len(body)):
                parts.append(number.to_bytes(4, "little"))
            parts.append(body)
            size += 12 + len(body)
        if size > lib.PLAN_MAX_SIZE:
            raise Error("container configuration too large")
        header = (lib.PLAN_MAGIC, lib.PLAN_BUILD_ID, len(self.ops), size)
        return b"".join([number.to_bytes(4, "little") for number in header] + parts)


def _encode(arg: object, where: str) -> bytes:
    if type(arg) is str:
        data = arg.encode("utf-8", "surrogateescape")
        if b"\0" in data:
            raise Error(f"{where} contains nul byte (\\x00)")
        return b"s" + (len(data) + 1).to_bytes(4, "little") + data + b"\0"
    if type(arg) is int:
        if not 0 <= arg <= 0xFFFFFFFFFFFFFFFF:
            raise Error(f"{where}: number out of range: {arg}")
        return b"u\x08\0\0\0" + arg.to_bytes(8, "little")
    if type(arg) is Fd:
        return b"f\x08\0\0\0" + arg.index.to_bytes(8, "little")
    assert type(arg) is bytes
    return b"b" + len(arg).to_bytes(4, "little") + arg
