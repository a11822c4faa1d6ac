"""The spec: config.json as a plain dict, read, checked, in runc's words.

    enter()           the bundle, which becomes the current directory
    load()            config.json        \\
    load_process()    exec --process      } -> dict: known members only, no null, none required
    load_resources()  update --resources |     missing (they have Go's zero value instead)
    load_mounts()     mounts add        /
    validate()        what `create` must refuse before it makes anything

May read the file, and look at the root filesystem. OCI runtime-spec 1.3, config.md and
config-linux.md. Left to others: mount options and devices (rootfs), rlimits, environment and sysctl
(process), filters (seccomp), limits (cgroups).

The shape of a well-formed document is checked by generated code (oci-spec/compile.py) in 20 us. For
one with unknown, oddly written or missing members, or the wrong shape, normal.py is loaded.
"""

import os

from pyrunc import _schema, files, jsonio
from pyrunc.commands import BEFORE_1_3, SPEC_VERSION
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
PROPAGATION = ("private", "slave", "shared", "unbindable")
HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
FILE = "config.json"
MAX_MAJOR, MAX_MINOR = 0xFFF, 0xFFFFF  # linux/kdev_t.h
OTHER_PLATFORMS = ("freebsd", "zos", "solaris", "windows", "vm")


# --- reading ---


def enter(bundle: str) -> str:
    """chdir to the bundle, if one is named; the bundle's absolute path."""
    try:
        if bundle:
            os.chdir(bundle)
        return os.getcwd()
    except OSError as err:
        if bundle:
            from pyrunc import blame

            raise blame.os_error("chdir", bundle, err) from err
        raise Error(f"getwd: {reason(err)}") from err


def load(path: str = FILE) -> "Doc":
    """The spec of a bundle, which is the current directory, or one from elsewhere."""
    return parse(read(path), path)


def read(path: str) -> bytes:
    """The text of a spec."""
    try:
        return files.read(path)
    except FileNotFoundError:
        raise Error(f"JSON specification file {path} not found") from None
    except OSError as err:
        raise Error.os("open", path, err) from err


def parse(data: bytes, path: str) -> "Doc":
    """The spec that was read from path."""
    doc = _decode(data, path, "config")
    if doc is None:
        raise Error("config cannot be null")
    check_process(doc.get("process"))
    _read_as_of(doc, doc["ociVersion"])
    return doc


def _read_as_of(doc: "Doc", version: str) -> None:
    """Before 1.3 pids.limit could not be left out, and 0 meant no limit, as Podman 4 writes it."""
    if version.startswith(BEFORE_1_3):
        pids = doc.get("linux", {}).get("resources", {}).get("pids", {})
        if pids.get("limit") == 0:
            del pids["limit"]


def read_process(path: str) -> bytes:
    """The text of a process object in a file of its own."""
    try:
        return files.read(path)
    except OSError as err:
        from pyrunc import blame

        raise blame.os_error("open", path, err) from err


def load_process(path: str) -> "Doc":
    """A process object in a file of its own."""
    return parse_process(read_process(path), path)


def parse_process(data: bytes, path: str) -> "Doc":
    """The process object that was read from path."""
    doc = _decode(data, path, "process") or {}
    check_process(doc)
    return doc


def load_resources(data: bytes, name: str) -> "Doc":
    """A linux.resources object. name: where the text comes from, for messages."""
    return _decode(data, name, "resources") or {}


def load_mounts(path: str) -> "list[Doc]":
    """A list of mounts in a file of its own, as `mounts` of a config.json has it."""
    try:
        found = _json(files.read(path), path)
    except OSError as err:
        raise Error.os("open", path, err) from err
    if not isinstance(found, list):
        raise Error(f"{path}: not a list of mounts")
    mounts: "list[Doc]" = _shaped({"ociVersion": SPEC_VERSION, "mounts": found}, path, "config")[
        "mounts"
    ]
    return mounts


def _json(data: bytes, name: str) -> "Any":
    try:
        return jsonio.loads(data)
    except Error as err:
        raise Error(f"{name}: {err}") from None


def _decode(data: bytes, name: str, kind: str) -> "Doc | None":
    """JSON text to a document of that shape; None if it is null. kind: a function of _schema."""
    doc = _json(data, name)
    return None if doc is None else _shaped(doc, name, kind)


def _shaped(doc: "Doc", name: str, kind: str) -> "Doc":
    odd: list[str] = []
    if getattr(_schema, kind)(doc, odd) is None and not odd:
        return doc
    from pyrunc import normal

    whole: Doc = normal.normalise(doc, name, kind)
    return whole


