"""GVariant's text format, in which annotations give properties of units."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.cgroups import gvariant, signature

MAX = (1 << 64) - 1


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("true", ("b", True)),
        ("false", ("b", False)),
        ("5", ("i", 5)),
        (" -7 ", ("i", -7)),
        ("0x10", ("i", 16)),
        ("010", ("i", 8)),
        ("1.5", ("d", 1.5)),
        (".5", ("d", 0.5)),
        ("1e3", ("d", 1000.0)),
        ("-inf", ("d", -math.inf)),
        ("uint64 18446744073709551615", ("t", MAX)),
        ("int64 -1", ("x", -1)),
        ("uint32 1", ("u", 1)),
        ("byte 0xff", ("y", 255)),
        ("double 2", ("d", 2.0)),
        ("boolean true", ("b", True)),
        ("objectpath '/a'", ("o", "/a")),
        ("@t 5", ("t", 5)),
        ("'text'", ("s", "text")),
        ('"it\'s"', ("s", "it's")),
        (r"'a\'\\\n\u00e9\U0001F600'", ("s", "a'\\\n\u00e9\U0001f600")),
        ("b'ab'", ("ay", b"ab\0")),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("['a',]", ("as", ["a"])),
        ("@as []", ("as", [])),
        ("[1, 2]", ("ai", [1, 2])),
        ("[1, 2.5]", ("ad", [1.0, 2.5])),
        ("[1, uint64 2]", ("at", [1, 2])),
        ("[('/dev/null', 'rw')]", ("a(ss)", [("/dev/null", "rw")])),
        ("@a(st) [('a', 1)]", ("a(st)", [("a", 1)])),
        ("('a', uint64 1)", ("(st)", ("a", 1))),
        ("{'a': <5>}", ("a{sv}", [("a", ("i", 5))])),
        ("@a{ss} {}", ("a{ss}", [])),
        ("[[1], []]", ("aai", [[1], []])),
    ],
)
def test_values(text, typed):
    assert gvariant.parse(text) == typed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word",
        "5 6",
        "'open",
        "[1, 'a']",
        "[]",
        "{}",
        "byte 256",
        "uint64 -1",
        "2147483648",
        "int32 'a'",
        "uint32 1.5",
        "@q",
        "@x5",
        "[1",
        "(1",
        "{'a' 1}",
        "<1",
        "08",
        "1-2",
        "--1",
        "just 5",
        "nothing",
        "handle 1",
        "'\\ud800",
        "b'\u20ac'",
        "@(ss) ('a',)",
        "string 5",
        "@as 'a'",
    ],
)
def test_what_is_none(text):
    with pytest.raises(ValueError):
        gvariant.parse(text)


@given(st.text(alphabet="aub'\"[](){}<>@:, 0159.-\\sx", max_size=30))
def test_any_text_is_a_value_or_refused(text):
    try:
        kind, _ = gvariant.parse(text)
    except ValueError:
        return
    assert len(signature.types(kind)) == 1


def test_signatures():
    assert signature.types("") == []
    assert signature.types("sa(ss)va{sv}aayu") == ["s", "a(ss)", "v", "a{sv}", "aay", "u"]
    for bad in ("a", "(s", "s)", "z", "a{s"):
        with pytest.raises(ValueError):
            signature.types(bad)
