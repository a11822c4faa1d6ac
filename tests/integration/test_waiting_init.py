"""What waits inside a created container: a sealed helper of a few pages that holds nothing."""

import os
import resource

import pytest

from harness import read


@pytest.fixture
def waiting(pyrunc, bundle):
    """The pid of a container's init that waits for `start`."""
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}],
    }
    return pyrunc.pid(pyrunc.create(bundle.args("true")))


def test_it_runs_from_a_sealed_memory_file(waiting):
    assert os.readlink(f"/proc/{waiting}/exe").startswith("/memfd:pyrunc-init")
    # CVE-2019-5736: neither a write nor a truncation reaches what others execute
    with pytest.raises(OSError):
        os.close(os.open(f"/proc/{waiting}/exe", os.O_WRONLY))
    lines = read(f"/proc/{waiting}/maps").splitlines()
    backed = {line.split(None, 5)[5] for line in lines if len(line.split(None, 5)) > 5}
    assert all(name.startswith(("/memfd:pyrunc-", "[")) for name in backed), backed


def test_it_keeps_less_than_200_kib(waiting):
    rows = (line.split() for line in read(f"/proc/{waiting}/smaps_rollup").splitlines()[1:])
    memory = {row[0].rstrip(":"): int(row[1]) for row in rows}
    assert memory["Private_Clean"] + memory["Private_Dirty"] < 200


def test_it_holds_stdio_and_the_fifo_only(waiting):
    fds = {
        int(fd): os.readlink(f"/proc/{waiting}/fd/{fd}") for fd in os.listdir(f"/proc/{waiting}/fd")
    }
    others = [target for fd, target in fds.items() if fd > 2]
    assert len(others) == 1
    assert others[0].endswith("/exec.fifo")


def test_it_has_no_way_back_to_the_host(waiting):
    assert os.readlink(f"/proc/{waiting}/cwd") == "/"
    assert os.stat(f"/proc/{waiting}/root/bin/probe")
    assert not os.path.exists(f"/proc/{waiting}/root{os.getcwd()}/pyproject.toml")


def test_its_environment_and_arguments_tell_nothing_of_the_caller(pyrunc, bundle):
    os.environ["PYRUNC_TEST_SECRET"] = "xyzzy"
    try:
        pid = pyrunc.pid(pyrunc.create(bundle.args("true")))
    finally:
        del os.environ["PYRUNC_TEST_SECRET"]
    assert read(f"/proc/{pid}/environ") == ""
    assert read(f"/proc/{pid}/cmdline").startswith("pyrunc:init")


@pytest.mark.parametrize("limit", [1 << 20, 6 << 20, 12 << 20])
def test_a_container_starts_under_a_tiny_memory_limit(pyrunc, bundle, limit):
    bundle.linux["resources"]["memory"] = {"limit": limit}
    assert pyrunc.run(bundle.sh("echo started")).stdout == "started\n"


def test_a_limit_too_small_for_the_program_is_named(pyrunc, bundle):
    bundle.linux["resources"]["memory"] = {"limit": 4096}
    result = pyrunc.run(bundle.sh("echo started"), code=None)
    assert result.code != 0
    assert "memory" in result.stderr or result.code == 137


def test_a_container_starts_with_room_for_one_process(pyrunc, bundle):
    bundle.linux["resources"]["pids"] = {"limit": 1}
    assert pyrunc.run(bundle.args("echo", "started")).stdout == "started\n"


def test_a_container_starts_with_twenty_descriptors(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 4, "hard": 20}]
    assert pyrunc.run(bundle.args("echo", "started")).stdout == "started\n"


def test_a_caller_with_twenty_descriptors_is_enough(pyrunc, bundle):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 4096))

    bundle.process["rlimits"] = []
    bundle.sh("ulimit -n; ulimit -Hn; sleep 1000")
    name = pyrunc.create(bundle, preexec_fn=few)
    pyrunc("start", name, preexec_fn=few)
    result = pyrunc("exec", name, "sh", "-c", "ulimit -n; ulimit -Hn", preexec_fn=few)
    assert result.stdout.split() == ["20", "4096"], "the container has what its caller had"
