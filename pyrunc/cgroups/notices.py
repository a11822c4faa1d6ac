"""Notices of the kernel about a cgroup: that memory ran out, and that the last process ended.

May touch: files in the directories of `paths` (reads, and a registration with memory's hierarchy on
v1).  The kernel's admin-guide/cgroup-v1/memory "OOM Control", admin-guide/cgroup-v2.

    v1      an eventfd counts OOMs; it is also signalled when the cgroup is removed
    v2      a change of memory.events or cgroup.events wakes whoever polls the open file
    hybrid  the former for memory, the latter for the end
"""

import os
import select

from pyrunc.cgroups import fs
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Notices:
    """Descriptors to wait for.  poll(milliseconds) tells what happened: "oom", "end"."""

    __slots__ = ("_actions", "_counter", "_open", "_poll", "control", "kills")

    def __init__(self, paths: "dict[str, str]") -> None:
        self._open: "list[int]" = []
        self._actions: "dict[int, Callable[[int], list[str]]]" = {}
        self._poll = select.poll()
        self._counter = -1
        self.control = ""
        self.kills = fs.oom_killed(paths)
        try:
            # Want of memory first: who is killed for it may have been the last one.
            if fs.is_v2(paths):
                self._counter = self._watch(f"{paths['']}/memory.events", self._killed)
            elif "memory" in paths:
                self._register(paths["memory"])
            # On a hybrid host the processes may be elsewhere in the unified hierarchy.
            if "populated 1" in (fs.read(paths.get("", "/nonexistent"), "cgroup.events") or ""):
                self._watch(f"{paths['']}/cgroup.events", self._emptied)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening."""
        while self._open:
            os.close(self._open.pop())

    def poll(self, milliseconds: int) -> "list[str]":
        """What happened within that time, in this order; returns early if something did."""
        ready = {fd for fd, _ in self._poll.poll(milliseconds)}
        return [word for fd, act in self._actions.items() if fd in ready for word in act(fd)]

    def watch_reader(self, fd: int) -> None:
        """Report the "end", too, when nobody can read any more what is written to fd."""
        self._poll.register(fd, 0)  # POLLERR and POLLHUP are always told
        self._actions[fd] = lambda fd: ["end"]

    def _watch(self, path: str, act: "Callable[[int], list[str]]") -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            if err.errno in fs.GONE:  # without that controller it has nothing to tell
                return -1
            raise Error.os("open", path, err) from err
        self._open.append(fd)
        self._actions[fd] = act
        _content(fd)  # a change counts from the last read
        self._poll.register(fd, select.POLLPRI)
        return fd

    def _killed(self, fd: int) -> "list[str]":
        text = _content(fd)
        if text is None:
            return ["end"]
        before, self.kills = self.kills, fs.oom_kills(text)
        return ["oom"] * (self.kills - before)

    def _emptied(self, fd: int) -> "list[str]":
        if "populated 1" in (_content(fd) or ""):
            return []
        # The kernel tells of each file when it comes to it: of the last kill maybe after the end.
        return [*(self._killed(self._counter) if self._counter >= 0 else []), "end"]

    def _register(self, folder: str) -> None:
        try:
            event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._open.append(event)
            control = os.open(f"{folder}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise Error(f"unable to watch {folder}: {reason(err)}") from err
        try:
            fs.write(folder, "cgroup.event_control", f"{event} {control}")
        finally:
            os.close(control)
        self.control = f"{folder}/cgroup.event_control"
        self._actions[event] = self._signalled
        self._poll.register(event, select.POLLIN)

    def _signalled(self, fd: int) -> "list[str]":
        os.eventfd_read(fd)
        return ["oom" if os.path.lexists(self.control) else "end"]


def _content(fd: int) -> "str | None":
    try:
        return os.pread(fd, 4096, 0).decode()
    except OSError as err:
        if err.errno in fs.GONE:
            return None
        raise Error(f"read cgroup events: {reason(err)}") from err
