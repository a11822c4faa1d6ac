"""What may follow an error's sentence, and which component of a path is to blame (host leaf).

Looks at paths of the host, with stat(2) and readlink(2), and at which controllers there are.
Imported after a failure, never before one.  What cannot be made out stays unsaid.
"""

import errno
import os

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# By these engines choose an exit status: they come from the error, never from what explains it.
SIGNALS = (
    "executable file",
    "no such file",
    "no such process",
    "not found",
    "permission denied",
    "operation not permitted",
    "not a directory",
    "is a directory",
)


def explained(sentence: str, why: str) -> str:
    """The sentence, with the clause if there is one that changes nothing for engines."""
    lower = why.lower()
    if not why or any(words in lower for words in SIGNALS):
        return sentence
    return f"{sentence}: {why}"


def os_error(op: str, name: str, err: OSError) -> Error:
    """Error.os() with what is to blame."""
    return Error(explained(Error.os(op, name, err).message, path(name, err.errno)))


def path(name: str, number: "int | None") -> str:
    """Which component of a path is the reason for an errno; "" if it is no one, or the last."""
    for part, is_last in _parts(name):
        try:
            mode = os.stat(part).st_mode
        except OSError as err:
            return _refused(part, is_last, number) if err.errno == number else ""
        except ValueError:  # a NUL byte, which no path has
            return ""
        if not is_last and mode & 0o170000 != 0o040000:
            return f"{part} is no directory" if number == errno.ENOTDIR else ""
    return ""


def controller(directory: str, file: str) -> str:
    """Why there is no such file in a cgroup, if that is for want of its controller (v2)."""
    name = file.partition(".")[0]
    try:
        with open(f"{directory}/cgroup.controllers", encoding="ascii") as controllers:
            is_there = name in controllers.read().split()
    except OSError:  # of v1, or the cgroup is gone
        return ""
    return "" if is_there else f"this cgroup has no controller {name}"


def hierarchy(name: str) -> str:
    """Why there is no cgroup for a controller of v1, if that is mounted nowhere."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as rows:
            mounts = [row.rpartition(" - ")[2].split() for row in rows]
    except OSError:
        return ""
    is_there = any(row[0] == "cgroup" and name in row[-1].split(",") for row in mounts)
    return "" if is_there else f"no hierarchy of {name} is mounted"


def _parts(name: str) -> "Iterator[tuple[str, bool]]":
    """`/a`, `/a/b`, `/a/b/c`, and whether it is the last."""
    root = "/" if name.startswith("/") else ""
    parts = [part for part in name.split("/") if part]
    for count in range(1, len(parts) + 1):
        yield root + "/".join(parts[:count]), count == len(parts)


def _refused(part: str, is_last: bool, number: "int | None") -> str:
    """About a component that stat(2) refuses, while those before it are there."""
    try:
        target = os.readlink(part)
    except OSError as err:
        if err.errno == number == errno.EACCES:
            return f"{os.path.dirname(part) or '.'} may not be searched{_by_user()}"
        is_missing = err.errno == number == errno.ENOENT and not is_last
        return f"{part} is missing" if is_missing else ""
    missing = ", which is missing" if number == errno.ENOENT else ""
    return f"the link {part} leads to {target}{missing}"


def _by_user() -> str:
    user = os.geteuid()
    return f" by user {user}" if user else ""
