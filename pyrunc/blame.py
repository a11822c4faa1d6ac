"""Why a path or a cgroup file cannot be used: the clause that follows an error's sentence (host).

May touch: reads paths of the host, with stat(2) and readlink(2), and the list of controllers.
Imported after a failure, never before one.  A cause that is not certain is not told.
"""

import errno
import os

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Engines look for these words to choose an exit status, so an explanation must not contain them.
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
    """The sentence, followed by the clause, unless an engine could be misled by the clause."""
    lower = why.lower()
    if not why or any(words in lower for words in SIGNALS):
        return sentence
    return f"{sentence}: {why}"


def os_error(op: str, name: str, err: OSError) -> Error:
    """Error.os(), followed by which component of the path is to blame."""
    return Error(explained(Error.os(op, name, err).message, path(name, err.errno)))


def path(name: str, number: "int | None") -> str:
    """Which component of a path is the reason for an errno; "" if none is, or only the last."""
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


def program(name: str, number: "int | None") -> str:
    """As path(), of a program: it may also be a script whose interpreter is missing."""
    why = path(name, number)
    if why or number != errno.ENOENT:
        return why
    try:
        with open(name, "rb") as script:
            line = script.read(256).partition(b"\n")[0]
    except OSError:
        return ""
    words = line[2:].split() if line.startswith(b"#!") else []
    interpreter = os.fsdecode(words[0]) if words else ""
    shown = "".join(char if char.isprintable() else "?" for char in interpreter)
    is_missing = interpreter and not os.path.lexists(interpreter)
    return f"its interpreter {shown} is missing" if is_missing else ""


def controller(directory: str, file: str) -> str:
    """Why a cgroup has no such file, if the reason is that its controller is missing (v2)."""
    name = file.partition(".")[0]
    try:
        with open(f"{directory}/cgroup.controllers", encoding="ascii") as controllers:
            is_there = name in ("cgroup", *controllers.read().split())
    except OSError:  # of v1, or the cgroup is gone
        return ""
    return "" if is_there else f"this cgroup has no controller {name}"


def hierarchy(name: str) -> str:
    """Why there is no cgroup of a v1 controller, if the reason is that it is mounted nowhere."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as rows:
            mounts = [row.rpartition(" - ")[2].split() for row in rows]
    except OSError:
        return ""
    is_there = any(row[0] == "cgroup" and name in row[-1].split(",") for row in mounts)
    return "" if is_there else f"no hierarchy of {name} is mounted"


def _parts(name: str) -> "Iterator[tuple[str, bool]]":
    """(`/a`, False), (`/a/b`, False), (`/a/b/c`, True): the prefixes, and which is the last."""
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
