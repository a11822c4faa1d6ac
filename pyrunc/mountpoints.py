"""Places to mount something at, looked for and made beneath a root that may be hostile (host).

May touch: directories and empty files beneath that root; the bind of it that CRIU needs.
Symbolic links are followed as the container would: what leads out of the root stays within.
"""

import errno
import os

from pyrunc._core import lib
from pyrunc.errors import Error, strerror

LINKS = 40  # as many as the kernel follows
ROOT = "criu-root"  # in the container's directory


def resolve(root: str, path: str) -> str:
    """`path` as a container with that root would arrive at it; what is not there stays as it is."""
    return _walk(root, path, None)


def make(root: str, path: str, directory: bool) -> None:
    """See to it that there is a directory, or anything else a file can be mounted on."""
    _walk(root, path, directory)


def _walk(root: str, path: str, last_is_directory: "bool | None") -> str:
    """Both of the above. last_is_directory: what to make; None makes nothing."""
    todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
    done: "list[str]" = []
    links = 0
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    fds = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        while todo:
            part = todo.pop()
            if part == "..":
                if done:
                    done.pop()
                    os.close(fds.pop())
                continue
            try:
                target = os.readlink(part, dir_fd=fds[-1])
            except FileNotFoundError:
                if last_is_directory is None:
                    return _plain([*done, part, *todo[::-1]])
                _make(part, fds[-1], bool(todo) or last_is_directory)
            except OSError as err:
                if err.errno == errno.ENOTDIR and last_is_directory is None:
                    return _plain([*done, part, *todo[::-1]])
                if err.errno != errno.EINVAL:  # which is: no link
                    raise
            else:
                links += 1
                if links > LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if target.startswith("/"):
                    done.clear()
                    while len(fds) > 1:
                        os.close(fds.pop())
                todo += [word for word in target.split("/") if word not in ("", ".")][::-1]
                continue
            fds.append(os.open(part, flags, dir_fd=fds[-1]))
            done.append(part)
        return _plain(done)
    except OSError as err:
        raise Error(f"unable to prepare mountpoint {path}: {strerror(err.errno or 0)}") from err
    finally:
        for fd in fds:
            os.close(fd)


def _plain(parts: "list[str]") -> str:
    return os.path.normpath("/" + "/".join(parts))


def _make(name: str, parent: int, directory: bool) -> None:
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    except FileExistsError:
        pass


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
