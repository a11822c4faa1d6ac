"""process and linux.sysctl -> ops, and the resource limits the host sets.  Pure.

Implements the runtime-spec's config.md, "Process", and config-linux.md, "Sysctl".
"""

from pyrunc.errors import INIT_FAILED, Error
from pyrunc.plan import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

    Doc = dict[str, Any]

# linux/capability.h: a capability's number is its place here.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

# asm-generic/resource.h
RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}

RLIMIT_NAMES = {number: name for name, number in RLIMITS.items()}

# Of kernel.*, the parameters of which each ipc namespace has its own.
IPC_SYSCTLS = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
)

DEFAULT_UMASK = 0o022


def rlimits(
    process: "Doc", nofile: "tuple[int, int] | None" = None
) -> "list[tuple[int, int, int, str]]":
    """The resource limits as (number, soft, hard, origin).

    nofile: (soft, hard) of the caller, if pyrunc has raised its own: restored unless configured.
    """
    seen = set()
    result = []
    for index, entry in enumerate(process.get("rlimits", ())):
        kind = entry["type"]
        number = RLIMITS.get(kind)
        if number is None:
            raise Error(f"wrong rlimit value: {kind}")
        if number in seen:
            raise Error(f"duplicated rlimit: {kind}")
        seen.add(number)
        origin = f"process.rlimits[{index}]"
        result.append((number, entry.get("soft", 0), entry.get("hard", 0), origin))
    number = RLIMITS["RLIMIT_NOFILE"]
    if nofile and number not in seen:
        result.append((number, *nofile, ""))
    return result


def keyring(plan: "Plan", process: "Doc", id: str, permissions: int) -> None:
    """A session keyring of the container's own; with SELinux it carries the process's label."""
    label = process.get("selinuxLabel", "")
    if label:
        plan.label(label, "keycreate", origin="process.selinuxLabel")
    plan.keyring(f"_ses.{id}", permissions)
    if label:
        plan.label("", "keycreate", origin="process.selinuxLabel")


def make_cwd(plan: "Plan", process: "Doc") -> None:
    """Make the working directory, owned by root, if the image does not have it."""
    cwd = clean(process["cwd"])
    if cwd != "/":
        plan.mkdir(cwd, 0o755, "process.cwd")


def console(plan: "Plan", process: "Doc", socket: int, bind: bool) -> None:
    """The terminal of the process, with its size if both numbers of that are known."""
    size = process.get("consoleSize", {})
    plan.console(socket, (size.get("height", 0), size.get("width", 0)), int(bind))


def umask(plan: "Plan", process: "Doc") -> None:
    """The configured umask, or the usual one; never the caller's."""
    mask = process.get("user", {}).get("umask", DEFAULT_UMASK)
    plan.umask(mask & 0o777, "process.user.umask")


def apparmor(plan: "Plan", process: "Doc") -> None:
    """The profile for the next exec.  Kernels before 5.8 have no directory of AppArmor's own."""
    profile = process.get("apparmorProfile", "")
    if profile:
        origin = "process.apparmorProfile"
        plan.label(f"exec {profile}", "apparmor/exec", "exec", origin=origin)


def selinux(plan: "Plan", process: "Doc") -> None:
    """The label for the next exec."""
    label = process.get("selinuxLabel", "")
    if label:
        plan.label(label, "exec", origin="process.selinuxLabel")


def capabilities(plan: "Plan", process: "Doc", last_cap: int) -> "tuple[int, ...] | None":
    """Masks (bounding, effective, permitted, inheritable, ambient); None: leave all as it is.

    One warning names all that this kernel does not have.
    """
    sets = process.get("capabilities")
    if sets is None:
        return None
    unknown: set[str] = set()
    masks = []
    for kind in SETS:
        mask = 0
        for name in sets.get(kind, ()):
            number = CAPABILITIES.index(name) if name in CAPABILITIES else 64
            if number > last_cap:
                unknown.add(name)
            else:
                mask |= 1 << number
        masks.append(mask)
    if unknown:
        names = " ".join(sorted(unknown))
        plan.warnings.append(f"ignoring unknown or unavailable capabilities: [{names}]")
    # The kernel would refuse them, and with them all others: config.md wants a warning.
    for kind, which, limit in (("effective", 1, 2), ("inheritable", 3, 0)):
        lost = masks[which] & ~masks[limit]
        if lost:
            masks[which] &= ~lost
            names = " ".join(name for i, name in enumerate(CAPABILITIES) if lost >> i & 1)
            text = f"ignoring {kind} capabilities that are not {SETS[limit]}: [{names}]"
            plan.warnings.append(text)
    return tuple(masks)


def environment(env: "list[str] | None") -> "tuple[list[str], bool]":
    """The environment of the program, and whether init has to append HOME.

    Of several values of a name the last one stays, in its place.  An empty HOME counts as none.
    """
    if env is None:
        return [], False
    seen = set()
    result = []
    needs_home = True
    for item in reversed(env):
        name, equals, value = item.partition("=")
        if not equals:
            raise Error(f"{INIT_FAILED}invalid environment variable: missing '='")
        if not name:
            raise Error(f"{INIT_FAILED}invalid environment variable: name cannot be empty")
        if name in seen:
            continue
        seen.add(name)
        if "\0" in item:
            raise Error(
                f'{INIT_FAILED}invalid environment variable "{name}": contains nul byte (\\x00)'
            )
        if name == "HOME":
            if not value:
                continue
            needs_home = False
        result.append(item)
    result.reverse()
    return result, needs_home


