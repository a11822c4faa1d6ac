"""linux.seccomp -> the program and the flags for seccomp(2) (host: reads and writes its cache).

Translating an engine's default profile takes 12 ms, and most containers of a host have the same
profile.  So the finished program is kept in a directory below /run (root) or XDG_RUNTIME_DIR, where
it is found in 0.1 ms.  seccomp_filter, and with it libseccomp, is imported only when it is not.
"""

import marshal
import os

from pyrunc import __version__, files
from pyrunc._core import lib
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# SECCOMP_FILTER_FLAG_* of <linux/seccomp.h>.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
NEW_LISTENER = 8
NOTIFY = "SCMP_ACT_NOTIFY"
# init has one thread, so there is nothing to synchronise.
TSYNC = "SECCOMP_FILTER_FLAG_TSYNC"
# The kernel takes it only together with a listener.
KILLABLE = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"

CACHE = "pyrunc-seccomp"
CACHE_FILES = 256


def load(
    section: "dict[str, Any]",
    debug: "Callable[[str], None] | None" = None,
    cache: "str | None" = None,
) -> "tuple[bytes, int] | None":
    """The struct sock_filter[] and the flags; None if the section filters nothing.

    debug: told about what is ignored, when the program is not taken from the cache.
    cache: its directory.
    """
    if not section.get("defaultAction") and not section.get("syscalls"):
        return None
    flags = _flags(section.get("flags"), _listens(section))
    key = _key(section)
    folder = cache_path() if cache is None else cache
    program = _lookup(folder, key)
    if program is None:
        try:
            from pyrunc import seccomp_filter
        except ImportError as err:
            raise Error(f"config provided but seccomp not supported: {err}") from err
        program = seccomp_filter.program(section, debug)
        _store(folder, key, seccomp_filter.library_path(), program)
    return program, flags


def supported_flags() -> "list[str]":
    """The names of FLAGS that this kernel accepts."""
    return [name for name, flag in FLAGS.items() if _supported(flag)]


def _supported(flag: int) -> bool:
    if flag == FLAGS[KILLABLE]:
        flag |= NEW_LISTENER
    return bool(lib.core_seccomp_flag(flag))


def _listens(section: "dict[str, Any]") -> bool:
    """Whether calls go to an agent.  Rules that would stop init before it has one are refused."""
    if section.get("defaultAction") == NOTIFY:
        raise Error(f"{NOTIFY} cannot be used as default action")
    rules = [rule for rule in section.get("syscalls") or () if rule.get("action") == NOTIFY]
    # With it init tells us of the listener.
    if any("write" in rule["names"] for rule in rules):
        raise Error(f"{NOTIFY} cannot be used for the write syscall")
    if rules and not section.get("listenerPath"):
        raise Error("seccomp listenerPath is not set")
    if rules and not _supported(NEW_LISTENER):
        raise Error("seccomp notify unsupported: this kernel has no listeners")
    return bool(rules)


def _flags(names: "list[str] | None", listens: bool) -> int:
    listener = NEW_LISTENER if listens else 0
    if names is None:
        # Without it the kernel turns Speculative Store Bypass off for good (before Linux 5.16),
        # which costs speed; runc asks for it, too, unless the profile lists flags, even none.
        default = FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
        return listener | (default if _supported(default) else 0)
    flags = listener
    for name in names:
        if name not in FLAGS:
            raise Error(f"seccomp flag {name} is not known to runc")
        if name == TSYNC or name == KILLABLE and not listens:
            continue
        if not _supported(FLAGS[name]):
            raise Error(f"seccomp flag {name} is not supported by this kernel")
        flags |= FLAGS[name]
    return flags


# The cache: one file per program.  The directory and the file must be writable by us only, and the
# whole key is compared, so that a file has just what translating the section would give.  Whatever
# goes wrong here, the section is then translated by libseccomp.


def _key(section: "dict[str, Any]") -> bytes:
    """Everything that the program depends on, except libseccomp, which _store() notes as well.

    Version 2 of marshal's format: in later ones the bytes depend on reference counts.
    """
    host = os.uname()
    return marshal.dumps((section, __version__, host.release, host.machine), 2)


def _hash(data: bytes) -> int:
    return int(lib.core_hash64(data, len(data)))


def _name(key: bytes) -> str:
    return f"{_hash(key):016x}"


def _stamp(path: str) -> str:
    """Identifies a libseccomp by its file: another version would translate differently.

    Its path is known only when it has been loaded; so it is stored with the program, and a hit in
    the cache costs one stat(2).
    """
    facts = os.stat(path)
    return f"{facts.st_dev}:{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}"


def _check_owner(fd: int) -> None:
    facts = os.fstat(fd)
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise PermissionError


def cache_path() -> str:
    """The cache's directory; empty if there is no place for one."""
    parent = files.xdg_runtime_dir() or ("/run" if os.geteuid() == 0 else "")
    return os.path.join(parent, CACHE) if parent.startswith("/") else ""


def _open(path: str) -> int:
    """The directory, made if it is missing.  The descriptor is the caller's."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        os.mkdir(path, 0o700)
        fd = os.open(path, flags)
    try:
        _check_owner(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _lookup(path: str, key: bytes) -> "bytes | None":
    fds = []
    try:
        fds.append(_open(path))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fds.append(os.open(_name(key), flags, dir_fd=fds[0]))
        _check_owner(fds[1])
        data = files.read_fd(fds[1])
        checksum, body = data[:8], data[8:]
        if int.from_bytes(checksum, "little") != _hash(body):
            return None
        stored, library, stamp, program = marshal.loads(body)
        if stored != key or stamp != _stamp(library) or not isinstance(program, bytes):
            return None
        return program
    except (OSError, ValueError, EOFError, TypeError):
        return None  # not there, or not to be trusted
    finally:
        for fd in fds:
            os.close(fd)


def _store(path: str, key: bytes, library: str, program: bytes) -> None:
    try:
        body = marshal.dumps((key, library, _stamp(library), program), 2)
        folder = _open(path)
    except OSError:
        return  # no cache on this host
    try:
        names = os.listdir(folder)
        if len(names) >= CACHE_FILES:
            for old in names:
                os.unlink(old, dir_fd=folder)
        name = _name(key)
        temp = f"{name}.{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temp, flags, 0o600, dir_fd=folder)
        try:
            files.write_all(fd, _hash(body).to_bytes(8, "little") + body)
            os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temp, dir_fd=folder)
            raise
        finally:
            os.close(fd)
    except OSError:
        pass  # full, read-only, or emptied by another: the next run translates again
    finally:
        os.close(folder)
