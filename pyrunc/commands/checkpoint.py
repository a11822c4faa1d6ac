"""`checkpoint`: put a running container into files, by CRIU."""

from pyrunc.commands import CRIU, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "checkpoint",
    "checkpoint a running container",
    options=(
        *CRIU,
        Option(
            "parent-path",
            kind="str",
            default="",
            metavar="PATH",
            help="path to the images of an earlier pre-dump, relative to the image path",
        ),
        Option("leave-running", help="leave the process running after checkpointing"),
        Option("tcp-skip-in-flight", help="skip TCP connections that are not established yet"),
        Option("link-remap", help="allow files that were unlinked to be linked again"),
        Option(
            "status-fd",
            kind="int",
            default=-1,
            metavar="FD",
            help="descriptor that gets a \\0 once the server of lazy pages is ready",
        ),
        Option(
            "page-server",
            kind="str",
            default="",
            metavar="ADDRESS:PORT",
            help="address of the page server that gets the memory",
        ),
        Option("pre-dump", help="dump the memory only, and leave the container running"),
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Checkpoint the container opts["args"][0]."""
    from pyrunc import checkpoint

    checkpoint.checkpoint(opts["root"], opts["args"][0], opts)
