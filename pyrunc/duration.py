"""Durations as Go writes them.  Pure."""

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0} | {
    "h": 3600.0,
}


def parse(text: str) -> float:
    """`1m30s`, `100ms`, `-1.5h`: a Go duration in seconds; ValueError carries Go's words."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    total = 0.0
    if rest == "0":
        return total
    if not rest:
        raise ValueError("parse error")
    while rest:
        size = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:size], rest[size:]
        size = next((i for i, char in enumerate(rest) if char in "0123456789."), len(rest))
        unit, rest = rest[:size], rest[size:]
        if number.count(".") > 1 or number.strip(".") == "" or unit not in _SECONDS:
            raise ValueError("parse error")
        total += float(number) * _SECONDS[unit]
    return -total if text[0] == "-" else total
