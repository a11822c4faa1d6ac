"""One --root for pyrunc, runc and crun.

Who changes the runtime has containers of the other one: runc's record is ours, crun's is not.
"""

import json
import os
import shutil
import subprocess

import pytest

from harness import processes_in, wait_for


def neighbour(pyrunc, name, *wrapper):
    """neighbour(*args): another runtime, with the same --root; its output."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"not installed: {name} (scripts/packages.sh test)")

    def run(*args):
        output = f"{pyrunc.directory}/{name}"
        with open(output, "w+b") as file:
            argv = [*wrapper, path, "--root", pyrunc.root, *args]
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=30, check=False
            )
            file.seek(0)
            text = file.read().decode()
        assert done.returncode == 0, text
        return text

    return run


@pytest.fixture
def runc(pyrunc):
    return neighbour(pyrunc, "runc")


@pytest.fixture
def crun(pyrunc, cgroup_mode):
    """It refuses a host that mounts both cgroup versions."""
    if cgroup_mode != "hybrid":
        return neighbour(pyrunc, "crun")
    script = 'umount /sys/fs/cgroup/unified && exec "$@"'
    return neighbour(
        pyrunc, "crun", "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"
    )


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


@pytest.mark.parametrize("status", ["created", "running"])
def test_a_container_of_cruns_is_nobodys(pyrunc, crun, make_bundle, status):
    ours = pyrunc.up(make_bundle().sh("sleep 1000"))
    bundle = make_bundle().sh("sleep 1000")
    bundle.config["ociVersion"] = "1.0.2"
    theirs = pyrunc.id()
    crun("create", "--bundle", bundle.save(), theirs)
    if status == "running":
        crun("start", theirs)
    before = sorted(os.listdir(f"{pyrunc.root}/{theirs}"))

    assert pyrunc("list", "-q").stdout.split() == [ours]
    for argv in (["state"], ["start"], ["kill"], ["exec"], ["delete"]):
        argv += [theirs, "true"] if argv == ["exec"] else [theirs]
        message = pyrunc(*argv, code=None).message
        assert message.endswith("container does not exist"), argv
    pyrunc("delete", "--force", theirs)
    pyrunc("delete", "--force", "--regex", f"^{theirs}$")
    result = pyrunc("create", "--bundle", bundle.path, theirs, code=1)
    assert result.message.endswith("container with given ID already exists")

    assert sorted(os.listdir(f"{pyrunc.root}/{theirs}")) == before
    assert json.loads(crun("state", theirs))["status"] == status
    assert crun("list", "-q").split() == [theirs]
    crun("delete", "--force", theirs)
    assert pyrunc.status(ours) == "running"


def test_a_list_with_containers_of_runcs(pyrunc, runc, theirs, make_bundle):
    ours = pyrunc.up(make_bundle().sh("sleep 1000"))
    assert set(pyrunc("list", "-q").stdout.split()) == {ours, theirs}
    assert set(runc("list", "-q").split()) == {ours, theirs}
    result = pyrunc("create", "--bundle", make_bundle().save(), theirs, code=1)
    assert result.message.endswith("container with given ID already exists")
    runc("delete", "--force", theirs)
    assert pyrunc("list", "-q").stdout.split() == [ours]
