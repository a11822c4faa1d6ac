"""ID maps and time offsets: what is refused before anything is made."""

import pytest

from pyrunc import userns
from pyrunc.errors import Error


def rows(*numbers):
    return [dict(zip(("containerID", "hostID", "size"), row, strict=True)) for row in numbers]


def test_host_id():
    mappings = rows((0, 1000, 1), (1, 100000, 10))
    assert [userns.host_id(mappings, id) for id in (0, 1, 10, 11)] == [1000, 100000, 100009, None]


@pytest.mark.parametrize(
    ("mappings", "words"),
    [
        (rows((0, 0, 0)), "size must not be zero"),
        (rows((0, 0, 5), (4, 10, 1)), "containerID 4 is mapped twice"),
        (rows((0, 5, 5), (5, 0, 6)), "hostID 5 is mapped twice"),
        (rows((0, 2**32 - 2, 2)), "out of range"),
        (rows(*((i, i, 1) for i in range(341))), "more than 340 entries"),
        (rows(*((i * 9 + 10**9, i, 1) for i in range(300))), "more than the kernel takes: "),
    ],
)
def test_mappings_the_kernel_would_refuse(mappings, words):
    with pytest.raises(Error, match=words):
        userns.check_mappings("linux.uidMappings", mappings)


def test_mappings_the_kernel_takes():
    userns.check_mappings("x", rows((5, 0, 5), (0, 5, 5)))
    userns.check_mappings("x", rows((0, 0, 2**32 - 1)))
    userns.check_mappings("x", rows(*((i, i, 1) for i in range(340))))


def test_owners_in_mount_options():
    linux = {"uidMappings": rows((0, 1000, 1)), "gidMappings": rows((0, 1000, 1))}
    userns.check_mounts(linux, [{"options": ["uid=0", "gid=0", "size=5"]}])
    with pytest.raises(Error, match="cannot specify gid=5 mount option for rootless container: "):
        userns.check_mounts(linux, [{"options": ["gid=5"]}])
    userns.check_mounts(linux, [{"options": ["uid=\u00b2"]}])  # a digit, but not of a number


def test_maps_of_a_process():
    uids, gids = userns.mappings_of("/proc/self")
    assert uids and gids and uids[0].keys() == {"containerID", "hostID", "size"}
