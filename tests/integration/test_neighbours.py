"""One --root for pyrunc and runc: who changes the runtime has containers of the other one."""

import json
import shutil
import subprocess

import pytest

from harness import processes_in, wait_for


@pytest.fixture
def runc(pyrunc):
    """runc(*args): the other runtime, with the same --root; its output."""
    path = shutil.which("runc", path="/usr/sbin:/usr/bin")
    if path is None:
        pytest.skip("not installed: runc (scripts/packages.sh test)")

    def run(*args):
        output = f"{pyrunc.directory}/runc"
        with open(output, "w+b") as file:
            argv = [path, "--root", pyrunc.root, *args]
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=30, check=False
            )
            file.seek(0)
            text = file.read().decode()
        assert done.returncode == 0, text
        return text

    return run


@pytest.fixture
def theirs(pyrunc, runc, bundle):
    """The id of a running container that runc made."""
    bundle.config["ociVersion"] = "1.0.2"
    name = pyrunc.id()
    runc("run", "--detach", "--bundle", bundle.args("sleep", "1000").save(), name)
    return name


def test_the_life_of_a_container_of_runcs(pyrunc, theirs):
    assert pyrunc.status(theirs) == "running"
    assert pyrunc("exec", theirs, "echo", "hi").stdout == "hi\n"
    assert json.loads(pyrunc("ps", "--format", "json", theirs).stdout) == [pyrunc.pid(theirs)]
    pyrunc("pause", theirs)
    assert pyrunc.status(theirs) == "paused"
    pyrunc("resume", theirs)
    assert json.loads(pyrunc("events", "--stats", theirs).stdout)["id"] == theirs
    pyrunc("kill", theirs, "KILL")
    pyrunc.stopped(theirs)
    pyrunc("delete", theirs)


def test_an_exec_takes_its_rights_from_the_record_of_runcs(pyrunc, runc, theirs):
    path = f"{pyrunc.directory}/process.json"
    with open(path, "w") as file:
        args = ["sh", "-c", "grep CapBnd /proc/self/status | cut -f2; ulimit -n"]
        json.dump({"args": args, "cwd": "/", "env": ["PATH=/bin"]}, file)
    expected = runc("exec", "--process", path, theirs).splitlines()[-2:]
    assert pyrunc("exec", "--process", path, theirs).stdout.splitlines() == expected


def test_an_update_of_a_container_of_runcs(pyrunc, theirs, runc):
    pyrunc("update", "--pids-limit", "33", theirs)
    assert '"pids_limit":33' in json.dumps(pyrunc.record(theirs), separators=(",", ":"))
    runc("exec", theirs, "true")


def test_a_container_of_ours_in_the_hands_of_runc(pyrunc, runc, bundle):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    assert json.loads(runc("state", name))["status"] == "running"
    assert runc("exec", name, "echo", "hi") == "hi\n"
    runc("pause", name)
    assert pyrunc.status(name) == "paused"
    runc("resume", name)
    runc("kill", name, "KILL")
    wait_for(lambda: json.loads(runc("state", name))["status"] == "stopped", what="end")
    runc("delete", name)
    assert not processes_in(name)
