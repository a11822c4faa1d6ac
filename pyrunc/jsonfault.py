"""Says in Go's words what is wrong with a JSON text (pure; loaded only once it was refused).

describe() walks the text by the grammar of RFC 8259 and stops at the first byte that does not fit.
"""

SPACE = " \t\r\n"
DIGITS = "0123456789"
HEX = "0123456789abcdefABCDEF"
LITERALS = {"t": "true", "f": "false", "n": "null"}


class _Fault(Exception):
    """The finished sentence."""


def describe(data: bytes) -> str:
    """The first fault of the first JSON value in data."""
    text = data.decode("latin-1")  # Go prints the byte that is wrong as if it were a character
    try:
        _value(text, _skip(text, 0), "EOF")
    except _Fault as fault:
        return str(fault)
    except RecursionError:
        return "exceeded max depth"
    return "invalid number"  # well-formed, yet refused: an integer of thousands of digits


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in SPACE and at < len(text):
        at += 1
    return at


def _wrong(text: str, at: int, where: str, end: str = "unexpected EOF") -> _Fault:
    """The fault: the character at `at` does not fit `where`."""
    if at >= len(text):
        return _Fault(end)
    character = text[at]
    if character == "'":
        shown = "\\'"
    elif character == '"':
        shown = '"'
    elif character < " " or character == "\x7f":
        short = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
        short.update({"\a": "\\a", "\v": "\\v"})
        shown = short.get(character, f"\\x{ord(character):02x}")
    elif character == "\\":
        shown = "\\\\"
    else:
        shown = character if character.isprintable() else f"\\u{ord(character):04x}"
    return _Fault(f"invalid character '{shown}' {where}")


def _value(text: str, at: int, end: str = "unexpected EOF") -> int:
    """Read the value at `at`. Returns where it ends."""
    first = text[at : at + 1]
    if first == "{":
        return _object(text, at + 1)
    if first == "[":
        return _array(text, at + 1)
    if first == '"':
        return _string(text, at + 1)
    if first and first in "-" + DIGITS:
        return _number(text, at)
    word = LITERALS.get(first)
    if word is None:
        raise _wrong(text, at, "looking for beginning of value", end)
    for index, letter in enumerate(word):
        if text[at + index : at + index + 1] != letter:
            raise _wrong(text, at + index, f"in literal {word} (expecting '{letter}')")
    return at + len(word)


def _object(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        if text[at : at + 1] != '"':
            raise _wrong(text, at, "looking for beginning of object key string")
        at = _skip(text, _string(text, at + 1))
        if text[at : at + 1] != ":":
            raise _wrong(text, at, "after object key")
        at = _skip(text, _value(text, _skip(text, at + 1)))
        if text[at : at + 1] == "}":
            return at + 1
        if text[at : at + 1] != ",":
            raise _wrong(text, at, "after object key:value pair")
        at = _skip(text, at + 1)


def _array(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        at = _skip(text, _value(text, at))
        if text[at : at + 1] == "]":
            return at + 1
        if text[at : at + 1] != ",":
            raise _wrong(text, at, "after array element")
        at = _skip(text, at + 1)


def _string(text: str, at: int) -> int:
    while True:
        character = text[at : at + 1]
        if character == '"':
            return at + 1
        if character < " ":  # or the end
            raise _wrong(text, at, "in string literal")
        if character == "\\":
            at += 1
            letter = text[at : at + 1]
            if not letter or letter not in '"\\/bfnrtu':
                raise _wrong(text, at, "in string escape code")
            if letter == "u":
                for _ in range(4):
                    at += 1
                    if not text[at : at + 1] or text[at] not in HEX:
                        raise _wrong(text, at, "in \\u hexadecimal character escape")
        at += 1


def _number(text: str, at: int) -> int:
    if text[at] == "-":
        at += 1
        if not text[at : at + 1] or text[at] not in DIGITS:
            raise _wrong(text, at, "in numeric literal")
    at = at + 1 if text[at] == "0" else _digits(text, at)
    if text[at : at + 1] == ".":
        if not text[at + 1 : at + 2] or text[at + 1] not in DIGITS:
            raise _wrong(text, at + 1, "after decimal point in numeric literal")
        at = _digits(text, at + 1)
    if text[at : at + 1] in ("e", "E"):
        at += 1
        if text[at : at + 1] in ("+", "-"):
            at += 1
        if not text[at : at + 1] or text[at] not in DIGITS:
            raise _wrong(text, at, "in exponent of numeric literal")
        at = _digits(text, at)
    return at


def _digits(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in DIGITS:
        at += 1
    return at
