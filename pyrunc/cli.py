"""Turn argv into a command and its options, and run it.  The only parser; only it prints errors.

The grammar is that of Go's flag package as runc uses it:

    pyrunc [global flags] VERB [flags] [positionals]

`-x` and `--x` are the same flag, a value follows as `--x V` or `--x=V`, booleans take only the
second form, the last one given wins.  Flags may also come after positionals, except where a verb's
positionals are another program's command line.  As with crun's getopt, several short flags may
share a word, and a value may follow its flag in the same word.  help.py words usage errors.
"""

import os
import sys

from pyrunc import commands, files, log
from pyrunc.commands import ALIASES, GLOBALS, HELP, VERBS, Command, Option
from pyrunc.errors import Error, UsageError, reason, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# What strconv.ParseBool takes.
_BOOLS = {"1": True, "t": True, "T": True, "true": True, "True": True, "TRUE": True} | {
    "0": False,
    "f": False,
    "F": False,
    "false": False,
    "False": False,
    "FALSE": False,
}

HELP_VERBS = ("help", "h")
MANAGERS = ("cgroupfs", "systemd", "disabled")
# An error must reach the caller in one write and fit the buffers engines read it into.
_LONGEST_MESSAGE = 6000


def main(argv: "list[str] | None" = None) -> int:
    """Run argv, the program first, and return the exit status.

    Without argv: run what the launcher passed, and exit.
    """
    if argv is not None:
        return _guarded(argv)
    _wait_for_children_ourselves()
    # Nothing is left to tidy up, and taking the interpreter down costs more than most verbs.
    os._exit(_guarded(sys.argv[1:]))


def _wait_for_children_ourselves() -> None:
    """If our caller ignores SIGCHLD, the kernel would reap our children, and lose their status."""
    try:
        from _signal import SIG_DFL, SIGCHLD, signal  # type: ignore[import-not-found]
    except ImportError:  # the private module of another Python
        from signal import SIG_DFL, SIGCHLD, signal
    signal(SIGCHLD, SIG_DFL)


def _guarded(argv: "list[str]") -> int:
    """Nothing escapes: whatever goes wrong becomes one line in the log and one on stderr."""
    opts: "dict[str, Any]" = {"failure": 1}
    try:
        status = _dispatch(argv, opts)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status or 0
    except Error as err:
        return _fail(err.message, err.code)
    except BrokenPipeError:
        return 141  # as if by SIGPIPE, which Python ignores: nobody reads what we print
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as err:
        return _surprise(err, opts["failure"])


def _dispatch(argv: "list[str]", opts: "dict[str, Any]") -> "int | None":
    try:
        command = parse(argv, opts)
    except UsageError as err:
        _explain(opts["program"], err)
        raise
    return None if command is None else _run(command, opts)


def parse(argv: "list[str]", opts: "dict[str, Any] | None" = None) -> "Command | None":
    """Fill opts from argv and open the log.  None: it was help or the version, which was printed.

    opts gets a key for every row (`pid-file` -> `pid_file`), `program`, `root_given` and `args`.
    """
    opts = {} if opts is None else opts
    opts["program"] = argv[0] if argv else "pyrunc"
    opts["failure"] = 1
    rest = flags(argv[1:], GLOBALS, opts, stop_early=True)
    if opts["help"]:
        _show_help(opts)
        return None
    if opts["version"]:
        print("\n".join(version_lines()))
        return None
    _check_globals(opts)
    if not rest:
        _show_help(opts)
        return None
    verb, rest = rest[0], rest[1:]
    if verb in HELP_VERBS:
        topic = rest[0] if rest else None
        _show_help(opts, None if topic in (*HELP_VERBS, "-h", "--help") else topic)
        return None
    _check_verb(verb)
    command = commands.load(verb)
    opts["failure"] = command.failure
    opts["args"] = flags(rest, command.options, opts, verb, command.prefix_only)
    if opts["help"]:
        _show_help(opts, verb)
        return None
    _check_count(command, opts)
    _check_rootless(command, opts)
    return command


def version_lines() -> "list[str]":
    """What --version prints."""
    from pyrunc.commands import features

    return features.version_lines()


