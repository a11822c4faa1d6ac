"""linux.cgroupsPath for the systemd driver: units, slices and their cgroups."""

import pytest

from pyrunc.cgroups import units
from pyrunc.errors import Error


@pytest.mark.parametrize(
    ("path", "unit", "cgroup"),
    [
        ("", "runc-id.scope", "/system.slice/runc-id.scope"),
        ("::", "-.scope", "/system.slice/-.scope"),
        (":p:n", "p-n.scope", "/system.slice/p-n.scope"),
        ("a.slice::n", "-n.scope", "/a.slice/-n.scope"),
        ("-.slice:p:n", "p-n.scope", "/p-n.scope"),
        ("system.slice:docker:abc", "docker-abc.scope", "/system.slice/docker-abc.scope"),
        ("a-b-c.slice:p:n", "p-n.scope", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        (
            "kubepods-pod1_2.slice:cri-containerd:f",
            "cri-containerd-f.scope",
            "/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-f.scope",
        ),
        ("a.slice:p:a-b.slice", "a-b.slice", "/a.slice/a-b.slice"),
        # systemd puts a slice where its own name says, not below the one it is said to want.
        ("x.slice:p:a-b.slice", "a-b.slice", "/a.slice/a-b.slice"),
        # What looks like a file of the kernel's gets another directory.
        ("memory.slice:p:n", "p-n.scope", "/_memory.slice/p-n.scope"),
        ("a.slice:_p:n", "_p-n.scope", "/a.slice/__p-n.scope"),
        ("a.slice:cgroup.x:n", "cgroup.x-n.scope", "/a.slice/_cgroup.x-n.scope"),
        ("a.slice:.:n", ".-n.scope", "/a.slice/_.-n.scope"),
        ("pids-a.slice:p:n", "p-n.scope", "/_pids.slice/pids-a.slice/p-n.scope"),
        ("a.slice:p:io.slice", "io.slice", "/_io.slice"),
    ],
)
def test_units_and_their_cgroups(path, unit, cgroup):
    where = units.where(path, "id")
    assert units.name(where) == unit
    assert units.cgroup(where) == cgroup


def test_a_users_manager_has_another_slice():
    assert units.cgroup(units.where("", "id"), user=True) == "/user.slice/runc-id.scope"
    assert units.cgroup(units.where("a.slice:p:n", "id"), user=True) == "/a.slice/p-n.scope"


def test_the_record_has_the_three_parts():
    assert units.where("a.slice:p:n", "id") == {
        "name": "n",
        "parent": "a.slice",
        "path": "",
        "scope_prefix": "p",
    }


@pytest.mark.parametrize("path", ["/a/b", "a", "a:b", "a.slice:b:c:d", ":"])
def test_other_paths_are_refused(path):
    with pytest.raises(Error) as caught:
        units.where(path, "id")
    assert caught.value.message == (
        'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
        f'got "{path}" instead'
    )


@pytest.mark.parametrize("slice", ["a", "a.scope", ".slice", "a--b.slice", "a/b.slice", "-a.slice"])
def test_bad_slices_are_refused(slice):
    with pytest.raises(Error) as caught:
        units.cgroup(units.where(f"{slice}:p:n", "id"))
    assert caught.value.message == f"invalid slice name: {slice}"


def test_no_container_is_the_root_slice():
    with pytest.raises(Error, match="invalid slice name: -.slice"):
        units.cgroup(units.where("system.slice:p:-.slice", "id"))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("252.38-1~deb12u1", 252),
        ("245.4-4ubuntu3.24", 245),
        ("v245", 245),
        ("systemd 239", 239),
        ("v256~rc1", 256),
        ("", 0),
        ("unknown", 0),
    ],
)
def test_version(text, version):
    assert units.version(text) == version
