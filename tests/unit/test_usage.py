"""stats: from the cgroups' numbers to what people, programs and Prometheus read."""

import os
import re

import pytest

from pyrunc import exposition, usage
from pyrunc.commands import stats

MEGABYTE = 1 << 20
SAMPLE = {
    "id": "web",
    "time": "2026-01-01T00:00:00Z",
    "clock": 100.0,
    "pid": 5,
    "status": "running",
    "bundle": "/b",
    "cpu": {
        "percent": 12.5,
        "usage_ns": 3_000_000_000,
        "user_ns": 2_000_000_000,
        "system_ns": 1_000_000_001,
        "periods": 4,
        "throttled_periods": 1,
        "throttled_ns": 500,
    },
    "memory": {
        "used": 3 * MEGABYTE,
        "usage": 4 * MEGABYTE,
        "cache": MEGABYTE,
        "swap": 0,
        "limit": 8 * MEGABYTE,
        "percent": 37.5,
        "oom_kills": 2,
    },
    "pids": {"current": 3, "limit": None},
    "io": {"read_bytes": 1023, "written_bytes": 1536, "reads": 1, "writes": 2},
    "network": {
        name: {
            "received": {"bytes": 1000, "packets": 10, "errors": 1, "dropped": 2},
            "sent": {"bytes": 24, "packets": 1, "errors": 0, "dropped": 0},
        }
        for name in ("eth0", "eth1")
    },
    "pressure": {
        "cpu": {
            kind: {"avg10": 1.25, "avg60": 0, "avg300": 0, "total": 1500000}
            for kind in ("some", "full")
        }
    },
}


# --- numbers ---


@pytest.mark.parametrize(
    ("limit", "told"), [(0, None), (9223372036854771712, None), ((1 << 64) - 1, None), (100, 100)]
)
def test_no_limit_is_none(limit, told):
    found = usage.memory({"usage": {"usage": 50, "limit": limit}})
    assert found["limit"] == told
    assert found["percent"] == (0.0 if told is None else 50.0)


@pytest.mark.parametrize("key", ["total_inactive_file", "inactive_file"])
def test_idle_pages_of_files_are_not_in_use(key):
    found = {"usage": {"usage": 500}, "swap": {"usage": 700}, "cache": 90, "raw": {key: 80}}
    got = usage.memory(found)
    assert [got[name] for name in ("used", "usage", "cache", "swap")] == [420, 500, 90, 200]
    assert usage.memory({"usage": {"usage": 50}, "raw": {key: 80}})["used"] == 0
    assert usage.memory({})["used"] == 0


def test_a_limit_above_the_hosts_memory_does_not_make_it_look_empty():
    whole = usage.host_memory()
    found = usage.memory({"usage": {"usage": whole // 2, "limit": whole * 4}})
    assert found["percent"] == pytest.approx(50, abs=0.1)


def test_cpu_time_between_two_samples():
    later = {**SAMPLE, "clock": 102.0, "cpu": {**SAMPLE["cpu"], "usage_ns": 6_000_000_000}}
    assert usage.compare(SAMPLE, later)["cpu"]["percent"] == 150.0
    assert usage.compare(later, {**SAMPLE, "clock": 103.0})["cpu"]["percent"] == 0.0
    assert usage.compare(SAMPLE, SAMPLE)["cpu"]["percent"] is None


def test_our_own_network_is_not_a_containers():
    assert usage.interfaces(os.getpid()) is None
    assert usage.interfaces(1 << 22) is None


# --- prometheus ---

ROW = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\n"])*",?)+)\} ([0-9.]+)')


def parsed(text):
    """{(name, labels): value}; every family comes once: its HELP, its TYPE, its rows."""
    found, families = {}, []
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            families.append(line.split()[2])
            kind = None
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == families[-1]
            assert kind in ("counter", "gauge")
            assert name.endswith("_total") == (kind == "counter")
        else:
            name, labels, value = ROW.fullmatch(line).groups()
            assert name == families[-1] and kind is not None
            assert (name, labels) not in found
            found[name.removeprefix("pyrunc_container_"), labels] = value
    assert len(families) == len(set(families))
    return found


