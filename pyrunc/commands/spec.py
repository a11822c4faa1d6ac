"""`spec`: write a config.json to start from.  Writes one file in the bundle directory."""

import os

from pyrunc.commands import BUNDLE, SPEC_VERSION, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "config.json"

COMMAND = Command(
    "spec",
    "create a new specification file",
    args="",
    nargs=(0, 0),
    options=(
        BUNDLE,
        Option(
            "file",
            "f",
            kind="str",
            default=FILE,
            metavar="FILE",
            help="the file to write, relative to the bundle (default: config.json)",
        ),
        Option(
            "rootless",
            help="generate a configuration for a rootless container",
            key="for_rootless",
        ),
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Write the file; one that is there already is left alone."""
    import json

    from pyrunc.cgroups import hierarchies
    from pyrunc.errors import Error

    if opts["bundle"]:
        try:
            os.chdir(opts["bundle"])
        except OSError as err:
            raise Error.os("chdir", opts["bundle"], err) from err
    doc = example(cgroupns=hierarchies.mode() == "v2")
    if opts["for_rootless"]:
        doc = rootless(doc, os.geteuid(), os.getegid())
    data = json.dumps(doc, indent="\t").encode()
    path = opts["file"]
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError as err:
        raise Error(f"File {path} exists. Remove it first") from err
    except OSError as err:
        raise Error.os("open", path, err) from err
    with open(fd, "wb") as file:
        file.write(data)


def example(cgroupns: bool) -> "dict[str, Any]":
    """A shell in the rootfs next to the file, as little privileged as root can usefully be."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    namespaces = ["pid", "network", "ipc", "uts", "mount"] + (["cgroup"] if cgroupns else [])
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [
            _mount("/proc", "proc", "proc"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            _mount(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            ),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            _mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": name} for name in namespaces],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    }


def rootless(doc: "dict[str, Any]", uid: int, gid: int) -> "dict[str, Any]":
    """doc for a user: their ids mapped to root, the host's network, nothing only root may mount."""
    mounts = []
    for mount in doc["mounts"]:
        options = [o for o in mount.get("options", []) if not o.startswith(("uid=", "gid="))]
        if mount["destination"] == "/sys":
            # A new sysfs needs a network namespace of one's own.
            mount = _mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro")
        elif options:
            mount = mount | {"options": options}
        mounts.append(mount)
    linux = {key: value for key, value in doc["linux"].items() if key != "resources"}
    namespaces = [item for item in linux["namespaces"] if item["type"] != "network"]
    linux["namespaces"] = [*namespaces, {"type": "user"}]
    mappings = {
        "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
    }
    return doc | {"mounts": mounts, "linux": mappings | linux}


def _mount(destination: str, kind: str, source: str, options: str = "") -> "dict[str, Any]":
    mount: "dict[str, Any]" = {"destination": destination, "type": kind, "source": source}
    return mount | {"options": options.split(",")} if options else mount
