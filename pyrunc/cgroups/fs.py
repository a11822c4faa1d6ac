"""cgroup directories: make, join, look into, freeze, kill, remove (v1, hybrid and v2 alike).

May touch: the directories in `paths` and the processes in them.  Nothing here needs to know the
mode: `paths` says it, {"": directory} being v2.  Limits are limits.py's.

The paths lie on cgroup mounts (cgroups.paths() looked), where nothing but directories can be made,
so no link can lead a write elsewhere.
"""

import errno
import os
import time

from pyrunc import log, procfs
from pyrunc.errors import Error, reason, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0  # seconds until a frozen, or emptied, cgroup has to have become so
GONE = (errno.ENOENT, errno.ENODEV)
REFUSED = (errno.EPERM, errno.EACCES, errno.EROFS)


def is_v2(paths: "dict[str, str]") -> bool:
    """Is the unified hierarchy the only one?"""
    return len(paths) == 1 and "" in paths


# --- files ---


def read(directory: str, name: str) -> "str | None":
    """A cgroup file as text; None if it, or the cgroup, is not there."""
    path = f"{directory}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        if err.errno in GONE:
            return None
        raise Error.os("open", path, err) from err
    try:
        text = b""
        while part := os.read(fd, 65536):
            text += part
        return text.decode()
    except OSError as err:
        if err.errno in GONE:
            return None
        raise Error.os("read", path, err) from err
    finally:
        os.close(fd)


def names(directory: str) -> "set[str]":
    """What is in a cgroup's directory; nothing if that is not there."""
    try:
        return set(os.listdir(directory))
    except OSError as err:
        if err.errno in GONE:
            return set()
        raise Error.os("open", directory, err) from err


def write(directory: str, name: str, value: "str | int", ignore: "tuple[int, ...]" = ()) -> int:
    """Write a cgroup file. Returns 0, or that errno of `ignore` which happened."""
    path = f"{directory}/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as err:
        if err.errno in ignore:
            return err.errno or 0
        from pyrunc import blame

        why = blame.controller(directory, name) if err.errno == errno.ENOENT else ""
        raise Error(blame.explained(Error.os("open", path, err).message, why)) from err
    try:
        os.write(fd, str(value).encode())
        return 0
    except OSError as err:
        if err.errno in ignore:
            return err.errno or 0
        data = log.quote(str(value))
        raise Error(f"failed to write {data}: write {path}: {reason(err)}") from err
    finally:
        os.close(fd)


def hint(verb: str, err: Error) -> None:
    """Say more about a failure of a verb if it is for lack of rights."""
    cause = err.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.EPERM, errno.EACCES):
        log.warning(f"runc {verb} failure might be caused by lack of full access to cgroups")


# --- look into ---


def processes_in(paths: "dict[str, str]") -> "str | None":
    """The one directory whose tree lists the container's processes."""
    return paths.get("devices") or paths.get("")


def pids(paths: "dict[str, str]") -> "list[int]":
    """All processes in the cgroup and below it; none if it is gone."""
    top = processes_in(paths)
    return sorted(_pids(top)) if top else []


def _pids(path: str) -> "set[int]":
    found = _listed(path)
    for child in _below(path):
        found |= _listed(child)
    return found


def _listed(path: str) -> "set[int]":
    try:
        text = read(path, "cgroup.procs")
    except Error as err:
        cause = err.__cause__
        if not isinstance(cause, OSError) or cause.errno != errno.EOPNOTSUPP:
            raise
        text = read(path, "cgroup.threads")  # a threaded cgroup lists only these
    return {int(line) for line in (text or "").split()}


def _below(path: str) -> "Iterator[str]":
    """Every cgroup below one, before those above it.  Each path is good until the next one.

    They are the payload's, and may lie deeper than a path can be long, or a function call itself.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except OSError as err:
        if err.errno in GONE:
            return
        raise Error.os("open", path, err) from err
    way: "list[str]" = []
    try:
        left = [_children(fd)]
        while left[-1] or way:
            step = left[-1].pop() if left[-1] else ".."
            try:
                there = os.open(step, flags, dir_fd=fd)
            except FileNotFoundError:
                if step == "..":
                    raise
                continue
            os.close(fd)
            fd = there
            if step != "..":
                way.append(step)
                left.append(_children(fd))
            else:
                left.pop()
                yield f"/proc/self/fd/{fd}/{way.pop()}"
    except OSError as err:
        raise Error.os("open", path, err) from err
    finally:
        os.close(fd)


def _children(fd: int) -> "list[str]":
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as err:
        if err.errno in GONE:
            return []
        raise


def oom_killed(paths: "dict[str, str]") -> int:
    """How often the kernel's OOM killer struck here."""
    if is_v2(paths):
        text = read(paths[""], "memory.events")
    else:
        text = read(paths["memory"], "memory.oom_control") if "memory" in paths else None
    return oom_kills(text or "")


