"""The names of `exec --user`, looked up in the passwd(5) and group(5) of a container (host).

May touch: those two files, for reading.  The image wrote them: they are looked for beneath its
root, opened only if they are regular files, and lines that make no sense are skipped.
"""

import os
import stat

from pyrunc import beneath
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ID_MAX = 0xFFFFFFFE  # one more means "none" to the kernel
SIZE_MAX = 16 << 20  # a quarter of a million users


def numbers(text: str, root: str) -> "tuple[str, list[int] | None]":
    """(UID[:GID], supplementary groups) for USER[:GROUP]; the groups are None if USER is a number.

    root: the container's.  A user's name stands for all groups of that user, unless GROUP is given.
    A number is never looked up as a name (CVE-2016-3697).
    """
    user, colon, group = text.partition(":")
    groups = None
    if _is_name(user):
        uid, gid = _user(user, root)
        groups = [] if colon else _groups_of(user, root)
        user = str(uid)
        if not colon:
            colon, group = ":", str(gid)
    if _is_name(group):
        group = str(_group(group, root))
    return f"{user}{colon}{group}", groups


def _is_name(text: str) -> bool:
    return text.strip("+-0123456789") != ""


def _user(name: str, root: str) -> "tuple[int, int]":
    what = f"unable to find user {name}"
    for (found, _, uid, gid), _ in _rows(root, "/etc/passwd", 4, what):
        if found == name and _is_id(uid) and _is_id(gid):
            return int(uid), int(gid)
    raise Error(f"{what}: no matching entries in passwd file")


def _group(name: str, root: str) -> int:
    what = f"unable to find group {name}"
    for (found, _, gid), _ in _rows(root, "/etc/group", 3, what):
        if found == name and _is_id(gid):
            return int(gid)
    raise Error(f"{what}: no matching entries in group file")


def _groups_of(user: str, root: str) -> "list[int]":
    what = f"unable to find the groups of user {user}"
    rows = _rows(root, "/etc/group", 3, what)
    found = [int(gid) for (_, _, gid), members in rows if user in members and _is_id(gid)]
    return list(dict.fromkeys(found))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= ID_MAX


def _rows(root: str, path: str, count: int, what: str) -> "Iterator[tuple[list[str], list[str]]]":
    """The first fields of each line that has so many, and the words of the one after them.

    A file that is not there has no lines.
    """
    try:
        fd = beneath.walk(root, path)[1]
        if fd < 0:
            return
        try:
            data = _read(fd, path, what)
        finally:
            os.close(fd)
    except OSError as err:
        raise Error(f"{what}: open {path}: {reason(err)}") from err
    for line in data.split(b"\n"):
        fields = os.fsdecode(line).split(":")
        if len(fields) >= count:
            yield fields[:count], fields[count].split(",") if len(fields) > count else []


def _read(place: int, path: str, what: str) -> bytes:
    """The content of the file that an O_PATH descriptor refers to, if reading it cannot block.

    No more than its size is read: files of the kernel say that they are empty, and some block.
    """
    status = os.fstat(place)
    if not stat.S_ISREG(status.st_mode):
        raise Error(f"{what}: {path} is not a regular file")
    if status.st_size > SIZE_MAX:
        raise Error(f"{what}: {path} is larger than {SIZE_MAX >> 20} MiB")
    fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        parts = []
        left = status.st_size
        while left > 0 and (part := os.read(fd, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)
