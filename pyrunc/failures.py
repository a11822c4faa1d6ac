"""What init reported, in runc's words.  Pure: init states op, step and errno; here is the sentence.

Imported after a failure or a warning only.
"""

from pyrunc import listing, mounts, namespaces, process, signals
from pyrunc._core import lib
from pyrunc.errors import strerror
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan import Plan

    Args = tuple[Any, ...]

EPERM = 1
EINVAL = 22
EISDIR = 21
ENOSYS = 38

# Steps whose sentence says only what was tried, before `: errno`.  {0}, {1}: the op's arguments.
LEADS = {
    lib.STEP_PLAN: "malformed plan",
    lib.STEP_PROTOCOL: "unable to talk to init",
    lib.STEP_CGROUP: "unable to apply cgroup configuration",
    lib.STEP_SETSID: "setsid",
    lib.STEP_PROCFS: "unable to open a procfs",
    lib.STEP_DUMPABLE: "prctl(SET_DUMPABLE)",
    lib.STEP_KEYRING_JOIN: "unable to join session keyring: unable to create session key",
    lib.STEP_KEYRING_PERM: "unable to mod keyring permissions",
    lib.STEP_LOOPBACK: "unable to setup interface lo",
    lib.STEP_HOSTNAME: "sethostname",
    lib.STEP_DOMAINNAME: "setdomainname",
    lib.STEP_PROPAGATE: "error preparing rootfs: remount-root",
    lib.STEP_ROOT_PRIVATE: "error preparing rootfs: remount-private",
    lib.STEP_PIVOT: "error jailing process inside rootfs: pivot_root .",
    lib.STEP_MOVE: "error jailing process inside rootfs: move_mount .",
    lib.STEP_CHROOT: "error jailing process inside rootfs: chroot .",
    lib.STEP_PTMX: "open /dev/pts/ptmx",
    lib.STEP_PTS: "unable to open the other end of /dev/pts/ptmx",
    lib.STEP_WINSIZE: "unable to set the console's size",
    lib.STEP_CONSOLE_BIND: "unable to mount the console on /dev/console",
    lib.STEP_CONSOLE_SEND: "unable to send the console's master",
    lib.STEP_CTTY: "unable to make the console the controlling terminal",
    lib.STEP_PIDFD: "unable to send the pidfd",
    lib.STEP_SCHEDULER: "error setting scheduler",
    lib.STEP_IOPRIO: "failed to set io priority",
    lib.STEP_PERSONALITY: "failed to set personality",
    lib.STEP_MEMPOLICY: "failed to set memory policy",
    lib.STEP_NNP: "prctl(SET_NO_NEW_PRIVS)",
    lib.STEP_SECCOMP: "unable to init seccomp: error loading seccomp filter into kernel",
    lib.STEP_KEEPCAPS: "unable to set keep caps",
    lib.STEP_STDIO_OWNER: "unable to fix stdio permissions",
    lib.STEP_SETGROUPS: "setgroups",
    lib.STEP_CAPSET: "unable to apply caps",
    lib.STEP_HOME: "unable to look up HOME",
    lib.STEP_AWAIT: "unable to wait for start",
    lib.STEP_SYSCTL_OPEN: "open /proc/sys/{0}",
    lib.STEP_SYSCTL_WRITE: "write /proc/sys/{0}",
    lib.STEP_HIDE: "error jailing process inside rootfs: unmount {0}",
    lib.STEP_MASK: "can't mask path {0}",
    lib.STEP_READONLY: "can't make {0} read-only",
    # Only after a mount of this kind.
    lib.STEP_RELABEL: 'error mounting "mqueue" to rootfs at "{0}": setxattr(label={1}) {0}',
    lib.STEP_REMOUNT: "can't remount {0} read-only",
    lib.STEP_MKDIR: "mkdir {0}",
    lib.STEP_TARGET: "mkdir {0}",
    lib.STEP_MOUNT: "open_tree {0}",  # of a source
}


