"""The cgroups of an exec: the container's, one below, or where the container has gone."""

import os
import subprocess

import pytest

from harness import read, wait_for

START = "exec failed: unable to start container process: "


@pytest.fixture
def up(pyrunc, bundle, cgroup_mode):
    """The id of a running container with v1 cgroups."""
    if cgroup_mode == "v2":
        pytest.skip("needs cgroup v1")
    return pyrunc.up(bundle.args("sleep", "1000"))


@pytest.fixture
def unified(v2, bundle):
    """The id of a running container with a v2 cgroup, and no cgroup namespace."""
    return v2.up(bundle.namespace("cgroup", False).args("sleep", "1000"))


def paths(pyrunc, name):
    """The container's cgroups, as directories of this mount namespace."""
    found = pyrunc.record(name)["cgroup_paths"]
    if list(found) == [""] and os.path.isdir("/sys/fs/cgroup/unified"):
        return {"": found[""].replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified", 1)}
    return found


def make(pyrunc, name, sub, *controllers):
    """A cgroup below the container's, in these hierarchies or all that have controllers."""
    found = paths(pyrunc, name)
    for controller in controllers or [key for key in found if key or len(found) == 1]:
        os.makedirs(f"{found[controller]}/{sub}", exist_ok=True)
        if controller == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                with open(f"{found[controller]}/{sub}/{file}", "w") as target:
                    target.write(read(f"{found[controller]}/{file}"))


def cgroups(pyrunc, name, *options):
    """controllers -> cgroup, of an exec."""
    lines = pyrunc("exec", *options, name, "cat", "/proc/self/cgroup").stdout.splitlines()
    return {key: path for _, key, path in (line.split(":", 2) for line in lines)}


# --- v1 ---


def test_v1_sub_cgroup_of_all(pyrunc, up):
    own = cgroups(pyrunc, up)
    make(pyrunc, up, "a")
    found = cgroups(pyrunc, up, "--cgroup", "/b/../a/")
    pyrunc_paths = paths(pyrunc, up)
    for key, path in own.items():
        controlled = key and key.split(",")[0] in pyrunc_paths
        assert found[key] == (f"{path}/a" if controlled else path), key


def test_v1_sub_cgroups_of_some(pyrunc, up):
    own = cgroups(pyrunc, up)
    make(pyrunc, up, "x", "memory", "pids")
    make(pyrunc, up, "y", "freezer")
    found = cgroups(pyrunc, up, "--cgroup", "memory,pids:x", "--cgroup", "freezer:y")
    changed = {key: path for key, path in found.items() if path != own[key]}
    assert changed == {
        "memory": f"{own['memory']}/x",
        "pids": f"{own['pids']}/x",
        "freezer": f"{own['freezer']}/y",
    }


def test_v1_slash_is_the_containers(pyrunc, up):
    assert cgroups(pyrunc, up, "--cgroup", "/") == cgroups(pyrunc, up)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--cgroup", "absent"], "error adding pid 0 to cgroups: open "),
        (["--cgroup", "memory:absent"], "error adding pid 0 to cgroups: open "),
        (["--cgroup", ".."], "bad sub cgroup path: .."),
        (["--cgroup", "memory:a/../../b"], "bad sub cgroup path: a/../../b"),
        (["--cgroup", "nonsense:a"], "unknown controller nonsense in SubCgroupPaths"),
        (["--cgroup", ":a"], "invalid --cgroup argument: :a (empty <controller> prefix)"),
        (
            ["--cgroup", "memory:a", "--cgroup", "b"],
            "invalid --cgroup argument: b (missing <controller>: prefix)",
        ),
        (
            ["--cgroup", "pids:a", "--cgroup", "pids:b"],
            "invalid --cgroup argument: pids:b (controller pids specified multiple times)",
        ),
    ],
)
def test_v1_refused(pyrunc, up, options, text):
    message = pyrunc("exec", *options, up, "true", code=255).message
    assert message.startswith(START + text), message


