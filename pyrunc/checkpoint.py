"""Save a container to files by CRIU; usually it is removed after that.

May touch: the image and work directories, the container's processes through CRIU, and what
`delete` removes.  runc's `checkpoint`; the runtime specification has none.
"""

import errno
import fcntl
import os
import stat

from pyrunc import container, criu, host, jsonio, mountpoints
from pyrunc.cgroups import fs
from pyrunc.errors import Error, strerror
from pyrunc.namespaces import CLONE_NEWNET, NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]

MARKER = "checkpoint"  # in the container's directory, once its image is whole
DESCRIPTORS = "descriptors.json"  # in the image: what its stdio was
READY_SINCE = 31500  # CRIU tells that the page server is ready, and does not write it by itself
FREEZER_V2_SINCE = 31400
MS_BIND = 4096
# Device nodes that every container has, configured or not.
DEVICES = [f"/dev/{name}" for name in "null zero full random urandom tty".split()]


def checkpoint(root: str, id: str, opts: "Doc") -> None:
    """Dump the container.  opts: the options of the verb `checkpoint`."""
    lock = container.lock(root, id)
    fds: "list[int]" = []
    try:
        record = container.load(root, id)
        now = container.status(root, record)
        if now in ("created", "stopped"):
            raise Error(f"Container cannot be checkpointed in {now} state")
        criu.warn_without_root()
        images = os.path.abspath(opts["image_path"] or "checkpoint")
        request = _request(record, opts, images, fds)
        where = os.path.abspath(opts["work_path"]) if opts["work_path"] else images
        try:
            _dump(root, record, opts, request)
        except Error:
            criu.quote_log(f"{where}/dump.log")
            raise
        if not (opts["leave_running"] or opts["pre_dump"]):
            if now == "paused":
                fs.freeze(record.get("cgroup_paths") or {}, False)
            container.destroy(root, record)
    finally:
        for fd in [*fds, lock]:
            os.close(fd)


def _request(record: "Doc", opts: "Doc", images: str, fds: "list[int]") -> "Any":
    """The request to CRIU, as far as it depends on nothing but the options and the record.

    Descriptors that CRIU needs are appended to fds.
    """
    try:
        os.makedirs(images, 0o600, exist_ok=True)
    except OSError as err:
        raise Error.os("mkdir", images, err) from err
    _check_parent(opts["parent_path"], images)
    fds.append(criu.open_directory(images))
    work = criu.work_directory(opts["work_path"])
    if work >= 0:
        fds.append(work)
    kind = "PRE_DUMP" if opts["pre_dump"] else "DUMP"
    request = criu.request(kind, opts, fds[0], work)
    options = request.opts
    options.pid = record["init_process_pid"]
    options.root = record["config"]["rootfs"]
    options.leave_running = opts["leave_running"]
    options.tcp_skip_in_flight = opts["tcp_skip_in_flight"]
    options.link_remap = opts["link_remap"]
    if opts["parent_path"]:
        options.parent_img = opts["parent_path"]
        options.track_mem = True
    if opts["page_server"]:
        options.ps.address, options.ps.port = page_server(opts["page_server"])
    if "NEWNET" in _namespaces(record):
        options.empty_ns = CLONE_NEWNET  # its devices are the engine's
    criu.configure(options, container.labels(record)[1])
    check_status_fd(opts["status_fd"])
    return request


def _namespaces(record: "Doc") -> "dict[str, str]":
    return {entry["type"]: entry["path"] for entry in record["config"].get("namespaces") or []}


