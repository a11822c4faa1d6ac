"""Places to mount something at, looked for and made beneath a root that may be hostile (host).

May touch: directories and empty files beneath that root; the bind of it that CRIU needs.
"""

import os

from pyrunc import beneath
from pyrunc._core import lib
from pyrunc.errors import Error, reason, strerror

ROOT = "criu-root"  # in the container's directory


def resolve(root: str, path: str) -> str:
    """`path` as a container with that root would arrive at it; what is not there stays as it is."""
    return _walk(root, path, None)


def make(root: str, path: str, directory: bool) -> None:
    """See to it that there is a directory, or anything else a file can be mounted on."""
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


def bind_root(directory: str, rootfs: str) -> str:
    """Show the root filesystem in the container's directory; where. CRIU wants a mount point."""
    path = f"{directory}/{ROOT}"
    try:
        os.mkdir(path, 0o755)
    except OSError as err:
        raise Error.os("mkdir", path, err) from err
    result = lib.core_bind(os.fsencode(rootfs), os.fsencode(path))
    if result < 0:
        os.rmdir(path)
        raise Error(f"mount {rootfs} on {path}: {strerror(-result)}")
    return path


def unbind_root(directory: str) -> None:
    """Take that away; OSError if it is still there afterwards, so that nobody empties it."""
    path = f"{directory}/{ROOT}"
    if os.path.lexists(path):
        lib.core_unbind(os.fsencode(path))
        os.rmdir(path)
