"""sd_notify(3) out of a container: its READY is passed on to our service manager.

With it goes the pid of the service: that of the container's process or, in the foreground, ours.
The container does not get the manager's socket, because the manager believes what is sent there.

May touch: <root>/<id>/notify, the socket in it, and the one that NOTIFY_SOCKET names.  Loaded only
when NOTIFY_SOCKET is set.

    create, run     prepare(): a directory, its mount at /run/notify, the variable
    start, run      bind(): the socket in the directory, before the program can send to it
                    Relay.wait() or, in the foreground, Relay.move(): pass READY on
"""

import os
import select
import socket
import time

from pyrunc import log, procfs
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "NOTIFY_SOCKET"
DIRECTORY = "notify"  # in the container's own, <root>/<id>
NAME = "notify.sock"
TARGET = "/run/notify"
OPTIONS = ("bind", "nosuid", "noexec", "nodev", "ro")
PATIENCE = 30  # seconds until the manager must have seen what we sent
SEND_PATIENCE = 10  # its queue may be full


def prepare(spec: "dict[str, Any]", directory: str) -> None:
    """Make the directory, and add its mount and the variable to the spec.

    directory: the container's, <root>/<id>.
    """
    source = f"{directory}/{DIRECTORY}"
    try:
        os.mkdir(source)
        os.chmod(source, 0o755)  # whatever the umask
    except OSError as err:
        raise Error.os("mkdir", source, err) from err
    mount = {"destination": TARGET, "type": "bind", "source": source, "options": list(OPTIONS)}
    spec["mounts"] = [*(spec.get("mounts") or []), mount]
    process = spec["process"]
    process["env"] = [*(process.get("env") or []), f"{VARIABLE}={TARGET}/{NAME}"]


def bind(directory: str) -> "Relay | None":
    """The socket the container sends to; None if it was created without one."""
    path = f"{directory}/{DIRECTORY}"
    try:
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    # A socket's path may have 107 bytes; with an engine's root and id it would have more.
    short = f"/proc/self/fd/{folder}/{NAME}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        if os.path.lexists(short):  # of a `start` that was killed
            os.unlink(short)
        sock.bind(short)
        os.chmod(short, 0o777)
        sock.setblocking(False)
    except OSError as err:
        sock.close()
        raise Error.os("bind", f"{path}/{NAME}", err) from err
    finally:
        os.close(folder)
    return Relay(sock, os.environ[VARIABLE])


class Relay:
    """From the container's socket to the manager's: one READY, then it is over."""

    __slots__ = ("_host", "_socket")

    def __init__(self, sock: socket.socket, host: str) -> None:
        self._socket = sock
        self._host = f"\0{host[1:]}" if host.startswith("@") else host

    def fileno(self) -> int:
        """The descriptor to poll before move()."""
        return self._socket.fileno()

    def wait(self, pid: int, pidfd: "int | None") -> None:
        """Wait until READY has come and the manager has read it, or until the process has ended.

        pid: the service's, for the manager.  pidfd: of the process; None if that has ended already.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if pidfd is not None:
            poll.register(pidfd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()} if pidfd is not None else set()
            if pidfd in ready and not procfs.has_ended(pidfd):
                ready.remove(pidfd)
                if not ready:
                    time.sleep(procfs.LOOK_AGAIN)
            # Also if only the end was seen: READY may have come between the two looks.
            barrier = self.move(pid)
            if barrier is not None:
                _wait_for_end(barrier)
            if barrier is not None or pidfd is None or pidfd in ready:
                break
        self.close()

    def move(self, pid: int) -> "int | None":
        """Read what has come; if READY is among it, pass it on, with the pid of the service.

        Returns None before READY, then a descriptor, which the caller closes: it is at its end
        when the manager has read everything.
        """
        for _ in range(1000):  # a container that floods us must not hold us up for ever
            try:
                data = self._socket.recv(4096)
            except OSError:
                break
            if data.startswith(b"READY="):
                return self._announce(data.partition(b"\n")[0] + b"\n", pid)
        return None

    def _announce(self, line: bytes, pid: int) -> int:
        end, other = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(SEND_PATIENCE)
                sock.connect(self._host)
                sock.send(line)
                sock.send(b"MAINPID=%d\n" % pid)
                socket.send_fds(sock, [b"BARRIER=1"], [other])
        except OSError as err:
            log.warning(f"unable to notify {os.environ[VARIABLE]}: {reason(err)}")
        finally:
            os.close(other)
        return end

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def _wait_for_end(barrier: int) -> None:
    """The manager closes what came with BARRIER=1 after it has read what came before."""
    poll = select.poll()
    poll.register(barrier, select.POLLIN)
    if not poll.poll(PATIENCE * 1000):
        log.warning(f"Timeout after waiting {PATIENCE}s for barrier. Ignored.")
    os.close(barrier)