def page_server(text: str) -> "tuple[str, int]":
    """ADDRESS:PORT."""
    address, _, port = text.partition(":")
    if not address or not port or ":" in port:
        raise Error("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise Error("Invalid port number")
    return address, int(port)


def _check_parent(path: str, images: str) -> None:
    if not path:
        return
    if os.path.isabs(path):
        raise Error("--parent-path must be relative")
    whole = os.path.join(images, path)
    try:
        found = os.stat(whole)
    except OSError as err:
        raise Error(f"invalid --parent-path: {Error.os('stat', whole, err).message}") from err
    if not stat.S_ISDIR(found.st_mode):
        raise Error(f"invalid --parent-path: {whole}: {strerror(errno.ENOTDIR)}")


def check_status_fd(fd: int) -> None:
    """Refuse a --status-fd that cannot be written to; -1: there is none."""
    if fd == -1:
        return
    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except (OSError, OverflowError, ValueError) as err:
        why = strerror(getattr(err, "errno", 0) or errno.EBADF)
        raise Error(f"invalid --status-fd argument {fd}: {why}") from err
    if mode == os.O_RDONLY:
        raise Error(f"invalid --status-fd argument {fd}: not writable")


def _dump(root: str, record: "Doc", opts: "Doc", request: "Any") -> None:
    found = criu.version()
    criu.require(found)
    criu.require_features(mem_track=opts["pre_dump"], lazy_pages=opts["lazy_pages"])
    options = request.opts
    paths = record.get("cgroup_paths") or {}
    if "freezer" in paths:
        options.freeze_cgroup = paths["freezer"]
    elif "" in paths and found >= FREEZER_V2_SINCE:
        options.freeze_cgroup = paths[""]
    if opts["lazy_pages"] and opts["status_fd"] != -1 and found < READY_SINCE:
        options.status_fd = opts["status_fd"]
    options.external.extend(_outside(_namespaces(record), found))
    if not opts["pre_dump"]:
        for inside, name in external_mounts(record).items():
            options.ext_mnt.add(key=inside, val=name)
        _keep_descriptors(record, options.images_dir_fd)

    marker = f"{root}/{record['id']}/{MARKER}"

    def notified(script: str, pid: int, fds: "list[int]") -> None:
        if script == "post-dump":
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
                if opts["leave_running"]:
                    os.unlink(marker)
            except OSError as err:
                raise Error.os("open", marker, err) from err
        elif script == "status-ready" and opts["status_fd"] != -1:
            os.write(opts["status_fd"], b"\0")

    criu.Criu().ask(request, notified, patient=opts["pre_dump"])


def _outside(spaces: "dict[str, str]", version: int) -> "list[str]":
    """For CRIU: the namespaces that others made, and that will be there again at restore."""
    rows = []
    for kind, key in criu.OUTSIDE.items():
        name, file = NAMES[kind]
        path = spaces.get(name)
        if path and version >= criu.OUTSIDE_SINCE[kind]:
            try:
                rows.append(f"{file}[{os.stat(path).st_ino}]:{key}")
            except OSError as err:
                raise Error.os("stat", path, err) from err
    return rows


def external_mounts(record: "Doc") -> "dict[str, str]":
    """Mount point in the container -> the name by which restore finds the source of its mount."""
    config = record["config"]
    root = config["rootfs"]
    found: "dict[str, str]" = {}
    for mount in config["mounts"]:
        path = mount["destination"]
        if mount["device"] == "bind" or mount["flags"] & MS_BIND:
            found[mountpoints.resolve(root, path)] = path
        elif mount["device"] == "cgroup" and "NEWCGROUP" not in _namespaces(record):
            for name in bound_cgroups(record.get("cgroup_paths") or {}):
                found[f"{mountpoints.resolve(root, path)}/{name}"] = f"{path}/{name}"
    for path in {*DEVICES, *(device["path"] for device in config["devices"])}:
        found[path] = path
    for path in config["mask_paths"]:
        try:
            hidden = os.stat(f"/proc/{record['init_process_pid']}/root{path}")
        except OSError:
            continue  # it is not there, so nothing hides it
        if not stat.S_ISDIR(hidden.st_mode):
            found[path] = "/dev/null"
    return found


def bound_cgroups(paths: "dict[str, str]") -> "dict[str, str]":
    """Directory in the container's /sys/fs/cgroup -> the container's cgroup that is bound there.

    None where there is no v1 hierarchy.  As mounts_cgroup.py makes them.
    """
    found = {}
    if not fs.is_v2(paths):
        for hierarchy in host.cgroup_mounts():
            name = next((name for name in hierarchy["subsystems"] if name in paths), None)
            if name is not None:
                found[hierarchy["dest"]] = paths[name]
    return found


def _keep_descriptors(record: "Doc", images: int) -> None:
    """Write down what its stdio was: a restore puts other pipes in the place of these."""
    data = jsonio.dumps(record["external_descriptors"]).encode()
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(DESCRIPTORS, flags, 0o600, dir_fd=images)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
    except OSError as err:
        raise Error.os("open", DESCRIPTORS, err) from err
