"""Small files: read one, replace one atomically; lock a directory, remove a tree (host).

OSError passes, because the callers know what the file is for; only show() and lock_directory()
raise Error.
"""

import errno
import fcntl
import os
import stat

from pyrunc import procfs
from pyrunc.errors import Error


def read(path: "str | bytes", dir_fd: "int | None" = None) -> bytes:
    """The whole file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return read_fd(fd)
    finally:
        os.close(fd)


def read_regular(path: str) -> bytes:
    """The whole file; nothing, if it is none: a FIFO would block, and a device might not end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return read_fd(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def read_fd(fd: int) -> bytes:
    """All that is left to read of a descriptor."""
    parts: "list[bytes]" = []
    while True:
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_text(path: str) -> str:
    """The whole file as text, without the white space around it."""
    return os.fsdecode(read(path)).strip()


def xdg_runtime_dir() -> str:
    """$XDG_RUNTIME_DIR if it is to be used, else "".

    Root does not use it, but /run, unless in a user namespace with a $USER that is not `root`.
    """
    path = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() != 0:
        return path
    stranger = path and os.environ.get("USER", "") != "root" and procfs.in_user_namespace()
    return path if stranger else ""


def write(path: str, data: "str | bytes") -> None:
    """One write(2) to an existing file, as /sys, /proc and cgroup files want it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, os.fsencode(data))
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however many calls that takes."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # others have the pipe, too, and one of them made it so
            import select

            room = select.poll()
            room.register(fd, select.POLLOUT)
            room.poll()


def show(data: bytes) -> None:
    """Write everything to stdout, or raise the Error; BrokenPipeError passes."""
    try:
        write_all(1, data)
    except BrokenPipeError:
        raise
    except OSError as err:
        raise Error.os("write", "/dev/stdout", err) from err


def replace(path: str, data: "str | bytes", mode: int = 0o666) -> None:
    """Write `.<name>` beside `path`, then rename: a reader sees the old content or the new.

    If a killed command left a file of that name, it is removed first, never written to.
    """
    folder, name = os.path.split(path)
    temp = os.path.join(folder, f".{name}")
    unlink(temp)
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, os.fsencode(data))
        finally:
            os.close(fd)
        os.rename(temp, path)
    except OSError:
        unlink(temp)
        raise


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def lock_directory(path: str, mode: int) -> "int | None":
    """Try to lock a directory by flock(2).  mode: LOCK_SH or LOCK_EX.

    Returns the descriptor that holds the lock, -1 if another process has it locked, None if there
    is no such directory.  Raises Error if it cannot be opened or locked for another reason.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        if err.errno == errno.ENAMETOOLONG:  # nothing can be there
            return None
        raise Error.os("open", path, err) from err
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
        # The holder before us may have removed it, and the path may be a new directory's.
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return fd
    except BlockingIOError:
        pass
    except FileNotFoundError:
        os.close(fd)
        return None
    except OSError as err:
        os.close(fd)
        raise Error.os("lock", path, err) from err
    os.close(fd)
    return -1


def remove_tree(path: str) -> None:
    """rm -rf, without following a symlink; it is no error if something is gone already."""
    try:
        os.rmdir(path)
        return
    except FileNotFoundError:
        return
    except NotADirectoryError:
        unlink(path)
        return
    except OSError:
        pass  # not empty, most likely; if not, the last rmdir says so
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _empty(fd)
    finally:
        os.close(fd)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass


def _empty(folder: int) -> None:
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
            continue
        except FileNotFoundError:
            continue
        except (IsADirectoryError, PermissionError):
            pass  # EISDIR is Linux's answer for a directory, EPERM is POSIX's
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=folder)
        try:
            _empty(fd)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=folder)
