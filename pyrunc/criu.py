"""CRIU, which freezes processes into files and thaws them: run it, ask it, quote its log (host).

May touch: the processes of CRIU it starts itself, their sockets, and CRIU's log.
https://criu.org/RPC.  `criu swrk 3` takes one request over its descriptor 3 (SOCK_SEQPACKET, one
message a packet), tells how far it is by notifications that want an answer, and ends.

        [ criu ]                        [ pyrunc ]
                            <--   criu_req, with options
    NOTIFY script pid       -->   on_notify()
                            <--   criu_req of NOTIFY
    criu_resp               -->   the result

A directory is passed as the number of a descriptor of ours, which CRIU opens in our /proc.
"""

import fcntl
import os
import socket

from pyrunc import criu_messages, hooks, log, signals
from pyrunc.criu_messages import TYPES
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Notify = Callable[[str, int, list[int]], None]

MINIMUM = 30000  # CRIU 3.0
PACKET = 40960  # bytes; CRIU's longest messages are far shorter
LOG_LEVEL = 4  # everything
SOCKET = 3  # criu's descriptor of the conversation; those passed to it come next
CONTEXT = 5  # lines of the log that are quoted before one with an error
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONFIG = "/etc/criu/runc.conf"  # as the administrator knows it
CONFIG_LABEL = "org.criu.config"
# What CRIU finds under a key that both sides know, for a namespace it is not to make.
OUTSIDE = {"network": "extRootNetNS", "pid": "extRootPidNS"}
OUTSIDE_SINCE = {"network": 31100, "pid": 31500}


def find() -> str:
    """The path of criu."""
    for directory in os.environ.get("PATH", SEARCH).split(":"):
        path = os.path.join(directory or ".", "criu")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise Error('exec: "criu": executable file not found in $PATH')


class Criu:
    """One run of criu, good for one request."""

    __slots__ = ("pid", "socket")

    def __init__(
        self,
        fds: "tuple[int, ...]" = (),
        stdio: "tuple[int, int, int]" = (-1, -1, -1),
    ) -> None:
        """Start it. fds: descriptors for it to have, from SOCKET + 1 on; stdio: -1 keeps ours."""
        path = find()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        high: "list[int]" = []
        try:
            wanted = [*stdio, theirs.fileno(), *fds]
            actions: "list[tuple[int, ...]]" = []
            for target, fd in enumerate(wanted):
                if fd >= 0:  # above all targets, or one would be overwritten before its turn
                    high.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100))
                    actions.append((os.POSIX_SPAWN_DUP2, high[-1], target))
            targets = range(SOCKET, len(wanted))
            actions[:0] = [
                (os.POSIX_SPAWN_CLOSE, fd) for fd in hooks.inheritable() if fd not in targets
            ]
            self.pid = os.posix_spawn(
                path,
                ["criu", "swrk", str(SOCKET)],
                os.environ,
                file_actions=actions,
                setsigmask=[],
                setsigdef=signals.catchable(),
            )
        except OSError as err:
            self.socket.close()
            raise Error(f"fork/exec {path}: {reason(err)}") from err
        finally:
            theirs.close()
            for fd in high:
                os.close(fd)

    def ask(self, request: "Any", notify: "Notify | None" = None, patient: bool = False) -> "Any":
        """Send the request; the response to it, once criu has ended.

        notify(script, pid, descriptors) is called for every notification; what it raises makes
        criu fail, and passes through.  patient: the exit status does not matter.
        """
        try:
            response = self._converse(request, notify)
        except BaseException:
            self.end()
            raise
        status = self.end()
        if status and not patient:
            raise Error(f"criu failed: {signals.describe_status(status)}")
        return response

    def _converse(self, request: "Any", notify: "Notify | None") -> "Any":
        failure: "BaseException | None" = None
        self._send(request)
        while True:
            response, fds = self._receive(failure)
            if not response.success:
                if failure:
                    raise failure
                kind = criu_messages.type_name(request.type)
                raise Error(f"criu failed: type {kind} errno {response.cr_errno}")
            if response.type != TYPES["NOTIFY"]:
                if failure:  # it went on all the same
                    raise failure
                return response
            try:
                if notify:
                    notify(response.notify.script, response.notify.pid, fds)
            except Exception as err:
                failure = err
            finally:
                for fd in fds:
                    os.close(fd)
            request = criu_messages.Request(type=TYPES["NOTIFY"], notify_success=failure is None)
            self._send(request)

    def _send(self, request: "Any") -> None:
        try:
            self.socket.send(request.SerializeToString())
        except OSError as err:
            raise Error(f"unable to write to criu: {reason(err)}") from err

    def _receive(self, failure: "BaseException | None") -> "tuple[Any, list[int]]":
        """The next message, and the descriptors that came along."""
        try:
            data, fds, flags, _ = socket.recv_fds(self.socket, PACKET, 4, socket.MSG_CMSG_CLOEXEC)
        except OSError as err:
            raise Error(f"unable to read from criu: {reason(err)}") from err
        try:
            if not data:
                raise failure or Error("unexpected EOF")
            if flags & socket.MSG_TRUNC:
                raise Error("buffer is too small")
            return criu_messages.Response.FromString(data), list(fds)
        except BaseException as err:
            for fd in fds:
                os.close(fd)
            if err.__class__.__name__ == "DecodeError":
                raise Error("criu sent a malformed message") from err
            raise

    def end(self) -> int:
        """Hang up and reap it. Its wait status."""
        self.socket.close()
        if not self.pid:
            return 0
        try:
            # Who has nobody to talk to any more undoes what it did, and ends.
            status = os.waitpid(self.pid, 0)[1]
        except ChildProcessError:
            status = 0
        self.pid = 0
        return status


