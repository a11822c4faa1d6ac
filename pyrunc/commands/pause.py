"""`pause`: stop all processes of a container until `resume`."""

from pyrunc.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command("pause", "suspend all processes inside the container")


def run(opts: "dict[str, Any]") -> None:
    """Pause the container opts["args"][0]."""
    from pyrunc import freezer
    from pyrunc.cgroups import fs
    from pyrunc.errors import Error

    try:
        freezer.pause(opts["root"], opts["args"][0])
    except Error as err:
        fs.hint("pause", err)
        raise
