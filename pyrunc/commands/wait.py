"""`wait`: block until containers have stopped, and print their exit statuses.

A line for each container, in the order given: its status as a shell has it (128 + N after signal
N), or `unknown` if nobody can tell any more.  We exit with 0 when all have stopped, whatever their
status, and with 124 when the time is over.
"""

from pyrunc.commands import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "wait",
    "wait until containers have stopped, and print their exit statuses",
    args="<container-id>...",
    nargs=(1, None),
    options=(
        Option(
            "timeout",
            kind="duration",
            default=None,
            metavar="TIME",
            help="give up after that long, with exit status 124 (default: never)",
        ),
    ),
)
OVER = 124  # as timeout(1)


def run(opts: "dict[str, Any]") -> None:
    """Wait for the containers opts["args"]."""
    from pyrunc import ending, files
    from pyrunc.errors import Error

    timeout = opts["timeout"]
    if timeout is not None and timeout < 0:
        raise Error("timeout must not be negative")

    def tell(status: "int | None") -> None:
        files.show(("unknown\n" if status is None else f"{status}\n").encode())

    left = ending.wait(opts["root"], opts["args"], timeout, tell)
    if left:
        noun = "container" if len(left) == 1 else "containers"
        raise Error(f"timeout after {timeout:g} s: {noun} {', '.join(left)} not stopped", OVER)