def test_v1_where_init_has_gone(pyrunc, up):
    """The container's cgroups were removed behind our back: it lives in others."""
    made = []
    pid = pyrunc.pid(up)
    try:
        for controller, path in paths(pyrunc, up).items():
            other = f"{path}-other"
            os.makedirs(other, exist_ok=True)
            made.append(other)
            if controller == "cpuset":
                for file in ("cpuset.cpus", "cpuset.mems"):
                    with open(f"{other}/{file}", "w") as target:
                        target.write(read(f"{path}/{file}"))
            with open(f"{other}/cgroup.procs", "w") as target:
                target.write(str(pid))
        for path in paths(pyrunc, up).values():
            if os.path.isdir(path):
                os.rmdir(path)
        theirs = read(f"/proc/{pid}/cgroup")
        assert "-other" in theirs
        assert pyrunc("exec", up, "cat", "/proc/self/cgroup").stdout == theirs
        message = pyrunc("exec", "--cgroup", "/", up, "true", code=255).message
        assert "error adding pid 0 to cgroups: " in message, "asked for, so nothing else will do"
        os.kill(pid, 9)
        pyrunc.stopped(up)
        message = pyrunc("exec", up, "true", code=255).message
        assert message == "exec failed: cannot exec in a stopped container"
    finally:
        pyrunc("delete", "--force", up)
        for path in made:
            if os.path.isdir(path):
                wait_for(lambda path=path: not read(f"{path}/cgroup.procs"), what="empty cgroup")
                os.rmdir(path)


# --- v2 ---


def test_v2_the_containers(v2, unified):
    own = cgroups(v2, unified)
    assert own[""].endswith(f"/{unified}")


def test_v2_sub_cgroup(v2, unified):
    own = cgroups(v2, unified)[""]
    make(v2, unified, "foobar")
    assert cgroups(v2, unified, "--cgroup", "foobar")[""] == f"{own}/foobar"
    assert cgroups(v2, unified, "--cgroup", "/foobar/")[""] == f"{own}/foobar"


def test_v2_sub_cgroup_in_a_cgroup_namespace(v2, bundle):
    name = v2.up(bundle.namespace("cgroup").args("sleep", "1000"))
    assert cgroups(v2, name)[""] == "/"
    make(v2, name, "foobar")
    assert cgroups(v2, name, "--cgroup", "foobar")[""] == "/foobar"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("absent", "can't open cgroup: open /sys/fs/cgroup/"),
        ("../absent", "bad sub cgroup path: ../absent"),
        ("memory:a", "unknown controller memory in SubCgroupPaths"),
    ],
)
def test_v2_refused(v2, unified, option, text):
    message = v2("exec", "--cgroup", option, unified, "true", code=255).message
    assert message.startswith(START + text), message


@pytest.mark.parametrize("namespace", [True, False])
def test_v2_where_init_has_gone(v2, bundle, namespace):
    """Its own cgroup took controllers for those below, and so no process any more."""
    bundle.namespace("cgroup", None if namespace else False)
    name = v2.up(bundle.args("sleep", "1000"))
    own = paths(v2, name)[""]
    controllers = read(f"{own}/cgroup.controllers").split()
    if not controllers:
        pytest.skip("no controller is left for v2 here")
    make(v2, name, "below")
    with open(f"{own}/below/cgroup.procs", "w") as file:
        file.write(str(v2.pid(name)))
    with open(f"{own}/cgroup.subtree_control", "w") as file:
        file.write(f"+{controllers[0]}")
    assert cgroups(v2, name)[""].endswith("/below")
    message = v2("exec", "--cgroup", "/", name, "true", code=255).message
    assert message.startswith(f"{START}error adding pid ")
    assert message.endswith(" to cgroups: device or resource busy")


def test_v2_join_of_anothers_cgroup_namespace(v2, make_bundle):
    first = v2.up(make_bundle().namespace("cgroup").args("sleep", "1000"))
    second = make_bundle().args("sleep", "1000")
    second.namespace("cgroup", f"/proc/{v2.pid(first)}/ns/cgroup")
    name = v2.up(second)
    link = os.readlink(f"/proc/{v2.pid(first)}/ns/cgroup")
    assert v2("exec", name, "readlink", "/proc/self/ns/cgroup").stdout.strip() == link
    done = subprocess.run(
        ["cat", f"/proc/{v2.pid(name)}/cgroup"], capture_output=True, text=True, check=True
    )
    assert f"/{name}\n" in done.stdout