def scheduling(plan: "Plan", process: "Doc", linux: "Doc") -> None:
    """Scheduler, I/O priority, personality and memory policy, which few configurations have."""
    if (process.keys() & {"scheduler", "ioPriority", "execCPUAffinity"}) or (
        linux.keys() & {"personality", "memoryPolicy"}
    ):
        from pyrunc import scheduling as few

        few.affinity(process)  # only exec has a use for it, but create refuses a bad one
        few.apply(plan, process, linux)


def affinity(process: "Doc") -> "tuple[set[int], set[int]]":
    """(initial, final) CPUs of execCPUAffinity; empty: not configured."""
    if process.get("execCPUAffinity") is None:
        return set(), set()
    from pyrunc import scheduling as few

    return few.affinity(process)


def user(plan: "Plan", identity: "Doc", rootless: bool) -> None:
    """Become process.user.  Without groups setgroups is called, too: the caller's must not stay."""
    groups = identity.get("additionalGids", ())
    if groups and rootless:
        raise Error("cannot set any additional groups in a rootless container")
    plan.user(identity.get("uid", 0), identity.get("gid", 0), int(not rootless), groups)


def become(plan: "Plan", process: "Doc", facts: "Doc", opts: "Doc") -> "tuple[list[str], bool]":
    """From root with all rights to the user and the rights of the process; the order matters.

    opts: seccomp, rootless, nofile and host_limits, as for plan_create.for_create().
    Returns what environment() does, for lookup() and exec.
    """
    selinux(plan, process)
    env, needs_home = environment(process.get("env"))
    identity = process.get("user", {})
    if needs_home:
        plan.home(identity.get("uid", 0))
    # After the last op that opens something: RLIMIT_NOFILE may leave room for nothing more.
    # In a user namespace nobody may raise a hard one.
    limits = rlimits(process, opts.get("nofile"))
    if not opts.get("host_limits"):
        for limit in limits:
            plan.rlimit(*limit)
    # Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before the user changes.
    if opts.get("seccomp") and not process.get("noNewPrivileges"):
        plan.seccomp(*opts["seccomp"])
    # Root may enter directories its user may not (0700 of another's) and the other way round
    # (root-squashing filesystems): tried before and after the change of user.
    cwd = clean(process["cwd"])
    plan.chdir(cwd, 1)
    # The bounding set can only shrink while CAP_SETPCAP is effective.
    masks = capabilities(plan, process, facts.get("last_cap", 0))
    if masks:
        plan.bounding(masks[0])
    user(plan, identity, bool(opts.get("rootless")))
    plan.chdir(cwd, 0)
    if masks:
        plan.caps(*masks[1:])
    return env, needs_home


def lookup(plan: "Plan", args: "list[str]", env: "list[str]") -> None:
    """Have init look for args[0] in the PATH of env."""
    for item in env:
        if item.startswith("PATH="):
            plan.lookup(args[0], 1, item[5:])
            return
    plan.lookup(args[0], 0, "")


def sysctls(plan: "Plan", linux: "Doc", own: "dict[str, str]", facts: "Doc") -> None:
    """linux.sysctl; a parameter that would change the host is an Error.

    own: as namespaces.listed() returns it.
    """
    for key, value in linux.get("sysctl", {}).items():
        path = sysctl_path(key)
        check_sysctl(key, path.replace(".", "\0").replace("/", ".").replace("\0", "/"), own, facts)
        plan.sysctl(path, value, f'linux.sysctl["{key}"]')


def sysctl_path(key: str) -> str:
    """The file below /proc/sys.  As in sysctl(8) the first separator decides: after a dot, dots
    separate and a slash stands for a dot in a name; after a slash it is the path itself."""
    dot = key.find(".")
    slash = key.find("/")
    if slash < 0 or 0 <= dot < slash:
        key = key.replace("/", "\0").replace(".", "/").replace("\0", ".")
    return key


def check_sysctl(key: str, name: str, own: "dict[str, str]", facts: "Doc") -> None:
    """Refuse a parameter that would change the host.  name: the key with dots as separators."""
    if name in IPC_SYSCTLS or name.startswith("fs.mqueue."):
        if "ipc" not in own:
            raise Error(f'sysctl "{key}" is not allowed in the hosts ipc namespace')
    elif name.startswith("net."):
        if "network" not in own or "network" in facts.get("same_namespaces", ()):
            raise Error(f'sysctl "{key}" not allowed in host network namespace')
    elif "uts" in own and name == "kernel.hostname":
        raise Error(f'sysctl "{key}" is not allowed as it conflicts with the OCI "hostname" field')
    elif "uts" not in own or name != "kernel.domainname":
        if not name.startswith("user."):
            raise Error(f'sysctl "{key}" is not in a separate kernel namespace')
        if "user" not in own:
            raise Error(f"setting ucounts without a user namespace not allowed: {key}")
    for part in name.split("."):
        # A slash in a name is a dot of the file's name: `..` must not walk out of the namespace.
        if part.replace("/", ".") in ("", ".", ".."):
            raise Error(f'sysctl "{key}" is not in a separate kernel namespace')
