"""linux.netDevices: interfaces of the host that move into the container's network namespace.

The host of these tests is a network namespace of their own.
"""

import json
import os
import subprocess

import pytest

from harness import Runtime, wait_for


class Net:
    """A network namespace that stands where the host's does, as long as its process lives."""

    def __init__(self, process):
        self.process = process

    def __call__(self, *command, check=True):
        argv = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command]
        return subprocess.run(argv, check=check, capture_output=True, text=True).stdout

    def links(self):
        return {link["ifname"]: link for link in json.loads(self("ip", "-j", "addr"))}


@pytest.fixture
def new_net():
    """Makes network namespaces."""
    made = []

    def make():
        process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        made.append(process)
        own, new = "/proc/self/ns/net", f"/proc/{process.pid}/ns/net"
        wait_for(lambda: os.readlink(own) != os.readlink(new), what="another namespace")
        return Net(process)

    yield make
    for process in made:
        process.kill()
        process.wait()


@pytest.fixture
def net(new_net):
    """The host's: it has v0, one end of a veth, with addresses; v1 is the other."""
    net = new_net()
    net("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    net("ip", "link", "set", "v0", "address", "02:00:00:00:00:07", "mtu", "1300", "up")
    net("ip", "link", "set", "v1", "up")
    net("ip", "addr", "add", "10.9.8.7/24", "broadcast", "10.9.8.255", "dev", "v0")
    net("ip", "addr", "add", "10.9.8.8/24", "label", "v0:x", "dev", "v0")
    net("ip", "addr", "add", "10.1.1.1", "peer", "10.1.1.2/32", "dev", "v0")
    net("ip", "addr", "add", "10.1.1.9/32", "scope", "link", "dev", "v0")
    net(
        "ip",
        "addr",
        "add",
        "10.1.1.10/32",
        "valid_lft",
        "1000",
        "preferred_lft",
        "900",
        "dev",
        "v0",
    )
    net("ip", "addr", "add", "fd00::7/64", "nodad", "dev", "v0")
    return net


@pytest.fixture
def host(pyrunc, net, tmp_path):
    """The command, in that namespace."""
    script = tmp_path / "in-net"
    script.write_text(
        f'#!/bin/sh\nexec nsenter --net=/proc/{net.process.pid}/ns/net {pyrunc.command} "$@"\n'
    )
    script.chmod(0o755)
    return Runtime(str(script), tmp_path, pyrunc.prefix)


MOVED = [
    ("inet", "10.9.8.7", 24, "10.9.8.255"),
    ("inet", "10.1.1.1", 32, None),
    ("inet", "10.9.8.8", 24, None),
    ("inet6", "fd00::7", 64, None),
]


def inside(runtime, name):
    """ifname -> link, as the container has it."""
    argv = ["nsenter", f"--net=/proc/{runtime.pid(name)}/ns/net", "ip", "-j", "addr"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return {link["ifname"]: link for link in json.loads(done.stdout)}


def addresses(link):
    """Those of a global scope."""
    return [
        (row["family"], row["local"], row["prefixlen"], row.get("broadcast"))
        for row in link["addr_info"]
        if row["scope"] == "global"
    ]


@pytest.mark.parametrize("new", [None, "eth0", "net%d"])
def test_a_device_moves_with_its_addresses(host, net, bundle, new):
    bundle.linux["netDevices"] = {"v0": {"name": new} if new else {}}
    name = host.create(bundle.sh("sleep 100"))
    assert "v0" not in net.links()
    there = inside(host, name)
    link = there[(new or "v0").replace("%d", "0")]
    assert set(there) - {"ifb0", "ifb1", "lo"} == {link["ifname"]}
    assert addresses(link) == MOVED
    assert "UP" in link["flags"]
    assert (link["mtu"], link["address"]) == (1300, "02:00:00:00:00:07")
    peer = next(row for row in link["addr_info"] if row["local"] == "10.1.1.1")
    assert peer["address"] == "10.1.1.2"
    assert all("label" not in row or row["label"] == link["ifname"] for row in link["addr_info"])
    assert host.record(name)["config"]["netDevices"] == bundle.linux["netDevices"]
    # It ends with its namespace, and so does its other end.
    host("delete", "--force", name)
    wait_for(lambda: "v1" not in net.links(), what="end of both")


def test_a_joined_namespace_keeps_them(host, net, new_net, bundle):
    pod = new_net()
    bundle.namespace("network", f"/proc/{pod.process.pid}/ns/net")
    bundle.linux["netDevices"] = {"v0": {"name": "eth0"}}
    host.run(bundle.args("true"))
    assert addresses(pod.links()["eth0"]) == MOVED


def test_hooks_and_sysctls_find_it(host, bundle, tmp_path):
    bundle.linux["netDevices"] = {"v0": {"name": "eth0"}}
    bundle.linux["sysctl"] = {"net.ipv4.conf.eth0.forwarding": "1"}
    script = f"nsenter --net=/proc/$(jq -r .pid)/ns/net ip -br addr show eth0 > {tmp_path}/seen"
    script = script.replace("$(jq -r .pid)", "$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    result = host.run(bundle.args("cat", "/proc/sys/net/ipv4/conf/eth0/forwarding"))
    assert result.stdout == "1\n"
    assert "10.9.8.7/24" in (tmp_path / "seen").read_text()


def unchanged(before, after):
    """The same links, but for their numbers; and for what the kernel gives by itself."""

    def essence(links):
        return {
            name: (link["flags"], link["mtu"], link["address"], sorted(addresses(link), key=str))
            for name, link in links.items()
        }

    return essence(before) == essence(after)


def test_a_failed_create_brings_them_back(host, net, bundle):
    net("ip", "link", "add", "w0", "type", "veth", "peer", "name", "w1")
    net("ip", "addr", "del", "10.1.1.10/32", "dev", "v0")  # not permanent: nobody keeps it
    before = net.links()
    bundle.linux["netDevices"] = {"v0": {"name": "net%d"}, "w0": {}}
    message = host.create(bundle.args("/does/not/exist"), code=1).message
    assert "no such file or directory" in message
    wait_for(lambda: unchanged(before, net.links()), what="the same links")


def test_a_taken_name(host, net, new_net, bundle):
    pod = new_net()
    pod("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    before, pods = net.links(), pod.links()
    bundle.namespace("network", f"/proc/{pod.process.pid}/ns/net")
    bundle.linux["netDevices"] = {"v1": {}, "v0": {"name": "eth1"}}
    message = host.create(bundle, code=1).message
    assert message.endswith(
        'unable to move network device "v0": the container has a network device "eth1" already'
    )
    wait_for(lambda: unchanged(before, net.links()), what="the same links")
    assert pod.links() == pods
    # A template finds the next number.
    bundle.linux["netDevices"] = {"v0": {"name": "eth%d"}}
    host.run(bundle.args("true"))
    assert addresses(pod.links()["eth2"]) == MOVED


def test_the_same_name_in_the_way(host, net, new_net, bundle):
    pod = new_net()
    pod("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    bundle.namespace("network", f"/proc/{pod.process.pid}/ns/net")
    bundle.linux["netDevices"] = {"v0": {"name": "eth0"}}
    host.run(bundle.args("true"))
    assert addresses(pod.links()["eth0"]) == MOVED


def test_what_is_not_there(host, bundle):
    bundle.linux["netDevices"] = {"absent": {}}
    message = host.create(bundle, code=1).message
    assert message.endswith('unable to move network device "absent": there is no such device')
    assert host.names() == []


def test_what_the_kernel_keeps(host, net, bundle):
    before = net.links()
    bundle.linux["netDevices"] = {"lo": {"name": "lo1"}}
    message = host.create(bundle, code=1).message
    assert message.endswith('unable to move network device "lo": invalid argument')
    assert net.links() == before


def test_only_into_a_namespace_of_its_own(pyrunc, bundle):
    bundle.linux["netDevices"] = {"absent": {}}
    bundle.namespace("network", "/proc/self/ns/net")
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("unable to move network devices without a private NET namespace")
    bundle.namespace("network", False)
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("unable to move network devices without a NET namespace")
