"""AppArmor for real: profiles that the kernel enforces on the program of a container or an exec."""

import os
import shutil
import subprocess

import pytest

from counting import restore, up
from harness import read

NAMES = ("pyrunc-test-strict", "pyrunc-test-other")
PROFILE = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
    file, capability, network, mount, umount, ptrace, signal, unix,
    deny /secret r,
}}
"""
STRICT, OTHER = (f"{name} (enforce)\n" for name in NAMES)


@pytest.fixture(scope="module", autouse=True)
def profiles():
    """Both profiles are loaded while these tests run."""
    if not os.path.exists("/sys/kernel/security/apparmor") or not shutil.which("apparmor_parser"):
        pytest.skip("needs AppArmor: make test-vm")
    text = "".join(PROFILE.format(name=name) for name in NAMES).encode()
    subprocess.run(["apparmor_parser", "--replace"], input=text, check=True)
    yield
    subprocess.run(["apparmor_parser", "--remove"], input=text, check=True)


@pytest.fixture
def confined(bundle):
    """The bundle, whose program gets the strict profile."""
    bundle.process["apparmorProfile"] = NAMES[0]
    bundle.write("secret", "text\n")
    return bundle


@pytest.mark.parametrize("nnp", [True, False])
def test_the_program_is_confined(pyrunc, confined, nnp):
    confined.process["noNewPrivileges"] = nnp
    confined.sh("cat /proc/self/attr/current; cat /secret || echo refused")
    assert pyrunc.run(confined).stdout == f"{STRICT}refused\n"


def test_without_a_profile_it_is_not(pyrunc, confined):
    del confined.process["apparmorProfile"]
    confined.sh("cat /proc/self/attr/current /secret")
    assert pyrunc.run(confined).stdout == "unconfined\ntext\n"


def test_the_waiting_init_is_not_confined_yet(pyrunc, confined):
    name = pyrunc.create(confined.args("sleep", "1000"))
    path = f"/proc/{pyrunc.pid(name)}/attr/current"
    assert read(path) == "unconfined\n"
    pyrunc("start", name)
    assert read(path) == STRICT


def test_nothing_is_kept_for_the_next_program(pyrunc, confined):
    confined.sh("for file in exec prev; do echo $file $(cat /proc/self/attr/apparmor/$file); done")
    assert pyrunc.run(confined).stdout.split("\n")[0] == "exec"


@pytest.mark.parametrize("nnp", [True, False])
def test_an_exec_has_the_containers(pyrunc, confined, nnp):
    confined.process["noNewPrivileges"] = nnp
    name = pyrunc.up(confined.args("sleep", "1000"))
    script = "cat /proc/self/attr/current; cat /secret || echo refused"
    assert pyrunc("exec", name, "sh", "-c", script).stdout == f"{STRICT}refused\n"


@pytest.mark.parametrize("nnp", [True, False])
@pytest.mark.parametrize("profile", [True, False])
def test_an_exec_has_its_own(pyrunc, confined, profile, nnp):
    confined.process["noNewPrivileges"] = nnp
    if not profile:
        del confined.process["apparmorProfile"]
    name = pyrunc.up(confined.args("sleep", "1000"))
    current = pyrunc("exec", "--apparmor", NAMES[1], name, "cat", "/proc/self/attr/current")
    assert current.stdout == OTHER
    assert read(f"/proc/{pyrunc.pid(name)}/attr/current") == (STRICT if profile else "unconfined\n")


def test_a_program_that_is_another_user(pyrunc, confined):
    confined.process["user"] = {"uid": 1000, "gid": 1000}
    confined.process["capabilities"] = {}
    assert pyrunc.run(confined.args("cat", "/proc/self/attr/current")).stdout == STRICT


def test_attributes_on_a_masked_proc(pyrunc, confined):
    """The profile is applied through a procfs that the container's mounts cannot hide."""
    confined.linux["readonlyPaths"] = ["/proc/self", "/proc/thread-self", "/proc"]
    confined.sh("cat /proc/self/attr/current")
    assert pyrunc.run(confined).stdout == STRICT


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_a_profile_that_is_not_loaded(pyrunc, runc, bundle, verb):
    """runc's words; the file has two names."""
    messages = []
    for runtime in (runc, pyrunc):
        bundle.process.pop("apparmorProfile", None)
        bundle.linux["cgroupsPath"] = f"/{runtime.prefix}c"
        if verb == "create":
            bundle.process["apparmorProfile"] = "pyrunc-test-absent"
            result = runtime.create(bundle, code=1)
        else:
            name = runtime.up(bundle.args("sleep", "1000"))
            result = runtime("exec", "--apparmor", "pyrunc-test-absent", name, "true", code=255)
            runtime("delete", "--force", name)
        messages.append(result.message)
    text = messages[0].replace("/proc/self/attr", "/proc/thread-self/attr")
    assert messages[1] == text


def test_a_restored_program_is_confined_again(pyrunc, confined, criu, tmp_path):
    """By its own profile, or by the one of --lsm-profile."""
    first, second = tmp_path / "1", tmp_path / "2"
    name = up(pyrunc, confined)
    pyrunc("checkpoint", "--image-path", first, name, env=criu)
    name = restore(pyrunc, confined, first, env=criu)
    assert read(f"/proc/{pyrunc.pid(name)}/attr/current") == STRICT
    pyrunc("checkpoint", "--image-path", second, name, env=criu)
    name = restore(pyrunc, confined, second, "--lsm-profile", f"apparmor:{NAMES[1]}", env=criu)
    assert read(f"/proc/{pyrunc.pid(name)}/attr/current") == OTHER
