"""Descriptors through which a process enters cgroups by itself, and which cgroups exec enters.

May touch: /proc/PID/cgroup and the directories of cgroups (reads only; opens them to be entered).

An exec's --cgroup:

    no --cgroup          the container's; if that is gone or takes no process, those init is in now
    --cgroup PATH        below the container's in every hierarchy; `/` is the container's, no other
    --cgroup CTRL:PATH   v1: below the container's in the hierarchy of this controller
"""

import os

from pyrunc.cgroups.fs import is_v2
from pyrunc.errors import Error


def entries(paths: "dict[str, str]") -> "tuple[list[int], int]":
    """Descriptors through which a new process can enter by itself (the caller closes them).

    Returns the `tasks` files of v1, and a cgroup2 directory for CLONE_INTO_CGROUP, or -1.  A
    process with one thread that writes `0` to `tasks` moves itself.  Then the kernel does not wait
    for an RCU grace period (10 to 20 ms), as it does when another process moves it.
    """
    tasks: "list[int]" = []
    unified = -1
    try:
        for name, path in paths.items():
            if name:
                tasks.append(os.open(f"{path}/tasks", os.O_WRONLY | os.O_CLOEXEC))
            else:
                unified = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        for fd in tasks:
            os.close(fd)
        raise Error.os("open", err.filename, err) from err
    return tasks, unified


def parse(arguments: "list[str]") -> "dict[str, str]":
    """--cgroup, each time it was given: {controller: path}, controller "" for all of them."""
    found: "dict[str, str]" = {}
    for text in arguments:
        names, colon, path = text.partition(":")
        if not colon:
            if len(arguments) != 1:
                raise Error(f"invalid --cgroup argument: {text} (missing <controller>: prefix)")
            return {"": text}
        for name in names.split(","):
            if not name:
                raise Error(f"invalid --cgroup argument: {text} (empty <controller> prefix)")
            if name in found:
                why = f"controller {name} specified multiple times"
                raise Error(f"invalid --cgroup argument: {text} ({why})")
            found[name] = path
    return found


def below(paths: "dict[str, str]", wanted: "dict[str, str]") -> "dict[str, str]":
    """The container's cgroups `paths` with the sub-cgroups that parse() found."""
    if wanted and not paths:
        raise Error("cannot enter a cgroup: cgroups not configured for container")
    if "" in wanted:
        result = {name: _inside(path, wanted[""]) for name, path in paths.items()}
        if not is_v2(paths) and not os.path.isdir(result.get("", "/")):
            result[""] = paths[
                ""
            ]  # it has no controllers here, and who makes v1 cgroups forgets it
        return result
    result = dict(paths)
    for name, path in wanted.items():
        if name not in paths:
            raise Error(f"unknown controller {name} in SubCgroupPaths")
        result[name] = _inside(paths[name], path)
    return result


def _inside(base: str, path: str) -> str:
    whole = os.path.normpath(f"{base}/{path}")  # cgroup file systems have no symbolic links
    if whole != base and not whole.startswith(f"{base}/"):
        raise Error(f"bad sub cgroup path: {path}")
    return whole


def open_entries(
    paths: "dict[str, str]", wanted: "dict[str, str]", init: int
) -> "tuple[list[int], list[int]]":
    """Descriptors (the caller closes them): v1's `tasks`, and cgroup2 directories in order of
    preference.  init: the container's first process, which the caller must find alive afterwards.
    """
    chosen = below(paths, wanted)
    try:
        tasks, unified = entries(chosen)
    except Error as err:
        if is_v2(paths) and wanted:
            raise Error(f"can't open cgroup: {err.message}") from err
        if wanted:
            raise Error(f"error adding pid 0 to cgroups: {err.message}") from err
        tasks, unified = entries(of_init(paths, init))
        return tasks, [unified] if unified >= 0 else []
    directories = [unified] if unified >= 0 else []
    if is_v2(paths) and not wanted:
        # A cgroup whose controllers went to its children takes no process: init must have moved.
        try:
            now = of_init(paths, init)
            if now != chosen:
                directories.append(entries(now)[1])
        except Error:
            pass  # then there is only the container's own
    return tasks, directories


def of_init(paths: "dict[str, str]", init: int) -> "dict[str, str]":
    """The cgroups that the container's first process is in now."""
    from pyrunc.cgroups import hierarchies

    try:
        now = hierarchies.of_process(init)
    except OSError as err:
        raise Error.os("open", f"/proc/{init}/cgroup", err) from err
    return {name: now[name] for name in paths if name in now}
