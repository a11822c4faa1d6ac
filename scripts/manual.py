#!/usr/bin/env python3
"""Write the manual pages into a directory: the rows of the commands, the words of docs/manual.md.

    manual.py DIRECTORY         for the pyrunc that this interpreter imports

A page of docs/manual.md has the name of its command for a title, and begins with the description.
Of Markdown it uses titles, paragraphs, lists of `term`: text, examples indented by four, `code` and
*emphasis*.
"""

import os
import re
import sys

from pyrunc import __version__
from pyrunc.commands import GLOBALS, HELP, VERBS, Option, load

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "manual.md")
NAME = "pyrunc"
ABOUT = "an OCI container runtime"


def main(directory: str) -> None:
    """Write NAME.8, and NAME-VERB.8 for each verb."""
    with open(SOURCE, encoding="utf-8") as file:
        words = pages(file.read())
    for verb in ("", *VERBS):
        name = f"{NAME}-{verb}" if verb else NAME
        with open(f"{directory}/{name}.8", "w", encoding="utf-8") as file:
            file.write("\n".join(page(name, verb, words[verb or NAME])) + "\n")


def pages(text: str) -> dict[str, dict[str, str]]:
    """Title of a page -> title of a section, empty for the first -> its text."""
    found: dict[str, dict[str, str]] = {}
    for part in re.split(r"^# ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition("\n")
        first, *sections = re.split(r"^## ", rest, flags=re.MULTILINE)
        found[title] = {"": first} | {
            name: body for name, _, body in (section.partition("\n") for section in sections)
        }
    return found


def page(name: str, verb: str, words: dict[str, str]) -> list[str]:
    """The lines of one page."""
    command = load(verb) if verb else None
    summary = command.summary if command else ABOUT
    lines = [f'.TH {name.upper()} 8 "" "{NAME} {__version__}" "{NAME} manual"']
    lines += [".SH NAME", f"{plain(name)} \\- {plain(summary)}", ".SH SYNOPSIS"]
    usage = f"\\fB{NAME}\\fR [\\fIglobal options\\fR] "
    if command:
        usage += f"\\fB{verb}\\fR [\\fIoptions\\fR] {plain(command.args)}"
    else:
        usage += "\\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]"
    lines += [usage.strip(), ".SH DESCRIPTION", *body(words[""])]
    if not command:
        lines.append(".SH COMMANDS")
        for other, (_, what) in VERBS.items():
            lines += [".TP", f"\\fB{NAME}\\-{other}\\fR(8)", plain(what)]
    lines += [".SH OPTIONS", *options(command.options if command else GLOBALS)]
    for title, text in words.items():
        if title:
            lines += [f".SH {title.upper()}", *body(text)]
    if command and "Exit status" not in words:
        lines += [".SH EXIT STATUS", "0, or 1 after an error."]
    if command:
        lines += [".SH SEE ALSO", f"\\fB{NAME}\\fR(8)"]
    return lines


def options(rows: tuple[Option, ...]) -> list[str]:
    """A tagged paragraph for each that is not obsolete."""
    lines = []
    for row in (*rows, HELP):
        if not row.hidden:
            names = [f"-{row.short}"] * bool(row.short) + [f"--{row.name}"]
            tag = ", ".join(f"\\fB{plain(name)}\\fR" for name in names)
            value = f" \\fI{plain(row.metavar)}\\fR" if row.metavar else ""
            again = " (may be given again)" if row.kind in ("list", "ints") else ""
            lines += [".TP", tag + value, plain(sentence(row.help) + again)]
    return lines


def sentence(text: str) -> str:
    """With a capital, as the words around it."""
    return text[:1].upper() + text[1:]


def body(text: str) -> list[str]:
    """Paragraphs, lists and examples."""
    lines = []
    for block in re.split(r"\n\n+", text.strip("\n")):
        if block.startswith("    "):
            code = [plain(line.removeprefix("    ")) for line in block.split("\n")]
            lines += [".PP", ".RS 4", ".nf", *code, ".fi", ".RE"]
        elif block.startswith("* "):
            for item in block.removeprefix("* ").split("\n* "):
                term, _, what = " ".join(item.split()).partition(": ")
                lines += [".TP", styled(term), styled(what)]
        else:
            lines += [".PP", styled(" ".join(block.split()))]
    return lines[1:] if lines[0] == ".PP" else lines  # a section begins with a paragraph anyway


def styled(text: str) -> str:
    """`code` in bold, *emphasis* in italics."""
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", plain(text))
    return re.sub(r"\*(\w+)\*", r"\\fI\1\\fR", text)


def plain(text: str) -> str:
    """Text that roff does not take for anything else."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    main(sys.argv[1])
