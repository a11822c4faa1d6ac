"""jsonio: reads and writes JSON as a Go program does."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc import jsonfault, jsonio
from pyrunc.errors import Error

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


# --- reading ---


@pytest.mark.parametrize(
    "data, value",
    [
        (b" \r\n\t{} ", {}),
        (b'{"a":1}{"b":2}', {"a": 1}),
        (b'{"a":1} trailing bytes \xff', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":{"b":1,"c":{"d":2}},"a":{"c":{"e":3}}}', {"a": {"b": 1, "c": {"d": 2, "e": 3}}}),
        (b'{"a":{"b":1},"a":[1]}', {"a": [1]}),
        (b'{"a":[1,2],"a":[3]}', {"a": [3]}),
        (b'{"a":1,"a":null}', {"a": None}),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"\\u00e9\\ud83d\\ude00\\/"', "é😀/"),
        ("é".encode(), None),
    ],
)
def test_reads(data, value):
    if value is None:
        with pytest.raises(Error):
            jsonio.loads(data)
    else:
        assert jsonio.loads(data) == value


@pytest.mark.parametrize("data", [b"1.0", b"1e3", b"1E0", b"-0.0", b"1e400"])
def test_a_number_with_point_or_exponent_is_no_integer(data):
    assert type(jsonio.loads(data)) is float


@pytest.mark.parametrize(
    "data, text",
    [
        (b'"\xff"', "\ufffd"),
        (b'"\xe2\x82"', "\ufffd\ufffd"),
        (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
        (b'"\\ud800"', "\ufffd"),
        (b'"\\uDC80x"', "\ufffdx"),
    ],
)
def test_what_is_not_unicode_is_replaced(data, text):
    assert jsonio.loads(data) == text
    assert jsonio.loads(b"[{" + data + b":" + data + b"}]") == [{text: text}]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "EOF"),
        (b" \n", "EOF"),
        (b"{", "unexpected EOF"),
        (b'{"a"', "unexpected EOF"),
        (b'"a', "unexpected EOF"),
        (b"[1", "unexpected EOF"),
        (b"t", "unexpected EOF"),
        (b"{]", "invalid character ']' looking for beginning of object key string"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"[01]", "invalid character '1' after array element"),
        (b"NaN", "invalid character 'N' looking for beginning of value"),
        (b"[Infinity]", "invalid character 'I' looking for beginning of value"),
        (b"[-Infinity]", "invalid character 'I' in numeric literal"),
        (b"[1.]", "invalid character ']' after decimal point in numeric literal"),
        (b"[1e+]", "invalid character ']' in exponent of numeric literal"),
        (b"nul1", "invalid character '1' in literal null (expecting 'l')"),
        (b"'a'", "invalid character '\\'' looking for beginning of value"),
        (b'"\n"', "invalid character '\\n' in string literal"),
        (b'"\x01"', "invalid character '\\x01' in string literal"),
        (b'"\\x41"', "invalid character 'x' in string escape code"),
        (b'"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
        ("[é]".encode(), "invalid character 'Ã' looking for beginning of value"),
        (b"[1\xff]", "invalid character 'ÿ' after array element"),
        (b"{\x80}", "invalid character '\\u0080' looking for beginning of object key string"),
        (b"[" * 100000, "exceeded max depth"),
    ],
)
def test_a_fault_is_worded_as_in_go(data, message):
    with pytest.raises(Error) as caught:
        jsonio.loads(data)
    assert str(caught.value) == message


@pytest.mark.parametrize("depth", [700, 1500])
def test_the_search_for_surrogates_has_a_limit_too(depth):
    # Which depth is too much for the scanner, and which only for us, depends on the interpreter.
    try:
        jsonio.loads(b"[" * depth + b'"\\ud800"' + b"]" * depth)
    except Error as err:
        assert str(err) == "exceeded max depth"


def test_an_endless_number_is_refused():
    with pytest.raises(Error, match="invalid number"):
        jsonio.loads(b"9" * 5000)


@given(VALUES)
@quick
def test_what_json_writes_is_read(value):
    assert jsonio.loads(json.dumps(value).encode()) == value
    assert jsonio.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace")) is not ...


@given(st.text('{}[]",:\\ut -+.e01n\nx', max_size=12))
@quick
def test_a_text_has_a_fault_exactly_if_it_is_refused(text):
    text = f"[{text}"  # of a bare number the scanner takes what it likes
    fault = jsonfault.describe(text.encode())
    try:
        jsonio.loads(text.encode())
    except Error as err:
        assert str(err) == fault
        assert fault != "invalid number"
    else:
        assert fault == "invalid number"


# --- writing ---


@pytest.mark.parametrize(
    "value, text",
    [
        ({"b": 1, "a": [True, None, -1]}, '{"b":1,"a":[true,null,-1]}'),
        ({}, "{}"),
        ([], "[]"),
        ("é\x7f", '"é\x7f"'),
        ('"\\\n\r\t\b\f', '"\\"\\\\\\n\\r\\t\\b\\f"'),
        ("\x00\x1f", '"\\u0000\\u001f"'),
        ({"<": "a>&\u2028\u2029"}, '{"\\u003c":"a\\u003e\\u0026\\u2028\\u2029"}'),
        ("a\udc80", '"a\ufffd"'),
        (2**64 - 1, "18446744073709551615"),
        (1.5, "1.5"),
    ],
)
def test_writes(value, text):
    assert jsonio.dumps(value) == text
    assert jsonio.dumps([value]) == f"[{text}]"


def test_indents():
    text = '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": {\n    "c": []\n  },\n  "d": "\\u003c"\n}'
    value = {"a": [1, {}], "b": {"c": []}, "d": "<"}
    assert jsonio.dumps(value, "  ") == text
    assert jsonio.dumps(value, "\t") == text.replace("  ", "\t")


@given(VALUES)
@quick
def test_what_is_written_is_read(value):
    for indent in ("", "  ", "\t"):
        assert json.loads(jsonio.dumps(value, indent)) == value


def test_without_the_c_half_it_works_the_same():
    code = (
        "import sys; sys.modules['_json'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from pyrunc import jsonio\n"
        "from pyrunc.errors import Error\n"
        'assert jsonio.loads(b\' {"a":{"b":1},"a":{"c":[1.5]}} x\') == {"a":{"b":1,"c":[1.5]}}\n'
        "assert jsonio.dumps({'a':['<é']}) == '{\"a\":[\"\\\\u003cé\"]}'\n"
        "assert jsonio.dumps({'a':['<é']}, ' ') == '{\\n \"a\": [\\n  \"\\\\u003cé\"\\n ]\\n}'\n"
        "try: jsonio.loads(b'NaN')\n"
        "except Error as err: print(err)\n"
    )
    site = jsonio.__file__.rpartition("/pyrunc/")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, site], check=False, capture_output=True, text=True
    )
    assert done.stdout == "invalid character 'N' looking for beginning of value\n", done.stderr
