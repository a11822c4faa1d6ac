"""Which cgroups an exec enters: the argument, and what it means for each hierarchy."""

import os

import pytest

from pyrunc.cgroups import entry
from pyrunc.errors import Error

V1 = {"cpu": "/cg/cpu/c", "memory": "/cg/memory/c", "": "/cg/unified/c"}
V2 = {"": "/cg/c"}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], {}),
        (["sub"], {"": "sub"}),
        (["/"], {"": "/"}),
        (["cpu:a"], {"cpu": "a"}),
        (["cpu,memory:a/b"], {"cpu": "a/b", "memory": "a/b"}),
        (["cpu:a", "memory:b:c"], {"cpu": "a", "memory": "b:c"}),
    ],
)
def test_argument(arguments, found):
    assert entry.parse(arguments) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([":a"], "invalid --cgroup argument: :a (empty <controller> prefix)"),
        (["cpu,:a"], "invalid --cgroup argument: cpu,:a (empty <controller> prefix)"),
        (
            ["cpu:a", "memory,cpu:b"],
            "invalid --cgroup argument: memory,cpu:b (controller cpu specified multiple times)",
        ),
        (["cpu:a", "b"], "invalid --cgroup argument: b (missing <controller>: prefix)"),
        (["a", "b"], "invalid --cgroup argument: a (missing <controller>: prefix)"),
    ],
)
def test_bad_argument(arguments, message):
    with pytest.raises(Error) as caught:
        entry.parse(arguments)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("paths", "wanted", "result"),
    [
        (V2, {}, V2),
        (V2, {"": "/"}, V2),
        (V2, {"": "sub"}, {"": "/cg/c/sub"}),
        (V2, {"": "/sub/../other/"}, {"": "/cg/c/other"}),
        (V1, {"cpu": "sub"}, {**V1, "cpu": "/cg/cpu/c/sub"}),
        # Nobody makes a sub-cgroup in the hierarchy that controls nothing.
        (V1, {"": "s"}, {"cpu": "/cg/cpu/c/s", "memory": "/cg/memory/c/s", "": "/cg/unified/c"}),
    ],
)
def test_below(paths, wanted, result):
    assert entry.below(paths, wanted) == result


@pytest.mark.parametrize("path", ["..", "../c2", "a/../..", "../../x"])
@pytest.mark.parametrize("paths", [V1, V2])
def test_outside(paths, path):
    with pytest.raises(Error) as caught:
        entry.below(paths, {"": path})
    assert caught.value.message == f"bad sub cgroup path: {path}"


@pytest.mark.parametrize("paths", [V1, V2])
def test_unknown_controller(paths):
    with pytest.raises(Error) as caught:
        entry.below(paths, {"nonsense": "a"})
    assert caught.value.message == "unknown controller nonsense in SubCgroupPaths"


def test_a_missing_directory_is_worded_by_version(tmp_path):
    gone = {"": f"{tmp_path}/gone"}
    with pytest.raises(Error) as caught:
        entry.open_entries(gone, {"": "sub"}, os.getpid())
    assert caught.value.message == (
        f"can't open cgroup: open {tmp_path}/gone/sub: no such file or directory"
    )
    with pytest.raises(Error) as caught:
        entry.open_entries({"cpu": f"{tmp_path}/gone"}, {"cpu": "sub"}, os.getpid())
    assert caught.value.message == (
        f"error adding pid 0 to cgroups: open {tmp_path}/gone/sub/tasks: no such file or directory"
    )
