"""stats: what containers use, for people, programs and scrapers."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import time

import pytest

from harness import processes_in, read, wait_for

MEGABYTE = 1 << 20
BUSY = "while :; do :; done"


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def once(pyrunc, *args):
    """What `stats --format json --no-stream` tells, by id."""
    result = pyrunc("stats", "--format=json", "--no-stream", "--interval=300ms", *args)
    assert result.stderr == ""
    return {sample["id"]: sample for sample in lines(result.stdout)}


@pytest.fixture
def stream(pyrunc, tmp_path):
    """stream(*args): a `stats` at work; its .text() is what it wrote so far."""
    children = []

    def start(*args):
        with open(tmp_path / f"stats{len(children)}", "wb") as output:
            child = pyrunc.popen("stats", *args, stdin=subprocess.DEVNULL, stdout=output)
        child.text = lambda path=output.name: read(path)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_json_of_two(pyrunc, bundle, cgroup_mode):
    if cgroup_mode == "v2":
        pytest.skip("controllers may be missing")
    bundle.linux["resources"].update(
        memory={"limit": 32 * MEGABYTE}, pids={"limit": 20}, cpu={"quota": 50000, "period": 100000}
    )
    busy = pyrunc.up(bundle.sh(BUSY))
    bundle.linux["resources"] = {}
    idle = pyrunc.up(bundle.sh("sleep 100 & sleep 101 & wait"))
    wait_for(lambda: len(processes_in(idle)) == 3, what="three processes")
    # Asked for by nobody in particular, those who have not stopped are shown.
    stopped = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(stopped)
    os.mkdir(f"{pyrunc.root}/litter")
    found = once(pyrunc)
    os.rmdir(f"{pyrunc.root}/litter")
    assert list(found) == [busy, idle]
    assert list(found[busy]) == (
        "id time pid status bundle cpu memory pids io network pressure".split()
    )
    assert found[busy]["pid"] == pyrunc.pid(busy)
    assert (found[busy]["status"], found[busy]["bundle"]) == ("running", bundle.path)
    assert 20 < found[busy]["cpu"]["percent"] < 80  # half a CPU
    assert found[busy]["cpu"]["throttled_periods"] > 0
    assert found[idle]["cpu"]["percent"] < 20
    assert found[busy]["memory"]["limit"] == 32 * MEGABYTE
    assert found[idle]["memory"]["limit"] is None
    assert 0 < found[busy]["memory"]["used"] <= found[busy]["memory"]["usage"]
    assert found[busy]["pids"] == {"current": 1, "limit": 20}
    assert found[idle]["pids"] == {"current": 3, "limit": None}
    assert found[idle]["network"] == {}  # loopback is none
    assert list(once(pyrunc, idle)) == [idle]


def test_every_status_but_stopped(pyrunc, bundle):
    name = pyrunc.create(bundle.sh("sleep 100"))
    assert once(pyrunc)[name]["status"] == "created"
    pyrunc("start", name)
    pyrunc("pause", name)
    assert once(pyrunc)[name]["status"] == "paused"
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
    assert once(pyrunc) == {}
    for form in ("table", "json", "prometheus"):
        message = pyrunc("stats", "--format", form, name, code=1).message
        assert message == f"container with id {name} is not running"


def test_pressure(pyrunc, bundle):
    if not os.path.exists("/proc/pressure"):
        pytest.skip("the kernel does not measure it")
    name = pyrunc.up(bundle.sh("sleep 100"))
    pressure = once(pyrunc)[name]["pressure"]
    if pressure is None:
        pytest.skip("v1 alone does not measure it")
    assert list(pressure) == ["cpu", "memory", "io"]
    assert list(pressure["cpu"]["some"]) == ["avg10", "avg60", "avg300", "total"]


SEND = """
import socket
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("inner", 0))
    for _ in range(5):
        sock.send(bytes(100))
