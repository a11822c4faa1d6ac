"""`events`: what a container uses and when it ran out of memory, one JSON object per line."""

from pyrunc.commands import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "events",
    "display container events such as OOM notifications and resource usage statistics",
    options=(
        Option(
            "interval",
            kind="duration",
            default=5.0,
            metavar="TIME",
            help="how often to show the statistics (default: 5s)",
        ),
        Option("stats", help="show the statistics once, and end"),
    ),
)


def run(opts: "dict[str, Any]") -> "int | None":
    """Print events of the container opts["args"][0], until it has stopped."""
    from pyrunc import events
    from pyrunc.errors import Error

    if opts["interval"] <= 0:
        raise Error("duration interval must be greater than 0")
    record = events.running(opts["root"], opts["args"][0])
    try:
        if opts["stats"]:
            tell(events.usage(record))
        else:
            for event in events.watch(record, opts["interval"], reader=1):
                tell(event)
    except BrokenPipeError:
        return 141  # as if by SIGPIPE, which Python ignores
    return None


def tell(event: "dict[str, Any]") -> None:
    """Print it at once."""
    from pyrunc import files, jsonio

    files.show((jsonio.dumps(event) + "\n").encode())
