"""`mounts`: mount more in a running container, or unmount there."""

from pyrunc.commands import Command
from pyrunc.errors import INIT_FAILED, Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "mounts",
    "add mounts to a running container, or remove them",
    args="add|remove <container-id> <file>",
    nargs=(3, 3),
)


def run(opts: "dict[str, Any]") -> None:
    """Add or remove what a file lists, as `mounts` of a config.json does."""
    from pyrunc import mounting, spec

    what, id, path = opts["args"]
    if what not in ("add", "remove"):
        raise UsageError(f"mounts: {what} is neither add nor remove", COMMAND.name)
    act = mounting.add if what == "add" else mounting.remove
    wanted = spec.load_mounts(path)
    try:
        act(opts["root"], id, wanted)
    except Error as err:
        text = err.message.removeprefix(INIT_FAILED)
        raise Error(f"mounts {what} failed: {text}", err.code) from err
