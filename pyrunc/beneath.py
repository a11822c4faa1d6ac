"""Resolve a path as a container whose root this is would, however hostile the root is (host).

Symbolic links are followed as inside the container: none leads out of the root.
May touch: directories and empty files beneath the root, which are made if `make` is given.
OSError passes: the callers know what the path meant.
"""

import errno
import os

LINKS = 40  # as many as the kernel follows


def walk(root: str, path: str, make: "str | None" = None) -> "tuple[str, int]":
    """The path without links, and a descriptor (O_PATH) of what is there; -1 if nothing is.

    make: "file" or "directory": if nothing is there, make one, and the directories above it.
    """
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
                if not make:
                    return _plain([*done, part, *todo[::-1]]), -1
                _make(part, fds[-1], bool(todo) or make == "directory")
            except OSError as err:
                if err.errno == errno.ENOTDIR and not make:
                    return _plain([*done, part, *todo[::-1]]), -1
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
        return _plain(done), fds.pop()
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