def word(  # noqa: PLR0917 - the members of init's message, in their order
    plan: "Plan", op_index: int, step: int, err: int, value: int, text: "bytes | str"
) -> str:
    """The sentence for a failure of init: what runc prints after `error during container init: `.

    op_index: into plan.ops.  step: STEP_*.  err: errno.  value, text: as plan.h says for the step.
    """
    name: str
    args: "Args"
    name, args, origin = plan.ops[op_index] if op_index < len(plan.ops) else ("", (), "")
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    why = strerror(err)
    if name in ("mount", "bind") and step not in (lib.STEP_PLAN, lib.STEP_PROTOCOL):
        rootfs = next((op[1][0] for op in plan.ops if op[0] == "root"), "")
        what = mount(args, step, why, value, rootfs)
        return f"error mounting {quote(args[0])} to rootfs at {quote(args[1])}: {what}"
    if name == "unmount":
        return f"error unmounting {quote(args[0])}: {unmount(step, err, text)}"
    if name == "device":
        return f"error creating device nodes: {device(args, step, why)}"
    if step == lib.STEP_RLIMIT:
        return f"error setting rlimits for ready process: error setting rlimit type {value}: {why}"
    if name == "hook":
        return f"error running {args[0]}: {hook(args, step, why, value, text)}"
    if step == lib.STEP_SCHEDULER and err == EPERM and origin.startswith("linux.resources"):
        return "process scheduler can't be used together with AllowedCPUs"
    if name == "symlink":
        lead = "error setting up ptmx: " if args[1] == "/dev/ptmx" else ""
        return lead + symlink(args, step, why)
    if step == lib.STEP_CHDIR:
        return f"chdir to cwd ({quote(args[0])}) set in config.json failed: {why}"
    if step in LEADS:
        return f"{LEADS[step].format(*args)}: {why}"
    if lib.STEP_LOOKUP_NONE <= step <= lib.STEP_LOOKUP_RELATIVE:
        return lookup(args, step, why, text)
    if step == lib.STEP_EXEC:
        return f"exec {text or args[2]}: {why}"
    if step == lib.STEP_NULL:
        what = "can't mask paths: " if name == "mask" else ""
        return f"{what}container's /dev/null is invalid: {why}"
    return other(args, step, err, value) or f"{origin or name} (step {step}): {why}"


def mount(args: "Args", step: int, why: str, value: int, rootfs: str) -> str:
    """Which step of a mount or a bind failed, and why."""
    source, target = args[:2]
    is_bind = isinstance(args[2], int)
    host_path = (rootfs.rstrip("/") + target).rstrip("/") or "/"
    if step == lib.STEP_SOURCE:
        return f"stat {source}: {why}"
    must_be_plain = not is_bind and args[5] & lib.MOUNT_ORDINARY
    if step == lib.STEP_TARGET or step == lib.STEP_TARGET_TYPE and not must_be_plain:
        return f'make mountpoint "{target}": {why}'
    if step == lib.STEP_TARGET_ROOT:
        return f'mountpoint "{host_path}" is on the top of rootfs "{rootfs}"'
    if step == lib.STEP_TARGET_PROC:
        return f'"{host_path}" cannot be mounted because it is inside /proc'
    if step == lib.STEP_TARGET_TYPE:
        return f'filesystem "{args[2]}" must be mounted on ordinary directory'
    if step == lib.STEP_MOVED:
        return f'mountpoint "{host_path}" was moved while re-opening'
    if step == lib.STEP_FLAGS:
        return f"failed to set user-requested vfs flags on bind-mount: {flags(args, why, value)}"
    if step == lib.STEP_RECURSIVE:
        why += lacking(why, "mount_setattr", "5.12")
        return f"failed to set user-requested recursive attributes on bind-mount: {why}"
    if step == lib.STEP_MOUNT_PROPAGATION:
        return f"failed to set mount propagation of {target}: {why}"
    if step == lib.STEP_COPY_UP:
        return f"tmpcopyup: failed to copy {target} to the tmpfs: {why}"
    if step == lib.STEP_IDMAP:
        what = source if is_bind else target
        return f"failed to set MOUNT_ATTR_IDMAP on {what}: {idmap(why, value)}"
    # A bind made anew has no flags but these two yet, and no data.
    bits = args[2] & (mounts.MS_BIND | mounts.MS_REC) if is_bind else args[4]
    data = "" if is_bind else args[3]
    sentence = f"mount src={source}, dst={target}"
    if value:
        sentence += f", dstFd=/proc/thread-self/fd/{value}"
    if bits:
        sentence += f", flags={listing.ms_text(bits)}"
    if data:
        sentence += f", data={data}"
    return f"{sentence}: {why}"


