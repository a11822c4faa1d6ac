"""`delete`: remove a container and everything `create` made for it."""

from pyrunc.commands import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "delete",
    "delete any resources held by the container, often used with detached ones",
    options=(Option("force", "f", help="kill the container first if it is still running"),),
)


def run(opts: "dict[str, Any]") -> None:
    """Delete the container opts["args"][0]."""
    from pyrunc import container

    container.delete(opts["root"], opts["args"][0], opts["force"])