def default_root() -> str:
    """Where containers are kept when --root is not given; a user's own directory is made here."""
    runtime = files.xdg_runtime_dir()
    if not runtime:
        return "/run/pyrunc"
    root = os.path.join(runtime, "pyrunc")
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        os.chmod(root, 0o1700)  # Sticky: the XDG rules let cleaners remove anything else.
    except OSError as err:
        hint = "$XDG_RUNTIME_DIR must be a directory this user can write to, or use --root"
        raise Error(f"mkdir {root}: {reason(err)} ({hint})") from err
    return root


def _chosen_root(path: str) -> str:
    try:
        root = os.path.abspath(path)
    except OSError as err:
        raise Error(f"getwd: {reason(err)}") from err
    if root.strip("/") == "":
        raise Error("Option --root argument should not be set to /")
    return "/" + root.lstrip("/")


def _check_globals(opts: "dict[str, Any]") -> None:
    """Open the log, then settle the root: an error about the root has to be in the log."""
    opts["log_format"] = opts["log_format"] or "text"
    check_choice(opts, "log-format", ("text", "json"))
    check_choice(opts, "log-level", log.LEVELS)
    try:
        log.setup(opts["log"], opts["log_format"], opts["log_level"])
    except OSError as err:
        raise Error.os("open", opts["log"], err) from err
    check_choice(opts, "cgroup-manager", MANAGERS)
    opts["root_given"] = "root" in opts["given"]
    opts["root"] = _chosen_root(opts["root"]) if opts["root_given"] else default_root()


def check_choice(opts: "dict[str, Any]", name: str, known: "tuple[str, ...]") -> None:
    """Refuse a value of the flag `name` that is not one of `known`."""
    value = opts[name.replace("-", "_")]
    if value not in known:
        raise Error(f"invalid {name}: {value}")


def _check_rootless(command: Command, opts: "dict[str, Any]") -> None:
    """Make --rootless "true", "false" or "auto".  Only verbs that use it refuse another value."""
    rootless = _BOOLS.get(opts["rootless"])
    if rootless is not None:
        opts["rootless"] = "true" if rootless else "false"
    elif opts["rootless"] in ("", "auto") or command.name not in ("create", "run", "restore"):
        opts["rootless"] = "auto"
    else:
        lead = "" if command.name == "restore" else f"runc {command.name} failed: "
        shown = log.quote(opts["rootless"])
        raise Error(f"{lead}strconv.ParseBool: parsing {shown}: invalid syntax")


def _check_verb(verb: str) -> None:
    if verb not in VERBS:
        raise UsageError(f"No help topic for '{verb}'", verb, code=3)


def _run(command: Command, opts: "dict[str, Any]") -> "int | None":
    status: "int | None" = commands.module(command.name).run(opts)
    return status


def _help() -> "ModuleType":
    """The module help.  It needs click, which may be in another directory than pyrunc is."""
    try:
        from pyrunc import help
    except ImportError:
        import site

        sys.path += [path for path in site.getsitepackages() if path not in sys.path]
        from pyrunc import help
    return help


def _show_help(opts: "dict[str, Any]", verb: "str | None" = None) -> None:
    if verb is not None:
        _check_verb(verb)
    print(_help().text(opts["program"], verb, version_lines()), end="")


def _explain(program: str, err: UsageError) -> None:
    """Print the usage to stdout, as runc does.  The error itself is yet to come: never fail."""
    try:
        print(_help().usage(program, err, version_lines()), end="", flush=True)
    except (ImportError, OSError):
        pass  # No click, or a reader that went away; the log has the sentence.


def _check_count(command: Command, opts: "dict[str, Any]") -> None:
    least, most = command.nargs
    count = len(opts["args"])
    if least == most and count != least:
        wanted = f"exactly {least}"
    elif count < least:
        wanted = f"a minimum of {least}"
    elif most is not None and count > most:
        wanted = f"a maximum of {most}"
    else:
        return
    error = f'{opts["program"]}: "{command.name}" requires {wanted} argument(s)'
    raise UsageError(error, command.name)


# The grammar.


