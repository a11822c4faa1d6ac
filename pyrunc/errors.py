"""The one exception that crosses module borders, and the words of errno (host-free leaf).

    Error(message, code)    a finished sentence and the exit status
    NoContainer(Error)      there is no container of that name, or it is none of ours
    UsageError(Error)       what argv got wrong; cli.py adds the command's help to it
    Timeout(Error)          something did not happen in time (only out of the API)

Wording follows runc: a Go program prints errno as strerror(3) with a small first letter.
"""

import os

# How a failure of a container's process is introduced, and one that happened in init.
START_FAILED = "unable to start container process: "
INIT_FAILED = START_FAILED + "error during container init: "


class Error(Exception):
    """A failure ready to be shown.

    message: the finished sentence, without newline.  code: exit status of the process.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    @classmethod
    def os(cls, op: str, path: object, err: OSError) -> "Error":
        """`open /x: no such file or directory`: op and path, then what errno means."""
        return cls(f"{op} {path}: {reason(err)}")


class NoContainer(Error):
    """There is no container of that name, or it is none of ours."""


class UsageError(Error):
    """argv is wrong.  verb: the command whose help is shown (None: the program's own)."""

    def __init__(self, message: str, verb: "str | None" = None, code: int = 1) -> None:
        super().__init__(message, code)
        self.verb = verb


class Timeout(Error, TimeoutError):
    """What was waited for has not happened in time."""


def reason(err: OSError) -> str:
    """Why a call failed: its errno in words, or those of a timeout of Python's, which has none."""
    return strerror(err.errno) if err.errno else str(err)


def strerror(number: int) -> str:
    """errno in runc's words: `no such file or directory`."""
    text = os.strerror(number)
    # Only an initial capital followed by a small letter is lowered ("RFS specific error" stays).
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
