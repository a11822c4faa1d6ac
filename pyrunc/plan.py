"""The plan: the ordered list of ops that init runs.  Pure: no open, no syscall, no environment.

    Plan           records ops and encodes them for init; listing.py prints them
    for_create()   the recipe; the order in which a container comes into being
    facts_for()    what that needs to know about the host

The numbers and the wire format are those of csrc/plan.h.  Every op remembers the key of the spec it
came from, so that a failure can name it.
"""

from pyrunc import mounts, namespaces, process, rootfs
from pyrunc._core import lib
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]
    Numbers = tuple[int, ...] | list[int]

NO_TIMEOUT = 0xFFFFFFFFFFFFFFFF
# linux/keyctl.h: KEY_OTH_SEARCH is 0x8, KEY_USR_SEARCH this; whoever runs as the container's user
# may then search its session keyring.
KEY_USR_SEARCH = 0x80000


class Fd:
    """An op's argument that is the index of a descriptor passed to init after the plan."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Plan:
    """An ordered list of ops.

    ops: (name, arguments, origin) each; an argument is an int, str, bytes or Fd.
    warnings: sentences for the caller to log; the plan is valid without heeding them.
    """

    __slots__ = ("ops", "warnings")

    def __init__(self) -> None:
        self.ops: "list[tuple[str, tuple[Any, ...], str]]" = []
        self.warnings: "list[str]" = []

    def add(self, name: str, *args: object, origin: str = "") -> None:
        """Append the op `name` of plan.h.  origin: the spec key it carries out."""
        self.ops.append((name, args, origin))

    # One method per op of plan.h, in its order.

    def join(self, fd: int, kind: int, origin: str = "") -> None:
        self.add("join", Fd(fd), kind, origin=origin)

    def unshare(self, kinds: int, origin: str = "") -> None:
        self.add("unshare", kinds, origin=origin)

    def clone(self, kinds: int, cgroup: "int | None" = None, origin: str = "") -> None:
        born_into = () if cgroup is None else (Fd(cgroup),)
        self.add("clone", kinds, *born_into, origin=origin)

    def enter(self, tasks: "list[int]") -> None:
        self.add("enter", *[Fd(fd) for fd in tasks], origin="linux.cgroupsPath")

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
        origin: str = "",
    ) -> None:
        self.add("device", path, mode, *numbers, *owner, origin=origin)

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

    def mask(self, path: str, origin: str = "") -> None:
        self.add("mask", path, origin=origin)

    def umask(self, mask: int, origin: str = "") -> None:
        self.add("umask", mask, origin=origin)

    def label(self, value: str, *files: str, origin: str = "") -> None:
        self.add("label", value, *files, origin=origin)

    def nnp(self) -> None:
        self.add("nnp", origin="process.noNewPrivileges")

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
        append_home: int,
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
            if len(args) > 0xFFFF:
                raise Error(f"{origin or name}: argument list too long")
            code: int = getattr(lib, "OP_" + name.upper())
            for number, width in ((code, 2), (len(args), 2), (len(body), 4)):
                parts.append(number.to_bytes(width, "little"))
            parts.append(body)
            size += 8 + len(body)
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


def facts_for(spec: "Doc", no_pivot: bool) -> "list[str]":
    """The facts of host.py that for_create() will look at: most containers need few."""
    process = spec["process"]
    names = ["kcore"]
    if "capabilities" in process:
        names.append("last_cap")
    if process.get("selinuxLabel") or process.get("apparmorProfile"):
        names += ["selinux", "apparmor"]
    for mount in spec.get("mounts", ()):
        if mount.get("type") == "cgroup":
            names += ["cgroup_mode", "cgroup_mounts"]
        elif mounts.clean(mount["destination"]) == "/proc" and mount.get("type") != "proc":
            names.append("procfs")
    if no_pivot:
        names.append("proc_mounts")
    return names


def for_create(spec: "Doc", facts: "Doc", opts: "Doc") -> Plan:
    """The plan that makes a container of `spec` on the host that `facts` describe.

    facts: those of facts_for(), cgroup_paths, same_namespaces (joined types that are the host's).
    opts: id, bundle, rootfs (absolute), no_pivot, no_new_keyring; fds: "fifo" and ("ns", type) ->
    index of the descriptor passed; seccomp: (program, flags) or None; hook_state(status) -> the
    state document for hooks, before and after its pid.
    """
    plan = Plan()
    linux = spec.get("linux", {})
    own = namespaces.listed(linux)
    user = spec["process"]
    fds = opts["fds"]
    has_mounts = "mount" in own
    entries = mounts.decode(plan, spec, facts, opts)
    # Never the host's own /dev.
    own_dev = not mounts.dev_is_bound(entries) and (has_mounts or opts["rootfs"] != "/")

    # -- The first stage: a process of the host's, which the container cannot see.
    # Joins precede the clone: what the clone makes is owned and counted by what was joined, and a
    # joined pid namespace holds only children.
    namespaces.join(plan, linux, fds)
    # Always, even with no flag: only a child can be in the pid namespace, and the first stage is
    # no child of the container's parent.
    # Into the cgroup before anything else can fork or allocate.
    namespaces.clone(plan, linux, fds.get("cgroup"))
    if fds.get("tasks"):
        plan.enter(fds["tasks"])
    # The root of a new cgroup namespace is the cgroup one is in: so after the join of the cgroup.
    namespaces.unshare_cgroup(plan, linux)

    # -- The environment that mounts may depend on (sysfs and /proc/net show the net namespace).
    if not opts.get("no_new_keyring"):
        process.keyring(plan, user, opts["id"], KEY_USR_SEARCH)
    namespaces.loopback(plan, linux)

    # -- The root filesystem, at its host path: sources must still be reachable.
    if has_mounts:
        # First, so that no mount below propagates to the host.
        plan.propagate(rootfs.propagation(linux, bool(opts.get("no_pivot"))))
    plan.root(opts["rootfs"], int(has_mounts))
    mounts.mount(plan, entries, linux, facts)
    # After the mounts: they live on the /dev that mounts[] brought.
    if own_dev:
        rootfs.devices(plan, linux)
        rootfs.links(plan, facts)
    # Limits, prestart and createRuntime: once the tree is whole, before it becomes "/".
    plan.sync(lib.SYNC_MOUNTED)
    # In the container's namespaces, with the host's paths: the last moment at which both exist.
    hooks(plan, spec, "createContainer", [], opts)

    # -- The container's root becomes "/".  From here every path is the container's.
    if not has_mounts:
        plan.chroot()
    elif opts.get("no_pivot"):
        # The host's procfs would still be there, below the new root, and without our masks.
        for path in facts.get("proc_mounts", ()):
            if not path.startswith(opts["rootfs"] + "/"):
                plan.hide(path)
        plan.move()
    else:
        plan.pivot()
    if has_mounts:
        # On the new "/": before the pivot the flags went to the host's tree.
        rootfs.propagate_root(plan, linux)
    # Before anything reads or writes stdio, and while /dev is as the mounts left it.
    if own_dev:
        plan.nullio()
    # While "/" is still writable.
    process.make_cwd(plan, user)
    if has_mounts:
        # The last writes to the tree are done.
        mounts.remount(plan, entries)
    rootfs.readonly_root(plan, spec["root"], has_mounts)
    if has_mounts:
        process.umask(plan, user)

    # -- What needs privileges, but no mount.
    if "hostname" in spec:
        plan.hostname(spec["hostname"])
    if "domainname" in spec:
        plan.domainname(spec["domainname"])
    # Before /proc/sys turns read-only.  AppArmor's file may be on a masked path, too.
    process.apparmor(plan, user)
    process.sysctls(plan, linux, own, facts)
    rootfs.readonly_paths(plan, linux)
    rootfs.masked_paths(plan, linux)

    # -- Giving up rights, from here on one-way.
    nnp = bool(user.get("noNewPrivileges"))
    if nnp:
        plan.nnp()
    process.selinux(plan, user)
    # Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before the user changes.
    if not nnp and opts.get("seccomp"):
        plan.seccomp(*opts["seccomp"])
    # Root may enter directories its user may not (0700 of another's) and the other way round
    # (root-squashing filesystems): tried before and after the change of user.
    cwd = mounts.clean(user["cwd"])
    plan.chdir(cwd, 1)
    # The bounding set can only shrink while CAP_SETPCAP is effective.
    masks = process.capabilities(plan, user, facts.get("last_cap", 0))
    if masks:
        plan.bounding(masks[0])
    env, needs_home = process.environment(user.get("env"))
    identity = user.get("user", {})
    if needs_home:
        plan.home(identity.get("uid", 0))
    process.user(plan, identity, facts)
    plan.chdir(cwd, 0)
    if masks:
        plan.caps(*masks[1:])
    # As the user, in its cwd; a missing program fails create, not start.
    process.lookup(plan, user["args"], env)

    # -- The container is created.
    # Resource limits come from the host, which may raise hard ones; then the record.
    plan.sync(lib.SYNC_READY)
    # As late as can be, so that the profile need not allow what the steps above call.
    if nnp and opts.get("seccomp"):
        plan.seccomp(*opts["seccomp"])
    plan.await_(fds["fifo"])
    hooks(plan, spec, "startContainer", env, opts, needs_home)
    plan.exec(int(needs_home), user["args"], env)
    return plan


def hooks(
    plan: Plan, spec: "Doc", kind: str, env: "list[str]", opts: "Doc", append_home: bool = False
) -> None:
    """The hooks init runs.  env, append_home: what a hook without `env` gets."""
    for i, hook in enumerate(spec.get("hooks", {}).get(kind, ())):
        timeout = hook.get("timeout")
        plan.hook(
            f"{kind} hook #{i}",
            hook["path"],
            opts["hook_state"]("creating" if kind == "createContainer" else "created"),
            timeout=NO_TIMEOUT if timeout is None else timeout * 1000,
            append_home=int(append_home and not hook.get("env")),
            argv=hook.get("args") or [hook["path"]],
            env=hook.get("env") or env,
            origin=f"hooks.{kind}[{i}]",
        )
