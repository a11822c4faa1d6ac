"""The log: one line per event, in runc's text or JSON form.

May touch: one descriptor, which it writes to.

Engines read the last JSON object whose level is "error"; podman and conmon look at its members.
Several processes share the file, so it is opened for append and each line is one write(2).
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LEVELS = ("debug", "info", "warning", "error")

# Where lines go.  setup() or hand_to() fills it in once, before anything can be logged.  levels:
# those that are kept.  encode: a daemon's form of a line, instead of one of ours.  tell: who gets
# them instead.
_sink: "dict[str, Any]" = {"fd": 2, "json": False, "levels": LEVELS[1:], "tty": False}
_sink |= {"start": 0.0, "encode": None, "tell": None}

_COLOURS = {"error": 31, "warning": 33, "info": 36, "debug": 37}
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_GO_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"} | {
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}
_JSON_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"} | {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def setup(path: str, fmt: str, level: str = "info") -> None:
    """Choose destination and form.  path "" is stderr; OSError when the file cannot be opened.

    As crun has it, the path may also be file:PATH, journald:NAME or syslog:NAME.
    """
    _sink["json"] = fmt == "json"
    _sink["levels"] = LEVELS[LEVELS.index(level) :]
    _sink["start"] = time.monotonic()
    _sink["encode"] = _sink["tell"] = None
    kind, colon, rest = path.partition(":")
    if colon and kind in ("journald", "syslog"):
        from pyrunc import daemons

        _sink["fd"], _sink["encode"] = daemons.connect(kind, rest)
        path = rest
    elif path:
        path = rest if kind == "file" else path
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_SYNC | os.O_CLOEXEC
        _sink["fd"] = os.open(path, flags, 0o644)
    else:
        _sink["fd"] = 2
    _sink["tty"] = not path and not _sink["json"] and os.isatty(2)


def hand_to(tell: "Callable[[str, str], None]") -> None:
    """In a program that uses the API: call tell(level, message) instead of writing."""
    _sink["tell"] = tell


def to_stderr() -> bool:
    """Whether the log is stderr itself, so that an error need not be printed there as well."""
    return bool(_sink["fd"] == 2)


def debugging() -> bool:
    """Whether debug lines are kept; ask before making one that is expensive."""
    return "debug" in _sink["levels"]


def debug(message: str, **fields: object) -> None:
    """Log something that only --debug shows."""
    _write("debug", message, fields)


def info(message: str, **fields: object) -> None:
    """Log something, although nothing is wrong."""
    _write("info", message, fields)


def warning(message: str, **fields: object) -> None:
    """Log something that went wrong, but does not make the command fail."""
    _write("warning", message, fields)


def error(message: str) -> None:
    """Log why the command fails: the line that an engine looks for.  Only cli.py calls this."""
    _write("error", message, {})


def relay(level: str, message: str) -> None:
    """Log a line on behalf of another process: without the fields that name our function."""
    _write(level, message, {}, caller=False)


def quote(text: str) -> str:
    """text as Go's %q writes it: backslash escapes, bytes that are not UTF-8 as \\xNN."""
    out = []
    for char in text:
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif char in _GO_ESCAPES:
            out.append(_GO_ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def json_quote(text: str) -> str:
    """text as Go writes a JSON string: `<`, `>` and `&` escaped, letters as they are."""
    out = []
    for char in text:
        code = ord(char)
        if char in _JSON_ESCAPES:
            out.append(_JSON_ESCAPES[char])
        elif code < 0x20:
            out.append(f"\\u{code:04x}")
        elif 0xD800 <= code <= 0xDFFF:
            out.append("\\ufffd")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def timestamp() -> str:
    """Now, RFC 3339 to the second, in the local zone."""
    now = time.localtime()
    offset = now.tm_gmtoff // 60
    if offset == 0:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", now)
    sign, offset = ("-", -offset) if offset < 0 else ("+", offset)
    return time.strftime("%Y-%m-%dT%H:%M:%S", now) + f"{sign}{offset // 60:02d}:{offset % 60:02d}"


def _write(level: str, message: str, fields: "dict[str, object]", caller: bool = True) -> None:
    if level in LEVELS and level not in _sink["levels"]:
        return
    if _sink["tell"]:
        _sink["tell"](level, message)
        return
    where: "dict[str, str]" = {}
    if caller and debugging():
        frame = sys._getframe(2)
        name = frame.f_globals.get("__name__", "")
        where["func"] = f"{name}.{frame.f_code.co_qualname}"
        where["file"] = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    if _sink["json"]:
        line = _json_line(level, message, where | fields)
    elif _sink["tty"]:
        line = _tty_line(level, message, where, fields)
    else:
        line = _text_line(level, message, where, fields)
    data = (line + "\n").encode("utf-8", "surrogateescape")
    if _sink["encode"]:
        data = _sink["encode"](level, message)
    try:
        os.write(_sink["fd"], data)
    except OSError:
        pass  # A full disk or a reader that went away must not turn success into failure.


def _text_line(
    level: str, message: str, where: "dict[str, str]", fields: "dict[str, object]"
) -> str:
    pairs: "list[tuple[str, object]]" = [
        ("time", timestamp()),
        ("level", level),
        ("msg", message),
        *where.items(),
    ]
    pairs += sorted(fields.items())
    return " ".join(f"{key}={_bare(value)}" for key, value in pairs)


def _tty_line(
    level: str, message: str, where: "dict[str, str]", fields: "dict[str, object]"
) -> str:
    colour = _COLOURS.get(level, 36)
    seconds = int(time.monotonic() - _sink["start"])
    caller = f" {where['file']} {where['func']}()" if where else ""
    head = f"\x1b[{colour}m{level[:4].upper()}\x1b[0m[{seconds:04d}]{caller} {message:<44} "
    return head + "".join(
        f" \x1b[{colour}m{key}\x1b[0m={_bare(value)}" for key, value in sorted(fields.items())
    )


def _json_line(level: str, message: str, fields: "dict[str, object]") -> str:
    entry = fields | {"level": level, "msg": message, "time": timestamp()}
    pairs = [f"{json_quote(key)}:{_json_value(value)}" for key, value in sorted(entry.items())]
    return "{" + ",".join(pairs) + "}"


def _bare(value: object) -> str:
    text = str(value)
    return text if _BARE.issuperset(text) else quote(text)


def _json_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else json_quote(str(value))