def unmount(step: int, err: int, text: str) -> str:
    """Why something is still mounted."""
    if step == lib.STEP_LED:
        return f'a symbolic link leads to "{text}"'
    return "it is not a mountpoint" if err == EINVAL else strerror(err)


# linux/magic.h, and what is in no header for others
FILE_SYSTEMS = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x01021994: "tmpfs",
    0x1CD1: "devpts",
    0x19800202: "mqueue",
    0x63677270: "cgroup2",
    0x27E0EB: "cgroup",
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x794C7630: "overlay",
    0x6969: "nfs",
    0x65735546: "fuse",
    0x01021997: "9p",
    0xFE534D42: "smb2",
    0x2FC12FC1: "zfs",
    0x4D44: "vfat",
    0x73717368: "squashfs",
    0xE0F5E1E2: "erofs",
    0x858458F6: "ramfs",
}


def lacking(why: str, call: str, version: str) -> str:
    """What to add to an errno that means: this kernel has no such system call."""
    return f" (needs {call}(2) of Linux {version})" if why == strerror(ENOSYS) else ""


def idmap(why: str, magic: int) -> str:
    """Why a mount was not ID-mapped.  magic: f_type of its file system."""
    name = FILE_SYSTEMS.get(magic, f"type {magic:#x}")
    if why == strerror(EINVAL):
        why += " (maybe the filesystem used doesn't support idmap mounts on this kernel?)"
    why += lacking(why, "mount_setattr", "5.12")
    return f"file system {name}: {why}"


def flags(args: "Args", why: str, value: int) -> str:
    """Which flags of a bind's source a user namespace may not change.

    value: these flags (MS_*), or the atime mode in its upper 32 bits.
    """
    if value >> 32:
        wanted = args[2] & ATIME_FLAGS if isinstance(args[2], int) else args[4] & ATIME_FLAGS
        return (
            f"cannot change locked atime flags {listing.ms_text(value >> 32)} to "
            f"{listing.ms_text(wanted)}: {why}"
        )
    if value:
        return f"cannot clear locked flags {listing.ms_text(value)}: {why}"
    return why


ATIME_FLAGS = mounts.MS_NOATIME | mounts.MS_NODIRATIME | mounts.MS_RELATIME | mounts.MS_STRICTATIME


def device(args: "Args", step: int, why: str) -> str:
    """Which step of making a device node failed, and why."""
    path = args[0]
    if step == lib.STEP_DEVICE_VERIFY:
        return f"mknod {path}: something else is there"
    if step == lib.STEP_DEVICE_CHMOD:
        return f"chmod {path}: {why}"
    if step == lib.STEP_DEVICE_CHOWN:
        return f"chown {path}: {why}"
    if step == lib.STEP_DEVICE_BIND:
        return f"bind {path}: {why}"
    if step in (lib.STEP_MKDIR, lib.STEP_TARGET):
        return f"mkdir {path.rpartition('/')[0] or '/'}: {why}"
    return f"mknod {path}: {why}"


def hook(args: "Args", step: int, why: str, value: int, text: str) -> str:
    """How a hook failed; its output is part of the sentence."""
    if step == lib.STEP_HOOK_TIMEOUT:
        return f"hook ran past specified timeout of {args[4] / 1000:.1f}s"
    if step == lib.STEP_HOOK_EXIT:
        stdout, _, stderr = text.partition("\0")
        return f"{signals.describe_status(value)}, stdout: {stdout}, stderr: {stderr}"
    return f"fork/exec {text or args[1]}: {why}"


def symlink(args: "Args", step: int, why: str) -> str:
    """Which step of making a symbolic link failed, and why."""
    content, path, _ = args
    if step == lib.STEP_SYMLINK:
        return f"symlink {content} {path}: {why}"
    if step == lib.STEP_UNLINK:
        return f"remove {path}: {why}"
    return f"mkdir {path.rpartition('/')[0] or '/'}: {why}"


