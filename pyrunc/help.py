"""Help texts and usage errors, from the rows the parser reads.

click turns rows into words; it never parses a real command line and never runs a verb, so it cannot
disagree with cli.py.  Loaded only when somebody asks for help or mistyped.
"""

import os

import click

from pyrunc.commands import GLOBALS, HELP, VERBS, Command, Option, load
from pyrunc.errors import UsageError

_ABOUT = """\
A command line for running applications packaged according to the Open Container Initiative (OCI)
format. A container is described by a bundle: a directory with a specification file named
"config.json" and a root file system. To start a container from the bundle in the current directory:

    # {program} run <container-id>
"""


def text(program: str, verb: "str | None", version: "list[str]") -> str:
    """The help of verb, or of the program itself."""
    name = os.path.basename(program)
    return _program_help(name, version) if verb is None else _verb_help(name, load(verb))


def usage(program: str, err: UsageError, version: "list[str]") -> str:
    """What stdout gets for err: what is wrong, the help that would have avoided it, and a guess."""
    if err.verb is not None and err.verb not in VERBS:
        guess = _guess(click.NoSuchOption(err.verb, "", [*VERBS, "help"]))
        return f"{guess}\n" if guess else ""
    if err.verb is None:
        head = f"Incorrect Usage. {err.message}"
    elif err.message.startswith(f'{program}: "'):
        head = "Incorrect Usage."  # The number of positionals: the log has the sentence.
    else:
        head = f"Incorrect Usage: {err.message}"
    page = f"{head}\n\n{text(program, err.verb, version)}"
    unknown = err.message.removeprefix("flag provided but not defined: ")
    if unknown != err.message:
        rows = GLOBALS if err.verb is None else load(err.verb).options
        flags = [f"--{row.name}" for row in (*rows, HELP) if not row.hidden]
        guess = _guess(click.NoSuchOption(f"-{unknown}", "", flags))
        page += f"\n{guess}\n" if guess else ""
    return page


def _program_help(name: str, version: "list[str]") -> str:
    page = click.HelpFormatter(indent_increment=3, width=100)
    page.write("NAME:\n   runc - Open Container Initiative runtime\n\n")
    page.write(_ABOUT.format(program=name) + "\n")
    page.write(f"USAGE:\n   {name} [global options] command [command options] [arguments...]\n\n")
    page.write("VERSION:\n   " + "\n   ".join(version) + "\n\n")
    rows = [(verb, summary) for verb, (_, summary) in VERBS.items()]
    rows.append(("help, h", "show a list of commands or the help of one command"))
    _table(page, "COMMANDS", rows)
    page.write("\n")
    _options(page, "GLOBAL OPTIONS", GLOBALS)
    return page.getvalue()


def _verb_help(name: str, command: Command) -> str:
    page = click.HelpFormatter(indent_increment=3, width=100)
    page.write(f"NAME:\n   {name} {command.name} - {command.summary}\n\n")
    words = [name, command.name, "[command options]", command.args]
    page.write(f"USAGE:\n   {' '.join(word for word in words if word)}\n\n")
    _options(page, "OPTIONS", command.options)
    return page.getvalue()


def _options(page: click.HelpFormatter, title: str, rows: "tuple[Option, ...]") -> None:
    context = click.Context(click.Command("pyrunc"))
    records = [_option(row).get_help_record(context) for row in (*rows, HELP)]
    _table(page, title, [record for record in records if record])


def _table(page: click.HelpFormatter, title: str, rows: "list[tuple[str, str]]") -> None:
    page.write(f"{title}:\n")
    page.indent()
    page.write_dl(rows)
    page.dedent()


def _option(row: Option) -> click.Option:
    names = [f"--{row.name}"] + ([f"-{row.short}"] if row.short else [])
    if row.kind == "bool":
        return click.Option(names, is_flag=True, hidden=row.hidden, help=row.help)
    return click.Option(
        names,
        multiple=row.kind in ("list", "ints"),
        metavar=row.metavar or "VALUE",
        hidden=row.hidden,
        help=row.help,
    )


def _guess(err: click.NoSuchOption) -> str:
    return err.format_message().strip()
