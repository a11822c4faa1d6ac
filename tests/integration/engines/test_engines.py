"""A container of every engine, and a real distribution: pyrunc where runc stood."""

import os
import subprocess

import pytest
from sandbox import BINARY, IMAGE, need

from harness import read


def test_podman_runs_hello_with_the_runtime_option(podman):
    done = podman(f"--runtime={BINARY}", "run", "--rm", IMAGE, "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_ctr_runs_hello_with_the_runc_binary_option(ctr):
    done = ctr("run", "--rm", "--runc-binary", BINARY, IMAGE, "hello", "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_docker_runs_hello_as_the_readme_says(docker):
    done = docker("run", "--rm", IMAGE, "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_containerd_gives_pods_the_runtime_of_the_readme(ctr):
    """What its CRI plugin understood of the configuration alone; test_cri.py adds to it."""
    lines = ctr.sandbox.log("containerd").splitlines()
    line = [one for one in lines if "Start cri plugin" in one][-1]
    assert "DefaultRuntimeName:pyrunc" in line
    assert "BinaryName:/usr/local/bin/pyrunc" in line.replace("\\", "")


def distribution():
    """ID and code name of this machine's distribution."""
    lines = [line.partition("=") for line in read("/etc/os-release").splitlines()]
    values = {name: value.strip('"') for name, _, value in lines}
    return values.get("ID"), values.get("VERSION_CODENAME")


def mirror(suite):
    """Where this machine's apt gets the packages of a suite, or None."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]
    done = subprocess.run(
        [*command, "Identifier: Packages"], check=True, stdout=subprocess.PIPE, text=True
    )
    rows = map(str.split, done.stdout.splitlines())
    return next((row[0] for row in rows if row[1:] == [suite, "main"]), None)


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """A root filesystem of this machine's distribution, from its own apt sources."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if missing := need("mmdebstrap", "apt-get"):
        pytest.skip(missing)
    suite = distribution()[1]
    source = mirror(suite)
    if source is None:
        pytest.skip(f"the apt sources of this machine have no main of {suite}")
    root = str(tmp_path_factory.mktemp("debian") / "rootfs")
    done = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=essential", suite, root, source],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root


def test_a_debian_root_filesystem(pyrunc, bundle, debian):
    bundle.config["root"]["path"] = debian
    bundle.process["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    bundle.args("bash", "-c", ". /etc/os-release; echo $ID; dpkg --verify coreutils && echo whole")
    assert pyrunc.run(bundle).stdout.split() == [distribution()[0], "whole"]


def test_a_user_of_debian(pyrunc, bundle, debian):
    bundle.config["root"]["path"] = debian
    bundle.process["env"] = ["PATH=/usr/bin:/bin"]
    bundle.process["user"] = {"uid": 33, "gid": 33}
    bundle.args("bash", "-c", "id -un; perl -e 'open F, q(>>/etc/passwd) or die qq($!\\n)'")
    done = pyrunc.run(bundle, code=13)
    assert (done.stdout, done.stderr) == ("www-data\n", "Permission denied\n")


def test_podman_runs_a_root_filesystem_of_debian(podman, debian):
    done = podman("run", "--rm", "--rootfs", f"{debian}:O", "bash", "-c", "echo $BASH")
    assert done.stdout == "/usr/bin/bash\n"
