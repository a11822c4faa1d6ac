"""Find and make mountpoints beneath a root that may be hostile (host); CRIU's bind of the root.

May touch: directories and empty files beneath that root; that bind, and what CRIU itself mounts.
"""

import os

from pyrunc import beneath, files
from pyrunc._core import lib
from pyrunc.errors import Error, reason, strerror

# In the container's directory.
ROOT = "criu-root"
WORK = "criu-work"  # a link to where CRIU works
YARD = ".criu.cgyard."  # there it mounts the host's cgroups meanwhile


def resolve(root: str, path: str) -> str:
    """`path` without symbolic links, as a container with that root would resolve it.

    Components that do not exist stay as they are.
    """
    return _walk(root, path, None)


def make(root: str, path: str, directory: bool) -> None:
    """Make the mountpoint if nothing is there: a directory, or else an empty file."""
    _walk(root, path, "directory" if directory else "file")


def _walk(root: str, path: str, make: "str | None") -> str:
    try:
        found, fd = beneath.walk(root, path, make)
    except OSError as err:
        raise Error(f"unable to prepare mountpoint {path}: {reason(err)}") from err
    if fd >= 0:
        os.close(fd)
    return found


# --- the root, as a mount point of its own ---


def bind_root(directory: str, rootfs: str, work: str) -> str:
    """Bind the root filesystem into the container's directory, because CRIU wants a mount point.

    Returns its path.  work: CRIU's directory, from now on known to unbind_root().
    """
    path = f"{directory}/{ROOT}"
    try:
        os.symlink(work, f"{directory}/{WORK}")
        os.mkdir(path, 0o755)
    except OSError as err:
        raise Error.os("mkdir", path, err) from err
    result = lib.core_bind(os.fsencode(rootfs), os.fsencode(path))
    if result < 0:
        os.rmdir(path)
        raise Error(f"mount {rootfs} on {path}: {strerror(-result)}")
    return path


def unbind_root(directory: str) -> None:
    """Remove that bind, and what a CRIU that was killed left mounted.

    OSError if it cannot be: its directory must not be emptied then.
    """
    path, work = f"{directory}/{ROOT}", f"{directory}/{WORK}"
    if os.path.lexists(path):
        lib.core_unbind(os.fsencode(path))
        os.rmdir(path)
    if os.path.lexists(work):
        _unmount(f"{os.path.realpath(work)}/{YARD}")
        os.unlink(work)


def _unmount(start: str) -> None:
    """Unmount, with all below it, what is mounted in a directory under names that start so."""
    from pyrunc.cgroups.hierarchies import unescape

    rows = os.fsdecode(files.read("/proc/self/mountinfo")).splitlines()
    for place in (unescape(row.split(" ")[4]) for row in rows):
        if place.startswith(start) and "/" not in place[len(start) :]:
            lib.core_unbind(os.fsencode(place))
            os.rmdir(place)
