"""Propagation, devices, links, masked and read-only paths."""

import pytest

from pyrunc import mounts, rootfs
from pyrunc.errors import Error
from pyrunc.plan import Plan


def ops(function, *args):
    plan = Plan()
    function(plan, *args)
    return [(name, *args) for name, args, _ in plan.ops]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("", mounts.MS_SLAVE | mounts.MS_REC),
        ("slave", mounts.MS_SLAVE),
        ("rslave", mounts.MS_SLAVE | mounts.MS_REC),
        ("private", mounts.MS_PRIVATE),
        ("rprivate", mounts.MS_PRIVATE | mounts.MS_REC),
        ("shared", mounts.MS_SHARED),
        ("rshared", mounts.MS_SHARED | mounts.MS_REC),
        ("unbindable", mounts.MS_SLAVE | mounts.MS_REC),
        ("runbindable", mounts.MS_SLAVE | mounts.MS_REC),
    ],
)
def test_propagation_of_the_hosts_tree(name, flags):
    assert rootfs.propagation({"rootfsPropagation": name}, False) == flags


def test_unknown_propagation():
    with pytest.raises(Error, match="^rootfsPropagation=bogus is not supported$"):
        rootfs.propagation({"rootfsPropagation": "bogus"}, False)


@pytest.mark.parametrize("name", ["private", "rprivate"])
def test_private_propagation_needs_pivot_root(name):
    with pytest.raises(Error, match="is not safe without pivot_root"):
        rootfs.propagation({"rootfsPropagation": name}, True)


@pytest.mark.parametrize("name", ["slave", "rslave", "shared", "rshared"])
def test_the_new_root_gets_the_wanted_propagation(name):
    linux = {"rootfsPropagation": name}
    expected = [("propagate", mounts.PROPAGATION[name])]
    assert ops(rootfs.propagate_root, linux, False) == expected
    assert ops(rootfs.propagate_root, linux, True) == []


@pytest.mark.parametrize("name", ["unbindable", "runbindable"])
def test_the_new_root_is_unbindable_after_the_last_bind(name):
    linux = {"rootfsPropagation": name}
    assert ops(rootfs.propagate_root, linux, False) == []
    assert ops(rootfs.propagate_root, linux, True) == [("propagate", mounts.PROPAGATION[name])]


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("name", ["", "private", "rprivate"])
def test_the_new_root_is_private_anyway(name, bound):
    assert ops(rootfs.propagate_root, {"rootfsPropagation": name}, bound) == []


def test_masked_directories_have_the_mount_label():
    found = ops(rootfs.masked_paths, {"maskedPaths": ["/a", "/b"], "mountLabel": "l"})
    assert found == [("mask", "/a", 'context="l"'), ("mask", "/b", 'context="l"')]


def test_the_root_cannot_be_masked():
    with pytest.raises(Error, match='^linux.maskedPaths\\[1\\] is "/": the root cannot be masked$'):
        ops(rootfs.masked_paths, {"maskedPaths": ["/a", "/b/.."]})


# --- devices ---

DEFAULTS = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}


def test_default_devices():
    found = ops(rootfs.devices, {}, {})
    assert {(op[1], op[3:5]) for op in found} == set(DEFAULTS.items())
    assert all(op[2] == 0o20666 and op[5:] == (0, 0, "", 0) for op in found)


def test_configured_device_replaces_a_default_one():
    device = {"path": "/dev//null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}
    found = [op for op in ops(rootfs.devices, {"devices": [device]}, {}) if op[1] == "/dev/null"]
    assert found == [("device", "/dev/null", 0o20600, 1, 3, 0, 0, "", 1)]


def test_configured_ptmx_is_ours_to_link():
    device = {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}
    assert "/dev/ptmx" not in [op[1] for op in ops(rootfs.devices, {"devices": [device]}, {})]


@pytest.mark.parametrize(
    ("device", "mode"),
    [
        ({"type": "c"}, 0o20666),
        ({"type": "u"}, 0o20666),
        ({"type": "b", "fileMode": 0o640}, 0o60640),
        ({"type": "p", "fileMode": 0}, 0o10000),
        ({"type": "c", "fileMode": 0o20640}, 0o20640),  # with the type's bits, as engines send it
        ({"type": "c", "fileMode": 0o104755}, 0o24755),
    ],
)
def test_mode_of_a_device(device, mode):
    found = ops(rootfs.devices, {"devices": [{"path": "/x", "major": 9, "uid": 3, **device}]}, {})
    assert found[-1] == ("device", "/x", mode, 9, 0, 3, 0, "", 1)


def test_the_hosts_node_of_a_device():
    device = {"path": "/dev/z", "type": "c", "major": 1, "minor": 5}
    found = ops(rootfs.devices, {"devices": [device]}, {"device_nodes": {"/dev/z": "/dev/zero"}})
    assert found[-1][7:] == ("/dev/zero", 1)


def test_unknown_device_type():
    with pytest.raises(Error, match='^invalid device type "z"$'):
        ops(rootfs.devices, {"devices": [{"path": "/x", "type": "z"}]}, {})


@pytest.mark.parametrize("kcore", [True, False])
def test_links_of_dev(kcore):
    found = {op[2]: op[1] for op in ops(rootfs.links, {"kcore": kcore})}
    expected = {
        "/dev/ptmx": "pts/ptmx",
        "/dev/fd": "/proc/self/fd",
        "/dev/stdin": "/proc/self/fd/0",
        "/dev/stdout": "/proc/self/fd/1",
        "/dev/stderr": "/proc/self/fd/2",
    }
    assert found == {**expected, "/dev/core": "/proc/kcore"} if kcore else expected


def test_only_ptmx_replaces_what_is_there():
    found = ops(rootfs.links, {"kcore": True})
    assert [op[2] for op in found if op[3]] == ["/dev/ptmx"]


# --- paths ---


@pytest.mark.parametrize(
    ("function", "key", "op"),
    [
        (rootfs.masked_paths, "maskedPaths", "mask"),
        (rootfs.readonly_paths, "readonlyPaths", "readonly"),
    ],
)
def test_paths_are_taken_once(function, key, op):
    paths = ["/proc/kcore", "/sys/firmware", "/proc//kcore/", "/proc/keys"]
    expected = [(op, "/proc/kcore"), (op, "/sys/firmware"), (op, "/proc/keys")]
    assert ops(function, {key: paths}) == expected
    assert ops(function, {}) == []


def test_a_root_in_the_read_only_paths_is_the_mount_that_is_there():
    found = ops(rootfs.readonly_paths, {"readonlyPaths": ["/a", "/"]})
    assert found == [("readonly", "/a"), ("remount", "/", 1)]


def test_origin_is_the_place_in_the_list():
    plan = Plan()
    rootfs.masked_paths(plan, {"maskedPaths": ["/a", "/a", "/b"]})
    assert [origin for _, _, origin in plan.ops] == ["linux.maskedPaths[0]", "linux.maskedPaths[2]"]


def test_readonly_root_is_not_the_hosts():
    assert ops(rootfs.readonly_root, {"readonly": True}, True) == [("remount", "/", 1)]
    assert ops(rootfs.readonly_root, {}, False) == []
    with pytest.raises(Error):
        ops(rootfs.readonly_root, {"readonly": True}, False)
