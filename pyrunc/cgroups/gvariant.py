"""GVariant's text format -> a value for D-Bus: `uint64 5`, `'text'`, `['a', 'b']` (pure).

Annotations give properties of a systemd unit in it.  GLib's documentation, "GVariant Text Format".

A number without a type is an int32, or a double if it looks like one; in an array the first element
with a type decides for the others.  Maybe types (`just`, `nothing`) do not exist in D-Bus.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Typed = tuple[str, Any]  # signature and value

KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "handle": "h",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
RANGES = {
    "y": (0, 255),
    "n": (-(1 << 15), (1 << 15) - 1),
    "q": (0, (1 << 16) - 1),
    "i": (-(1 << 31), (1 << 31) - 1),
    "u": (0, (1 << 32) - 1),
    "x": (-(1 << 63), (1 << 63) - 1),
    "t": (0, (1 << 64) - 1),
}
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
SPACE = " \t\n\r\v\f"
WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-."


def parse(text: str) -> "Typed":
    """(signature, value).  Raises ValueError, which says why, for anything else."""
    reader = _Reader(text)
    node = reader.value()
    if reader.peek():
        raise ValueError(f"unexpected {reader.peek()!r} after the value")
    return _typed(node, "")


class _Reader:
    """Text -> nodes (kind, content), whose types are not known yet."""

    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while self.text[self.at : self.at + 1] and self.text[self.at] in SPACE:
            self.at += 1
        return self.text[self.at : self.at + 1]

    def take(self, what: str) -> bool:
        """Skip a character if it is the next one."""
        if self.peek() != what:
            return False
        self.at += 1
        return True

    def need(self, what: str) -> None:
        if not self.take(what):
            raise ValueError(f"expected {what!r}, found {self.peek() or 'the end'!r}")

    def value(self) -> "tuple[str, Any]":
        head = self.peek()
        if not head:
            raise ValueError("no value")
        if head in "'\"":
            return "string", self.string()
        if head == "[":
            return "array", self.items("[", "]")
        if head == "(":
            return "tuple", self.items("(", ")")
        if head == "{":
            return "dict", self.entries()
        if self.take("<"):
            inner = self.value()
            self.need(">")
            return "variant", inner
        if self.take("@"):
            return "typed", (self.word("()[]{}*?"), self.value())
        if head == "b" and self.text[self.at + 1 : self.at + 2] in ("'", '"'):
            self.at += 1
            return "bytes", self.string().encode("latin-1") + b"\0"
        return self.plain(self.word())

    def plain(self, word: str) -> "tuple[str, Any]":
        """A keyword and its value, true, false or a number."""
        if word in ("true", "false"):
            return "boolean", word == "true"
        if word in KEYWORDS:
            return "typed", (KEYWORDS[word], self.value())
        number = word.lstrip("+-").lower()
        whole = len(word) - len(number) <= 1
        if whole and number[:2] == "0x":
            return "integer", int(word, 16)
        if whole and number.isdigit():
            octal = len(number) > 1 and number[0] == "0"
            return "integer", int(word, 8 if octal else 10)
        if whole and (number[:1].isdigit() or number[:1] == "." or number in ("inf", "nan")):
            return "double", float(word)
        raise ValueError(f"unknown word {word!r}")

    def word(self, more: str = "") -> str:
        self.peek()
        start = self.at
        while self.text[self.at : self.at + 1] and self.text[self.at] in WORD + more:
            self.at += 1
        if start == self.at:
            raise ValueError(f"unexpected {self.peek() or 'end'!r}")
        return self.text[start : self.at]

    def string(self) -> str:
        quote = self.text[self.at]
        self.at += 1
        out = ""
        while True:
            char = self.text[self.at : self.at + 1]
            if not char:
                raise ValueError("a string does not end")
            self.at += 1
            if char == quote:
                return out
            if char == "\\":
                char = self.text[self.at : self.at + 1]
                self.at += 1
                if char and char in "uU":
                    length = 4 if char == "u" else 8
                    char = chr(int(self.text[self.at : self.at + length], 16))
                    self.at += length
                else:
                    char = ESCAPES.get(char, char)
            out += char

    def items(self, left: str, right: str) -> "list[Any]":
        self.need(left)
        found = []
        while not self.take(right):
            found.append(self.value())
            if not self.take(","):
                self.need(right)
                break
        return found

    def entries(self) -> "list[Any]":
        self.need("{")
        found = []
        while not self.take("}"):
            key = self.value()
            self.need(":")
            found.append((key, self.value()))
            if not self.take(","):
                self.need("}")
                break
        return found


def _typed(node: "tuple[str, Any]", wanted: str) -> "Typed":
    """A node's signature and value. wanted: the signature it has to have; empty: its own."""
    kind, content = node
    if kind == "typed":
        signature, inner = content
        if wanted not in ("", signature):
            raise ValueError(f"a value of type {signature} where {wanted} is expected")
        return _typed(inner, signature)
    if kind in ("integer", "double"):
        return _number(kind, content, wanted)
    if kind == "array":
        return _array(content, wanted)
    if kind == "dict":
        return _dict(content, wanted)
    if kind == "tuple":
        return _tuple(content, wanted)
    signature = {"string": "s", "boolean": "b", "bytes": "ay", "variant": "v"}[kind]
    if wanted and wanted != signature and not (kind == "string" and wanted in "og"):
        raise ValueError(f"a {kind} where {wanted} is expected")
    return wanted or signature, _typed(content, "") if kind == "variant" else content


def _number(kind: str, content: "Any", wanted: str) -> "Typed":
    signature = wanted or ("i" if kind == "integer" else "d")
    if signature == "d":
        return "d", float(content)
    low, high = RANGES.get(signature, (1, 0))
    if kind == "double" or low > high:
        raise ValueError(f"a number where {signature} is expected")
    if not low <= content <= high:
        raise ValueError(f"{content} is out of range of {signature}")
    return signature, content


def _common(nodes: "list[Any]") -> str:
    """The signature of all elements."""
    found = ""
    for node in nodes:
        if node[0] == "integer":
            continue
        signature = _typed(node, "")[0]
        if node[0] != "double":
            return signature
        found = "d"
    return found or "i"


def _array(content: "list[Any]", wanted: str) -> "Typed":
    if wanted and wanted[0] != "a":
        raise ValueError(f"an array where {wanted} is expected")
    if not wanted and not content:
        raise ValueError("an empty array has no type")
    inner = wanted[1:] or _common(content)
    return f"a{inner}", [_typed(node, inner)[1] for node in content]


def _dict(content: "list[Any]", wanted: str) -> "Typed":
    if wanted and wanted[:2] != "a{":
        raise ValueError(f"a dictionary where {wanted} is expected")
    if not wanted and not content:
        raise ValueError("an empty dictionary has no type")
    key = wanted[2:3] or _common([pair[0] for pair in content])
    value = wanted[3:-1] or _common([pair[1] for pair in content])
    pairs = [(_typed(left, key)[1], _typed(right, value)[1]) for left, right in content]
    return f"a{{{key}{value}}}", pairs


def _tuple(content: "list[Any]", wanted: str) -> "Typed":
    from pyrunc.cgroups.signature import types

    inner = types(wanted[1:-1]) if wanted else [""] * len(content)
    if wanted[:1] not in ("", "(") or len(inner) != len(content):
        raise ValueError(f"a structure where {wanted} is expected")
    found = [_typed(node, kind) for node, kind in zip(content, inner, strict=True)]
    return f"({''.join(kind for kind, _ in found)})", tuple(value for _, value in found)
