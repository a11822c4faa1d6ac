"""`create`: set a container up and stop just before its program."""

from pyrunc.commands import (
    BUNDLE,
    CONSOLE_SOCKET,
    NO_NEW_KEYRING,
    NO_PIVOT,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    Command,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "create",
    "create a container",
    options=(
        BUNDLE,
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        PID_FILE,
        NO_PIVOT,
        NO_NEW_KEYRING,
        PRESERVE_FDS,
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Create the container opts["args"][0] from the bundle."""
    from pyrunc import launch

    launch.create(opts)
