"""exec: what the new process is, and the plan that brings it into its container.  Pure.

with_options()   the flags of the command line, put over a process object
inherited()      what the process takes from its container where it says nothing itself
for_exec()       the recipe
"""

from pyrunc import namespaces, process
from pyrunc._core import lib
from pyrunc.errors import Error
from pyrunc.log import quote
from pyrunc.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]

ID_MAX = 0xFFFFFFFF
# Members that a process object takes from the record if it lacks them, and their names there.
SCHEDULING = {
    "scheduler": "scheduler",
    "ioPriority": "io_priority",
    "execCPUAffinity": "exec_cpu_affinity",
}


# --- the process object ---


def with_options(template: "Doc", opts: "Doc", groups: "list[int] | None" = None) -> "Doc":
    """The process object of the bundle, changed by the command line.

    opts: of the verb; --user is in numbers.  groups: of a user who was given by name.
    """
    changed = dict(template)
    changed["args"] = opts["args"][1:]
    if not changed["args"]:
        raise Error("exec args cannot be empty")
    for option, key in (
        ("cwd", "cwd"),
        ("apparmor", "apparmorProfile"),
        ("process_label", "selinuxLabel"),
    ):
        if opts[option]:
            changed[key] = opts[option]
    if opts["env"]:
        changed["env"] = [*template.get("env", ()), *opts["env"]]
    # Always: a container with a terminal does not mean that its execs want one.
    changed["terminal"] = opts["tty"]
    if "no-new-privs" in opts["given"]:
        changed["noNewPrivileges"] = opts["no_new_privs"]
    changed["user"] = _user(template.get("user", {}), opts, groups)
    return changed


def _user(user: "Doc", opts: "Doc", groups: "list[int] | None") -> "Doc":
    """--user UID[:GID] and --additional-gids."""
    user = dict(user)
    if opts["user"]:
        uid, colon, gid = opts["user"].partition(":")
        if colon:
            user["gid"] = _number(gid, "gid")
        user["uid"] = _number(uid, "uid")
    if groups is not None:
        user["additionalGids"] = groups
    for gid in opts["additional_gids"]:
        if gid < 0:
            raise Error(f"additional-gids must be a positive number {gid}")
    if opts["additional_gids"]:
        user["additionalGids"] = [*user.get("additionalGids", ()), *opts["additional_gids"]]
    return user


def _number(text: str, kind: str) -> int:
    """An ID in decimal; else an Error in Go's words.  kind: `uid` or `gid`, for that."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit():
        raise Error(f"bad {kind}: strconv.Atoi: parsing {quote(text)}: invalid syntax")
    number = int(text)
    if not 0 <= number <= ID_MAX:
        raise Error(f"bad {kind}: strconv.Atoi: parsing {quote(text)}: value out of range")
    return number


def inherited(given: "Doc", config: "Doc", caps: "list[str] | tuple[str, ...]" = ()) -> "Doc":
    """The process object, completed from the container's record.

    config: the record's.  caps: capabilities of --cap, to be added.
    """
    whole = dict(given)
    if whole.get("capabilities") is None and config.get("capabilities") is not None:
        stored = config["capabilities"]
        whole["capabilities"] = {kind.lower(): names or [] for kind, names in stored.items()}
    if caps and whole.get("capabilities") is not None:
        whole["capabilities"] = _with_caps(whole["capabilities"], caps)
    if not whole.get("rlimits"):
        whole["rlimits"] = [
            {**limit, "type": process.RLIMIT_NAMES[limit["type"]]}
            for limit in config.get("rlimits") or ()
        ]
    for key, name in SCHEDULING.items():
        if whole.get(key) is None and config.get(name) is not None:
            whole[key] = config[name]
    user = dict(whole.get("user", {}))
    user.pop("umask", None)
    if config.get("umask") is not None:
        user["umask"] = config["umask"]
    whole["user"] = user
    return whole


def _with_caps(sets: "Doc", caps: "list[str] | tuple[str, ...]") -> "Doc":
    """--cap never makes anything inheritable (CVE-2022-29162), so it is ambient only where the
    container had it inheritable: the kernel would refuse any other."""
    grown = {kind: list(names) for kind, names in sets.items()}
    for kind in ("bounding", "effective", "permitted"):
        grown[kind] = [*grown.get(kind, ()), *caps]
    inheritable = grown.get("inheritable", ())
    grown["ambient"] = [*grown.get("ambient", ()), *(cap for cap in caps if cap in inheritable)]
    return grown


def stored_linux(config: "Doc") -> "Doc":
    """The members of `linux` that concern every process, in the words of the spec again."""
    linux: Doc = {}
    for key, name in (("personality", "personality"), ("memoryPolicy", "memory_policy")):
        if config.get(name) is not None:
            linux[key] = config[name]
    cpus = (config.get("cgroups") or {}).get("cpuset_cpus")
    if cpus:
        linux["resources"] = {"cpu": {"cpus": cpus}}
    return linux


def facts_for(given: "Doc") -> "list[str]":
    """The facts of host.py that for_exec() will look at."""
    names = []
    if given.get("capabilities") is not None:
        names.append("last_cap")
    if given.get("selinuxLabel") or given.get("apparmorProfile"):
        names += ["selinux", "apparmor"]
    return names


# --- the plan ---


def for_exec(given: "Doc", config: "Doc", facts: "Doc", opts: "Doc") -> Plan:
    """The plan for the process `given` (see inherited()) in the container with this record.

    config: the record's.  facts: those of facts_for().  opts: as those of for_create() that have
    the names id, rootless, placed, host_limits, nofile, seccomp and fds.
    """
    plan = Plan()
    fds = opts["fds"]

    # -- The first stage: a process of the host's, which the container cannot see.
    if opts.get("placed"):
        plan.sync(lib.SYNC_PLACE)
    # Into the container's own cgroup, or where its init has gone since.
    namespaces.enter(plan, {}, fds, opts, "--cgroup")
    # In the cgroup, before the first thing it could be charged for.
    plan.sync(lib.SYNC_JOINED)
    namespaces.enter_cgroup(plan, {}, fds)

    # -- In the container.  From here every path is the container's.
    has_mounts = ("ns", "mount") in fds
    plan.root("/" if has_mounts else config["rootfs"], 0)
    if not has_mounts:
        plan.chroot()
    if not config.get("no_new_keyring"):
        # The container's, found by its name; who may search it was settled by create.
        process.keyring(plan, given, opts["id"], 0)
    # From the container's devpts; /dev/console is the terminal of its first process.
    if "console" in fds:
        process.console(plan, given, fds["console"], False)
    if "pidfd" in fds:
        plan.pidfd(fds["pidfd"], "setns")
    nnp = bool(given.get("noNewPrivileges"))
    if nnp:
        plan.nnp()
    process.umask(plan, given)
    process.scheduling(plan, given, stored_linux(config))

    # -- Giving up rights, from here on one-way.
    env, needs_home = process.become(plan, given, facts, opts)
    process.apparmor(plan, given)
    process.lookup(plan, given["args"], env)

    # -- Nothing of the host's is held any more.
    plan.sync(lib.SYNC_READY)
    # As late as can be, so that the profile need not allow what the steps above call.
    if nnp and opts.get("seccomp"):
        plan.seccomp(*opts["seccomp"])
    plan.exec(int(needs_home), given["args"], env)
    return plan
