"""A container that CRIU brings back from its files: a launch in which CRIU is init.

May touch: what launch.py may; mount points in the root filesystem, and a bind of it for CRIU.
runc's `restore`; the runtime specification has none.
"""

import os
import socket

from pyrunc import (
    attributes,
    checkpoint,
    container,
    criu,
    files,
    handshake,
    host,
    jsonio,
    mountpoints,
    namespaces,
    procfs,
    record,
)
from pyrunc.errors import Error
from pyrunc.launch import Launch
from pyrunc.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MASTER = b"/dev/ptmx"  # the name that goes with the master of a terminal
LSM_SINCE = 31600


class Restore(Launch):
    """One container that is being restored.  opts: of `restore`, and those that Launch needs."""

    __slots__ = ("images", "work")

    def __init__(self, opts: "dict[str, Any]") -> None:
        # Relative to the caller's directory, like the pid file.
        self.images = attributes.absolute(opts["image_path"] or "checkpoint")
        self.work = attributes.absolute(opts["work_path"]) if opts["work_path"] else ""
        super().__init__(opts)

    # --- the story ---

    def _set_up(self) -> None:
        fds: "list[int]" = []
        try:
            request = self._request(fds)
            _, rootfs = self._claim()
            if self.has_users and not self.rootless:
                self._admit()
            found = criu.version()
            self._check_version(found)
            criu.require_features(lazy_pages=self.opts["lazy_pages"])
            inherited = self._outside(request.opts, found, fds)
            self._stdio_pipes(request.opts)
            self._mounts(request.opts, rootfs)
            directory = f"{self.root}/{self.id}"
            request.opts.root = mountpoints.bind_root(directory, rootfs, self.work or self.images)
            try:
                self._run(request, inherited)
            except Error:
                criu.quote_log(f"{self.work or self.images}/restore.log")
                raise
            finally:
                mountpoints.unbind_root(directory)
        finally:
            for fd in fds:
                os.close(fd)
        self.ready = True
        assert self.init is not None
        if self.pid_file:
            attributes.pid_file(self.pid_file, self.init.pid)

    def _check_version(self, found: int) -> None:
        criu.require(found)
        for name in ("lsm_profile", "lsm_mount_context"):
            if self.opts[name] and found < LSM_SINCE:
                flag = name.replace("_", "-")
                raise Error(f"--{flag} requires at least CRIU 3.16")

    def _request(self, fds: "list[int]") -> "Any":
        """The request to CRIU, as far as it is known before anything is made.

        Descriptors that CRIU needs are appended to fds.
        """
        fds.append(criu.open_directory(self.images))
        work = criu.work_directory(self.work)
        if work >= 0:
            fds.append(work)
        request = criu.request("RESTORE", self.opts, fds[0], work)
        options = request.opts
        options.evasive_devices = True
        options.rst_sibling = True  # a child of ours, not of criu's
        for name in ("lsm_profile", "lsm_mount_context"):
            if self.opts[name]:
                setattr(options, name, self.opts[name])
        if "network" in namespaces.listed(self.linux):
            options.empty_ns = namespaces.CLONE_NEWNET
        criu.configure(options, self.spec.get("annotations") or {})
        return request

    def _admit(self) -> None:
        """Let the group of the container's root read the images.

        CRIU opens them as our root without its capabilities, and as the container's root.
        """
        from pyrunc import userns

        group = userns.host_id(self.linux.get("gidMappings") or [], 0)
        images = self.images
        while group is not None and os.path.isdir(images):
            with os.scandir(images) as entries:
                found = [one.path for one in entries if one.is_file(follow_symlinks=False)]
            for path, bits in ((images, 0o110), *((path, 0o040) for path in found)):
                mode = os.stat(path).st_mode & 0o7777
                if mode & bits >> 3 & 0o007:
                    continue  # everybody may
                try:
                    os.chown(path, -1, group)
                    os.chmod(path, mode | bits)
                except OSError as err:
                    raise Error.os("chown", path, err) from err
            images += "/parent"  # CRIU's link to those that these build on

    def _outside(self, options: "Any", version: int, fds: "list[int]") -> "list[int]":
        """Namespaces that exist already: CRIU inherits their descriptors, or joins their paths.

        Descriptors are appended to fds.  Returns those that CRIU inherits.
        """
        passed: "list[int]" = []
        for kind, path in namespaces.joined(self.linux):
            if kind == "cgroup":
                raise Error(f"Do not know how to handle namespace {path}")
            if not os.path.exists(path):
                raise Error(f"Requested network namespace {path} does not exist")
            if version >= criu.OUTSIDE_SINCE.get(kind, 1 << 30):
                try:
                    fds.append(host.open_namespace(path))
                except OSError as err:
                    raise Error.os("open", path, err) from err
                passed.append(fds[-1])
                number = criu.SOCKET + len(passed)
                options.inherit_fd.add(key=criu.OUTSIDE[kind], fd=number)
            elif kind not in criu.OUTSIDE:
                options.join_ns.add(ns=namespaces.NAMES[kind][1], ns_file=path)
        return passed

    def _stdio_pipes(self, options: "Any") -> None:
        """Have CRIU put our descriptor in the place of each stdio descriptor that was a pipe."""
        path = f"{self.images}/{checkpoint.DESCRIPTORS}"
        try:
            links = jsonio.loads(files.read(path))
        except OSError as err:
            raise Error.os("open", path, err) from err
        if not isinstance(links, list) or not all(isinstance(link, str) for link in links):
            raise Error(f"{path} is not a list of three names")
        for fd, link in enumerate(links[:3]):
            if "pipe:" in link:
                options.inherit_fd.add(key=link, fd=fd)

    # --- mounts ---

    def _mounts(self, options: "Any", rootfs: str) -> None:
        """Tell CRIU the sources of external mounts, and make the mountpoints that are missing."""
        spaces = namespaces.listed(self.linux)
        places: "list[tuple[str, str]]" = []  # (destination, source or type) of the mounts so far
        for mount in self.spec.get("mounts") or []:
            path, kind = mount["destination"], mount.get("type", "")
            source = ""
            if kind == "bind" or {"bind", "rbind"} & set(mount.get("options") or []):
                source = os.path.join(self.bundle, mount.get("source", ""))
                options.ext_mnt.add(key=path, val=source)
            elif kind == "cgroup":
                if "cgroup" not in spaces:
                    for name, own in checkpoint.bound_cgroups(self.paths).items():
                        options.ext_mnt.add(key=f"{path}/{name}", val=own)
                continue
            self._place(path, source, rootfs, places)
            places.append((path.rstrip("/"), source if source else kind))
        for path in {*checkpoint.DEVICES, *self._device_paths()}:
            options.ext_mnt.add(key=path, val=path)
        if self.linux.get("maskedPaths"):
            options.ext_mnt.add(key="/dev/null", val="/dev/null")

    def _place(self, path: str, source: str, rootfs: str, places: "list[tuple[str, str]]") -> None:
        """Make the mountpoint at path: in the root, or in the bind mount that is above it."""
        root, rest = rootfs, path
        for above, where in places:
            if path.startswith(above + "/"):
                if not os.path.isabs(where):
                    return  # in a file system that CRIU or the kernel fills
                root, rest = where, path[len(above) :]
        mountpoints.make(root, rest, not source or os.path.isdir(source))

    # --- CRIU at work ---

    def _run(self, request: "Any", inherited: "list[int]") -> None:
        """Run criu in the container's cgroups, so that the processes that it restores are there."""
        with open(os.devnull, "r+b", buffering=0) as null:
            stdio = (null.fileno(),) * 3 if self.terminal else self.stdio
            process = criu.Criu(tuple(inherited), stdio)
        try:
            self._in_cgroups(self._place_criu, process.pid)
            ignored = self.opts["manage_cgroups_mode"] == "ignore"
            for name, path in [] if ignored else _groups(process.pid):
                request.opts.cg_root.add(ctrl=name, path=path)
        except BaseException:
            process.end()
            raise
        answer = process.ask(request, self._notified)
        if self.init is None or answer.restore.pid != self.init.pid:
            raise Error(f"criu restored a process that it did not tell of: {answer.restore.pid}")

    def _place_criu(self, pid: int) -> None:
        if self.driver.placed:
            self.driver.take(pid)
        else:
            from pyrunc.cgroups import place

            place.join(self.paths, pid, self.driver.rootless)
        self._limit()
        if self.record["intel_rdt_path"]:
            from pyrunc import rdt

            rdt.join(self.record, pid)

    def _notified(self, script: str, pid: int, fds: "list[int]") -> None:
        if script == "setup-namespaces":
            self._follow(pid)
            self._run_hooks(pid)
        elif script == "post-restore":
            self._follow(pid)
            record.complete(self.record, pid, procfs.start_time(pid), host.now())
            self._note_time_namespace(pid)
            self.record["external_descriptors"] = procfs.stdio(pid)
            container.write_record(self.root, self.id, self.record)
        elif script == "orphan-pts-master":
            if len(fds) != 1:
                raise Error(f"criu sent {len(fds)} terminals")
            self._hand_over(fds[0])

    def _note_time_namespace(self, pid: int) -> None:
        """Note a time namespace that CRIU has made, which `exec` has to join, in the record."""
        spaces = self.record["config"]["namespaces"]
        path = f"/proc/{pid}/ns/time"
        known = any(space["type"] == "NEWTIME" for space in spaces)
        if not known and os.path.exists(path) and not host.same_namespace(path, "time"):
            spaces.append({"type": "NEWTIME", "path": ""})

    def _follow(self, pid: int) -> None:
        """Take note of the first process: from now on it is killed if the restore fails."""
        if self.init is None:
            self.init = handshake.Init(Plan(), 0, -1)
            self.init.pid, self.init.pidfd = pid, procfs.open_process(pid)
            self.undo.append(self._end_init)

    def _hand_over(self, master: int) -> None:
        """Send the master of the container's terminal to the caller's socket, or to ours."""
        from pyrunc import console

        for fd in console.sockets({**self.opts, "pidfd_socket": ""}, self.console).values():
            with socket.socket(fileno=fd) as connection:
                socket.send_fds(connection, [MASTER], [master])

    def _explain(self, err: BaseException) -> Error:
        return Error(err.message if isinstance(err, Error) else str(err))


def _groups(pid: int) -> "list[tuple[str, str]]":
    """(controller, path) of the cgroups that a process is in."""
    rows = [line.split(":", 2) for line in files.read_text(f"/proc/{pid}/cgroup").splitlines()]
    return [(name, path) for _, names, path in rows for name in names.split(",")]
