"""D-Bus signatures (pure)."""

SINGLE = "ybnqiuxtdsogv"
CLOSING = {"(": ")", "{": "}"}


def types(signature: str) -> "list[str]":
    """The complete types of a signature: `sa(ss)v` -> s, a(ss), v."""
    found = []
    at = 0
    while at < len(signature):
        end = _end(signature, at)
        found.append(signature[at:end])
        at = end
    return found


def _end(signature: str, at: int) -> int:
    """Where the complete type that starts at `at` ends."""
    start = at
    while signature[at : at + 1] == "a":
        at += 1
    closing = CLOSING.get(signature[at : at + 1])
    if closing is None:
        if at == len(signature) or signature[at] not in SINGLE:
            raise ValueError(f"{signature[start:]!r} is no D-Bus type")
        return at + 1
    at += 1
    while signature[at : at + 1] != closing:
        at = _end(signature, at)
    return at + 1
