"""Who gets a container's cgroup."""

import os

import pytest

from pyrunc.cgroups import delegation

MOUNT = {"source": "cgroup", "destination": "/sys/fs/cgroup", "type": "cgroup"}
OWN = [{"type": "cgroup"}]
USERS = [*OWN, {"type": "user"}]
MAPPED = [{"containerID": 0, "hostID": 5000, "size": 10}]


def heir(mount=MOUNT, spaces=OWN, uid=7, mappings=()):
    return delegation.heir(
        {
            "process": {"user": {"uid": uid}},
            "mounts": [{"source": "x", "destination": "/x"}, mount],
            "linux": {"namespaces": spaces, "uidMappings": list(mappings)},
        }
    )


@pytest.mark.parametrize("options", [None, [], ["rw"], ["nosuid", "rw"]])
def test_mounted_for_writing(options):
    assert heir({**MOUNT, "options": options}) == 7


@pytest.mark.parametrize(
    "mount",
    [
        {**MOUNT, "options": ["nosuid", "ro"]},
        {**MOUNT, "source": "cgroup2"},
        {**MOUNT, "destination": "/cgroup"},
        {"destination": "/sys/fs/cgroup"},
    ],
)
def test_any_other_mount(mount):
    assert heir(mount) == -1


@pytest.mark.parametrize("spaces", [[], [{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]])
def test_not_without_a_new_cgroup_namespace(spaces):
    assert heir(spaces=spaces) == -1
    assert delegation.heir({"process": {}, "mounts": [MOUNT]}) == -1


def test_users_are_those_of_the_host():
    assert heir(spaces=USERS, mappings=MAPPED) == 5007
    assert heir(spaces=USERS, mappings=MAPPED, uid=10) == -1
    assert heir(spaces=[*OWN, {"type": "user", "path": "/proc/1/ns/user"}]) == -1


def test_files_that_this_kernel_lacks(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "cgroup.type").touch()
    delegation.hand_over(str(tmp_path), 4321)
    assert os.stat(tmp_path).st_uid == os.stat(tmp_path / "cgroup.procs").st_uid == 4321
    assert os.stat(tmp_path / "cgroup.type").st_uid == 0