def check_process(process: "Doc | None") -> None:
    """What runc refuses as soon as it has read a process object."""
    if process is None:
        raise Error("process property must not be empty")
    cwd = process.get("cwd")
    if not cwd:
        raise Error("Cwd property must not be empty")
    if cwd[0] != "/":
        raise Error("Cwd must be an absolute path")
    if not process.get("args"):
        raise Error("args must not be empty")


# --- what create refuses ---


def validate(doc: "Doc", facts: "dict[str, Any]", no_pivot: bool = False) -> None:
    """Refuse what cannot be applied on this host. The bundle is the current directory.

    facts: selinux and apparmor say whether the kernel has them enabled.
    """
    process = doc["process"]
    check_labels(process, facts)
    linux = doc.get("linux")
    if linux is None:
        linux = {}
        for name in OTHER_PLATFORMS:
            if name in doc:
                raise Error(f"config is not for Linux: it has {name}, but no linux")
    if linux.get("mountLabel") and not facts.get("selinux"):
        raise Error("mount label is specified in config, but selinux is disabled or not supported")
    _check_propagation(linux.get("rootfsPropagation", ""), no_pivot)
    kinds = _check_namespaces(linux.get("namespaces", ()))
    _check_linux(linux)
    _check_net_devices(linux.get("netDevices"), facts)
    rootfs(doc, os.getcwd())
    _check_isolation(doc, linux, kinds)
    _check_mounts(doc.get("mounts", ()), kinds)
    _check_hooks(doc.get("hooks", {}))


def check_labels(process: "Doc", facts: "dict[str, Any]") -> None:
    """A label or profile nobody would enforce is an error."""
    if process.get("selinuxLabel") and not facts.get("selinux"):
        raise Error(
            "selinux label is specified in config, but selinux is disabled or not supported"
        )
    if process.get("apparmorProfile") and not facts.get("apparmor"):
        raise Error(
            "apparmor profile is specified in config, but apparmor is disabled or not supported"
        )


def rootfs(doc: "Doc", bundle: str) -> str:
    """The absolute path of the root filesystem, a directory reached without symbolic links."""
    if "root" not in doc:
        raise Error("root must be specified")
    path: str = doc["root"]["path"]
    if not path:
        raise Error("invalid rootfs: root.path must not be empty")
    path = os.path.normpath(os.path.join(bundle, path))
    if path[:2] == "//":  # POSIX lets two slashes mean something else; Linux does not
        path = path[1:]
    try:
        os.stat(path + "/.")
    except NotADirectoryError as err:
        from pyrunc import blame

        text = f"invalid rootfs: {path} is not a directory"
        raise Error(blame.explained(text, blame.path(path, err.errno))) from None
    except ValueError:  # a NUL byte, which no path has
        raise Error(f"invalid rootfs: stat {path}: invalid argument") from None
    except OSError as err:
        from pyrunc import blame

        raise Error(f"invalid rootfs: {blame.os_error('stat', path, err)}") from err
    if os.path.realpath(path) != path:
        raise Error("invalid rootfs: not an absolute path, or a symlink")
    return path


def _check_absolute(name: str, paths: "list[str]") -> None:
    for index, path in enumerate(paths):
        if path[:1] != "/":
            raise Error(f'{name}[{index}] "{path}" is not an absolute path')


def _check_propagation(value: str, no_pivot: bool) -> None:
    if not value:
        return
    # runc has the recursive forms, too.
    if value not in PROPAGATION and not (value[0] == "r" and value[1:] in PROPAGATION):
        raise Error(f"rootfsPropagation={value} is not supported")
    if no_pivot and value in ("private", "rprivate"):
        raise Error("rootfsPropagation of [r]private is not safe without pivot_root")


def _check_namespaces(entries: "list[Doc]") -> "dict[str, str]":
    """kind -> path ("": a new one) of the namespaces the container does not inherit."""
    kinds = {}
    for index, entry in enumerate(entries):
        kind = entry["type"]
        if kind not in NAMESPACES:
            raise Error(f'namespace "{kind}" does not exist')
        if kind in kinds:
            raise Error(f'malformed spec file: duplicated ns "{kind}"')
        path = entry.get("path")
        if path and path[0] != "/":
            raise Error(f'linux.namespaces[{index}].path "{path}" is not an absolute path')
        kinds[kind] = path or ""
    return kinds


