"""The rows of the commands as completion scripts for bash, zsh and fish (host-free).

A script knows verbs, flags and values by itself, and asks `list --quiet` for containers: a key that
is pressed must not wait for what help costs.
"""

from pyrunc import signals
from pyrunc.commands import GLOBALS, HELP, VERBS, Command, Option, load

# What a value or a positional may be; anything else is a list of words.
FILES, DIRECTORIES, IDS, ANY = "file", "directory", "ids", "any"
KINDS = {"PATH": FILES, "FILE": FILES, "DIR": DIRECTORIES}
MAKERS = ("create", "run", "restore")  # their container has no name yet
SIGNALS = " ".join(signals.name(number).removeprefix("SIG") for number in range(1, 32))


def script(shell: str, program: str) -> str:
    """The script for a shell in SHELLS."""
    return SHELLS[shell]().replace("@P@", program)


def shown(rows: "tuple[Option, ...]") -> "list[Option]":
    """Rows that are not obsolete, and --help."""
    return [row for row in (*rows, HELP) if not row.hidden]


def names(row: Option) -> "list[str]":
    """`-b`, `--bundle`."""
    return [f"-{row.short}"] * bool(row.short) + [f"--{row.name}"]


def wants(row: Option) -> str:
    """What its value is; "" for a flag without one."""
    if row.kind == "bool":
        return ""
    return KINDS.get(row.metavar) or " ".join(row.help.split('"')[1::2]) or ANY


def positionals(command: Command) -> "list[str]":
    """What they are, one by one; a last one that may come again is there twice."""
    if command.name in MAKERS:
        return []
    if command.args.startswith("<container-id>"):
        if "..." in command.args:
            return [IDS, IDS]
        return [IDS, SIGNALS] if "[signal]" in command.args else [IDS]
    if command.args.startswith("[<container-id>"):
        return [IDS, IDS]
    if "|" not in command.args:
        return []
    kinds = {"<container-id>": IDS, "<file>": FILES}
    return [kinds.get(word, word.replace("|", " ")) for word in command.args.split()]


def rows_of(verb: str) -> "tuple[Option, ...]":
    """verb: empty for the program's own."""
    return load(verb).options if verb else GLOBALS


# bash


def bash() -> str:
    """Functions and tables of one `case` each, without a subshell but for the containers."""
    values: "dict[str, list[str]]" = {}
    flags, places = [], []
    for verb in ("", *VERBS):
        rows = shown(rows_of(verb))
        words = " ".join(f"--{row.name}" for row in rows)
        flags.append(f'\t{verb or "``"}) flags="{words}" ;;')
        for row in rows:
            if wants(row):
                keys = [f"{verb}:{name.lstrip('-')}" for name in names(row)]
                values.setdefault(wants(row), []).extend(keys)
        found = positionals(load(verb)) if verb else [" ".join([*VERBS, "help"])]
        if len(found) == 2 and found[0] == found[1]:
            places.append(f'\t{verb}:*) wants="{found[0]}" ;;')
        else:
            places += [f'\t{verb}:{at}) wants="{want}" ;;' for at, want in enumerate(found)]
    rest = " | ".join(verb for verb in VERBS if load(verb).prefix_only)
    table = [f'\t{" | ".join(keys)}) wants="{want}" ;;' for want, keys in values.items()]
    page = BASH.replace("@VALUES@", "\n".join(table)).replace("@FLAGS@", "\n".join(flags))
    return page.replace("@PLACES@", "\n".join(places)).replace("@REST@", rest).replace("``", "''")


BASH = """\
# bash completion for @P@, made by `@P@ completion bash`.
# shellcheck shell=bash disable=SC2034,SC2207

_@P@_value() { # wants: what the flag $2 of the verb $1 has for a value
	case $1:$2 in
@VALUES@
	*) wants= ;;
	esac
}

_@P@_flags() { # flags: those of the verb $1
	case $1 in
@FLAGS@
	*) flags= ;;
	esac
}

_@P@_place() { # wants: what positional $2 of the verb $1 is
	case $1:$2 in
@PLACES@
	*) wants=any ;;
	esac
}

_@P@() {
	local cur=${COMP_WORDS[COMP_CWORD]} word flag='' verb='' wants='' flags='' rest='' count=0 at
	local root=()
	for ((at = 1; at < COMP_CWORD; at++)); do
		word=${COMP_WORDS[at]}
		if [[ $word == '=' ]]; then # bash cuts --flag=value into three words
			[[ $wants ]] || ((at++))
		elif [[ $wants ]]; then
			[[ $verb:$flag == :root ]] && root=(--root "$word")
			wants=
		elif [[ $word == -?* && ! $rest ]]; then
			flag=${word#-} flag=${flag#-}
			_@P@_value "$verb" "$flag"
		elif [[ ! $verb ]]; then
			verb=$word
		else
			((count++))
			case $verb in @REST@) rest=1 ;; esac
		fi
	done
	[[ $cur == '=' ]] && cur=
	COMPREPLY=()
	if [[ ! $wants && $cur == -* && ! $rest ]]; then
		_@P@_flags "$verb"
		wants=$flags
	elif [[ ! $wants ]]; then
		_@P@_place "$verb" "$count"
	fi
	case $wants in
	any | '') return ;;
	file | directory)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -A "$wants" -- "$cur")
		return
		;;
	ids) wants=$("${COMP_WORDS[0]}" "${root[@]}" list --quiet 2>/dev/null) ;;
	esac
	COMPREPLY=($(compgen -W "$wants" -- "$cur"))
}

complete -F _@P@ @P@
"""


# zsh


