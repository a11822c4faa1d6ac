"""The foreground of a process that is not there any more."""

import subprocess
import sys

SCRIPT = """
import os, signal
from pyrunc import console, handshake
from pyrunc.plan import Plan

front = console.Foreground()
init = handshake.Init(Plan(), 0, -1)
init.pid = os.fork()
if not init.pid:
    os._exit(0)
init.pidfd = os.pidfd_open(init.pid)
os.waitpid(init.pid, 0)
os.kill(os.getpid(), signal.SIGTERM)
print(console.exit_code(front.serve(init)))
"""


def test_a_process_that_somebody_else_reaped_has_ended():
    """As criu may with what it restores: no SIGCHLD tells us, but a signal finds nobody."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("255\n", "")
