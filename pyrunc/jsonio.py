"""JSON as a Go program reads and writes it (leaf; touches nothing).

    loads(data)           the first value in data; what follows it is ignored
    dumps(value)          compact, on one line
    dumps(value, "  ")    indented by that much per level

Reading: UTF-8, invalid bytes become U+FFFD; NaN and Infinity are refused; of two members with the
same name the last wins, and two objects are merged. A number with a point or an exponent is a
float, so whoever wants an integer can refuse it. Writing: `<`, `>`, `&`, U+2028 and U+2029 are
escaped, strings are otherwise UTF-8. Members keep their order.

Importing json costs 10 ms, its C halves in _json nothing: they are used directly.
"""

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPACE = " \t\r\n"


def _members(pairs: "list[tuple[str, object]]") -> "dict[str, object]":
    """An object from its members in order."""
    made = dict(pairs)
    if len(made) != len(pairs):
        made = {}
        for name, value in pairs:
            made[name] = merge(made[name], value) if name in made else value
    return made


def merge(old: object, new: object) -> object:
    """What a member is after both values were read into it: objects are merged."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in new.items():
            old[name] = merge(old[name], value) if name in old else value
        return old
    return new


def _refuse(value: object) -> "Any":
    raise ValueError(value)


class _Rules:
    """The settings make_scanner() looks up."""

    strict = True  # no control characters in strings
    object_hook = None
    object_pairs_hook = staticmethod(_members)
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse)


def _tools() -> "tuple[Any, Any, Any]":
    """scan(text, start) -> value, end;  encode(value, 0) -> texts;  quote(str) -> str."""
    try:
        from _json import encode_basestring, make_encoder, make_scanner
    except ImportError:  # another Python: the same from the public module
        from json import JSONDecoder, JSONEncoder

        decoder: Any = JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse)
        encoder = JSONEncoder(ensure_ascii=False, separators=(",", ":"))
        return decoder.scan_once, encoder.iterencode, encoder.encode
    rules: Any = _Rules
    encode = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)
    return make_scanner(rules), encode, encode_basestring


_scan, _encode, _quote = _tools()


def loads(data: bytes) -> "Any":
    """The first JSON value in data. Raises Error in Go's words."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = _replace_surrogates(data.decode(errors="surrogateescape"))
    try:
        start = 0
        if text[:1] in SPACE:
            start = len(text) - len(text.lstrip(SPACE))
        value = _scan(text, start)[0]
        if "\\ud" in text or "\\uD" in text:  # perhaps half of a surrogate pair
            value = _whole(value)
        return value
    except RecursionError:
        raise Error("exceeded max depth") from None
    except (ValueError, StopIteration, SystemError):
        # SystemError: the scanner wanted json's exception, and json is not imported.
        from pyrunc import jsonfault

        raise Error(jsonfault.describe(data)) from None


def _whole(value: "Any") -> "Any":
    """value with each lone surrogate replaced, as it has no UTF-8."""
    if isinstance(value, str):
        return _replace_surrogates(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_replace_surrogates(name): _whole(item) for name, item in value.items()}
    return value


def _replace_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(["\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text])
    return text


def dumps(value: object, indent: str = "") -> str:
    """value as JSON text without a final newline."""
    text = _indented(value, "\n", indent) if indent else "".join(_encode(value, 0))
    # None of these occurs outside of strings.
    if "<" in text:
        text = text.replace("<", "\\u003c")
    if ">" in text:
        text = text.replace(">", "\\u003e")
    if "&" in text:
        text = text.replace("&", "\\u0026")
    if not text.isascii():
        text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        text = _replace_surrogates(text)
    return text


def _indented(value: object, newline: str, indent: str) -> str:
    """value as JSON text; newline starts the line that value's own closing bracket is on."""
    if isinstance(value, dict) and value:
        inner = newline + indent
        items = [f"{_quote(k)}: {_indented(v, inner, indent)}" for k, v in value.items()]
        return "{" + inner + ("," + inner).join(items) + newline + "}"
    if isinstance(value, list) and value:
        inner = newline + indent
        items = [_indented(item, inner, indent) for item in value]
        return "[" + inner + ("," + inner).join(items) + newline + "]"
    return "".join(_encode(value, 0))
