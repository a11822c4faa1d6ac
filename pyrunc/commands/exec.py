"""`exec`: run another process in a container."""

from pyrunc.commands import (
    CONSOLE_SOCKET,
    DETACH,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    Command,
    Option,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.enter import Entry

COMMAND = Command(
    "exec",
    "execute new process inside the container",
    args="<container-id> <command> [command options]  || -p process.json <container-id>",
    nargs=(1, None),
    options=(
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        Option("cwd", kind="str", default="", metavar="DIR", help="working directory"),
        Option("env", "e", kind="list", metavar="K=V", help="set an environment variable"),
        Option("tty", "t", help="allocate a terminal"),
        Option(
            "user",
            "u",
            kind="str",
            default="",
            metavar="USER[:GROUP]",
            help="user, and maybe group: numbers, or names of the container's",
        ),
        Option(
            "additional-gids", "g", kind="ints", metavar="GID", help="one more supplementary group"
        ),
        Option(
            "process",
            "p",
            kind="str",
            default="",
            metavar="FILE",
            help="file with the process object; the flags about the process are ignored then",
        ),
        DETACH,
        PID_FILE,
        Option(
            "process-label", kind="str", default="", metavar="LABEL", help="SELinux process label"
        ),
        Option("apparmor", kind="str", default="", metavar="PROFILE", help="AppArmor profile"),
        Option("no-new-privs", help="set the no new privileges flag"),
        Option("cap", "c", kind="list", metavar="CAP", help="add a capability"),
        PRESERVE_FDS,
        Option(
            "cgroup",
            kind="list",
            metavar="[CTRL[,CTRL]:]PATH",
            help="run in a cgroup below the container's",
        ),
        Option("ignore-paused", help="start also in a paused container, where it waits"),
    ),
    prefix_only=True,
    failure=255,
)


# The flags that the front knows; see front_exec.c.
REPEATABLE = {"detach", "pid-file", "process"}


def run(opts: "dict[str, Any]") -> int:
    """Run a process in the container opts["args"][0]; its exit status unless it is detached."""
    from pyrunc.enter import Entry
    from pyrunc.errors import Error

    try:
        entry = Entry(opts)
        entry.repeatable = opts["given"] <= REPEATABLE
        try:
            entry.look()
            if not opts["detach"]:
                return _foreground(entry)
            entry.start()
            return 0
        finally:
            entry.close()
    except Error as err:
        raise Error(f"exec failed: {err.message}", COMMAND.failure) from err


def _foreground(entry: "Entry") -> int:
    """Start the process, wait for it, and exit as it did."""
    from pyrunc import console

    foreground = console.Foreground(bool(entry.given.get("terminal")))
    try:
        entry.stdio, entry.console = foreground.stdio, foreground.socket
        # Before the program runs: what it makes of its terminal, and its size, are the last word.
        entry.on_ready = foreground.spawned
        entry.start()
        assert entry.init is not None
        status = foreground.serve(entry.init, ("", 0))
        foreground.drain()
        return console.exit_code(status)
    finally:
        foreground.close()
