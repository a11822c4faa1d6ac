"""A container of every engine, and a real distribution: pyrunc where runc stood."""

import os
import re
import subprocess

import pytest
from sandbox import BINARY, IMAGE, need


def test_podman_runs_hello_with_the_runtime_option(podman):
    done = podman(f"--runtime={BINARY}", "run", "--rm", IMAGE, "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_ctr_runs_hello_with_the_runc_binary_option(ctr):
    done = ctr("run", "--rm", "--runc-binary", BINARY, IMAGE, "hello", "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_docker_runs_hello_as_the_readme_says(docker):
    done = docker("run", "--rm", IMAGE, "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """A root filesystem of Debian, from the sources of this machine."""
    if missing := need("mmdebstrap"):
        pytest.skip(missing)
    if os.geteuid() != 0:
        pytest.skip("needs root")
    root = tmp_path_factory.mktemp("debian") / "rootfs"
    with open("/etc/os-release") as file:
        suite = re.search(r"^VERSION_CODENAME=(\w+)$", file.read(), re.M)
    if not suite or not os.path.exists("/etc/debian_version"):
        pytest.skip("not a Debian machine")
    done = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=essential", suite[1], root],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(root)


def test_a_debian_root_filesystem(pyrunc, bundle, debian):
    bundle.config["root"]["path"] = debian
    bundle.process["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    bundle.args("bash", "-c", ". /etc/os-release; echo $ID; dpkg --version")
    lines = pyrunc.run(bundle).stdout.split("\n")
    assert lines[0] == "debian"
    assert lines[1].startswith("Debian")