def oom_kills(text: str) -> int:
    """The same out of the content of memory.events (v2) or memory.oom_control (v1)."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill":
            return int(value)
    return 0


# --- freeze ---


def frozen(paths: "dict[str, str]") -> bool:
    """Is the container paused?  A cgroup frozen only because one above it is does not count."""
    path = paths.get("freezer")
    if path is None:
        path = paths.get("")
        # The request is what counts: processes that are slow to stop must not delay a look.
        return path is not None and (read(path, "cgroup.freeze") or "").strip() == "1"
    for _ in range(1000):
        state = (read(path, "freezer.state") or "").strip()
        if state != "FREEZING":
            break
        if (read(path, "freezer.self_freezing") or "").strip() != "1":
            return False
        time.sleep(0.001)
    return (
        state not in ("", "THAWED") and (read(path, "freezer.self_freezing") or "").strip() == "1"
    )


def freeze(paths: "dict[str, str]", on: bool) -> None:
    """Stop every process in the cgroup, or let them go on."""
    v1, v2 = paths.get("freezer"), paths.get("")
    if v1 is not None:
        if on:
            _freeze_v1(v1)
        else:
            write(v1, "freezer.state", "THAWED", GONE)
    elif v2 is not None:
        missing = write(v2, "cgroup.freeze", "1" if on else "0", GONE)
        if on and missing:
            raise Error("freezer not supported")
        if on and not _wait_event(v2, "frozen 1", time.monotonic() + PATIENCE):
            write(v2, "cgroup.freeze", "0", GONE)
            raise Error("unable to freeze")
    elif on:
        raise Error("cannot toggle freezer: cgroups not configured for container")


def _freeze_v1(path: str) -> None:
    try:
        for attempt in range(1000):
            if attempt % 50 == 49:
                # A process that is being traced or forks may slip through; a fresh start helps.
                write(path, "freezer.state", "THAWED")
                time.sleep(0.01)
            write(path, "freezer.state", "FROZEN")
            state = (read(path, "freezer.state") or "").strip()
            if state == "FROZEN":
                return
            if state != "FREEZING":
                raise Error(f"unexpected state {log.quote(state)} while freezing")
            if attempt > 10:
                time.sleep(0.001)
        raise Error("unable to freeze")
    except Error:
        write(path, "freezer.state", "THAWED", (*GONE, *REFUSED))
        raise


def _wait_event(path: str, line: str, deadline: float) -> bool:
    """Wait for a line of cgroup.events of a v2 cgroup: the kernel wakes us when that changes."""
    import select

    try:
        fd = os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        if err.errno in GONE:
            return False
        raise Error.os("open", f"{path}/cgroup.events", err) from err
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while True:
            if line in os.pread(fd, 4096, 0).decode().splitlines():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(int(left * 1000) + 1)
    except OSError as err:
        if err.errno in GONE:
            return False
        raise Error.os("read", f"{path}/cgroup.events", err) from err
    finally:
        os.close(fd)


# --- kill and remove ---


def kill_all(paths: "dict[str, str]", number: int) -> None:
    """Signal every process in the cgroup and below it."""
    top = processes_in(paths)
    if top is None or not os.path.isdir(top):
        raise Error("container not running")
    unified = paths.get("")
    # On a hybrid host the processes may be elsewhere in the unified hierarchy.
    if (
        number == 9
        and unified is not None
        and (is_v2(paths) or "populated 1" in (read(unified, "cgroup.events") or ""))
        and write(unified, "cgroup.kill", "1", GONE) == 0
    ):
        return
    try:
        freeze(paths, True)
    except Error:
        pass  # a fork may then escape, and the removal of its cgroup will name it
    try:
        for pid in pids(paths):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
            except OSError as err:
                raise Error(f"kill {pid}: {reason(err)}") from err
    finally:
        freeze(paths, False)


def remove(paths: "dict[str, str]") -> None:
    """Remove the cgroups and what the payload made in them, once their processes are gone."""
    deadline = time.monotonic() + PATIENCE
    left = list(paths.values())
    pause = 0.001
    empty = False
    while True:
        left = [path for path in left if not _rmdir(path)]
        if not left:
            return
        now = time.monotonic()
        if now >= deadline:
            raise Error("; ".join(f"rmdir {path}: {_busy(path)}" for path in left))
        pause = min(pause * 2, 0.1, deadline - now)
        if not empty and paths.get("") in left:
            # Killed processes leave every hierarchy at about the same time.
            empty = _wait_event(paths[""], "populated 0", now + pause)
        else:
            time.sleep(pause)  # v1 tells nobody when a cgroup becomes empty


def _rmdir(path: str) -> bool:
    """Remove a cgroup with those below it; False while something lives there."""
    if _is_gone(path):
        return True
    below = [_is_gone(child) for child in _below(path)]  # every one, even if one is busy
    return bool(below) and all(below) and _is_gone(path)


def _is_gone(path: str) -> bool:
    """Remove a cgroup; False if it is not empty."""
    try:
        os.rmdir(path)
    except OSError as err:
        if err.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        if err.errno not in GONE:
            raise Error.os("rmdir", path, err) from err
    return True


def _busy(path: str) -> str:
    """Why a cgroup cannot be removed: who is in it."""
    names = []
    for pid in sorted(_pids(path)):
        names.append(f"{pid} (state {procfs.state_letter(pid) or '?'})")
    text = strerror(errno.EBUSY)
    return f"{text} ({len(names)} process(es) left: {', '.join(names)})" if names else text