def zsh() -> str:
    """_arguments does the work."""
    verbs = "\n".join(f"\t\t\t{quoted(f'{verb}:{VERBS[verb][1]}')}" for verb in VERBS)
    cases = []
    for verb in VERBS:
        specs = [zsh_flag(row) for row in shown(rows_of(verb))]
        found = positionals(load(verb))
        if len(found) == 2 and found[0] == found[1]:
            specs.append("'*:container:_@P@_ids'")
        else:
            specs += [
                quoted(f"{at}:{'container' if want == IDS else 'word'}:{zsh_action(want)}")
                for at, want in enumerate(found, 1)
            ]
        early = "-A '-*' " if load(verb).prefix_only else ""
        specs += ["'*:::command:_normal'"] * (verb == "exec")
        cases.append(f"\t\t{verb}) _arguments {early}{' '.join(specs)} ;;")
    flags = " \\\n\t\t".join(zsh_flag(row) for row in shown(GLOBALS))
    page = ZSH.replace("@GLOBALS@", flags).replace("@VERBS@", verbs)
    return page.replace("@CASES@", "\n".join(cases))


def zsh_flag(row: Option) -> str:
    """One specification of _arguments."""
    text = f"[{escaped(row.help, '[]')}]"
    equals = "" if row.kind == "bool" else "="
    if equals:
        text += f":{escaped(row.metavar, ':[]')}:{zsh_action(wants(row))}"
    again = "*" if row.kind in ("list", "ints") else ""
    if not row.short:
        return quoted(f"{again}--{row.name}{equals}{text}")
    plus = "+" if equals else ""
    head = again or f"(-{row.short} --{row.name})"
    return f"{quoted(head)}{{-{row.short}{plus},--{row.name}{equals}}}{quoted(text)}"


def zsh_action(want: str) -> str:
    """How zsh completes it."""
    known = {FILES: "_files", DIRECTORIES: "_directories", IDS: "_@P@_ids", ANY: " "}
    return known.get(want) or f"({want})"


def escaped(text: str, special: str) -> str:
    """With backslashes before special characters."""
    return "".join(f"\\{char}" if char in special + "\\" else char for char in text)


def quoted(text: str) -> str:
    """A word of the shells."""
    return "'" + text.replace("'", "'\\''") + "'"


ZSH = """\
#compdef @P@
# zsh completion for @P@, made by `@P@ completion zsh`.

_@P@_ids() {
	local -a ids expl
	ids=(${(f)"$(_call_program containers @P@ $root list --quiet 2>/dev/null)"})
	_wanted containers expl container compadd -a ids
}

_@P@() {
	local curcontext=$curcontext state state_descr line
	local -a root
	typeset -A opt_args
	_arguments -C -A '-*' \\
		@GLOBALS@ \\
		'1:command:->verbs' '*::argument:->arguments'
	case $state in
	verbs)
		local -a verbs
		verbs=(
@VERBS@
		)
		_describe -t commands command verbs
		;;
	arguments)
		root=(${opt_args[--root]:+--root ${opt_args[--root]}})
		curcontext=${curcontext%:*}-$line[1]:
		case $line[1] in
@CASES@
		esac
		;;
	esac
}

if [[ $funcstack[1] == _@P@ ]]; then
	_@P@ "$@"
else
	compdef _@P@ @P@
fi
"""


# fish


def fish() -> str:
    """A `complete` for each word."""
    lines = []
    for verb, (_, summary) in VERBS.items():
        lines.append(f"complete -c @P@ -n '__@P@_at' -a {verb} -d {fish_quoted(summary)}")
    for verb in ("", *VERBS):
        head = f"complete -c @P@ -n '__@P@_at {verb}'"
        for at, want in enumerate(positionals(load(verb)) if verb else []):
            place = f" {at}" if want == SIGNALS else ""
            lines.append(f"complete -c @P@ -n '__@P@_at {verb}{place}'{fish_value(want, '')}")
        for row in shown(rows_of(verb)):
            short = f" -s {row.short}" if row.short else ""
            value = fish_value(wants(row), " -x") if wants(row) else ""
            lines.append(f"{head}{short} -l {row.name}{value} -d {fish_quoted(row.help)}")
    taking = " ".join(name for row in GLOBALS if wants(row) for name in names(row))
    return FISH.replace("@TAKING@", taking) + "\n".join(dict.fromkeys(lines)) + "\n"


def fish_value(want: str, only: str) -> str:
    """How fish completes it.  only: the flag that says that a value has to come."""
    if want == FILES:
        return " -r -F"
    if want == ANY:
        return only
    known = {DIRECTORIES: "(__fish_complete_directories)", IDS: "(__@P@_ids)"}
    return f"{only} -a {fish_quoted(known.get(want, want))}"


def fish_quoted(text: str) -> str:
    """A word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


FISH = """\
# fish completion for @P@, made by `@P@ completion fish`.

# The verb that was typed, and what came after it but for flags.
function __@P@_typed
    set -l skip 0
    set -l verb ''
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word @TAKING@; and test -z "$verb"
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
            set verb $word
        end
    end
end

# Is this the verb (none: has none been typed), and the positional with that number to come?
function __@P@_at
    set -l typed (__@P@_typed)
    test "$typed[1]" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; or test (count $typed) -eq (math $argv[2] + 1)
end

function __@P@_ids
    set -l words (commandline -opc)
    set -l root (string match -- '--root=*' $words)
    set -l at (contains -i -- --root $words)
    and set root --root $words[(math $at + 1)]
    @P@ $root list --quiet 2>/dev/null
end

complete -c @P@ -f
"""

SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
