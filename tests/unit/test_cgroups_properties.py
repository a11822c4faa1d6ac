"""linux.resources, device rules and annotations as properties of a systemd unit."""

import pytest

from pyrunc.cgroups import device_properties, devices, properties
from pyrunc.errors import Error

MAX = (1 << 64) - 1
NEW = 256


def as_dict(found):
    assert len({name for name, _, _ in found}) == len(found)
    return {name: value for name, _, value in found}


def v2(version=NEW, **resources):
    return as_dict(properties.resources(resources, "v2", version)[0])


def v1(version=NEW, **resources):
    return as_dict(properties.resources(resources, "v1", version)[0])


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({}, {}),
        ({"memory": {"limit": 100}}, {"MemoryMax": 100}),
        ({"memory": {"limit": 0, "reservation": 0}}, {}),
        ({"memory": {"limit": -1}}, {"MemoryMax": MAX, "MemorySwapMax": MAX}),
        (
            {"memory": {"limit": 100, "swap": 150, "reservation": 50}},
            {"MemoryMax": 100, "MemoryLow": 50, "MemorySwapMax": 50},
        ),
        ({"memory": {"limit": 100, "swap": 100}}, {"MemoryMax": 100, "MemorySwapMax": 0}),
        ({"memory": {"limit": 100, "swap": -1}}, {"MemoryMax": 100, "MemorySwapMax": MAX}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"shares": 0}}, {}),
        ({"cpu": {"idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0}}, {"CPUWeight": MAX}),
        ({"cpu": {"idle": 0, "shares": 2}}, {"CPUWeight": 1}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPerSecUSec": 500000}),
        (
            {"cpu": {"quota": 50000, "period": 50000}},
            {"CPUQuotaPerSecUSec": 1000000, "CPUQuotaPeriodUSec": 50000},
        ),
        ({"cpu": {"quota": 3333, "period": 0}}, {"CPUQuotaPerSecUSec": 40000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": MAX}),
        ({"cpu": {"period": 1000}}, {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 1000}),
        (
            {"cpu": {"cpus": "0-2,8", "mems": "0"}},
            {"AllowedCPUs": b"\7\1", "AllowedMemoryNodes": b"\1"},
        ),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}),
        ({"pids": {"limit": -1}}, {"TasksMax": MAX}),
        ({"blockIO": {"weight": 500}}, {"IOWeight": 4950}),
        (
            {
                "unified": {
                    "memory.high": "max",
                    "memory.min": "5\n",
                    "memory.low": "6",
                    "memory.max": "7",
                    "memory.swap.max": "0",
                    "pids.max": "max",
                    "cpu.weight": "3",
                    "cpu.max": "25000 100000",
                    "cpuset.cpus": "1",
                    "cpuset.mems": "0-1",
                    "hugetlb.2MB.max": "0",
                    "io.max": "8:0 rbps=1",
                }
            },
            {
                "MemoryHigh": MAX,
                "MemoryMin": 5,
                "MemoryLow": 6,
                "MemoryMax": 7,
                "MemorySwapMax": 0,
                "TasksMax": MAX,
                "CPUWeight": 3,
                "CPUQuotaPerSecUSec": 250000,
                "CPUQuotaPeriodUSec": 100000,
                "AllowedCPUs": b"\2",
                "AllowedMemoryNodes": b"\3",
            },
        ),
        (
            {"unified": {"cpu.max": "max"}},
            {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 100000},
        ),
        ({"unified": {"cpu.idle": "1"}}, {"CPUWeight": 0}),
    ],
)
def test_v2(resources, wanted):
    assert v2(**resources) == wanted


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({"memory": {"limit": 100, "swap": 200, "reservation": 50}}, {"MemoryLimit": 100}),
        ({"memory": {"limit": -1}}, {"MemoryLimit": MAX}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUShares": 1024}),
        (
            {"cpu": {"quota": 3333, "period": 100000}},
            {"CPUQuotaPerSecUSec": 40000, "CPUQuotaPeriodUSec": 100000},
        ),
        ({"blockIO": {"weight": 500}}, {"BlockIOWeight": 500}),
        ({"pids": {"limit": 0}, "cpu": {"cpus": "0"}}, {"TasksMax": 1, "AllowedCPUs": b"\1"}),
    ],
)
def test_v1(resources, wanted):
    assert v1(**resources) == wanted


def test_what_an_old_systemd_lacks():
    cpu = {"period": 1000, "quota": 1000, "cpus": "0"}
    assert v2(version=241, cpu=cpu) == {"CPUQuotaPerSecUSec": 1000000}
    assert "CPUQuotaPeriodUSec" in v2(version=242, cpu=cpu)
    assert "AllowedCPUs" not in v2(version=243, cpu=cpu)
    assert "AllowedCPUs" in v2(version=244, cpu=cpu)
    found, warnings = properties.resources({"cpu": {"idle": 1}}, "v2", 251)
    assert (found, warnings) == ([], ["systemd 251 cannot keep cpu.idle (systemd 252 can)"])


def test_idle_and_weight_cannot_both_be():
    found, warnings = properties.resources({"cpu": {"idle": 1, "shares": 5}}, "v2", NEW)
    assert as_dict(found) == {"CPUWeight": 0}
    assert "unable to apply both" in warnings[0]


@pytest.mark.parametrize(
    ("quota", "period", "wanted"),
    [
        (3333, 100000, 4000),
        (4000, 100000, 4000),
        (3333, 0, 4000),
        (1000, 1000, 1000),
        (1001, 1000, 1010),
        (0, 100000, 0),
        (-1, 100000, -1),
    ],
)
def test_quota_is_rounded_up_to_what_systemd_has(quota, period, wanted):
    assert properties.rounded(quota, period) == wanted


@pytest.mark.parametrize(
    ("text", "mask"),
    [("0", b"\1"), ("7", b"\x80"), ("8", b"\0\1"), ("0-3", b"\x0f"), ("1,3-4, 6", b"\x5a")],
)
def test_bits(text, mask):
    assert properties.bits(text) == mask


@pytest.mark.parametrize("text", ["", "x", "3-1", "-1", "1-", "1-2-3", "0-99999999"])
def test_lists_that_are_none(text):
    with pytest.raises(ValueError):
        properties.bits(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory.high", "lots"),
        ("memory.max", "-1"),
        ("cpu.weight", "max"),
        ("cpu.max", ""),
        ("cpu.max", "1 2 3"),
        ("cpu.max", "1 0"),
        ("cpuset.cpus", "a"),
        ("pids.max", "1.5"),
    ],
)
def test_unified_values_that_cannot_be_converted(key, value):
    with pytest.raises(Error, match=f'unified resource "{key}" value conversion error: '):
        v2(unified={key: value})


