"""Help texts, usage errors and shell completion, from the rows the parser reads.

click turns rows into words; it never parses a real command line and never runs a verb, so it cannot
disagree with cli.py.  Loaded only when somebody asks for help or mistyped.
"""

import os

import click
from click.shell_completion import CompletionItem, shell_complete

from pyrunc.commands import GLOBALS, HELP, VERBS, Command, Option, load
from pyrunc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

COMPLETE_VARIABLE = "_PYRUNC_COMPLETE"

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


def complete(program: str, default_root: "Callable[[], str]") -> int:
    """Answer the shell that set COMPLETE_VARIABLE: its completion script, or the words that fit."""
    name, asked = os.path.basename(program), os.environ[COMPLETE_VARIABLE]
    return shell_complete(application(default_root), {}, name, COMPLETE_VARIABLE, asked)


def application(default_root: "Callable[[], str]") -> click.Group:
    """Every row as a click parameter; ids are looked up below --root or default_root()."""
    group = _program()
    for verb in VERBS:
        group.add_command(_command(load(verb), _container_ids(default_root)))
    return group


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
    _options(page, "GLOBAL OPTIONS", _program())
    return page.getvalue()


def _verb_help(name: str, command: Command) -> str:
    page = click.HelpFormatter(indent_increment=3, width=100)
    page.write(f"NAME:\n   {name} {command.name} - {command.summary}\n\n")
    words = [name, command.name, "[command options]", command.args]
    page.write(f"USAGE:\n   {' '.join(word for word in words if word)}\n\n")
    _options(page, "OPTIONS", _command(command))
    return page.getvalue()


def _options(page: click.HelpFormatter, title: str, command: click.Command) -> None:
    context = click.Context(command, info_name=command.name)
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    records = [option.get_help_record(context) for option in options]
    _table(page, title, [record for record in records if record])


def _table(page: click.HelpFormatter, title: str, rows: "list[tuple[str, str]]") -> None:
    page.write(f"{title}:\n")
    page.indent()
    page.write_dl(rows)
    page.dedent()


def _program() -> click.Group:
    parameters: list[click.Parameter] = [_option(row) for row in (*GLOBALS, HELP)]
    return click.Group("pyrunc", params=parameters, add_help_option=False)


def _command(command: Command, ids: "Completer | None" = None) -> click.Command:
    parameters: list[click.Parameter] = [_option(row) for row in (*command.options, HELP)]
    if "<container-id>" in command.args:
        count = -1 if "..." in command.args else 1
        parameters.append(click.Argument(["container_id"], nargs=count, shell_complete=ids))
    return click.Command(
        command.name,
        params=parameters,
        short_help=command.summary,
        add_help_option=False,
    )


def _option(row: Option) -> click.Option:
    names = [f"--{row.name}"] + ([f"-{row.short}"] if row.short else [])
    if row.kind == "bool":
        return click.Option(names, is_flag=True, hidden=row.hidden, help=row.help)
    kind = click.Path() if row.metavar in ("PATH", "DIR", "FILE") else None
    return click.Option(
        names,
        type=kind,
        multiple=row.kind in ("list", "ints"),
        metavar=row.metavar or "VALUE",
        hidden=row.hidden,
        help=row.help,
    )


def _container_ids(default_root: "Callable[[], str]") -> "Completer":
    def complete_id(
        context: click.Context, _: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The ids under the root the command line chose."""
        root = context.find_root().params.get("root") or default_root()
        try:
            names = sorted(os.listdir(root))
        except OSError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete_id


def _guess(err: click.NoSuchOption) -> str:
    return err.format_message().strip()
