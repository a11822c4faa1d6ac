"""The record of a new container: the content of state.json, in runc's shape (pure).

Programs such as cAdvisor read init_process_pid, cgroup_paths and namespace_paths.  `config` uses
the names of runc's libcontainer.  What only pyrunc needs is under `pyrunc`; the OCI hooks are there
because the bundle may change or vanish after create.
"""

from pyrunc.mounts import MS_BIND, MS_REC
from pyrunc.namespaces import NAMES
from pyrunc.process import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOKS = "prestart createRuntime createContainer startContainer poststart poststop".split()


def build(
    spec: "dict[str, Any]",
    id: str,
    bundle: str,
    rootfs: str,
    paths: "dict[str, str]",
    mode: str,
    cgroups: "dict[str, Any]",
    opts: "dict[str, Any]",
) -> "dict[str, Any]":
    """The record before there is a process: pid, start time and creation time are still empty.

    paths: controller -> directory.  cgroups: what `config.cgroups` shall hold.
    """
    linux = spec.get("linux") or {}
    spaces = linux.get("namespaces") or []
    private_pid = any(ns["type"] == "pid" and not ns.get("path") for ns in spaces)
    hooks = {kind: list(todo) for kind, todo in (spec.get("hooks") or {}).items() if todo}
    return {
        "id": id,
        "init_process_pid": 0,
        "init_process_start": 0,
        "created": "0001-01-01T00:00:00Z",
        "config": _config(spec, linux, bundle, rootfs, cgroups, opts),
        "cgroup_paths": paths,
        "namespace_paths": {},
        "external_descriptors": [],
        "intel_rdt_path": "",
        "intel_rdt_mon_path": "",
        "pyrunc": {
            "version": 1,
            "simple": private_pid
            and not (hooks.keys() & {"poststart", "startContainer", "poststop"}),
            "bundle": bundle,
            "rootfs": rootfs,
            "private_pid": private_pid,
            "config": opts.get("config") or "config.json",
            "driver": opts["cgroup_manager"],
            "cgroup_mode": mode,
            "hooks": hooks,
        },
    }


def complete(record: "dict[str, Any]", pid: int, start: int, created: str) -> None:
    """Fill in the process when it is ready.  start: field 22 of its stat; created: RFC 3339."""
    record["init_process_pid"] = pid
    record["init_process_start"] = start
    record["created"] = created
    record["namespace_paths"] = {name: f"/proc/{pid}/ns/{file}" for name, file in NAMES.values()}


def _config(
    spec: "dict[str, Any]",
    linux: "dict[str, Any]",
    bundle: str,
    rootfs: str,
    cgroups: "dict[str, Any]",
    opts: "dict[str, Any]",
) -> "dict[str, Any]":
    process = spec.get("process") or {}
    annotations = spec.get("annotations") or {}
    caps = process.get("capabilities")
    return {
        "no_pivot_root": bool(opts.get("no_pivot")),
        "parent_death_signal": 0,
        "rootfs": rootfs,
        "umask": (process.get("user") or {}).get("umask"),
        "readonlyfs": bool((spec.get("root") or {}).get("readonly")),
        "rootPropagation": 0,
        "mounts": [
            {
                "source": mount.get("source", ""),
                "destination": mount["destination"],
                "device": mount.get("type", ""),
                "flags": _bind(mount),
                "data": "",
            }
            for mount in spec.get("mounts") or []
        ],
        "devices": [_device(device) for device in linux.get("devices") or []],
        "mount_label": linux.get("mountLabel", ""),
        "hostname": spec.get("hostname", ""),
        "domainname": spec.get("domainname", ""),
        "namespaces": [
            {"type": NAMES[ns["type"]][0], "path": ns.get("path", "")}
            for ns in linux.get("namespaces") or []
        ],
        "capabilities": {
            name.capitalize(): caps.get(name) or []
            for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
        }
        if caps is not None
        else None,
        "networks": None,
        "cgroups": cgroups,
        "apparmor_profile": process.get("apparmorProfile", ""),
        "process_label": process.get("selinuxLabel", ""),
        "rlimits": [
            {"type": RLIMITS.get(limit["type"]), "hard": limit["hard"], "soft": limit["soft"]}
            for limit in process.get("rlimits") or []
        ],
        "oom_score_adj": process.get("oomScoreAdj"),
        "uid_mappings": _mappings(linux.get("uidMappings")),
        "gid_mappings": _mappings(linux.get("gidMappings")),
        "time_offsets": linux.get("timeOffsets"),
        "mask_paths": linux.get("maskedPaths") or [],
        "readonly_paths": linux.get("readonlyPaths") or [],
        "sysctl": linux.get("sysctl") or {},
        "seccomp": linux.get("seccomp"),
        "no_new_privileges": bool(process.get("noNewPrivileges")),
        "Hooks": {kind: (spec.get("hooks") or {}).get(kind) or [] for kind in HOOKS},
        "version": spec.get("ociVersion", ""),
        "labels": [f"{key}={annotations[key]}" for key in annotations] + [f"bundle={bundle}"],
        "no_new_keyring": bool(opts.get("no_new_keyring")),
        **_scheduling(process, linux),
    }


def _bind(mount: "dict[str, Any]") -> int:
    """MS_BIND and MS_REC of a mount, which `checkpoint` needs; other flags are not recorded."""
    options = mount.get("options") or []
    if "rbind" in options:
        return MS_BIND | MS_REC
    return MS_BIND if "bind" in options else 0


def _scheduling(process: "dict[str, Any]", linux: "dict[str, Any]") -> "dict[str, Any]":
    """Members that few containers have, and of which exec needs some; like runc's, or absent."""
    found = {
        "scheduler": process.get("scheduler"),
        "io_priority": process.get("ioPriority"),
        "exec_cpu_affinity": process.get("execCPUAffinity"),
        "personality": linux.get("personality"),
        "memory_policy": linux.get("memoryPolicy"),
        "netDevices": linux.get("netDevices"),
        "intel_rdt": linux.get("intelRdt"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _mappings(entries: "list[dict[str, int]] | None") -> "list[dict[str, int]] | None":
    """ID mappings in libcontainer's spelling."""
    if not entries:
        return None
    return [
        {
            "container_id": entry["containerID"],
            "host_id": entry["hostID"],
            "size": entry["size"],
        }
        for entry in entries
    ]


def _device(device: "dict[str, Any]") -> "dict[str, Any]":
    return {
        "type": ord(device.get("type", "c")),
        "major": device.get("major", 0),
        "minor": device.get("minor", 0),
        "permissions": "",
        "allow": False,
        "path": device["path"],
        "file_mode": device.get("fileMode", 0o666),
        "uid": device.get("uid", 0),
        "gid": device.get("gid", 0),
    }
