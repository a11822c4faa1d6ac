"""create: the plan that makes a container from a spec.  Pure: no open, no syscall, no environment.

for_create()   the recipe: the order in which a container is made
facts_for()    what it needs to know about the host
"""

from pyrunc import mounts, namespaces, process, rootfs
from pyrunc._core import lib
from pyrunc.plan import Plan, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]

NO_TIMEOUT = 0xFFFFFFFFFFFFFFFF
# linux/keyctl.h: who may search the container's session keyring: its user or, if users are mapped,
# every user in it.
KEY_OTH_SEARCH = 0x8
KEY_USR_SEARCH = 0x80000


def facts_for(spec: "Doc", no_pivot: bool) -> "list[str]":
    """The facts of host.py that for_create() will look at: most containers need few."""
    process = spec["process"]
    names = ["kcore"]
    if "capabilities" in process:
        names.append("last_cap")
    label = process.get("selinuxLabel") or spec.get("linux", {}).get("mountLabel")
    if label or process.get("apparmorProfile"):
        names += ["selinux", "apparmor"]
    for mount in spec.get("mounts", ()):
        if mount.get("type") == "cgroup":
            names += ["cgroup_mode", "cgroup_mounts"]
        elif clean(mount["destination"]) == "/proc" and mount.get("type") != "proc":
            names.append("procfs")
    if no_pivot:
        names.append("proc_mounts")
    return names


def for_create(spec: "Doc", facts: "Doc", opts: "Doc") -> Plan:
    """The plan that makes a container from `spec` on the host that `facts` describe.

    facts: those of facts_for(), device_nodes, cgroup_paths, and same_namespaces: the types of those
    joined namespaces that are the host's.  opts:

        id, bundle, rootfs            rootfs is absolute
        no_pivot, no_new_keyring      the flags of the command line
        rootless                      pyrunc has no privileges
        placed                        the host puts init into its cgroups
        host_limits                   the host sets the resource limits
        nofile                        see process.rlimits()
        seccomp                       (program, flags) or None
        hook_state(status)            the state document for hooks, before and after its pid
        fds                           indices of descriptors: "fifo"; ("ns", type); "tasks" and
                                      "cgroups" (lists); ("idmap", number of the mount); "console"
                                      and "pidfd" (sockets)
    """
    plan = Plan()
    linux = spec.get("linux", {})
    own = namespaces.listed(linux)
    user = spec["process"]
    fds = opts["fds"]
    has_mounts = "mount" in own
    entries = mounts.decode(plan, spec, facts, opts)
    # Whether /dev is ours to fill: not if it is a bind of another one, or the host's own.
    own_dev = not mounts.dev_is_bound(entries) and (has_mounts or opts["rootfs"] != "/")

    # -- The first stage: a process of the host's, which the container cannot see.
    # systemd makes a unit only with a process in it: with this one.
    if opts.get("placed"):
        plan.sync(lib.SYNC_PLACE)
    namespaces.enter(plan, linux, fds, opts, "linux.namespaces")
    # After entering the cgroup, because that is the root of a new cgroup namespace.
    namespaces.enter_cgroup(plan, linux, fds)

    # -- What mounts may depend on: sysfs and /proc/net show the network namespace.
    if not opts.get("no_new_keyring"):
        search = KEY_OTH_SEARCH if "user" in own else KEY_USR_SEARCH
        process.keyring(plan, user, opts["id"], search)
    namespaces.loopback(plan, linux)

    # -- The root filesystem, at its host path: sources must still be reachable.
    if has_mounts:
        # First, so that no mount below propagates to the host.
        plan.propagate(rootfs.propagation(linux, bool(opts.get("no_pivot"))))
    plan.root(opts["rootfs"], int(has_mounts))
    mounts.mount(plan, entries, linux, facts, fds)
    # After the mounts, on the /dev that is one of them.
    if own_dev:
        rootfs.devices(plan, linux, facts)
        rootfs.links(plan, facts)
    # Limits, prestart and createRuntime hooks: the tree is complete, but not "/" yet.
    plan.sync(lib.SYNC_MOUNTED)
    # These hooks run in the container's namespaces and use the host's paths: now both are there.
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
        # On the new "/": before the pivot, "/" was the host's tree.
        rootfs.propagate_root(plan, linux, bound=False)
    # Before anything reads or writes stdio, and while /dev is as the mounts left it.
    if own_dev:
        plan.nullio()
    # While "/" is still writable.
    process.make_cwd(plan, user)
    # From the container's devpts.  Without a mount namespace /dev/console would be the host's.
    if user.get("terminal"):
        process.console(plan, user, fds["console"], has_mounts)
    if "pidfd" in fds:
        plan.pidfd(fds["pidfd"], "standard")
    if has_mounts:
        # The last writes to the tree are done.
        mounts.remount(plan, entries)
    rootfs.readonly_root(plan, spec["root"], has_mounts)
    process.umask(plan, user)

    # -- What needs privileges, but no mount.
    # "" means none; without a uts namespace it would be the host's name that becomes empty.
    if spec.get("hostname"):
        plan.hostname(spec["hostname"])
    if spec.get("domainname"):
        plan.domainname(spec["domainname"])
    # Before /proc/sys turns read-only.  AppArmor's file may be on a masked path, too.
    process.apparmor(plan, user)
    process.sysctls(plan, linux, own, facts)
    rootfs.readonly_paths(plan, linux)
    rootfs.masked_paths(plan, linux)
    if has_mounts:
        rootfs.propagate_root(plan, linux, bound=True)

    # -- Giving up rights, from here on one-way.
    nnp = bool(user.get("noNewPrivileges"))
    if nnp:
        plan.nnp()
    process.scheduling(plan, user, linux)
    env, needs_home = process.become(plan, user, facts, opts)
    # As the user and in the cwd; thus a missing program is an error of create, not of start.
    process.lookup(plan, user["args"], env)

    # -- The container is created.
    # Without root, exec has to look into it.  It holds nothing of the host's any more.
    if opts.get("rootless"):
        plan.dumpable(1)
    # The host writes the record.
    plan.sync(lib.SYNC_READY)
    # As late as possible, so that the profile need not allow the calls of the steps above.
    if nnp and opts.get("seccomp"):
        plan.seccomp(*opts["seccomp"])
    plan.await_(fds["fifo"])
    hooks(plan, spec, "startContainer", env, opts, needs_home)
    plan.exec(int(needs_home), user["args"], env)
    return plan


def hooks(
    plan: Plan, spec: "Doc", kind: str, env: "list[str]", opts: "Doc", append_home: bool = False
) -> None:
    """The hooks that init runs.  env, append_home: the environment of a hook without `env`."""
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
