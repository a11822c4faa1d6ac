"""`completion`: print a completion script for a shell."""

import os

from pyrunc.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command("completion", "print a completion script for a shell", args="bash|zsh|fish")


def run(opts: "dict[str, Any]") -> None:
    """Print the script for the shell opts["args"][0]."""
    from pyrunc import completion, files
    from pyrunc.errors import Error

    shell = opts["args"][0]
    if shell not in completion.SHELLS:
        raise Error(f"no completion for {shell}, only for {', '.join(completion.SHELLS)}")
    files.show(completion.script(shell, os.path.basename(opts["program"])).encode())
