"""Where a container's cgroup is: lexical rules, and the tables of /proc."""

import pytest

from pyrunc.cgroups import hierarchies
from pyrunc.errors import Error

MOUNTINFO = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
33 31 0:31 /docker/abc /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,noprefix
34 31 0:37 / /my\\040cgroups/sd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("", ""),
        ("a", "a"),
        ("a/b", "a/b"),
        ("/a//b/./c/", "/a/b/c"),
        ("/a/../../b", "/b"),
        ("../../b", "b"),
        ("a/../../b", "b"),
        ("/", "/"),
        (".", ""),
    ],
)
def test_paths_are_cleaned_lexically(path, clean):
    assert hierarchies.clean(path) == clean


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(Error, match="it has a NUL byte"):
        hierarchies.paths("/a\0b", "id")


@pytest.mark.parametrize(
    ("own", "inner", "path"),
    [
        ("/", "/a/b", "/sys/fs/cgroup/a/b"),
        ("/user.slice/session.scope", "/a/b", "/sys/fs/cgroup/a/b"),
        ("/user.slice/session.scope", "a/b", "/sys/fs/cgroup/user.slice/a/b"),
        ("/session.scope", "c", "/sys/fs/cgroup/c"),
        ("/", "c", "/sys/fs/cgroup/c"),
    ],
)
def test_unified_path_is_absolute_or_beside_our_own_cgroup(own, inner, path):
    assert hierarchies.unified(own, inner) == path


def test_memberships_may_contain_colons():
    text = "4:memory:/a:b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/y\n"
    assert hierarchies.memberships(text) == [
        ("memory", "/a:b"),
        ("cpu,cpuacct", "/"),
        ("name=systemd", "/x"),
        ("", "/y"),
    ]


def test_mount_table_is_read():
    known = ["cpu,cpuacct", "cpuset", "name=systemd", "memory"]
    assert hierarchies.mounted(MOUNTINFO, known) == [
        ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/", 29),
        ("cpuset", "/sys/fs/cgroup/cpuset", "/docker/abc", 31),
        ("name=systemd", "/my cgroups/sd", "/", 37),
    ]


@pytest.mark.parametrize(
    ("root", "path", "seen"),
    [
        ("/", "/a/b", "/a/b"),
        ("/docker/abc", "/docker/abc", ""),
        ("/docker/abc", "/docker/abc/d", "/d"),
        ("/docker/abc", "/docker/abcd", "/docker/abcd"),
    ],
)
def test_a_mountpoint_may_show_only_a_part(root, path, seen):
    assert hierarchies.seen_from(root, path) == seen