def test_page():
    found = parsed(exposition.text([SAMPLE, {**SAMPLE, "id": "db"}]))
    assert found["info", 'id="web",status="running",pid="5",bundle="/b"'] == "1"
    assert found["cpu_usage_seconds_total", 'id="web"'] == "3"
    assert found["cpu_system_seconds_total", 'id="db"'] == "1.000000001"
    assert found["cpu_throttled_seconds_total", 'id="web"'] == "0.0000005"
    assert found["memory_limit_bytes", 'id="web"'] == "8388608"
    assert found["oom_kills_total", 'id="web"'] == "2"
    assert found["io_written_bytes_total", 'id="web"'] == "1536"
    assert found["network_received_bytes_total", 'id="web",interface="eth1"'] == "1000"
    assert found["network_received_dropped_total", 'id="web",interface="eth0"'] == "2"
    assert found["pressure_seconds_total", 'id="web",resource="cpu",kind="full"'] == "1.5"
    assert not [name for name, _ in found if name == "pids_limit"]


def test_what_is_not_there_has_no_line():
    bare = {**SAMPLE, "network": None, "pressure": None}
    bare["memory"] = {**SAMPLE["memory"], "limit": None}
    names = {name for name, _ in parsed(exposition.text([bare]))}
    assert not {name for name in names if "network" in name or "pressure" in name}
    assert "memory_limit_bytes" not in names
    assert exposition.text([]) == ""


def test_labels_are_escaped():
    odd = 'a\\b"c\nd'
    network = {odd: SAMPLE["network"]["eth0"]}
    found = parsed(exposition.text([{**SAMPLE, "bundle": odd, "network": network}]))
    escaped = 'a\\\\b\\"c\\nd'
    assert ("info", f'id="web",status="running",pid="5",bundle="{escaped}"') in found
    assert ("network_sent_bytes_total", f'id="web",interface="{escaped}"') in found


# --- table ---


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0KiB"),
        (1536, "1.5KiB"),
        (1000 * 1024, "1.0MiB"),
        (20 << 20, "20.0MiB"),
        (1 << 40, "1.0TiB"),
        (1 << 72, "4096.0EiB"),
    ],
)
def test_size(count, text):
    assert stats.size(count) == text


def test_columns():
    other = {**SAMPLE, "id": "a-longer-name", "network": None, "pressure": None}
    other["cpu"] = {**SAMPLE["cpu"], "percent": None}
    other["memory"] = {**SAMPLE["memory"], "limit": None}
    assert stats.table([SAMPLE, other]) == [
        "ID             CPU %   MEM USED / LIMIT  MEM %   NET I/O       DISK I/O        PIDS  "
        "WAIT % CPU/MEM/IO",
        "web            12.50%  3.0MiB / 8.0MiB   37.50%  2.0KiB / 48B  1023B / 1.5KiB  3     "
        "1.2 / - / -",
        "a-longer-name  -       3.0MiB / -        37.50%  -             1023B / 1.5KiB  3     "
        "- / - / -",
    ]
    assert "WAIT" not in stats.table([other])[0]
    assert len(stats.table([])) == 1


def test_ids_give_way_to_a_narrow_terminal():
    long = {**SAMPLE, "id": "0123456789abcdef" * 4}
    wide = stats.table([long])
    assert stats.fit([long], 1000) == wide
    lines = stats.fit([long], 110)
    assert max(map(len, lines)) <= 110
    assert lines[1].split()[0] in long["id"]
    assert lines[1].endswith("1.2 / - / -")
    lines = stats.fit([long], 40)
    assert lines[1].split()[0] == long["id"][:12]
    assert max(map(len, lines)) == 40
