"""`kill`: send a signal to a container's first process."""

from pyrunc.commands import REGEX, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "kill",
    "send a signal (default: SIGTERM) to the container's init process",
    args="<container-id> [signal]",
    nargs=(1, 2),
    options=(
        Option("all", "a", hidden=True, help="no error if the container has stopped (obsolete)"),
        REGEX,
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Signal the container opts["args"][0], or all that it matches, but those that have stopped."""
    from pyrunc import container, processes, signals

    root, args = opts["root"], opts["args"]
    record = None if opts["regex"] else container.load(root, args[0])
    number = signals.parse(args[1] if len(args) > 1 and args[1] else "SIGTERM")
    if record:
        processes.signal(record, number, leftovers=opts["all"])
        return
    from pyrunc import matching

    def signal(name: str) -> None:
        processes.signal(container.load(root, name), number, leftovers=True)

    matching.each(root, args[0], signal)
