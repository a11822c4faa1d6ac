"""`delete`: remove a container and everything `create` made for it."""

from pyrunc.commands import REGEX, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "delete",
    "delete any resources held by the container, often used with detached ones",
    options=(
        Option("force", "f", help="kill the container first if it is still running"),
        REGEX,
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Delete the container opts["args"][0], or all that it matches."""
    from pyrunc import container

    root, force = opts["root"], opts["force"]
    if not opts["regex"]:
        container.delete(root, opts["args"][0], force)
        return
    from pyrunc import matching

    matching.each(root, opts["args"][0], lambda name: container.delete(root, name, force))
