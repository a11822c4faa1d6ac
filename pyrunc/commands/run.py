"""`run`: create a container and start it; wait for it and remove it unless told otherwise."""

from pyrunc.commands import (
    BUNDLE,
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

COMMAND = Command(
    "run",
    "create and run a container",
    options=(
        BUNDLE,
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
    from pyrunc import launch

    return launch.run(opts)
