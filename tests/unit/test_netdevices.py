"""linux.netDevices: names, and what of an address moves along."""

import pytest

from pyrunc import netdevices
from pyrunc.errors import Error
from pyrunc.netdevices import attribute, attributes


@pytest.mark.parametrize("name", ["eth0", "a" * 15, "eth%d", "ä" * 7, "...", "e-_.0"])
def test_names_of_interfaces(name):
    netdevices.check({"v0": {"name": name}})
    if "%" not in name:
        netdevices.check({name: {}})


@pytest.mark.parametrize(
    "name", [".", "..", "a" * 16, "ä" * 8, "a/b", "a:b", "a b", "a\tb", "%s", "%d0", "e%d%d", "a\0"]
)
def test_what_is_no_name(name):
    for devices in ({"v0": {"name": name}}, {name: {"name": "v0"}}):
        with pytest.raises(Error) as caught:
            netdevices.check(devices)
        assert caught.value.message == (f'invalid network device name "{name}" in linux.netDevices')


def test_an_empty_name_is_none():
    netdevices.check({"v0": {"name": ""}})
    with pytest.raises(Error):
        netdevices.check({"": {}})


def test_two_for_one_name():
    with pytest.raises(Error, match='two network devices for the name "eth0"'):
        netdevices.check({"a": {"name": "eth0"}, "eth0": {}})
    netdevices.check({"a": {"name": "eth%d"}, "b": {"name": "eth%d"}})


def body(flags, scope, *more, old_flags=0x80):
    head = bytes((2, 24, old_flags, scope)) + (7).to_bytes(4, "little")
    return head + b"".join(
        attribute(kind, value)
        for kind, value in ((1, b"\n\t\x08\7"), (8, flags.to_bytes(4, "little")), *more)
    )


def test_a_permanent_global_address_moves():
    kept = netdevices.address(body(0x80 | 0x200 | 0x40, 0, (3, b"v0:x\0"), (6, bytes(16))))
    assert kept[:4] == bytes((2, 24, 0, 0))
    found = dict(attributes(kept[8:]))
    # No label, no lifetime; of the flags what was asked for, not what came of it.
    assert found == {1: b"\n\t\x08\7", 8: (0x200).to_bytes(4, "little")}


@pytest.mark.parametrize(("flags", "scope"), [(0, 0), (0x80, 253), (0x80, 254)])
def test_others_stay(flags, scope):
    assert netdevices.address(body(flags, scope)) == b""


def test_before_there_were_flags_of_their_own():
    message = body(0x80, 0)[:8] + attribute(1, b"\n\t\x08\7")
    assert netdevices.address(message)


def test_attributes_are_padded():
    data = attribute(3, b"abcde") + attribute(4, b"")
    assert len(data) == 16
    assert attributes(data) == [(3, b"abcde"), (4, b"")]
    assert attributes(data + b"\1\0") == attributes(data), "half a one is none"
