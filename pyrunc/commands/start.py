"""`start`: let a created container run its program."""

import os

from pyrunc.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command("start", "execute the user defined process in a created container")


def run(opts: "dict[str, Any]") -> None:
    """Start the container opts["args"][0]; under a service manager, wait until it is ready."""
    from pyrunc import container

    root, name = opts["root"], opts["args"][0]
    if not os.environ.get("NOTIFY_SOCKET"):
        container.start(root, name)
        return
    from pyrunc import notify, procfs

    relays: "list[notify.Relay | None]" = []
    record = container.start(root, name, lambda: relays.append(notify.bind(f"{root}/{name}")))
    pid = record["init_process_pid"]
    pidfd = procfs.pidfd(pid, record["init_process_start"])
    if relays[0]:
        relays[0].wait(pid, pidfd)
