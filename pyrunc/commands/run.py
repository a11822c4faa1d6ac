"""`run`: create a container and start it; wait for it and remove it unless told otherwise."""

import os
import sys

from pyrunc.commands import (
    BUNDLE,
    CONFIG,
    CONSOLE_SOCKET,
    DETACH,
    NO_NEW_KEYRING,
    NO_PIVOT,
    NO_SUBREAPER,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    Command,
    Option,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.launch import Launch

COMMAND = Command(
    "run",
    "create and run a container",
    options=(
        BUNDLE,
        CONFIG,
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        DETACH,
        Option("keep", help="do not delete the container after it exits"),
        PID_FILE,
        NO_SUBREAPER,
        NO_PIVOT,
        NO_NEW_KEYRING,
        PRESERVE_FDS,
    ),
)


def run(opts: "dict[str, Any]") -> int:
    """Run the container opts["args"][0]; the exit status of its program in the foreground."""
    from pyrunc import handshake
    from pyrunc._core import lib
    from pyrunc.errors import Error
    from pyrunc.launch import Launch, remove

    try:
        ended = str(sys._xoptions.get("ended", ""))
        if ended:  # the front, which took over from us, cannot remove this container
            pid, start, path = ended.split(" ", 2)
            mark = {"init_process_pid": int(pid), "init_process_start": int(start)}
            remove(*os.path.split(path), mark)
            return 0
        launch = Launch(opts)
        if not opts["no_subreaper"]:
            handshake.check(lib.core_subreaper(1), "prctl subreaper")
        if not opts["detach"]:
            return _foreground(launch, opts["keep"])
        launch.set_up()
        launch.start()
        launch.unlock()
        if launch.notify and launch.init:
            launch.notify.wait(launch.init.pid, launch.init.pidfd)
        launch.close()
        return 0
    except Error as err:
        raise Error(f"runc run failed: {err.message}", err.code) from err


def _foreground(launch: "Launch", keep: bool) -> int:
    """Create, start and wait; then remove the container, unless it shall be kept."""
    from pyrunc import console
    from pyrunc.launch import remove

    foreground = console.Foreground(launch.terminal)
    try:
        launch.stdio, launch.console = foreground.stdio, foreground.socket
        launch.set_up()
        foreground.spawned()
        launch.start()
        launch.unlock()
        foreground.notify = launch.notify
        assert launch.init is not None
        start = launch.record["init_process_start"]
        leaves = ("" if keep else f"{launch.root}/{launch.id}", start)
        # Where we are now, a relative name of the log would be another one.
        known = launch.opts["log"][:1] in ("", "/")
        status = foreground.serve(launch.init, leaves if known else None)
        if status is not None and not keep:
            remove(launch.root, launch.id, launch.record)
        foreground.drain()
        return console.exit_code(status)
    finally:
        foreground.close()
        launch.close()
