"""Engines that leave cgroups to systemd: each with directories of its own, on the host's systemd.

A sandbox would not do: systemd knows no processes of another pid namespace.  So nothing here has a
network, and the daemons run as long as the test.
"""

import json
import os
import shutil
import subprocess

import pytest
from sandbox import IMAGE, need

from harness import wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="systemd is not PID 1"),
]
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
LIMIT = "MemoryMax" if V2 else "MemoryLimit"
CONTAINERD = """
version = 2
root = "{directory}/containerd"
state = "{directory}/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{directory}/containerd.sock"
[ttrpc]
  address = "{directory}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
"""
PODMAN = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
events_logger = "file"
"""


class Host:
    """Runs programs with files for their output: a container would hold a pipe open."""

    __slots__ = ("before", "directory")

    def __init__(self, directory, *before):
        self.directory = directory
        self.before = before

    def __call__(self, *args, code=0):
        path = f"{self.directory}/output"
        with open(path, "w+b") as out:
            command = [*self.before, *map(str, args)]
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT}
            done = subprocess.run(command, **streams, timeout=100, check=False)
            out.seek(0)
            text = out.read().decode(errors="replace")
        assert code is None or done.returncode == code, f"{args}: {done.returncode}, {text}"
        return text


def show(unit, name):
    done = subprocess.run(
        ["systemctl", "show", "--value", f"--property={name}", unit],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def scopes(text):
    """Scopes and cgroups with the text in their names."""
    listed = subprocess.run(
        ["systemctl", "list-units", "--all", "--full", "--plain", "--no-legend"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split()[0] for line in listed.stdout.splitlines()]
    found = [unit for unit in rows if text in unit and unit.endswith(".scope")]
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{folder}/{name}" for name in names if text in name]
    return found


@pytest.fixture
def directory(tmp_path_factory):
    """A short one: there will be sockets in it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = f"/tmp/pe{os.getpid()}"
    os.mkdir(path)
    # Overlay cannot lie on overlay, which may be the root file system.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path], check=True)
    yield path
    for mount in sorted(mounts(path), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
    os.rmdir(path)


def mounts(path):
    with open("/proc/self/mounts") as file:
        return [place for place in (row.split()[1] for row in file) if place.startswith(path)]


@pytest.fixture
def containerd(directory):
    if missing := need("containerd", "ctr"):
        pytest.skip(missing)
    with open(f"{directory}/config.toml", "w") as file:
        file.write(CONTAINERD.format(directory=directory))
    with open(f"{directory}/containerd.log", "wb") as log:
        daemon = subprocess.Popen(
            ["containerd", "--config", f"{directory}/config.toml"], stdout=log, stderr=log
        )
    ctr = Host(directory, "ctr", "--address", f"{directory}/containerd.sock")
    try:
        wait_for(lambda: "Server" in ctr("version", code=None), 60, "containerd")
        yield ctr
    finally:
        daemon.terminate()
        daemon.wait(30)


def test_containerd(containerd, command, archive, directory):
    ctr = containerd
    name = f"pc{os.getpid()}"
    unit = f"ctr-{name}.scope"
    ctr("images", "import", "--base-name", "localhost/box", archive)
    run = ["run", "--runc-binary", command, "--runc-root", f"{directory}/root"]
    run += ["--runc-systemd-cgroup", "--cgroup", f"pytest-ctr.slice:ctr:{name}"]
    ctr(*run, "--rm", IMAGE, name, "sh", "-c", "exit 7", code=7)
    ctr(*run, "--detach", "--memory-limit", 64 << 20, IMAGE, name, "sleep", "1000")
    assert show(unit, "Slice") == "pytest-ctr.slice"
    assert show(unit, LIMIT) == str(64 << 20)
    told = ctr("task", "exec", "--exec-id", "e", name, "cat", "/proc/self/cgroup")
    assert V2 or f"/pytest.slice/pytest-ctr.slice/{unit}" in told
    ctr("task", "pause", name)
    assert "PAUSED" in ctr("task", "list")
    ctr("task", "resume", name)
    ctr("task", "kill", "--signal", "KILL", name)
    wait_for(lambda: "STOPPED" in ctr("task", "list"), what="end of the task")
    ctr("task", "delete", name, code=None)
    ctr("container", "delete", name)
    assert not scopes(name)
    subprocess.run(["systemctl", "stop", "pytest.slice"], check=True)
    for path in reversed(scopes("pytest")):  # v1: where systemd has no controller
        if path.endswith(".slice"):
            os.rmdir(path)


def test_podman(directory, command, archive):
    if missing := need("podman", "conmon"):
        pytest.skip(missing)
    with open(f"{directory}/containers.conf", "w") as file:
        file.write(PODMAN)
    policy = f"{directory}/policy.json"
    with open(policy, "w") as file:
        json.dump({"default": [{"type": "insecureAcceptAnything"}]}, file)
    podman = Host(directory, "env", f"CONTAINERS_CONF={directory}/containers.conf", "podman")
    podman.before += ("--root", f"{directory}/data", "--runroot", f"{directory}/run")
    podman.before += ("--tmpdir", f"{directory}/tmp", "--cgroup-manager", "systemd")
    podman.before += ("--runtime", command)
    podman("load", "--quiet", "--signature-policy", policy, "--input", archive)
    run = ["run", "--net", "none"]
    podman(*run, "--rm", IMAGE, "sh", "-c", "exit 7", code=7)
    limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", 50]
    name = podman(*run, "--detach", *limits, IMAGE, "sleep", "1000").strip()
    try:
        unit = f"libpod-{name}.scope"
        assert show(unit, "Slice") == "machine.slice"
        assert show(unit, LIMIT) == str(64 << 20)
        assert show(unit, "CPUQuotaPerSecUSec") == "500ms"
        assert show(unit, "TasksMax") == "50"
        podman("exec", name, "true")
        podman("pause", name)
        podman("unpause", name)
        podman("update", "--memory", "100m", name)
        assert show(unit, LIMIT) == str(100 << 20)
        podman("restart", "--time", 0, name)
        assert show(unit, "ActiveState") == "active"
    finally:
        podman("rm", "--force", "--time", 0, name)
    assert not scopes(f"libpod-{name}")


def test_docker(containerd, directory, command, archive):
    if missing := need("dockerd", "docker"):
        pytest.skip(missing)
    config = {
        "exec-opts": ["native.cgroupdriver=systemd"],
        "runtimes": {"pyrunc": {"path": command}},
        "default-runtime": "pyrunc",
        "bridge": "none",
        "iptables": False,
        "storage-driver": "overlay2",
    }
    with open(f"{directory}/daemon.json", "w") as file:
        json.dump(config, file)
    client = shutil.which("docker", path="/usr/bin") or "docker"
    docker = Host(directory, client, "--host", f"unix://{directory}/docker.sock")
    daemon_command = ["dockerd", "--config-file", f"{directory}/daemon.json"]
    daemon_command += ["--host", f"unix://{directory}/docker.sock", "--oom-score-adjust=0"]
    daemon_command += ["--containerd", f"{directory}/containerd.sock"]
    for name in ("data-root", "exec-root", "pidfile"):
        daemon_command.append(f"--{name}={directory}/docker-{name}")
    with open(f"{directory}/dockerd.log", "wb") as log:
        daemon = subprocess.Popen(daemon_command, stdout=log, stderr=log)
    try:
        wait_for(lambda: "Server" in docker("version", code=None), 60, "dockerd")
        docker("load", "--quiet", "--input", archive)
        run = ["run", "--net", "none"]
        docker(*run, "--rm", IMAGE, "sh", "-c", "exit 7", code=7)
        limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", 50]
        name = docker(*run, "--detach", *limits, IMAGE, "sleep", "1000").split()[-1]
        unit = f"docker-{name}.scope"
        assert show(unit, "Slice") == "system.slice"
        assert show(unit, LIMIT) == str(64 << 20)
        assert show(unit, "CPUQuotaPerSecUSec") == "500ms"
        assert show(unit, "TasksMax") == "50"
        docker("pause", name)
        docker("unpause", name)
        docker("update", "--memory", "100m", "--memory-swap", "200m", name)
        assert show(unit, LIMIT) == str(100 << 20)
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        docker("exec", name, "sh", "-c", "echo > /dev/null")
        docker("restart", "--time", 0, name)
        assert show(unit, "ActiveState") == "active"
        docker("rm", "--force", name)
        assert not scopes(f"docker-{name}")
    finally:
        daemon.terminate()
        daemon.wait(30)