def flags(
    argv: "list[str]",
    rows: "tuple[Option, ...]",
    opts: "dict[str, Any]",
    verb: "str | None" = None,
    stop_early: bool = False,
) -> "list[str]":
    """Read the flags in argv that rows describe into opts.  Returns the positionals.

    verb: whose help belongs to a usage error (None: the program's).  stop_early: flags end at the
    first positional.
    """
    table: "dict[str, Option]" = {}
    for known in (*rows, HELP):
        table[known.name] = known
        if known.short:
            table[known.short] = known
        opts[known.key] = [] if known.kind in ("list", "ints") else known.default
    given: "set[str]" = set()
    opts["given"] = given
    positionals: "list[str]" = []
    index = 0
    while index < len(argv):
        token = argv[index]
        name, equals, value = token.lstrip("-").partition("=")
        dashes = len(token) - len(token.lstrip("-"))
        row = table.get(name) or table.get(ALIASES.get(name, ""))
        if dashes == 0 or token == "-" or (positionals and not row and token != "--"):
            positionals.append(token)
            index += 1
            if stop_early:
                break
            continue
        index += 1
        if token == "--":
            break
        if dashes > 2 or not name:
            raise UsageError(f"bad flag syntax: {token}", verb)
        if not row:
            apart = _apart(token, table)
            if not apart:
                raise UsageError(f"flag provided but not defined: -{name}", verb)
            argv, index = [*apart, *argv[index:]], 0
            continue
        if row.kind == "bool":
            value = value if equals else "true"
        elif not equals:
            if index == len(argv):
                raise UsageError(f"flag needs an argument: -{name}", verb)
            value = argv[index]
            index += 1
        _store(opts, row, name, value, verb)
        given.add(row.name)
    return positionals + argv[index:]


def _apart(token: str, table: "dict[str, Option]") -> "list[str]":
    """Split a word into its short flags: -td is -t -d, -eA=B is -e A=B.  Empty: one is unknown."""
    found: "list[str]" = []
    for at, letter in enumerate(token[1:], 2):
        if letter not in table:
            return []
        found.append(f"-{letter}")
        if table[letter].kind != "bool":
            return [*found, token[at:]] if token[at:] else found
    return found


def _store(opts: "dict[str, Any]", row: Option, name: str, text: str, verb: "str | None") -> None:
    value: object = text
    if row.kind == "bool":
        value = _BOOLS.get(text)
        if value is None:
            shown = log.quote(text)
            raise UsageError(f"invalid boolean value {shown} for -{name}: parse error", verb)
        value = row.means[value]
    elif row.kind in ("int", "ints", "duration"):
        try:
            if row.kind == "duration":
                from pyrunc import duration

                value = duration.parse(text)
            else:
                value = parse_int(text)
        except ValueError as err:
            raise UsageError(
                f"invalid value {log.quote(text)} for flag -{name}: {err}", verb
            ) from err
    if row.kind in ("list", "ints"):
        value = [*opts[row.key], value]
    opts[row.key] = value


def parse_int(text: str) -> int:
    """A Go integer literal that fits 64 bits; ValueError carries Go's words."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    # Python's base 0 agrees with Go's, but for a leading zero (octal in Go) and surrounding blanks.
    if digits[:1] == "0" and digits[1:2].isdigit() or digits[:2] == "0_":
        digits = "0o" + digits[1:]
    if not digits.isascii() or not digits[:1].isdigit() or digits != digits.strip():
        raise ValueError("parse error")
    try:
        value = int(digits, 0)
    except ValueError:
        raise ValueError("parse error") from None
    value = -value if text[0] == "-" else value
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("value out of range")
    return value


# What the caller is told when something goes wrong.


def _fail(message: str, code: int) -> int:
    """Log the message, and print it on stderr as well if the log is elsewhere.  Returns code."""
    if len(message) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2
        message = f"{message[:half]} [...] {message[-half:]}"
    log.error(message)
    if not log.to_stderr():
        try:
            os.write(2, (message + "\n").encode("utf-8", "surrogateescape"))
        except OSError:
            pass  # The log has it; there is nobody left to tell.
    return code


def _surprise(err: Exception, code: int) -> int:
    """One line for an unexpected exception: what and where.  --debug shows the traceback, too."""
    where = "?"
    trace = err.__traceback__
    while trace is not None:
        where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    if log.debugging():
        import traceback

        log.debug("".join(traceback.format_exception(err)))
    if isinstance(err, MemoryError):
        err = OSError(12, "ENOMEM")
    if isinstance(err, OSError) and err.errno:
        path = f"{err.filename}: " if err.filename else ""
        return _fail(f"unexpected error: {path}{strerror(err.errno)} ({where})", code)
    what = f"{type(err).__name__}: {' '.join(str(err).split())}"
    return _fail(f"internal error: {what} ({where})", code)
