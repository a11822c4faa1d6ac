"""`start`: let a created container run its program."""

from pyrunc.commands import Command

COMMAND = Command("start", "execute the user defined process in a created container")


def run(opts: dict) -> None:
    """Start the container opts["args"][0]."""
    from pyrunc import container

    container.start(opts["root"], opts["args"][0])
