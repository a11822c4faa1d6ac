"""`resume`: let a paused container go on."""

from pyrunc.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command("resume", "resume all processes that have been previously paused")


def run(opts: "dict[str, Any]") -> None:
    """Resume the container opts["args"][0]."""
    from pyrunc import freezer
    from pyrunc.cgroups import fs
    from pyrunc.errors import Error

    try:
        freezer.resume(opts["root"], opts["args"][0])
    except Error as err:
        fs.hint("resume", err)
        raise
