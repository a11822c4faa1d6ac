"""help: every page renders, and the parser and click see the same rows."""

import os

import pytest

import pyrunc
from pyrunc import cli, help
from pyrunc.commands import GLOBALS, HELP, VERBS, load

SITE = os.path.dirname(os.path.dirname(pyrunc.__file__))


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_runs(verb, capsys):
    for argv in ([verb, "--help"], [verb, "-h"], [verb, "x", "-help"], ["help", verb]):
        if load(verb).prefix_only and argv[1] == "x":
            continue
        assert cli.main(["/usr/local/bin/runc", *argv]) == 0
        page = capsys.readouterr().out
        assert page.startswith(f"NAME:\n   runc {verb} - {load(verb).summary}\n\nUSAGE:\n")
        assert page.endswith("show help\n")


def test_the_help_of_the_program(capsys):
    assert cli.main(["/opt/pyrunc"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("NAME:\n   runc - Open Container Initiative runtime\n")
    assert "\nUSAGE:\n   pyrunc [global options] command" in page
    for verb, (_, summary) in VERBS.items():
        assert f"   {verb} " in page
        assert summary.split()[0] in page


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_every_row_is_in_both_views(verb):
    rows = GLOBALS if verb is None else load(verb).options
    page = help.text("pyrunc", verb, ["version"])
    for row in (*rows, HELP):
        opts = {}
        value = {"bool": [], "int": ["1"], "ints": ["1"], "duration": ["1s"]}.get(row.kind, ["v"])
        for name, dashed in ((row.name, f"--{row.name}"), (row.short, f"-{row.short}")):
            if name:
                assert cli.flags([dashed, *value], rows, opts) == []
                assert opts["given"] == {row.name}
                assert (f"{dashed} " in page or f"{dashed}," in page) != row.hidden


@pytest.mark.parametrize("verb", VERBS)
def test_the_rows_are_well_formed(verb):
    command = load(verb)
    assert command.name == verb
    assert command.summary == VERBS[verb][1]
    names = [name for row in (*command.options, HELP) for name in (row.name, row.short) if name]
    assert len(names) == len(set(names))
    keys = {row.key for row in command.options}
    assert not keys & {row.key for row in GLOBALS}, "a verb's flag would overwrite a global one"
    assert not keys & {"args", "failure", "given", "program", "root_given"}
    for row in command.options:
        assert row.kind in ("bool", "str", "int", "ints", "list", "duration")
        assert row.hidden or row.help
        assert row.kind == "bool" or row.metavar


def test_nothing_is_hidden_but_what_is_obsolete():
    hidden = {f"{verb} --{row.name}" for verb in VERBS for row in load(verb).options if row.hidden}
    assert hidden == {"kill --all", "update --kernel-memory", "update --kernel-memory-tcp"}
