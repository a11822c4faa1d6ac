"""A new container: Launch reads top to bottom like the lifecycle of runtime.md.

May touch everything the layers below may: this module joins the pure plan with the host.
OCI runtime-spec 1.3, runtime.md "Lifecycle" steps 1 to 8.
"""

import os

from pyrunc import (
    attributes,
    cgroups,
    container,
    handshake,
    host,
    log,
    namespaces,
    passed,
    plan_create,
    process,
    procfs,
    record,
    spec,
)
from pyrunc._core import lib
from pyrunc.errors import INIT_FAILED, START_FAILED, Error
from pyrunc.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.netdevices import Move
    from pyrunc.notify import Relay


class Launch:
    """One container that is being made: what exists so far, and how to undo it."""

    __slots__ = (
        "bundle",
        "console",
        "devices",
        "driver",
        "has_users",
        "hooks",
        "id",
        "init",
        "linux",
        "lock",
        "no_pivot",
        "nofile",
        "notify",
        "opts",
        "passed",
        "paths",
        "pid_file",
        "ready",
        "record",
        "root",
        "rootless",
        "spec",
        "stdio",
        "terminal",
        "undo",
    )

    def __init__(self, opts: "dict[str, Any]") -> None:
        self.nofile = attributes.make_room()
        self.opts = opts
        self.id: str = opts["args"][0]
        self.root: str = opts["root"]
        opts.setdefault("environ", os.environ)  # may tell what a service manager has for it
        self.no_pivot = bool(opts.get("no_pivot"))
        self.stdio = (-1, -1, -1)
        self.rootless = os.geteuid() != 0
        self.undo: "list[Callable[[], None]]" = []
        self.lock = -1
        self.notify: "Relay | None" = None
        self.devices: "Move | None" = None
        self.init: "handshake.Init | None" = None
        self.ready = False  # init has done all it had to
        # All are relative to where the caller stands, and the bundle is not that place.
        self.pid_file = attributes.absolute(opts["pid_file"]) if opts.get("pid_file") else ""
        if opts.get("config"):
            opts["config"] = attributes.absolute(opts["config"])
        self.bundle = spec.enter(opts["bundle"])
        self.spec = spec.load(opts.get("config") or spec.FILE)
        self.linux: "dict[str, Any]" = self.spec.get("linux") or {}
        self.hooks = self.spec.get("hooks") or {}
        self.terminal = bool(self.spec["process"].get("terminal"))
        self.console = -1
        container.check_id(self.id)
        if self.terminal or opts["console_socket"]:
            from pyrunc import console

            console.check(self.terminal, opts.get("detach", True), opts["console_socket"])
        self.passed = 0
        if opts["preserve_fds"] or "LISTEN_FDS" in opts["environ"]:
            from pyrunc import descriptors

            self.passed = descriptors.pass_on(self.spec["process"], opts["preserve_fds"])

    # --- the story ---

    def set_up(self) -> None:
        """Make the container; init then waits at exec.fifo.  A failure leaves nothing behind."""
        try:
            self._set_up()
        except BaseException as err:
            # First the message, because the undo removes what it depends on.
            error = self._explain(err)
            self.roll_back()
            if isinstance(err, Error):
                raise error from err
            raise

    def _set_up(self) -> None:
        facts, rootfs = self._claim()
        fds: list[int] = []
        try:
            plan = self._plan(facts, rootfs, fds)
            score = self.spec["process"].get("oomScoreAdj") if self.rootless else None
            base = handshake.BASE + self.passed
            self.init = handshake.spawn(plan, fds, self.stdio, base, score)
        finally:
            for fd in fds:
                os.close(fd)
        self.undo.append(self._end_init)
        handshake.converse(
            self.init,
            self._on_sync,
            log.warning,
            on_listener=self._on_listener,
            on_unreachable=self._on_unreachable,
        )
        self.ready = True
        if self.pid_file:
            attributes.pid_file(self.pid_file, self.init.pid)

    def _claim(self) -> "tuple[dict[str, Any], str]":
        """Check everything and make what stands on the host: directory, intent, groups.

        Returns the facts about the host, and the absolute path of the root filesystem.
        """
        mode = cgroups.mode()
        facts, rootfs = self._check(mode)
        directory = f"{self.root}/{self.id}"
        self.lock = container.claim(self.root, self.id)
        self.undo.append(lambda: container.remove_directory(directory))
        if self.opts["environ"].get("NOTIFY_SOCKET"):
            from pyrunc import notify

            notify.prepare(self.spec, directory)
            if "detach" in self.opts:  # run; after create it is for `start` to listen
                self.notify = notify.bind(directory)
        cgroups.check_free(self.paths)
        limits = cgroups.record(
            self.driver.where,
            self.driver.resources,
            systemd=self.driver.systemd,
            device_paths=self._device_paths(),
            rootless=self.driver.rootless,
        )
        self.record = record.build(
            self.spec, self.id, self.bundle, rootfs, self.paths, mode, limits, self.opts
        )
        groups = self.linux.get("intelRdt")
        if groups is not None:
            from pyrunc import rdt

            rdt.prepare(self.record, groups)
            self.undo.append(lambda: rdt.remove(self.record))
        container.write_intent(self.root, self.id, self.record)

        if groups is not None:
            rdt.create(self.record, groups)
        self._in_cgroups(self.driver.prepare)
        self.undo.append(self._remove_cgroups)
        if self.has_users:
            from pyrunc import userns

            userns.give_pipes(self.stdio, self.record["config"])
        return facts, rootfs

    def _check(self, mode: str) -> "tuple[dict[str, Any], str]":
        """Refuse what this host cannot do, before anything is made.  Returns what _claim() does."""
        for text in cgroups.validate(self.linux.get("resources") or {}, mode):
            log.warning(text)
        self.driver = cgroups.new(self.spec, self.id, mode, self.opts)
        self.paths = self.driver.paths
        facts = passed.facts(self.spec, self.paths, self.no_pivot)
        spec.validate(self.spec, facts, self.no_pivot)
        process.scheduling(Plan(), self.spec["process"], self.linux)
        rootfs = spec.rootfs(self.spec, self.bundle)
        self._adopt_mappings()
        return facts, rootfs

    def start(self) -> None:
        """Let init run the program (the `start` of `run`, which already holds the lock)."""
        try:
            container.release(self.root, self.record, container.open_fifo(self.root, self.record))
            container.poststart(self.record)
        except BaseException:
            self.roll_back()
            raise

    def close(self) -> None:
        """The container goes on by itself: release init and the lock."""
        if self.init:
            handshake.close(self.init)
        self.unlock()

    def unlock(self) -> None:
        """Release the lock: the container is complete, and other commands may use it."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def _adopt_mappings(self) -> None:
        """If a user namespace is joined, its ID maps become those of the container."""
        path = namespaces.listed(self.linux).get("user")
        self.has_users = path is not None
        if path:
            from pyrunc import visit

            visit.adopt_mappings(self.linux, path, log.warning)

    # --- the plan ---

    def _plan(self, facts: "dict[str, Any]", rootfs: str, fds: "list[int]") -> Plan:
        """The plan; its descriptors, which its 'f' arguments index, are appended to fds."""
        sockets = passed.sockets(self.terminal, self.opts, self.console)
        index = passed.open_all(
            self.spec, f"{self.root}/{self.id}", self.driver.entries(), sockets, fds
        )
        plan = plan_create.for_create(
            self.spec,
            facts,
            {
                "id": self.id,
                "bundle": self.bundle,
                "rootfs": rootfs,
                "no_pivot": self.no_pivot,
                "no_new_keyring": bool(self.opts.get("no_new_keyring")),
                "fds": index,
                "placed": self.driver.placed,
                "seccomp": passed.seccomp(self.linux),
                "nofile": self.nofile,
                "rootless": self.rootless,
                "host_limits": self.has_users,
                "hook_state": lambda status: passed.hook_halves(self.record, status),
            },
        )
        for text in plan.warnings:
            log.warning(text)
        return plan

    # --- the host's part in the conversation ---

    def _on_sync(self, init: handshake.Init, point: int) -> None:
        if point == lib.SYNC_PLACE:
            self._in_cgroups(self.driver.take, init.first)
        elif point == lib.SYNC_UNSHARED:
            from pyrunc import userns

            new = self.has_users and not namespaces.listed(self.linux)["user"]
            userns.write(init.pid or init.first, self.linux, new, self.rootless)
        elif point == lib.SYNC_MOUNTED:
            self._mounted(init.pid)
        else:
            self._ready(init.pid)

    def _on_listener(self, init: handshake.Init, fd: int) -> None:
        from pyrunc import agent

        state = container.hook_state(self.record, "creating", init.pid)
        agent.hand_over(self.linux["seccomp"], state, init, fd)

    def _on_unreachable(self, init: handshake.Init, path: str, number: int) -> int:
        from pyrunc import idmaps

        return -1 if self.rootless else idmaps.source(init.pid, path, self.spec, number)

    def _mounted(self, pid: int) -> None:
        """OOM score and limits, then the hooks that run beside the runtime."""
        if not self.rootless:
            attributes.oom_score(pid, self.spec["process"].get("oomScoreAdj"))
        try:
            self._limit()
        except Error as err:
            text = f"error setting cgroup config for procHooks process: {err.message}"
            raise Error(text) from err
        attributes.forget_affinity(pid, log.warning)
        if self.record["intel_rdt_path"]:
            from pyrunc import rdt

            rdt.join(self.record, pid)
        if self.linux.get("netDevices"):
            from pyrunc import netdevices

            self.devices = netdevices.Move(pid)
            self.undo.append(self.devices.undo)
            self.devices.move(self.linux["netDevices"])
        self._run_hooks(pid)

    def _run_hooks(self, pid: int) -> None:
        """The hooks that run beside the runtime while the container is being made."""
        if self.hooks.get("prestart") or self.hooks.get("createRuntime"):
            from pyrunc import hooks

            state = container.hook_state(self.record, "creating", pid)
            for kind in ("prestart", "createRuntime"):
                hooks.run(kind, self.hooks.get(kind) or [], state)

    def _limit(self) -> None:
        """Set linux.resources in the cgroups."""
        if self.driver.limited:
            mode = self.record["pyrunc"]["cgroup_mode"]
            devices, rootless = self._device_paths(), self.driver.rootless
            cgroups.apply(self.paths, self.driver.resources, mode, devices, rootless=rootless)

    def _device_paths(self) -> "list[str]":
        return [device["path"] for device in self.linux.get("devices") or []]

    def _ready(self, pid: int) -> None:
        """All is set up: the record says that the container exists."""
        if self.has_users:
            attributes.limits(pid, process.rlimits(self.spec["process"], self.nofile))
        record.complete(self.record, pid, procfs.start_time(pid), host.now())
        self.record["external_descriptors"] = procfs.stdio(pid)
        container.write_record(self.root, self.id, self.record)
        if self.devices:
            self.devices.close()

    # --- failure ---

    def roll_back(self) -> None:
        """Undo what was done, in reverse order; then run the poststop hooks (lifecycle step 13)."""
        made = self.init is not None
        while self.undo:
            try:
                self.undo.pop()()
            except (Error, OSError) as err:  # the rest has to go all the same
                log.warning(f"unable to undo a failed create: {err}")
        self.close()
        if made:
            container.poststop(self.record)

    def _explain(self, err: BaseException) -> Error:
        """The Error to show, with runc's lead; it names a memory limit that is too low for init."""
        text = err.message if isinstance(err, Error) else str(err)
        if not self.init or self.ready or text.startswith(START_FAILED):
            return Error(text)
        if self.init.pid and cgroups.oom_killed(self.paths):
            log.debug(f"what the kill led to: {text}")
            text = "container init was OOM-killed (memory limit too low?)"
            return Error(START_FAILED + text)
        if text.startswith(("unable to apply cgroup", "init ended")):
            return Error(START_FAILED + text)
        return Error(INIT_FAILED + text)

    def _end_init(self) -> None:
        if self.init:
            handshake.end(self.init)

    def _in_cgroups(self, step: "Callable[..., None]", *arguments: int) -> None:
        """Call a method of the cgroup driver; its Error gets runc's lead."""
        try:
            step(*arguments)
        except Error as err:
            what = f"{START_FAILED}unable to apply cgroup configuration: "
            raise Error(what + err.message) from err

    def _remove_cgroups(self) -> None:
        if cgroups.pids(self.paths):  # a container without a pid namespace of its own
            cgroups.kill_all(self.paths, 9)
        self.driver.remove()


def remove(root: str, id: str, record: "dict[str, Any]") -> None:
    """Remove a container after the end of its process, unless another command has done so."""
    try:
        lock = container.lock(root, id)
    except Error:
        return
    try:
        found = container.load(root, id)
        if all(found[key] == record[key] for key in ("init_process_pid", "init_process_start")):
            container.destroy(root, found, force=True)
    except Error as err:
        log.warning(err.message)
    finally:
        os.close(lock)
