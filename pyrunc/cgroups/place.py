"""A new container's cgroups: make them, put a process into them.

May touch: the directories in `paths`, those above them (controllers, empty cpusets).
OCI runtime-spec 1.3, config-linux.md "Control groups".

    v2     each level is made, and all controllers are enabled for the next one
    v1     a directory in every hierarchy; new cpusets take over what the one above has
    ""     on a hybrid host: joined so that cgroup.kill reaches the container; without limits
"""

import errno
import os
import time

from pyrunc.cgroups.fs import frozen, is_v2, pids, read, write
from pyrunc.errors import Error, reason
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REFUSED = (errno.EPERM, errno.EACCES, errno.EROFS)
# Named hierarchies only group processes: a container can do without.
OPTIONAL = ("name=", "misc")


def check_free(paths: "dict[str, str]") -> None:
    """A container starts in a cgroup that is new, or empty and not frozen."""
    found = pids(paths)
    if found:
        raise Error(f"container's cgroup is not empty: {len(found)} process(es) found")
    try:
        asleep = frozen(paths)
    except Error as err:
        raise Error(f"unable to get cgroup freezer state: {err.message}") from err
    if asleep:
        raise Error("container's cgroup unexpectedly frozen")


def create(
    paths: "dict[str, str]", resources: "dict[str, Any]", tolerant: bool = False
) -> "list[str]":
    """Make the container's cgroups. Returns the directories that were not there, outermost first.

    tolerant: a rootless caller that asked for no cgroup in particular; what it may not make is
    dropped from `paths`.  On failure everything made here is removed again.
    """
    created: "list[str]" = []
    try:
        if is_v2(paths):
            _create_v2(paths, resources, tolerant, created)
        else:
            for name in list(paths):
                try:
                    _create_v1(name, paths[name], resources, created)
                except OSError as err:
                    if not _optional(name, err, tolerant):
                        raise
                    del paths[name]
    except OSError as err:
        discard(created)
        raise Error.os("mkdir", err.filename or "", err) from err
    except BaseException:
        discard(created)
        raise
    return created


def discard(created: "list[str]") -> None:
    """Remove directories that create() made, as far as they are empty."""
    for path in reversed(created):
        try:
            os.rmdir(path)
        except OSError:
            pass  # used by somebody else meanwhile, so not ours any more


def _optional(name: str, err: OSError, tolerant: bool) -> bool:
    return not name or name.startswith(OPTIONAL) or tolerant and err.errno in REFUSED


def _create_v1(name: str, path: str, resources: "dict[str, Any]", created: "list[str]") -> None:
    made = _mkdir(path, created)
    if name == "cpuset":
        # A cpuset without CPUs or memory takes no process; a new one has neither.
        for level in made or [path]:
            _inherit_cpuset(level, bool(made))
    elif name == "cpu" and "cpu" in resources:
        from pyrunc.cgroups import limits_v1

        # A new cgroup has no real-time budget, and a real-time process could not enter it.
        limits_v1.realtime(path, resources["cpu"])


def _mkdir(path: str, created: "list[str]", tries: int = 10) -> "list[str]":
    """mkdir -p. Returns what was made, outermost first.

    tries: others may remove the parent meanwhile; and in a cgroup that is gone, but still mounted
    somewhere, nothing can be made.
    """
    try:
        return [path] if _make(path, created) else []
    except FileNotFoundError:
        parent = path.rpartition("/")[0]
        if not parent or not tries:
            raise
        made = _mkdir(parent, created)
        return made + _mkdir(path, created, tries - 1)


def _make(path: str, created: "list[str]") -> bool:
    """Make a directory that may be there; whether it was not."""
    created.append(path)  # first: an interrupt may come as soon as it is made
    try:
        os.mkdir(path, 0o755)
    except OSError as err:
        created.pop()
        if not isinstance(err, FileExistsError):
            raise
        return False
    return True


