"""`create`: set a container up and stop just before its program."""

from pyrunc.commands import (
    BUNDLE,
    CONFIG,
    CONSOLE_SOCKET,
    NO_NEW_KEYRING,
    NO_PIVOT,
    NO_SUBREAPER,
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
        CONFIG,
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        PID_FILE,
        NO_SUBREAPER,
        NO_PIVOT,
        NO_NEW_KEYRING,
        PRESERVE_FDS,
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Create the container opts["args"][0]: everything but the user's program."""
    from pyrunc import handshake
    from pyrunc._core import lib
    from pyrunc.errors import Error
    from pyrunc.launch import Launch

    try:
        launch = Launch(opts)
        if not opts["no_subreaper"]:
            handshake.check(lib.core_subreaper(1), "prctl subreaper")
        launch.set_up()
        launch.close()
    except Error as err:
        raise Error(f"runc create failed: {err.message}", err.code) from err
