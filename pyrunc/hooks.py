"""Run the OCI hooks that belong on the host: prestart, createRuntime, poststart, poststop.

May touch: processes it starts itself, and memfds.  OCI runtime-spec 1.3, config.md "POSIX-platform
Hooks".  (createContainer and startContainer hooks are ops of the plan: init runs them.)

A hook's stdin, stdout and stderr are memfds: nothing can block, no hook can make another wait,
and a hook that never reads its stdin gives no EPIPE.
"""

import fcntl
import os

from pyrunc import files, log, procfs, signals
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TAIL = 8192  # bytes of each output stream that an error repeats


def run(name: str, hooks: "list[dict[str, Any]]", state: str) -> None:
    """Run every hook of one kind in order; the first failure is an Error and ends the list."""
    for index, hook in enumerate(hooks):
        log.debug(f"running {name} hook #{index}: {hook['path']}")
        failure = run_one(hook, state)
        if failure:
            raise Error(f"error running {name} hook #{index}: {failure}")


def try_all(name: str, hooks: "list[dict[str, Any]]", state: str) -> None:
    """Run every hook of one kind in order, whatever happens; each failure is a warning."""
    for index, hook in enumerate(hooks):
        log.debug(f"running {name} hook #{index}: {hook['path']}")
        failure = run_one(hook, state)
        if failure:
            log.warning(f"error running {name} hook #{index}: {failure}")


def run_one(hook: "dict[str, Any]", state: str) -> str:
    """Run one hook with the state document on its stdin. Returns why it failed, or nothing."""
    fds = [os.memfd_create(f"pyrunc-hook-{n}", os.MFD_CLOEXEC) for n in ("in", "out", "err")]
    try:
        for fd in fds[1:]:  # the hook may open its own once more: `> /dev/stderr`
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        os.pwrite(fds[0], os.fsencode(state), 0)
        try:
            pid = _spawn(hook, fds)
        except OSError as err:
            from pyrunc import blame

            what = Error.os("fork/exec", hook["path"], err).message
            return blame.explained(what, blame.program(hook["path"], err.errno))
        except ValueError as err:  # a NUL byte, or an empty argv[0]
            return f"fork/exec {hook['path']}: {err}"
        status = _wait(pid, hook.get("timeout"))
        if status is None:
            return f"hook ran past specified timeout of {float(hook['timeout']):.1f}s"
        if status == 0:
            return ""
        out, err_out = (_tail(fd) for fd in fds[1:])
        return f"{signals.describe_status(status)}, stdout: {out}, stderr: {err_out}"
    finally:
        for fd in fds:
            os.close(fd)


def _spawn(hook: "dict[str, Any]", fds: list[int]) -> int:
    """Start the hook: `path` is the file, `args` its argv as it stands, no PATH search."""
    path = hook["path"]
    env = hook.get("env")
    actions: list[tuple[int, ...]] = []
    # memfds may themselves be 0, 1 or 2 when the caller closed those, so they move out of the way.
    high = [fd if fd > 2 else os.dup(fd) for fd in fds]
    try:
        actions += [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(high)]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in inheritable()]
        return os.posix_spawn(
            path,
            hook.get("args") or [path],
            _environment(_inherited() if env is None else env),
            file_actions=actions,
            setsigmask=[],
            setsigdef=signals.catchable(),
        )
    finally:
        for fd in set(high) - set(fds):
            os.close(fd)


def _inherited() -> "list[str]":
    """The environment that our caller gave us: os.environ may also have an LC_CTYPE of Python's."""
    return os.fsdecode(files.read("/proc/self/environ")).split("\0")


def _environment(env: "list[str]") -> "dict[str, str]":
    """A list of NAME=VALUE as the mapping that posix_spawn takes.

    The last of several values wins, as in Go's os/exec; entries without a name or `=` are dropped.
    """
    result: "dict[str, str]" = {}
    for entry in env:
        key, equals, value = entry.partition("=")
        if key and equals:
            result[key] = value
    return result


def inheritable() -> list[int]:
    """Descriptors above stderr that our caller left open across exec; a hook must not see them."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
        except OSError:  # the listing's own descriptor
            pass
    return found


def _wait(pid: int, timeout: "int | float | None") -> "int | None":
    """The wait status; None if the hook was killed because it ran longer than its timeout."""
    expired = False
    if timeout is not None:
        pidfd = procfs.open_process(pid)
        try:
            expired = not procfs.wait(pidfd, timeout)
        finally:
            os.close(pidfd)
        if expired:
            os.kill(pid, signals.KILL)  # our own unreaped child: the number is still its own
    status = os.waitpid(pid, 0)[1]
    return None if expired else status


def _tail(fd: int) -> str:
    """The last TAIL bytes that a hook wrote."""
    size = os.fstat(fd).st_size
    return os.pread(fd, TAIL, max(0, size - TAIL)).decode("utf-8", "replace")
