"""`restore`: bring a container back from the files of a checkpoint, by CRIU."""

from pyrunc.commands import (
    BUNDLE,
    CONSOLE_SOCKET,
    CRIU,
    DETACH,
    NO_PIVOT,
    NO_SUBREAPER,
    PID_FILE,
    Command,
    Option,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.restore import Restore

COMMAND = Command(
    "restore",
    "restore a container from a previous checkpoint",
    options=(
        BUNDLE,
        CONSOLE_SOCKET,
        DETACH,
        PID_FILE,
        NO_SUBREAPER,
        NO_PIVOT,
        *CRIU,
        Option(
            "lsm-profile",
            kind="str",
            default="",
            metavar="TYPE:NAME",
            help="LSM profile of the restored processes, as in selinux:NAME or apparmor:NAME",
        ),
        Option(
            "lsm-mount-context",
            kind="str",
            default="",
            metavar="CONTEXT",
            help="SELinux context of the restored mounts",
        ),
    ),
)


def run(opts: "dict[str, Any]") -> int:
    """Restore the container opts["args"][0]; in the foreground its program's exit status."""
    from pyrunc import criu, handshake
    from pyrunc._core import lib
    from pyrunc.restore import Restore

    criu.warn_without_root()
    launch = Restore({**opts, "pidfd_socket": "", "preserve_fds": 0, "no_new_keyring": False})
    if not opts["no_subreaper"]:
        handshake.check(lib.core_subreaper(1), "prctl subreaper")
    if not opts["detach"]:
        return _foreground(launch)
    launch.set_up()
    launch.close()
    return 0


def _foreground(launch: "Restore") -> int:
    """Restore and wait; then remove the container."""
    from pyrunc import console
    from pyrunc.launch import remove

    foreground = console.Foreground(launch.terminal)
    try:
        launch.stdio, launch.console = foreground.stdio, foreground.socket
        launch.set_up()
        foreground.spawned()
        launch.unlock()
        assert launch.init is not None
        status = foreground.serve(launch.init)
        if status is not None:
            remove(launch.root, launch.id, launch.record)
        foreground.drain()
        return console.exit_code(status)
    finally:
        foreground.close()
        launch.close()
