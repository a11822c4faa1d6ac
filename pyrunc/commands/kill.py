"""`kill`: send a signal to a container's first process."""

from pyrunc.commands import Command, Option

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
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Signal the container opts["args"][0]."""
    from pyrunc import container, processes, signals

    args = opts["args"]
    record = container.load(opts["root"], args[0])
    number = signals.parse(args[1] if len(args) > 1 and args[1] else "SIGTERM")
    processes.signal(record, number, leftovers=opts["all"])
