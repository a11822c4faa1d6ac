"""`features`: what this runtime can do, as the features document of the runtime-spec.

The values describe the program, not the host; only the seccomp flags ask the kernel.
"""

import sys

from pyrunc import __version__
from pyrunc.commands import RUNC_VERSION, SPEC_VERSION, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command("features", "show the enabled features", args="", nargs=(0, 0))

HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
MOUNT_OPTIONS = (
    # Set and cleared flags.
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev "
    "nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow "
    "rbind relatime remount ro rw silent strictatime suid symfollow sync "
    # Propagation.
    "private rprivate rshared rslave runbindable shared slave unbindable "
    # Recursive attributes.
    "ratime rdev rdiratime rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime "
    "rnosuid rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow "
    # Our own doing.
    "tmpcopyup idmap ridmap"
).split()
NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
SECCOMP_ACTIONS = "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP".split()
SECCOMP_OPERATORS = "EQ GE GT LE LT MASKED_EQ NE".split()
SECCOMP_ARCHS = (
    "AARCH64 ARM LOONGARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE "
    "RISCV64 S390 S390X X32 X86 X86_64"
).split()
SECCOMP_FLAGS = "TSYNC SPEC_ALLOW LOG WAIT_KILLABLE_RECV".split()
MEMORY_MODES = (
    "MPOL_BIND MPOL_DEFAULT MPOL_INTERLEAVE MPOL_LOCAL MPOL_PREFERRED MPOL_PREFERRED_MANY "
    "MPOL_WEIGHTED_INTERLEAVE"
).split()
MEMORY_FLAGS = "MPOL_F_NUMA_BALANCING MPOL_F_RELATIVE_NODES MPOL_F_STATIC_NODES".split()
# Annotations that change what happens on the host.
UNSAFE_ANNOTATIONS = ("bundle", "org.systemd.property.", "org.criu.config")


def run(opts: "dict[str, Any]") -> None:
    """Print the document."""
    from pyrunc import files

    files.show(f"{_pretty(document())}\n".encode())


def document() -> "dict[str, Any]":
    """The features, in the order the specification lists them."""
    from pyrunc import __version__

    libseccomp = libseccomp_version()
    annotations = {
        "io.github.seccomp.libseccomp.version": libseccomp,
        "org.opencontainers.runc.checkpoint.enabled": "true",
        "org.opencontainers.runc.commit": f"pyrunc-{__version__}",
        "org.opencontainers.runc.version": RUNC_VERSION,
    }
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(MOUNT_OPTIONS),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": [f"CAP_{name}" for name in CAPABILITIES],
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": True,
                "rdma": True,
            },
            "seccomp": _seccomp() if libseccomp else {"enabled": False},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {key: value for key, value in annotations.items() if value},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def version_lines() -> "list[str]":
    """What --version prints.  Engines parse the first three lines by their prefixes."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    lines = [
        f"runc version {RUNC_VERSION}",
        f"commit: pyrunc-{__version__}",
        f"spec: {SPEC_VERSION}",
        f"python: {python}",
    ]
    seccomp = libseccomp_version()
    return [*lines, f"libseccomp: {seccomp}"] if seccomp else lines


def libseccomp_version() -> str:
    """The version of the libseccomp that would compile a filter; empty when pyrunc lacks it."""
    try:
        from pyrunc._seccomp import lib
    except ImportError:
        return ""
    version = lib.seccomp_version()
    return f"{version.major}.{version.minor}.{version.micro}"


def _seccomp() -> "dict[str, Any]":
    from pyrunc.seccomp import supported_flags

    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in SECCOMP_FLAGS]
    supported = supported_flags()
    return {
        "enabled": True,
        "actions": [f"SCMP_ACT_{name}" for name in SECCOMP_ACTIONS],
        "operators": [f"SCMP_CMP_{name}" for name in SECCOMP_OPERATORS],
        "archs": [f"SCMP_ARCH_{name}" for name in SECCOMP_ARCHS],
        "knownFlags": flags,
        "supportedFlags": [flag for flag in flags if flag in supported],
    }


def _pretty(value: "Any", indent: str = "") -> str:
    """value as JSON, four spaces a level; the json module would cost more than all the rest."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'  # Nothing in the document needs an escape.
    deeper = indent + "    "
    if isinstance(value, dict):
        items = [f'"{key}": {_pretty(item, deeper)}' for key, item in value.items()]
        left, right = "{", "}"
    else:
        items = [_pretty(item, deeper) for item in value]
        left, right = "[", "]"
    if not items:
        return left + right
    lines = ",\n".join(deeper + item for item in items)
    return f"{left}\n{lines}\n{indent}{right}"
