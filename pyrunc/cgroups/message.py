"""D-Bus messages (pure).  D-Bus specification, "Type System" and "Message Protocol".

A value is written by its signature, in Python's own types:

    b bool    y n q i u x t int    d float    s o g str    a. list (ay also bytes)
    (..) {..} tuple    v (signature, value)
"""

from pyrunc.cgroups.signature import types
from pyrunc.errors import Error
from pyrunc.log import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, _SENDER, SIGNATURE = range(1, 9)
VERSION = 1
FIXED = 16  # bytes of a header up to its fields' length, inclusive
MOST = 1 << 27  # bytes in a message
DEEPEST = 32  # containers in each other

# Type -> (size, is it signed?)
NUMBERS = {
    **{"y": (1, False), "b": (4, False), "n": (2, True), "q": (2, False)},
    **{"i": (4, True), "u": (4, False), "x": (8, True), "t": (8, False)},
}
# Everything begins at a multiple of its size.
ALIGNED = {kind: size for kind, (size, _) in NUMBERS.items()}
ALIGNED |= {"d": 8, "s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8}
ORDERS = {ord("l"): "little", ord("B"): "big"}


# --- write ---


def call(
    serial: int,
    destination: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    *arguments: "Any",
) -> bytes:
    """A method call."""
    body = bytearray()
    for kind, value in zip(types(signature), arguments, strict=True):
        _put(body, kind, value)
    fields = [
        (PATH, ("o", path)),
        (DESTINATION, ("s", destination)),
        (INTERFACE, ("s", interface)),
        (MEMBER, ("s", member)),
    ]
    if signature:
        fields.append((SIGNATURE, ("g", signature)))
    head = bytearray((ord("l"), CALL, 0, VERSION))
    _put(head, "u", len(body))
    _put(head, "u", serial)
    _put(head, "a(yv)", fields)
    _pad(head, 8)
    return bytes(head + body)


def _pad(data: bytearray, size: int) -> None:
    data += bytes(-len(data) % size)


def _put(data: bytearray, kind: str, value: "Any", depth: int = 0) -> None:
    head = kind[0]
    _pad(data, ALIGNED[head])
    if depth > DEEPEST:
        raise Error("D-Bus: a value is nested too deeply")
    if head in NUMBERS:
        size, signed = NUMBERS[head]
        try:
            data += int(value).to_bytes(size, "little", signed=signed)
        except OverflowError:
            raise Error(f"D-Bus: {value} is out of range of type {head}") from None
    elif head == "d":
        import struct

        data += struct.pack("<d", value)
    elif head in "sog":
        _put_text(data, head, value)
    elif kind == "ay":
        _put(data, "u", len(value))
        data += bytes(value)
    elif head == "a":
        at = len(data)
        data += bytes(4)
        _pad(data, ALIGNED[kind[1]])
        start = len(data)
        for item in value:
            _put(data, kind[1:], item, depth + 1)
        data[at : at + 4] = (len(data) - start).to_bytes(4, "little")
    elif head == "v":
        _put(data, "g", value[0])
        _put(data, value[0], value[1], depth + 1)
    else:
        for inner, item in zip(types(kind[1:-1]), value, strict=True):
            _put(data, inner, item, depth + 1)


def _put_text(data: bytearray, kind: str, value: str) -> None:
    try:
        text = value.encode()
    except UnicodeEncodeError:
        raise Error(f"D-Bus: {quote(value)} is not Unicode") from None
    if b"\0" in text:
        raise Error(f"D-Bus: {quote(value)} has a NUL byte")
    if kind == "o" and not is_path(value):
        raise Error(f"D-Bus: {quote(value)} is not the path of an object")
    if kind == "g":
        try:
            types(value)
        except ValueError as err:
            raise Error(f"D-Bus: {err}") from None
        if len(text) > 255:
            raise Error(f"D-Bus: the signature {quote(value)} is too long")
    _put(data, "y" if kind == "g" else "u", len(text))
    data += text + b"\0"


def is_path(text: str) -> bool:
    """`/` or `/a/b_1`."""
    parts = text[1:].split("/")
    plain = all(part.isascii() and part.replace("_", "a").isalnum() for part in parts)
    return text == "/" or text.startswith("/") and plain


# --- read ---


class Message:
    """What came: kind, fields by number, and the values of the body."""

    __slots__ = ("fields", "kind", "values")

    def __init__(self, data: bytes) -> None:
        order = ORDERS[data[0]]
        self.kind = data[1]
        rows, at = _take(data, 12, "a(yv)", order)
        self.fields = {code: value for code, (_, value) in rows}
        at += -at % 8
        self.values: "list[Any]" = []
        for kind in types(self.fields.get(SIGNATURE, "")):
            value, at = _take(data, at, kind, order)
            self.values.append(value)


def length(data: bytes) -> int:
    """How long the message is that begins so; 0 if that is not told yet."""
    if len(data) < FIXED:
        return 0
    order = ORDERS.get(data[0])
    if order is None:
        raise ValueError("not a message")
    body, fields = _number(data, 4, 4, order), _number(data, 12, 4, order)
    whole = FIXED + fields + -fields % 8 + body
    if whole > MOST:
        raise ValueError("a message that is too long")
    return whole


def _number(data: bytes, at: int, size: int, order: str, signed: bool = False) -> int:
    return int.from_bytes(data[at : at + size], order, signed=signed)  # type: ignore[arg-type]


def _take(data: bytes, at: int, kind: str, order: str) -> "tuple[Any, int]":
    """The value at this place, and where it ends."""
    head = kind[0]
    at += -at % ALIGNED[head]
    if head in NUMBERS:
        size, signed = NUMBERS[head]
        number = _number(data, at, size, order, signed)
        return bool(number) if head == "b" else number, at + size
    if head == "d":
        import struct

        return struct.unpack_from("<d" if order == "little" else ">d", data, at)[0], at + 8
    if head in "sog":
        size = 1 if head == "g" else 4
        start = at + size
        end = start + _number(data, at, size, order)
        return data[start:end].decode("utf-8", "replace"), end + 1
    if head == "v":
        inner, at = _take(data, at, "g", order)
        value, at = _take(data, at, inner, order)
        return (inner, value), at
    found = []
    if head == "a":
        size = _number(data, at, 4, order)
        at += 4
        at += -at % ALIGNED[kind[1]]
        end = at + size
        if kind == "ay":
            return data[at:end], end
        while at < end:
            value, at = _take(data, at, kind[1:], order)
            found.append(value)
        return found, at
    for inner in types(kind[1:-1]):
        value, at = _take(data, at, inner, order)
        found.append(value)
    return tuple(found), at
