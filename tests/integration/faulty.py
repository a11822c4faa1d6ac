"""Run the command in Python, and SIGKILL it right before or after one of its functions.

    faulty.py pyrunc.launch:Launch._joined:before ROOT-AND-VERB...

The deterministic fault points of test_faults.py.  Nothing in the product knows about them.
"""

import importlib
import os
import signal
import sys


def wrap(point: str) -> None:
    module, name, when = point.split(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, last)

    def wrapped(*args, **kwargs):
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, last, wrapped)


if __name__ == "__main__":
    from pyrunc import cli

    wrap(sys.argv[1])
    sys.argv = ["-c", "pyrunc", *sys.argv[2:]]
    sys.exit(cli.main())