# --- what it can do ---


def version() -> int:
    """Which one it is: 31700 for 3.17."""
    try:
        answer = Criu().ask(criu_messages.Request(type=TYPES["VERSION"]))
    except Error as err:
        raise Error(f"CRIU version check failed: {err.message}") from err
    return number(answer.version)


def number(found: "Any") -> int:
    """A criu_version as one number; what was built from git counts as the next release."""
    result = found.major_number * 10000 + found.minor_number * 100 + found.sublevel
    if found.gitid:
        result += 100 - result % 100
    return int(result)


def warn_without_root() -> None:
    """Say, as runc does, that nobody has tried this."""
    if os.geteuid() != 0:
        log.warning("runc checkpoint is untested with rootless containers")


def require(found: int, minimum: int = MINIMUM) -> None:
    """Refuse a criu that is too old."""
    if found < minimum:
        raise Error(f"CRIU version {found} must be {minimum} or higher")


def require_features(**wanted: bool) -> None:
    """Refuse a criu, or a kernel, that cannot do what is wanted: mem_track, lazy_pages."""
    names = [name for name in wanted if wanted[name]]
    if not names:
        return
    request = criu_messages.Request(type=TYPES["FEATURE_CHECK"])
    for name in names:
        setattr(request.features, name, True)
    try:
        answer = Criu().ask(request)
    except Error as err:
        raise Error(f"CRIU feature check failed: {err.message}") from err
    missing = [name for name in names if not getattr(answer.features, name)]
    if missing:
        text = " ".join(name.title().replace("_", "") for name in missing)
        raise Error(f"criu is missing features: [{text}]")


# --- a request ---


def request(kind: str, opts: "dict[str, Any]", images: int, work: int) -> "Any":
    """A request with what dump and restore share. opts: the verb's; images, work: descriptors.

    work -1: the log goes where the images are.
    """
    result = criu_messages.Request(type=TYPES[kind])
    options = result.opts
    options.images_dir_fd = images
    if work >= 0:
        options.work_dir_fd = work
    options.log_level = LOG_LEVEL
    options.log_file = "restore.log" if kind == "RESTORE" else "dump.log"
    options.notify_scripts = True
    options.manage_cgroups = True  # for a criu that knows no modes
    modes = {"": "SOFT", **{name: name.upper() for name in ("soft", "full", "strict", "ignore")}}
    mode = opts["manage_cgroups_mode"]
    if mode not in modes:
        raise Error("invalid manage-cgroups-mode value")
    options.manage_cgroups_mode = criu_messages.ENUMS["criu_cg_mode"].index(modes[mode])
    for name in ("shell_job", "tcp_established", "ext_unix_sk", "file_locks"):
        setattr(options, name, opts[name])
    options.auto_dedup = opts["auto_dedup"]
    options.lazy_pages = opts["lazy_pages"]
    options.orphan_pts_master = True
    for name in opts["empty_ns"] or []:
        if name != "network":
            raise Error(f'namespace "{name}" is not supported')
    return result


def configure(options: "Any", annotations: "dict[str, str]") -> None:
    """The administrator's configuration of CRIU, or the container's own."""
    if CONFIG_LABEL in annotations:
        path = annotations[CONFIG_LABEL]
    else:
        path = CONFIG if os.path.exists(CONFIG) else ""
    if path:
        options.config_file = path


def open_directory(path: str) -> int:
    """A descriptor for images_dir_fd or work_dir_fd."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise Error.os("open", path, err) from err


def work_directory(path: str) -> int:
    """Make it where needed, and open it; -1 for none."""
    if not path:
        return -1
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as err:
        raise Error.os("mkdir", path, err) from err
    return open_directory(path)


# --- its log ---


def quote_log(path: str) -> None:
    """Log the errors in CRIU's own log as warnings, with the lines that led to them."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return  # it did not get that far
    rows = quotation(lines)
    if rows:
        log.warning(f'--- Quoting "{path}"')
        for row in rows:
            log.warning(row)
        log.warning("---")


def quotation(lines: "list[str]") -> "list[str]":
    """Lines with `Error` and what stands before them, as `NUMBER:TEXT`; `...` where some miss."""
    rows: "list[str]" = []
    done = 0  # lines quoted, or passed over, so far
    for index, line in enumerate(lines):
        if "Error" not in line:
            continue
        first = max(index - CONTEXT, done)
        if rows and first > done:
            rows.append("...")
        rows += [f"{at + 1}:{lines[at]}" for at in range(first, index + 1)]
        done = index + 1
    return rows
