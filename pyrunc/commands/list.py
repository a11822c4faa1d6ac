"""`list`: the containers below the root directory, as a table, as JSON, or as bare ids."""

import os

from pyrunc.commands import FORMAT, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    "list",
    "list the containers started with the given root",
    args="",
    nargs=(0, 0),
    options=(
        FORMAT,
        Option("quiet", "q", help="display only container ids"),
    ),
)

HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(opts: "dict[str, Any]") -> None:
    """Print what is there; a container that cannot be read is named on stderr and skipped."""
    from pyrunc import files, jsonio
    from pyrunc.errors import Error

    states = collect(opts["root"], opts["root_given"])
    if opts["quiet"]:
        text = "".join(f"{state['id']}\n" for state in states or [])
    elif opts["format"] == "table":
        text = table(states or [])
    elif opts["format"] == "json":
        text = (jsonio.dumps(states) if states else "null") + "\n"
    else:
        raise Error("invalid format option")
    files.show(os.fsencode(text))


def collect(root: str, root_given: bool) -> "list[dict[str, Any]]":
    """The state documents, with their owners, in the order of their names."""
    from pyrunc import container
    from pyrunc.errors import Error

    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError as err:
        if root_given:
            raise Error.os("open", root, err) from err
        return []
    except OSError as err:
        raise Error.os("open", root, err) from err
    states = []
    for name in names:
        try:
            found = os.lstat(f"{root}/{name}")
        except FileNotFoundError:
            continue  # deleted since
        if not os.path.isdir(f"{root}/{name}"):
            continue
        try:
            state = container.state(root, container.load(root, name))
        except Error as err:
            if os.path.lexists(f"{root}/{name}"):
                os.write(2, os.fsencode(f"load container {name}: {err.message}\n"))
            continue
        state["owner"] = owner(found.st_uid)
        states.append(state)
    return states


def owner(uid: int) -> str:
    """The user's name, or `#UID`."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def table(states: "list[dict[str, Any]]") -> str:
    """Columns at least 12 wide and 3 apart; the last one is not padded."""
    keys = ("id", "pid", "status", "bundle", "created", "owner")
    rows = [HEADER, *(tuple(str(state[key]) for key in keys) for state in states)]
    widths = [max(12, *(len(row[i]) + 3 for row in rows)) for i in range(len(HEADER) - 1)]
    return "".join(
        "".join(row[i].ljust(width) for i, width in enumerate(widths)) + row[-1] + "\n"
        for row in rows
    )