def _check_isolation(doc: "Doc", linux: "Doc", kinds: "dict[str, str]") -> None:
    """What would change the host, because its namespace is not the container's own."""
    if "uts" not in kinds:
        if doc.get("hostname"):
            raise Error("unable to set hostname without a private UTS namespace")
        if doc.get("domainname"):
            raise Error("unable to set domainname without a private UTS namespace")
    if "mount" not in kinds and (linux.get("maskedPaths") or linux.get("readonlyPaths")):
        raise Error("unable to restrict sys entries without a private MNT namespace")
    _check_users(linux, kinds, doc.get("mounts", ()))
    if "time" in kinds and linux.get("timeOffsets"):
        from pyrunc import userns

        userns.check_offsets(linux["timeOffsets"], kinds["time"])
    elif linux.get("timeOffsets"):
        raise Error(
            "time namespace offsets specified, but time namespace isn't enabled in the config"
        )
    if linux.get("netDevices") and "network" not in kinds:
        raise Error("unable to move network devices without a NET namespace")


def _check_users(linux: "Doc", kinds: "dict[str, str]", mounts: "list[Doc]") -> None:
    """Who the container's users are on the host."""
    rootless = os.geteuid() != 0
    if "user" in kinds:
        from pyrunc import userns

        userns.check(linux, kinds["user"])
        if rootless:
            userns.check_mounts(linux, mounts)
    elif rootless:
        raise Error("rootless container requires user namespaces")
    elif linux.get("uidMappings") or linux.get("gidMappings"):
        raise Error(
            "user namespace mappings specified, but user namespace isn't enabled in the config"
        )


def _check_linux(linux: "Doc") -> None:
    _check_absolute("linux.maskedPaths", linux.get("maskedPaths", []))
    _check_absolute("linux.readonlyPaths", linux.get("readonlyPaths", []))
    for index, device in enumerate(linux.get("devices", ())):
        if device["type"] not in ("c", "b", "u", "p"):
            raise Error(f'invalid device type "{device["type"]}"')
        if device["path"][:1] != "/":
            raise Error(f'linux.devices[{index}].path "{device["path"]}" is not an absolute path')
        major, minor = device.get("major", 0), device.get("minor", 0)
        if not (0 <= major <= MAX_MAJOR and 0 <= minor <= MAX_MINOR):
            raise Error(f"linux.devices[{index}]: no device has the number {major}:{minor}")
    for index, rule in enumerate(linux.get("resources", {}).get("devices", ())):
        if rule.get("type", "") not in ("", "a", "b", "c"):
            raise Error(f'invalid cgroup device type "{rule["type"]}"')
        access = rule.get("access")
        if not access:
            raise Error(f"device access at {index} field cannot be empty")
        if access.strip("rwm"):
            raise Error(f'device access at {index} field is invalid: "{access}"')
    seccomp = linux.get("seccomp", {})
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        raise Error("linux.seccomp.listenerMetadata is set without listenerPath")


def _check_net_devices(devices: "Doc | None", facts: "dict[str, Any]") -> None:
    if devices:
        from pyrunc import netdevices

        netdevices.check(devices)
        if "network" in facts.get("same_namespaces", ()):  # joined, but the one they are in
            raise Error("unable to move network devices without a private NET namespace")


def _check_mounts(mounts: "list[Doc]", kinds: "dict[str, str]") -> None:
    for index, mount in enumerate(mounts):
        name = f"mounts[{index}]"
        options = mount.get("options", ())
        uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
        if bool(uids) != bool(gids):
            raise Error(f"{name} has only one of uidMappings and gidMappings")
        mapped = [option for option in options if option in ("idmap", "ridmap")]
        if uids and gids:
            from pyrunc import userns

            userns.check_mappings(f"{name}.uidMappings", uids)
            userns.check_mappings(f"{name}.gidMappings", gids)
        if os.geteuid() and (uids or mapped):
            raise Error(f"{name}: id-mapped mounts are not supported for rootless containers")
        for option in mapped:
            if not uids and "user" not in kinds:
                raise Error(
                    f"{name} has the option {option}, but no mappings, "
                    "and the container has no user namespace to take them from"
                )


def _check_hooks(hooks: "Doc") -> None:
    for kind in HOOKS:
        for index, hook in enumerate(hooks.get(kind, ())):
            name = f"hooks.{kind}[{index}]"
            if hook["path"][:1] != "/":
                raise Error(f'{name}.path "{hook["path"]}" is not an absolute path')
            if hook.get("timeout", 1) <= 0:
                raise Error(f"{name}.timeout must be greater than zero")