# --- annotations ---


def annotated(name, value):
    return properties.annotated({f"org.systemd.property.{name}": value})


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", "s", "inactive-or-failed")),
        ("CPUWeight", "uint64 5", ("CPUWeight", "t", 5)),
        ("After", "['a.service']", ("After", "as", ["a.service"])),
        ("SendSIGHUP", "true", ("SendSIGHUP", "b", True)),
        ("TimeoutStopSec", "5", ("TimeoutStopUSec", "t", 5000000)),
        ("TimeoutStopSec", "uint64 5", ("TimeoutStopUSec", "t", 5000000)),
        ("TimeoutStopSec", "1.5", ("TimeoutStopUSec", "t", 1500000)),
        ("TimeoutStopUSec", "uint64 5", ("TimeoutStopUSec", "t", 5)),
        ("CPUQuotaPerSecUSec", "uint64 5", ("CPUQuotaPerSecUSec", "t", 5)),
    ],
)
def test_annotations(name, text, wanted):
    assert annotated(name, text) == [wanted]


def test_other_annotations_are_no_properties():
    assert properties.annotated({"a": "1", "org.systemd.propertyX": "1"}) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ab", "1", "annotation org.systemd.property.ab name incorrect: is too short"),
        ("", "1", "annotation org.systemd.property. name incorrect: is too short"),
        ("Bad-Name", "1", "name incorrect: has something else than letters in it"),
        ("N\u00e4me", "1", "name incorrect: has something else than letters in it"),
        ("Name", "what", "annotation org.systemd.property.Name=what value parse error: "),
        ("TimeoutStopSec", "'a'", "value parse error: not a number of seconds"),
        ("TimeoutStopSec", "-1", "value parse error: -1 is out of range"),
        ("TimeoutStopSec", "inf", "value parse error: "),
        ("TimeoutStopSec", "nan", "value parse error: "),
        ("Name", "<" * 100000, "value parse error: "),
    ],
)
def test_annotations_that_are_refused(name, text, message):
    with pytest.raises(Error) as caught:
        annotated(name, text)
    assert message in caught.value.message


# --- devices ---


def rules(*given):
    return devices.configured(list(given), [])


def access(*given, mode="v2", version=NEW, lookup=None):
    found, warnings = device_properties.devices(rules(*given), mode, version, lookup)
    assert found[0] == ("DeviceAllow", "a(ss)", [])
    assert found[1][:2] == ("DevicePolicy", "s")
    allowed = [entry for _, _, value in found[2:] for entry in value]
    return found[1][2], allowed, warnings


DENY = {"allow": False, "access": "rwm"}


def test_devices_by_number():
    policy, allowed, warnings = access(
        DENY, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    )
    assert (policy, warnings) == ("strict", [])
    assert allowed[:4] == [
        ("/dev/char/10:229", "rw"),
        ("char-*", "m"),
        ("block-*", "m"),
        ("/dev/char/1:3", "rwm"),
    ]
    assert ("char-136", "rwm") in allowed


def test_everything_allowed_needs_no_policy():
    for mode in ("v1", "v2"):
        assert access({"allow": True, "access": "rwm"}, mode=mode) == ("auto", [], [])
    assert device_properties.allows_all(rules({"allow": True, "access": "rwm"}))
    assert not device_properties.allows_all(rules(DENY))


def test_single_devices_denied():
    given = (
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "b", "major": 8, "minor": 0, "access": "w"},
    )
    # Our program does it, and systemd's would only be in its way.
    assert access(*given, mode="v2") == ("auto", [], [])
    # devices.deny is written later; until then, nothing.
    policy, allowed, warnings = access(*given, mode="v1")
    assert (policy, allowed) == ("strict", [])
    assert warnings == ["systemd cannot deny single devices: its unit denies all of them"]


def test_a_minor_number_of_any_driver_cannot_be_said():
    policy, allowed, warnings = access(
        DENY, {"allow": True, "type": "b", "minor": 3, "access": "r"}
    )
    assert policy == "strict"
    assert not any(name.endswith(":3") and name != "/dev/char/1:3" for name, _ in allowed)
    assert warnings == ["systemd cannot allow a device of any driver: b *:3 r"]


def test_an_old_systemd_needs_names():
    known = {("c", 136, -1): "char-pts", ("c", 1, 3): "/dev/char/1:3"}

    def lookup(*device):
        return known.get(device, "")

    policy, allowed, warnings = access(DENY, version=239, lookup=lookup)
    assert (policy, warnings) == ("strict", [])
    assert allowed == [
        ("char-*", "m"),
        ("block-*", "m"),
        ("/dev/char/1:3", "rwm"),
        ("char-pts", "rwm"),
    ]
