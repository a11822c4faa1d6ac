"""Device rules -> DevicePolicy and DeviceAllow of a systemd unit (pure).

systemd can say which devices are allowed while all others are not.  devices.py says the rest.
"""

from pyrunc.cgroups.devices import ANY, emulate, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cgroups.devices import Key, Rule
    from pyrunc.cgroups.properties import Property

KINDS = {"c": "char", "b": "block"}
# systemd that knows a device by its numbers, whether it is there or not.
NUMBERS = 240


def allows_all(rules: "list[Rule]") -> bool:
    """Is there nothing for anybody to enforce?"""
    return emulate(rules) == (True, {})


def devices(
    rules: "list[Rule]", mode: str, version: int, lookup: "Callable[[str, int, int], str]"
) -> "tuple[list[Property], list[str]]":
    """The properties, and warnings about rules that they cannot say.

    lookup(type, major, minor): what a systemd that does not know numbers calls it, empty if it is
    not there: the name of the driver if minor is ANY, else the path of a device file.
    """
    default, exceptions = emulate(rules)
    warnings = []
    allowed: "list[tuple[str, str]]" = []
    if default:
        if exceptions and mode != "v2":
            warnings.append("systemd cannot deny single devices: its unit denies all of them")
        # On v2 our own program denies them, next to which systemd puts none.
        policy = "strict" if exceptions and mode != "v2" else "auto"
    else:
        policy = "strict"
        for key, access in exceptions.items():
            entry = _entry(key, version, lookup)
            if entry is None:
                warnings.append(f"systemd cannot allow a device of any driver: {line(key, access)}")
            elif entry:
                allowed.append((entry, line(key, access).rpartition(" ")[2]))
    found: "list[Property]" = [
        ("DeviceAllow", "a(ss)", []),  # forget what there was
        ("DevicePolicy", "s", policy),
    ]
    return (found + [("DeviceAllow", "a(ss)", allowed)] if allowed else found), warnings


def _entry(key: "Key", version: int, lookup: "Callable[[str, int, int], str]") -> "str | None":
    """How systemd calls these devices: None if it cannot, empty if none is there."""
    kind, major, minor = key
    if major == ANY:
        return f"{KINDS[kind]}-*" if minor == ANY else None
    if version < NUMBERS:
        return lookup(kind, major, minor)
    return f"{KINDS[kind]}-{major}" if minor == ANY else f"/dev/{KINDS[kind]}/{major}:{minor}"
