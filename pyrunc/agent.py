"""The seccomp agent: a program of the host that decides system calls of the container (NOTIFY).

May touch the agent's socket, and one descriptor of init.  Loaded only for a profile that has such a
rule.  OCI runtime-spec 1.3, config-linux.md, "The Container Process State".
"""

import os
import socket

from pyrunc import console, jsonio
from pyrunc._core import lib
from pyrunc.commands import SPEC_VERSION
from pyrunc.errors import Error, reason, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.handshake import Init


def hand_over(section: "dict[str, Any]", state: str, init: "Init", number: int) -> None:
    """Give init's listener to the agent of a linux.seccomp section.

    state: the container's state document; number: the listener's descriptor, in init.
    """
    listener = int(lib.core_pidfd_getfd(init.pidfd, number))
    if listener < 0:
        why = strerror(-listener)
        if listener == -38:  # ENOSYS
            why += " (needs pidfd_getfd(2) of Linux 5.6)"
        raise Error(f"unable to get the seccomp listener: {why}")
    try:
        _send(section["listenerPath"], process_state(section, state, init.pid), listener)
    finally:
        os.close(listener)


def process_state(section: "dict[str, Any]", state: str, pid: int) -> bytes:
    """The document that goes with the descriptor."""
    parts = [f'{{"ociVersion":"{SPEC_VERSION}","fds":["seccompFd"],"pid":{pid}']
    if section.get("listenerMetadata"):
        parts.append(f',"metadata":{jsonio.dumps(section["listenerMetadata"])}')
    parts.append(f',"state":{state}}}')
    return "".join(parts).encode("utf-8", "surrogateescape")


def _send(path: str, document: bytes, listener: int) -> None:
    try:
        connection = console.connect(path)
    except Error as err:
        raise Error(
            "failed to connect with seccomp agent specified in the seccomp profile: " + err.message
        ) from err
    with socket.socket(fileno=connection) as sock:
        try:
            sent = socket.send_fds(sock, [document], [listener])
            sock.sendall(document[sent:])  # none, unless the document is huge
        except OSError as err:
            why = reason(err)
            raise Error(f"cannot send seccomp fd to {path}: {why}") from err
