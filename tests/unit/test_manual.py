"""manual.py: a page for every command, and roff that says what was meant."""

import importlib.util
import os

from pyrunc.commands import VERBS, Option

PATH = os.path.join(os.path.dirname(__file__), "..", "..", "scripts", "manual.py")
SPEC = importlib.util.spec_from_file_location("manual", PATH)
manual = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(manual)


def test_commands_and_pages_are_the_same():
    with open(manual.SOURCE) as file:
        pages = manual.pages(file.read())
    assert [*pages] == ["pyrunc", *VERBS]
    for name, words in pages.items():
        assert words[""].strip() and words["Examples"].strip(), name


def test_what_is_special_to_roff_is_text():
    assert manual.plain(".x \\0 --y") == "\\&.x \\e0 \\-\\-y"
    assert manual.plain("'x") == "\\&'x"


def test_words_are_styled():
    assert manual.styled("a *bundle* of `--all` it") == "a \\fIbundle\\fR of \\fB\\-\\-all\\fR it"


def test_a_body_has_paragraphs_lists_and_examples():
    text = "One\ntwo.\n\nThree:\n\n* `a`: b\n  c\n* `d`: e\n\n    .x  y\n    z\n"
    assert manual.body(text) == [
        *["One two.", ".PP", "Three:"],
        *[".TP", "\\fBa\\fR", "b c", ".TP", "\\fBd\\fR", "e"],
        *[".PP", ".RS 4", ".nf", "\\&.x  y", "z", ".fi", ".RE"],
    ]


def test_an_option_shows_names_value_and_that_it_may_come_again():
    rows = (Option("env", "e", kind="list", metavar="K=V", help="set it"),)
    tag = "\\fB\\-e\\fR, \\fB\\-\\-env\\fR \\fIK=V\\fR"
    assert manual.options(rows)[:3] == [".TP", tag, "Set it (may be given again)"]
    assert manual.options((Option("old", hidden=True),))[1].endswith("help\\fR")