def _inherit_cpuset(path: str, fresh: bool) -> None:
    parent = path.rpartition("/")[0]
    for kind in ("cpus", "mems"):
        name = f"cpuset.{kind}"
        if not fresh:
            own = read(path, name)
            if own is None:  # mounted with noprefix
                name = kind
                own = read(path, name)
            if own is None or own.strip():
                continue
        value = read(parent, name)
        if value is None and fresh:
            name = kind
            value = read(parent, name)
        if value is None:
            continue
        if not value.strip():
            _inherit_cpuset(parent, False)
            value = read(parent, name) or ""
        write(path, name, value.strip() or "\n")


def _create_v2(
    paths: "dict[str, str]", resources: "dict[str, Any]", tolerant: bool, created: "list[str]"
) -> None:
    path = paths[""]
    available = (read("/sys/fs/cgroup", "cgroup.controllers") or "").split()
    wanted = requested(resources)
    try:
        _descend(path, available, wanted, created)
    except OSError as err:
        if not tolerant:
            raise
        if wanted & set(available):
            raise Error(
                "rootless needs no limits + no cgrouppath when no permission is granted for "
                f"cgroups: mkdir {err.filename}: {reason(err)}"
            ) from err
        discard(created)
        created.clear()
        paths.clear()


def _descend(path: str, available: "list[str]", wanted: "set[str]", created: "list[str]") -> None:
    """Make each level and enable the controllers for the next one."""
    level = "/sys/fs/cgroup"
    for part in path.removeprefix(level).strip("/").split("/"):
        enabled = (read(level, "cgroup.subtree_control") or "").split()
        missing = [f"+{name}" for name in available if name not in enabled]
        if missing:
            try:
                write(level, "cgroup.subtree_control", " ".join(missing))
            except Error:
                # One that this level cannot have spoils the write for the others.
                for name in missing:
                    try:
                        write(level, "cgroup.subtree_control", name)
                    except Error:
                        pass  # a limit that needs it will say so
        level = f"{level}/{part}"
        _make(level, created)
        kind = (read(level, "cgroup.type") or "").strip()
        if kind == "domain":
            continue
        if wanted & {"memory", "io", "cpu", "hugetlb"} and kind:
            state = "an invalid state" if kind == "domain invalid" else f"{kind} mode"
            raise Error(
                f"cannot enter cgroupv2 {quote(level)} with domain controllers -- it is in {state}"
            )
        if kind == "domain invalid":
            try:
                write(level, "cgroup.type", "threaded")
            except Error:
                pass  # joining will tell


def requested(resources: "dict[str, Any]") -> "set[str]":
    """The v2 controllers that linux.resources needs."""
    wanted = set()
    pids = resources.get("pids") or {}
    if pids.get("limit") is not None:
        wanted.add("pids")
    memory = resources.get("memory") or {}
    if memory.get("limit") or memory.get("reservation") or memory.get("swap"):
        wanted.add("memory")
    if any((resources.get("blockIO") or {}).values()):
        wanted.add("io")
    cpu = resources.get("cpu") or {}
    if cpu.get("cpus") or cpu.get("mems"):
        wanted.add("cpuset")
    if any(cpu.get(key) for key in ("shares", "quota", "period", "burst", "idle")):
        wanted.add("cpu")
    if resources.get("hugepageLimits"):
        wanted.add("hugetlb")
    return wanted


def join(paths: "dict[str, str]", pid: int, tolerant: bool = False) -> None:
    """Move a process into the cgroups. tolerant: as for create(); pid -1 joins nobody."""
    if pid == -1:
        return
    v1 = not is_v2(paths)
    for name in list(paths):
        path = f"{paths[name]}/cgroup.procs"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                _enter(fd, pid)
            finally:
                os.close(fd)
        except OSError as err:
            if v1 and _optional(name, err, tolerant):
                discard([paths.pop(name)])
                continue
            op = "write" if err.filename is None else "open"
            raise Error(f"failed to write {pid}: {op} {path}: {reason(err)}") from err


def _enter(fd: int, pid: int) -> None:
    for last in (False, False, False, False, True):
        try:
            os.write(fd, b"%d" % pid)
            return
        except OSError as err:
            # systemd may be moving the same process.
            if err.errno != errno.EINVAL or last:
                raise
        time.sleep(0.03)
