"""linux.namespaces, and what belongs to them: names, sysctl, the loopback device."""

import os

import pytest

from harness import read

KINDS = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
}


def ns(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{KINDS[kind]}")


@pytest.mark.parametrize("kind", KINDS)
def test_new_namespace(pyrunc, bundle, kind):
    seen = pyrunc.probe(bundle.namespace(kind))
    assert seen["ns"][KINDS[kind]] != ns("self", kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mount"])
def test_the_hosts_namespace(pyrunc, bundle, kind):
    bundle.namespace(kind, False)
    if kind == "uts":
        del bundle.config["hostname"]
    if kind == "ipc":
        bundle.config["mounts"] = [m for m in bundle.mounts if m["type"] != "mqueue"]
    if kind == "network":
        bundle.config["mounts"] = [m for m in bundle.mounts if m["type"] != "sysfs"]
        bundle.mount("/sys", "/sys", "rbind", "ro")
        bundle.config["mounts"] = [m for m in bundle.mounts if m["type"] != "cgroup"]
    seen = pyrunc.probe(bundle)
    assert seen["ns"][KINDS[kind]] == ns("self", kind)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_join_another_containers_namespace(pyrunc, bundle, make_bundle, kind):
    pid = pyrunc.pid(pyrunc.create(bundle.namespace(kind)))
    other = make_bundle().namespace(kind, f"/proc/{pid}/ns/{KINDS[kind]}")
    seen = pyrunc.probe(other)
    assert seen["ns"][KINDS[kind]] == ns(pid, kind)
    if kind == "pid":
        assert seen["pid"] > 1


@pytest.mark.parametrize("kind", ["network", "user"])
def test_a_fifo_is_no_namespace(pyrunc, bundle, tmp_path, kind):
    """Nobody will ever write to it, and we do not wait for that."""
    os.mkfifo(tmp_path / "ns")
    message = pyrunc.run(bundle.namespace(kind, tmp_path / "ns"), code=1, timeout=20).message
    assert f"failed to setns into {kind} namespace: invalid argument" in message


def test_duplicate_namespace(pyrunc, bundle):
    bundle.linux["namespaces"].append({"type": "pid"})
    message = pyrunc.run(bundle, code=1).message
    assert 'malformed spec file: duplicated ns "pid"' in message


def test_unknown_namespace(pyrunc, bundle):
    bundle.linux["namespaces"].append({"type": "nonsense"})
    assert 'namespace "nonsense" does not exist' in pyrunc.run(bundle, code=1).message


def test_namespace_path_that_does_not_exist(pyrunc, bundle):
    bundle.namespace("network", "/absent")
    assert "/absent" in pyrunc.run(bundle, code=1).message
    assert pyrunc.names() == []


def test_namespace_path_with_a_nul_byte(pyrunc, bundle):
    result = pyrunc.create(bundle.namespace("ipc", "/proc/\0"), code=1)
    assert result.message.endswith("stat /proc/\0: invalid argument")


def test_namespace_path_of_another_kind(pyrunc, bundle):
    bundle.namespace("network", "/proc/self/ns/uts")
    pyrunc.run(bundle, code=1)
    assert pyrunc.names() == []


def test_hostname_and_domainname(pyrunc, bundle):
    bundle.config.update(hostname="box", domainname="example")
    seen = pyrunc.probe(bundle)
    assert (seen["hostname"], seen["domainname"]) == ("box", "example")
    assert os.uname().nodename != "box"


def test_hostname_needs_its_namespace(pyrunc, bundle):
    bundle.namespace("uts", False)
    bundle.config["hostname"] = "box"
    message = pyrunc.run(bundle, code=1).message
    assert "unable to set hostname without a private UTS namespace" in message
    assert os.uname().nodename != "box"


def test_loopback_is_up_and_alone(pyrunc, bundle):
    result = pyrunc.run(bundle.sh("ls /sys/class/net; ip link show lo; nc -z 127.0.0.1 1; true"))
    assert result.stdout.startswith("lo\n")
    assert "LOOPBACK,UP" in result.stdout


def test_process_is_pid_1(pyrunc, bundle):
    seen = pyrunc.probe(bundle)
    assert (seen["pid"], seen["ppid"]) == (1, 0)


def test_cgroup_namespace_hides_the_hosts_path(pyrunc, bundle):
    seen = pyrunc.probe(bundle.namespace("cgroup"))
    ours = [line for line in seen["cgroup"] if not line.startswith(("1:name=nothing",))]
    assert all(line.endswith(":/") for line in ours), seen["cgroup"]


def test_sysctl(pyrunc, bundle):
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "1234"}
    before = read("/proc/sys/kernel/shmmni")
    bundle.args("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmni")
    assert pyrunc.run(bundle).stdout == "1\n1234\n"
    assert read("/proc/sys/kernel/shmmni") == before


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("vm.swappiness", 'sysctl "vm.swappiness" is not in a separate kernel namespace'),
        ("kernel.hostname", 'conflicts with the OCI "hostname" field'),
    ],
)
def test_sysctl_of_the_host(pyrunc, bundle, key, text):
    bundle.linux["sysctl"] = {key: "1"}
    assert text in pyrunc.run(bundle, code=1).message


def test_sysctl_needs_its_namespace(pyrunc, bundle):
    bundle.namespace("network", False)
    bundle.config["mounts"] = [m for m in bundle.mounts if m["type"] not in ("sysfs", "cgroup")]
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    message = pyrunc.run(bundle, code=1).message
    assert 'sysctl "net.ipv4.ip_forward" not allowed in host network namespace' in message


def test_without_a_pid_namespace_the_pid_is_the_hosts(pyrunc, bundle):
    name = pyrunc.up(bundle.namespace("pid", False).sh("echo $$ > /tmp/pid; sleep 100"))
    pid = pyrunc.pid(name)
    assert os.path.exists(f"/proc/{pid}")
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