def label(args: "Args", why: str) -> str:
    """An attribute file that did not take the label."""
    value, *files = args
    path = f"/proc/thread-self/attr/{files[0]}"
    if files[0].startswith("apparmor/"):
        return (
            "unable to apply apparmor profile: apparmor failed to apply profile: "
            f"write {path}: {why}"
        )
    if files[0] == "keycreate":
        return f'unable to set the SELinux key label "{value}": write {path}: {why}'
    return f"can't set process label: write {path}: {why}"


def lookup(args: "Args", step: int, why: str, text: str) -> str:
    """Why there is no program to execute."""
    name = text or args[0]
    lead = f"exec: {quote(args[0])}"
    if step == lib.STEP_LOOKUP_NONE:
        return f"{lead}: executable file not found in $PATH"
    if step == lib.STEP_LOOKUP_STAT:
        return f"{lead}: stat {name}: {why}"
    if step == lib.STEP_LOOKUP_RELATIVE:
        return f"{lead}: cannot run executable found relative to current directory"
    if why == strerror(EISDIR):
        # runc since 1.2 says no more than this.  Engines look for what older ones said, to exit
        # with 126: Docker before 25, and Podman for an exec.
        why += ": permission denied"
    return f"{lead}: {why}"


def other(args: "Args", step: int, err: int, value: int) -> str:
    """The steps that can happen in several ops.  "": there are no words for this one."""
    why = strerror(err)
    if step == lib.STEP_LABEL:
        return label(args, why)
    if step == lib.STEP_SETNS:
        return f"failed to setns into {kinds(args[1])} namespace: {why}"
    if step == lib.STEP_UNSHARE:
        return f"failed to unshare {kinds(args[0])} namespace: {why}"
    if step == lib.STEP_CLONE:
        what = f" with new namespaces ({kinds(args[0])})" if args[0] else ""
        return f"failed to clone{what}: {why}"
    if step in (lib.STEP_ROOT_BIND, lib.STEP_ROOT_OPEN):
        verb = "bind" if step == lib.STEP_ROOT_BIND else "open"
        path = args[0] if args else "/"  # the new root, once it was entered
        return f"error preparing rootfs: {verb} {path}: {why}"
    if step == lib.STEP_IDMAP:  # of a source; a mount has its own words
        return f"failed to set MOUNT_ATTR_IDMAP on {args[0]}: {idmap(why, value)}"
    if step == lib.STEP_CWD_OUTSIDE:
        return (
            "current working directory is outside of container mount namespace root "
            "-- possible container breakout detected"
        )
    if step == lib.STEP_BOUNDING:
        return f"unable to apply bounding set: can't drop {capability(value)}: {why}"
    if step in (lib.STEP_SETUID, lib.STEP_SETGID):
        call, kind = ("setuid", "uid") if step == lib.STEP_SETUID else ("setgid", "gid")
        if err == EINVAL:
            return f"cannot {call} to unmapped {kind} {value} in user namespace"
        return f"{call}: {why}"
    if step == lib.STEP_ORPHAN:
        return "pyrunc ended before the container was ready"
    return ""


def warning(step: int, err: int, value: int) -> str:
    """What init only warned of."""
    why = strerror(err)
    if step == lib.STEP_AMBIENT:
        return f"can't raise ambient {capabilities(value)}: {why}"
    if step == lib.STEP_CAPSET:
        return f"unable to grant {capabilities(value)}: {why}"
    if step == lib.STEP_KEYRING_JOIN:
        return f"KeyctlJoinSessionKeyring: {why}"
    return f"init: step {step}: {why}"


def capability(number: int) -> str:
    """`CAP_CHOWN`."""
    known = number < len(process.CAPABILITIES)
    return process.CAPABILITIES[number] if known else f"CAP_{number}"


def capabilities(mask: int) -> str:
    """`capability CAP_CHOWN`, or `capabilities [CAP_CHOWN CAP_KILL]`."""
    names = [capability(number) for number in range(64) if mask >> number & 1]
    return f"capability {names[0]}" if len(names) == 1 else f"capabilities [{' '.join(names)}]"


def kinds(flags: int) -> str:
    """`network, pid`."""
    return ", ".join(kind for kind, flag in namespaces.FLAGS.items() if flags & flag)