"""


def test_network(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    inside = ["nsenter", f"--target={pyrunc.pid(name)}", "--net"]
    links = ("link add inner type veth peer name outer", "link set inner up", "link set outer up")
    for link in links:
        subprocess.run([*inside, "ip", *link.split()], check=True)
    subprocess.run([*inside, "/usr/bin/python3", "-c", SEND], check=True)
    network = once(pyrunc)[name]["network"]
    assert set(network) == {"inner", "outer"}
    assert network["inner"]["sent"]["packets"] >= 5
    assert network["outer"]["received"]["bytes"] >= 500
    page = pyrunc("stats", "--format", "prometheus").stdout
    assert f'_network_sent_bytes_total{{id="{name}",interface="inner"}} ' in page


def test_the_hosts_network_is_not_the_containers(pyrunc, bundle):
    name = pyrunc.up(bundle.namespace("network", False).sh("sleep 100"))
    assert once(pyrunc)[name]["network"] is None


def test_prometheus(pyrunc, bundle):
    assert pyrunc("stats", "--format", "prometheus").stdout == ""
    names = [pyrunc.up(bundle.sh("sleep 100")) for _ in range(2)]
    begin = time.monotonic()
    page = pyrunc("stats", "--format", "prometheus", "--interval", "1h").stdout
    assert time.monotonic() - begin < 10
    assert page.count("# TYPE pyrunc_container_pids gauge\n") == 1
    for name in names:
        assert f'\npyrunc_container_pids{{id="{name}"}} 1\n' in page
        assert f'pyrunc_container_info{{id="{name}",status="running",pid="' in page


def test_table_once(pyrunc, bundle):
    heading = pyrunc("stats", "--no-stream", "--interval", "10ms").stdout
    assert heading.split()[:2] == ["ID", "CPU"]
    name = pyrunc.up(bundle.sh("sleep 100"))
    header, row = pyrunc("stats", "--no-stream", "--interval", "50ms").stdout.splitlines()
    assert header.startswith("ID ")
    assert row.split()[0] == name
    assert "\x1b" not in header + row


def test_stream_of_all(pyrunc, bundle, stream):
    """Who comes is shown, who goes is not any more, and neither is an error."""
    first = pyrunc.up(bundle.sh("sleep 100"))
    child = stream("--format", "json", "--interval", "50ms")
    ids = lambda: [sample["id"] for sample in lines(child.text())]  # noqa: E731
    wait_for(lambda: ids().count(first) > 1, what="samples")
    second = pyrunc.up(bundle.sh("sleep 100"))
    wait_for(lambda: second in ids(), what="samples of the second")
    # It has one sample before it has a percentage.
    wait_for(lambda: ids().count(second) > 1, what="more samples")
    both = [one for one in lines(child.text()) if one["id"] == second]
    assert both[0]["cpu"]["percent"] is None
    assert both[1]["cpu"]["percent"] is not None
    pyrunc("delete", "--force", first)
    before = ids().count(first)
    count = ids().count(second)
    wait_for(lambda: ids().count(second) > count + 2, what="samples of the second alone")
    assert ids().count(first) <= before + 1
    pyrunc("delete", "--force", second)
    time.sleep(0.2)
    assert child.poll() is None
    child.send_signal(2)
    assert child.wait(10) == 130


def test_stream_of_some_ends_with_them(pyrunc, bundle, stream):
    names = [pyrunc.up(bundle.sh("sleep 100")) for _ in range(2)]
    child = stream("--interval", "50ms", *names)
    wait_for(lambda: names[1] in child.text(), what="table")
    pyrunc("delete", "--force", names[0])
    time.sleep(0.2)
    assert child.poll() is None
    pyrunc("kill", names[1], "KILL")
    assert child.wait(10) == 0


def test_reader_that_went_away(pyrunc, bundle):
    pyrunc.up(bundle.sh("sleep 100"))
    for interval in ("50ms", "1h"):
        args = ("stats", "--interval", interval)
        with pyrunc.popen(*args, stdout=subprocess.PIPE) as child:
            if interval == "50ms":
                child.stdout.readline()
            child.stdout.close()
            assert child.wait(10) in (0, 141)


@pytest.mark.parametrize("form", ["table", "json", "prometheus"])
def test_full_disk(pyrunc, bundle, form):
    pyrunc.up(bundle.sh("sleep 100"))
    args = ("stats", "--no-stream", "--interval", "10ms", "--format", form)
    with open("/dev/full", "wb") as full:
        child = pyrunc.popen(*args, stdout=full, stderr=subprocess.PIPE)
        text = child.communicate(timeout=20)[1]
    assert child.returncode == 1
    assert b"write /dev/stdout: no space left on device" in text


def test_refusals(pyrunc, bundle):
    assert pyrunc("stats", "nobody", code=1).message == "container does not exist"
    assert pyrunc("stats", "--format", "xml", code=1).message == "invalid format option"
    for value in ("0", "-1s"):
        message = pyrunc("stats", f"--interval={value}", code=1).message
        assert message == "duration interval must be greater than 0"


def test_terminal(pyrunc, bundle):
    """Each table takes the place of the one before, and is no wider or longer than the screen."""
    for _ in range(6):
        pyrunc.up(bundle.sh("sleep 100"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 5, 60, 0, 0))
    text = b""
    with pyrunc.popen("stats", "--interval=50ms", stdout=slave, stdin=slave) as child:
        os.close(slave)
        while text.count(b"\x1b[H") < 4:
            text += os.read(master, 65536)
        child.send_signal(2)
        assert child.wait(10) == 130
    os.close(master)
    assert text.startswith(b"\x1b[2J\x1b[H")
    screens = text.decode().removeprefix("\x1b[2J\x1b[H").split("\x1b[H")[:3]
    for screen in screens:
        assert screen.endswith("\x1b[K\r\n\x1b[J")
        rows = screen.removesuffix("\x1b[J").split("\x1b[K\r\n")[:-1]
        assert len(rows) == 4
        assert max(map(len, rows)) <= 60
