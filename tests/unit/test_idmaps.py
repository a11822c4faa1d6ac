"""ID-mapped mounts: whose mappings count, and one user namespace per mapping."""

import os

import pytest

from pyrunc import idmaps, mounts, userns
from pyrunc.errors import Error
from pyrunc.mounts import Mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="maps are written by root")


def rows(*numbers):
    return [{"containerID": a, "hostID": b, "size": c} for a, b, c in numbers]


OWN = {"uidMappings": rows((0, 1000, 5), (9, 3000, 1)), "gidMappings": rows((0, 2000, 5))}
OTHER = {"uidMappings": rows((0, 4000, 5)), "gidMappings": rows((0, 2000, 5))}


def test_text():
    assert userns.text(OWN["uidMappings"]) == "0 1000 5\n9 3000 1\n"


@pytest.mark.parametrize(
    ("mount", "how"),
    [
        ({}, ""),
        ({"options": ["bind"]}, ""),
        ({"uidMappings": [], "gidMappings": []}, ""),
        (OWN, "idmap"),
        ({"options": ["bind", "idmap"]}, "idmap"),
        ({"options": ["ridmap", "rbind"]}, "ridmap"),
        ({"options": ["ridmap", "idmap"]}, "idmap"),
        ({**OWN, "options": ["ridmap"]}, "ridmap"),
    ],
)
def test_how_a_mount_is_mapped(mount, how):
    assert mounts.idmap(mount) == how
    expected = [(1, mount)] if how else []
    assert mounts.idmapped({"mounts": [{"destination": "/a"}, mount]}) == expected


def test_the_options_are_no_data():
    entry = Mount({"destination": "/a", "options": ["bind", "ridmap", "idmap"]}, 0, "/b", "/b/r")
    assert entry.data == ""


@pytest.fixture
def opened():
    """opened(wanted, linux, index) -> (index, what is passed, closed at the end)."""
    fds = [7, 8]

    def call(wanted, linux, index=None):
        index = dict(index or {})
        idmaps.open_all(wanted, linux, index, fds)
        return index, fds

    yield call
    for fd in fds[2:]:
        os.close(fd)


def test_one_namespace_per_mapping(opened):
    index, fds = opened([(0, OWN), (3, OTHER), (4, dict(OWN))], {})
    assert index == {("idmap", 0): 2, ("idmap", 3): 3, ("idmap", 4): 2}
    links = {os.readlink(f"/proc/self/fd/{fd}") for fd in fds[2:]}
    assert len(links) == 2
    assert all(link.startswith("user:[") for link in links)
    assert os.readlink("/proc/self/ns/user") not in links


def test_mappings_of_the_container(opened):
    index, fds = opened([(0, {"options": ["idmap"]}), (1, OWN)], OWN)
    assert index == {("idmap", 0): 2, ("idmap", 1): 2}, "the same mapping"
    assert len(fds) == 3


def test_the_container_joins_a_namespace(opened):
    index, fds = opened([(2, {"options": ["ridmap"]})], {}, {("ns", "user"): 1})
    assert index["idmap", 2] == 1
    assert len(fds) == 2


def test_nobodys_mappings(opened):
    with pytest.raises(Error, match="mounts\\[2\\] is to be ID-mapped, but there are no mappings"):
        opened([(2, {"options": ["idmap"]})], {})


def test_maps_that_the_kernel_refuses(opened):
    overlap = {**OWN, "uidMappings": rows((0, 1, 5), (4, 10, 5))}
    with pytest.raises(Error) as caught:
        opened([(1, overlap)], {})
    message = caught.value.message
    assert message.startswith("unable to make a user namespace with the mappings of mounts[1]: ")
    assert message.endswith("/uid_map: invalid argument")
