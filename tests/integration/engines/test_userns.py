"""User namespaces as the engines make them."""

import re

from engine import up
from sandbox import IMAGE

MAP = ["0", "100000", "65536"]


def uid_map(engine, *options):
    return engine("run", "--rm", *options, IMAGE, "cat", "/proc/self/uid_map").stdout.split()


# --- Docker with userns-remap ---


def test_docker_remaps(remapped):
    assert "name=userns" in remapped("info", "--format", "{{.SecurityOptions}}").stdout
    assert uid_map(remapped) == MAP
    assert uid_map(remapped, "--user", "1000:1000") == MAP
    assert uid_map(remapped, "--userns", "host") == ["0", "0", str(2**32 - 1)]


def test_docker_remapped_life(remapped):
    up(remapped, "--name", "box", "--memory", "64m", "--pids-limit", "50")
    script = "id -u; echo x > /dev/null && echo ok; echo hi > /proc/1/fd/1; hostname; ip -o link"
    out = remapped("exec", "box", "sh", "-c", script).stdout
    assert out.startswith("0\nok\n") and "eth0" in out
    assert remapped("exec", "--user", "1000", "box", "id", "-u").stdout == "1000\n"
    assert "hi" in remapped("logs", "box").stdout
    assert "sleep" in remapped("top", "box").stdout
    remapped("pause", "box")
    remapped("unpause", "box")
    remapped("update", "--memory", "80m", "--memory-swap", "160m", "box")
    remapped("restart", "--time", "0", "box")
    remapped("stop", "--time", "0", "box")
    remapped("rm", "box")


def test_docker_remapped_terminal(remapped):
    shown = remapped.terminal("run", "--rm", "-it", IMAGE, "sh", "-c", "tty; stat -c %u /dev/pts/0")
    assert shown.split() == ["/dev/pts/0", "0"]


def test_docker_remapped_mounts(remapped):
    script = "touch /v/x /tmp/y && stat -c %u /v/x /tmp/y; cat /proc/mounts"
    options = ["--volume=vol:/v", "--tmpfs=/tmp", "--read-only", "--device=/dev/zero:/dev/z"]
    out = remapped("run", "--rm", *options, IMAGE, "sh", "-c", f"{script}; head -c1 /dev/z").stdout
    assert out.startswith("0\n0\n")
    assert re.search(r"^devtmpfs /dev/z |^udev /dev/z |^\S+ /dev/z ", out, re.M)
    remapped("volume", "rm", "vol")


def test_docker_remapped_shared_namespaces(remapped):
    up(remapped, "--name", "one", "--ipc", "shareable")
    shared = ("--net", "container:one", "--pid", "container:one", "--ipc", "container:one")
    see = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid"
    first = remapped("exec", "one", "sh", "-c", see).stdout
    assert remapped("run", "--rm", *shared, IMAGE, "sh", "-c", see).stdout == first


def test_docker_remapped_errors(remapped):
    for program, code in (("nothing", 127), ("/etc/passwd", 126)):
        remapped("run", "--rm", IMAGE, program, code=code)


# --- containerd ---


def test_ctr_maps(ctr):
    """ctr leaves the directories of the bundle to root alone unless IDs are mapped."""
    maps = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    out = ctr("run", "--rm", *maps, IMAGE, "box", "sh", "-c", "id -u; cat /proc/self/uid_map")
    assert out.stdout.split() == ["0", *MAP]


# --- Podman ---


def test_podman_maps(podman):
    maps = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    assert uid_map(podman, *maps) == MAP
    name = up(podman, *maps)
    assert podman("exec", name, "id", "-u").stdout == "0\n"
    assert podman("exec", "--user", "5", name, "id", "-u").stdout == "5\n"
    shown = podman.terminal("exec", "-it", name, "readlink", "/proc/self/fd/0")
    assert "/dev/pts/0" in shown


def test_podman_pod_with_a_user_namespace(podman):
    podman("pod", "create", "--name", "pod", "--uidmap", "0:100000:65536")
    out = podman("run", "--rm", "--pod", "pod", IMAGE, "cat", "/proc/self/uid_map").stdout
    assert out.split() == MAP
