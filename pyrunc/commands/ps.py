"""`ps`: a container's processes, as a list of host pids or as those lines of the host's ps."""

import os

from pyrunc.commands import FORMAT, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "ps",
    "display the processes running inside a container",
    args="<container-id> [ps options]",
    nargs=(1, None),
    options=(FORMAT,),
    prefix_only=True,
)


def run(opts: "dict[str, Any]") -> None:
    """Print the processes of the container opts["args"][0]."""
    from pyrunc import container, files, jsonio, processes
    from pyrunc.cgroups import fs
    from pyrunc.errors import Error

    record = container.load(opts["root"], opts["args"][0])
    try:
        pids = processes.pids(record)
    except Error as err:
        fs.hint("ps", err)
        raise
    if opts["format"] == "json":
        text = (jsonio.dumps(pids) if pids else "null") + "\n"
    elif opts["format"] == "table":
        text = table(listing(opts["args"][1:] or ["-ef"]), pids)
    else:
        raise Error("invalid format option")
    files.show(os.fsencode(text))


def listing(args: "list[str]") -> str:
    """What the host's ps prints."""
    from pyrunc import files, signals
    from pyrunc.errors import Error, reason

    reader, writer = os.pipe()
    try:
        pid = os.posix_spawnp(
            "ps",
            ["ps", *args],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)],
            setsigdef=signals.catchable(),
        )
    except OSError as err:
        os.close(reader)
        if err.errno == 2:  # ENOENT
            raise Error('exec: "ps": executable file not found in $PATH') from None
        raise Error(f"fork/exec ps: {reason(err)}") from err
    finally:
        os.close(writer)
    output = os.fsdecode(files.read_fd(reader))
    os.close(reader)
    status = os.waitpid(pid, 0)[1]
    if status:
        raise Error(f"{signals.describe_status(status)}: {output}")
    return output


def table(text: str, pids: "list[int]") -> str:
    """The header, and the lines whose PID is one of pids."""
    from pyrunc.errors import Error

    header, *lines = text.split("\n")
    if "PID" not in header.split():
        raise Error("couldn't find PID field in ps output")
    column = header.split().index("PID")
    wanted = {str(pid) for pid in pids}
    kept = [header]
    for line in lines:
        fields = line.split()
        if column < len(fields) and fields[column] in wanted:
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)
