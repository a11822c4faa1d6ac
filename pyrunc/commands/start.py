"""`start`: let a created container run its program."""

from pyrunc.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command("start", "execute the user defined process in a created container")


def run(opts: "dict[str, Any]") -> None:
    """Start the container opts["args"][0]."""
    from pyrunc import container

    container.start(opts["root"], opts["args"][0])
