"""`state`: print a container's state document, in runc's layout to the byte."""

from pyrunc.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command("state", "output the state of a container")


def run(opts: "dict[str, Any]") -> None:
    """Print the state of the container opts["args"][0]; no newline at the end."""
    from pyrunc import container, files, jsonio

    root = opts["root"]
    state = container.state(root, container.load(root, opts["args"][0]))
    files.show(jsonio.dumps(state, "  ").encode())
