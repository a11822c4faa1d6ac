"""Another process in a container that exists: Entry.look() and start() are `exec`.

May touch everything the layers below may: this module joins the pure plan with the host.

The container's namespaces are opened through the opened /proc/PID of its first process.  It goes on
naming that process; that it is the right one is checked before the first namespace is opened and
after the last.  The shared lock keeps `delete` away until the new process is in the container's
cgroup, where `delete` finds it.
"""

import os

from pyrunc import (
    attributes,
    cgroups,
    container,
    handshake,
    host,
    plan_exec,
    process,
    procfs,
    spec,
)
from pyrunc._core import lib
from pyrunc.cgroups import entry, fs
from pyrunc.errors import INIT_FAILED, START_FAILED, Error
from pyrunc.namespaces import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Doc = dict[str, Any]

STOPPED = "cannot exec in a stopped container"


class Entry:
    """One process on its way into a container.

    given: the process object, complete.  stdio: its descriptors 0 to 2; -1: the same as ours.
    console: the socket for the master of its terminal; -1: the caller's socket, or no terminal.
    on_ready: called when everything is done but the execution of the program.
    repeatable: whether the front could do again all that was done so far.
    """

    __slots__ = (
        "config",
        "console",
        "given",
        "has_users",
        "id",
        "index",
        "init",
        "lock",
        "nofile",
        "on_ready",
        "opts",
        "passed",
        "pid",
        "pid_file",
        "record",
        "repeatable",
        "root",
        "rootless",
        "source",
        "stdio",
    )

    def __init__(self, opts: "Doc") -> None:
        self.nofile = attributes.make_room()
        self.opts = opts
        self.root: str = opts["root"]
        self.id: str = opts["args"][0]
        self.rootless = os.geteuid() != 0
        self.lock = -1
        self.init: "handshake.Init | None" = None
        self.stdio = (-1, -1, -1)
        self.console = -1
        self.on_ready: "Callable[[], None]" = lambda: None
        self.passed = 0
        self.repeatable = False
        # Relative to where the caller stands, which is not the bundle.
        self.pid_file = attributes.absolute(opts["pid_file"]) if opts["pid_file"] else ""

    # --- the story ---

    def look(self) -> None:
        """Load the container, check that it takes another process, and read the process object."""
        self.lock = container.lock(self.root, self.id, shared=True)
        self.record = container.load(self.root, self.id)
        self.config: "Doc" = self.record["config"]
        self.pid: int = self.record["init_process_pid"]
        now = container.status(self.root, self.record)
        if now == "paused":
            if not self.opts["ignore_paused"]:
                text = "cannot exec in a paused container (use --ignore-paused to override)"
                raise Error(text)
            self._unlock_paused()
            now = container.unpaused_status(self.root, self.record)
        if now == "stopped":
            raise Error(STOPPED)
        self.given = self._process()
        if self.given.get("terminal") or self.opts["console_socket"]:
            from pyrunc import console

            terminal = bool(self.given.get("terminal"))
            console.check(terminal, self.opts["detach"], self.opts["console_socket"])
        if self.opts["preserve_fds"]:
            from pyrunc import descriptors

            self.passed = descriptors.preserved(self.opts["preserve_fds"])

    def start(self) -> None:
        """Start the process; it executes its program.  After an Error there is no process."""
        try:
            try:
                self._start()
            except Error as err:
                raise self._explain(err) from err
            if self.pid_file and self.init:
                attributes.pid_file(self.pid_file, self.init.pid)
            if self.repeatable:
                self._keep()
        except BaseException:
            self.abandon()
            raise
        finally:
            self.unlock()

    def _start(self) -> None:
        facts = host.facts(*plan_exec.facts_for(self.given))
        spec.check_labels(self.given, facts)
        initial, final = process.affinity(self.given)
        if initial or final:
            self.repeatable = False
        if initial:  # init has it from us, until it enters the container's cpuset
            attributes.affinity(0, initial)

        def on_sync(init: handshake.Init, point: int) -> None:
            if point == lib.SYNC_PLACE:
                self._put(init.first)
            elif point == lib.SYNC_READY:
                if self.has_users:
                    attributes.limits(init.pid, process.rlimits(self.given, self.nofile))
                self.on_ready()
            else:
                if self.record.get("intel_rdt_path"):
                    from pyrunc import rdt

                    rdt.join(self.record, init.pid)
                if not self.rootless:
                    attributes.oom_score(init.pid, self.given.get("oomScoreAdj"))
                if final:
                    attributes.affinity(init.pid, final)
                elif not initial:
                    attributes.forget_affinity(init.pid, self._warn)

        self.init = self._spawn(facts)
        handshake.converse(self.init, on_sync, self._warn, self._unlock_paused, self._on_listener)

    def _on_listener(self, init: handshake.Init, fd: int) -> None:
        from pyrunc import agent

        self.repeatable = False
        state = container.hook_state(self.record, "running", self.pid)
        agent.hand_over(self.config["seccomp"], state, init, fd)

    def _keep(self) -> None:
        """Leave the plan for the front, which can do without us what it has seen done."""
        from pyrunc import replay

        simple = (self.record.get("pyrunc") or {}).get("simple")
        if self.init and simple and not (self.has_users or self.nofile or self.rootless):
            replay.store(
                f"{self.root}/{self.id}",
                self.source,
                None if self.opts["process"] else self.opts["args"][1:],
                self.index,
                self.record["cgroup_paths"],
                self.given.get("oomScoreAdj"),
                self.init.plan.encode(),
            )

    def abandon(self) -> None:
        """Kill a process that could not be set up completely."""
        if self.init:
            handshake.end(self.init)

    def close(self) -> None:
        """Release the process, which goes on by itself, and the lock."""
        self.unlock()
        if self.init:
            handshake.close(self.init)

    # --- what runs ---

    def _process(self) -> "Doc":
        """The process object: that of --process, or the bundle's as the flags change it."""
        if self.opts["process"]:
            self.source = self.opts["process"], spec.read_process(self.opts["process"])
            given = spec.parse_process(self.source[1], self.source[0])
            return plan_exec.inherited(given, self.config)
        template = self._template()
        given = plan_exec.with_options(template, *self._options())
        spec.check_process(given)
        return plan_exec.inherited(given, self.config, self.opts["cap"])

    def _options(self) -> "tuple[Doc, list[int] | None]":
        """The options with --user as numbers, and the groups of a user who was given by name."""
        if not self.opts["user"].strip("+-0123456789:"):
            return self.opts, None
        from pyrunc import users

        user, groups = users.numbers(self.opts["user"], f"/proc/{self.pid}/root")
        check_alive(self.record)
        if groups and self.rootless:
            groups = []  # only root can give them, and they were not asked for by name
        return {**self.opts, "user": user}, groups

    def _template(self) -> "Doc":
        """The process object of the bundle as it is now."""
        bundle, _ = container.labels(self.record)
        if not bundle:
            raise Error("bundle not found in labels")
        try:
            os.chdir(bundle)
        except OSError as err:
            from pyrunc import blame

            raise blame.os_error("chdir", bundle, err) from err
        file = (self.record.get("pyrunc") or {}).get("config") or spec.FILE
        self.source = file, spec.read(file)
        template: "Doc" = spec.parse(self.source[1], file)["process"]
        return template

    # --- the way in ---

    def _spawn(self, facts: "Doc") -> handshake.Init:
        """Open what the plan's descriptors are, make the plan, and start init with both."""
        fds: "list[int]" = []
        index: "dict[Any, Any]" = {}
        self.index = index
        try:
            open_namespaces(self.record, NAMES, index, fds)
            self.has_users = ("ns", "user") in index
            if self.has_users:
                from pyrunc import userns

                userns.give_pipes(self.stdio, self.config)
            wanted = entry.parse(self.opts["cgroup"])
            placed = cgroups.places(self.config.get("cgroups") or {})
            tasks: "list[int]" = []
            unified: "list[int]" = []
            if not placed:
                paths = self.record["cgroup_paths"]
                tasks, unified = entry.open_entries(paths, wanted, self.pid)
            index["tasks"] = list(range(len(fds), len(fds) + len(tasks)))
            fds += tasks
            index["cgroups"] = list(range(len(fds), len(fds) + len(unified)))
            fds += unified
            check_alive(self.record)
            if self.given.get("terminal") or self.opts["pidfd_socket"]:
                from pyrunc import console

                for kind, fd in console.sockets(self.opts, self.console).items():
                    index[kind] = len(fds)
                    fds.append(fd)
            filtered = None
            if self.config.get("seccomp"):
                from pyrunc import seccomp

                filtered = seccomp.load(self.config["seccomp"])
            opts = {
                "id": self.id,
                "fds": index,
                "seccomp": filtered,
                "nofile": self.nofile,
                "rootless": self.rootless,
                "host_limits": self.has_users,
                "placed": placed,
            }
            plan = plan_exec.for_exec(self.given, self.config, facts, opts)
            for text in plan.warnings:
                self._warn(text)
            score = self.given.get("oomScoreAdj") if self.rootless else None
            return handshake.spawn(plan, fds, self.stdio, handshake.BASE + self.passed, score)
        finally:
            for fd in fds:
                os.close(fd)

    def _put(self, pid: int) -> None:
        """Have init put into the container's cgroup, or where its first process is now."""
        paths = self.record["cgroup_paths"]
        wanted = entry.parse(self.opts["cgroup"])
        chosen = entry.below(paths, wanted)
        try:
            try:
                cgroups.put(self.config["cgroups"], paths, chosen, pid)
            except Error:
                now = entry.of_init(paths, self.pid)
                if wanted or now == chosen:
                    raise
                cgroups.put(self.config["cgroups"], paths, now, pid)
        except Error as err:
            raise Error(f"error adding pid {pid} to cgroups: {err.message}") from err

    # --- what may go wrong ---

    def _explain(self, err: Error) -> Error:
        """The Error to show.  If the container has ended meanwhile, that is the cause of any."""
        # A pid namespace ends when its first process begins to, before that is quite dead.
        if procfs.ending(self.pid, self.record["init_process_start"]):
            return Error(STOPPED)
        text = err.message
        for lead in (INIT_FAILED, START_FAILED, "unable to apply apparmor profile: "):
            text = text.removeprefix(lead)
        if self.init:
            lead = "unable to apply cgroup configuration: "
            if text.startswith(lead):
                text = f"error adding pid {self.init.pid} to cgroups: {text.removeprefix(lead)}"
            if fs.oom_killed(self.record["cgroup_paths"]):
                text += " (possibly OOM-killed)"
        return Error(START_FAILED + text)

    def _warn(self, text: str) -> None:
        from pyrunc import log

        self.repeatable = False
        log.warning(text)

    def _unlock_paused(self) -> None:
        """Let go of the lock if the container is paused: init is frozen until a `resume`."""
        if self.lock >= 0 and fs.frozen(self.record["cgroup_paths"]):
            self.repeatable = False  # the record may change from now on
            self.unlock()

    def unlock(self) -> None:
        """Let others change the container again."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def open_namespaces(
    record: "Doc", kinds: "Iterable[str]", index: "dict[Any, Any]", fds: "list[int]"
) -> None:
    """Open those namespaces of the given kinds that are the container's own, for a plan to join.

    The descriptors are appended to fds; index["ns", kind] gets the place of each in fds.
    """
    path = f"/proc/{record['init_process_pid']}"
    try:
        # It goes on naming this process when the number has become another's.
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise Error(STOPPED) from None
    try:
        check_alive(record)
        listed = {space["type"] for space in record["config"].get("namespaces") or []}
        for kind in kinds:
            name, file = NAMES[kind]
            if name in listed:
                index["ns", kind] = len(fds)
                fds.append(os.open(f"ns/{file}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder))
    except OSError as err:
        check_alive(record)
        raise Error.os("open", f"{path}/{err.filename}", err) from err
    finally:
        os.close(folder)


def check_alive(record: "Doc") -> None:
    """Refuse a container whose first process has ended."""
    if not procfs.alive(record["init_process_pid"], record["init_process_start"]):
        raise Error(STOPPED)
