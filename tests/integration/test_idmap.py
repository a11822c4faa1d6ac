"""ID-mapped mounts: uidMappings and gidMappings of a mount, the options idmap and ridmap."""

import os
import subprocess

import pytest

from harness import host_mounts, read

KERNEL = tuple(int(word) for word in os.uname().release.split(".")[:2])
# tmpfs can be mapped from Linux 6.3 on; of what may be below /tmp these can.
tmpfs_maps = pytest.mark.skipif(KERNEL < (6, 3), reason="this kernel does not map tmpfs")
MAPPABLE = ("ext4", "xfs", "btrfs", "f2fs", *(["tmpfs"] if KERNEL >= (6, 3) else []))

MAPPED = {
    "uidMappings": [
        {"containerID": 0, "hostID": 1000, "size": 1},
        {"containerID": 5, "hostID": 2000, "size": 10},
    ],
    "gidMappings": [{"containerID": 0, "hostID": 3000, "size": 100}],
}


@pytest.fixture(autouse=True)
def hosts_mounts_stay():
    """Every test here: the host's mounts are the same before and after."""
    before = host_mounts()
    yield
    assert host_mounts() == before


@pytest.fixture
def source(tmp_path):
    """A directory on a disk: with files of 0:0, 7:7 and 99:99."""
    argv = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", tmp_path]
    kind = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    if kind not in MAPPABLE:
        pytest.skip(f"{kind} cannot be mapped")
    path = tmp_path / "source"
    path.mkdir()
    for owner in (0, 7, 99):
        (path / str(owner)).touch()
        os.chown(path / str(owner), owner, owner)
    return path


def mapped(bundle, destination, source, *options, kind="bind", **mappings):
    bundle.mount(destination, source, *options, kind=kind)
    bundle.mounts[-1].update(mappings or MAPPED)
    return bundle


SHOW = "cd /data; stat -c '%n %u %g' . * */* 2>/dev/null; true"


@pytest.mark.parametrize("options", [(), ("idmap",), ("ridmap",), ("rbind", "ridmap", "ro")])
def test_a_bind_shows_other_owners(pyrunc, bundle, source, options):
    mapped(bundle, "/data", source, *options).sh(SHOW)
    lines = pyrunc.run(bundle).stdout.splitlines()
    # 99 has no mapping: what nobody is.
    assert lines == [". 1000 3000", "0 1000 3000", "7 2002 3007", "99 65534 3099"]


def test_what_is_written_has_the_owner_of_the_disk(pyrunc, bundle, source):
    bundle.process["user"] = {"uid": 2003, "gid": 3004}
    os.chmod(source, 0o777)
    mapped(bundle, "/data", source).sh("touch /data/new; stat -c '%u %g' /data/new")
    assert pyrunc.run(bundle).stdout == "2003 3004\n"
    made = os.stat(source / "new")
    assert (made.st_uid, made.st_gid) == (8, 4)


def test_a_file(pyrunc, bundle, source):
    mapped(bundle, "/data", source / "7").args("stat", "-c", "%u %g", "/data")
    assert pyrunc.run(bundle).stdout == "2002 3007\n"


@tmpfs_maps
@pytest.mark.parametrize(("option", "below"), [("idmap", "0 0"), ("ridmap", "1000 3000")])
def test_what_is_mounted_below(pyrunc, bundle, source, tmp_path, option, below):
    # In a mount namespace of our own: something mounted below the source.
    (source / "sub").mkdir()
    script = tmp_path / "with-sub"
    script.write_text(
        "#!/bin/sh\nexec unshare -m --propagation private sh -c '"
        f'mount -t tmpfs none {source}/sub && touch {source}/sub/file && exec "$@"\''
        f' sh {pyrunc.command} "$@"\n'
    )
    script.chmod(0o755)
    pyrunc.command = str(script)
    mapped(bundle, "/data", source, "rbind", option).sh(SHOW)
    lines = pyrunc.run(bundle).stdout.splitlines()
    assert "0 1000 3000" in lines
    assert f"sub/file {below}" in lines


def test_other_attributes_go_with_it(pyrunc, bundle, source):
    mapped(bundle, "/data", source, "ro", "nosuid", "noexec", "idmap", "rslave")
    mount = pyrunc.probe(bundle)["mounts"]["/data"]
    assert {"ro", "nosuid", "noexec", "idmapped"} <= set(mount["options"])


@tmpfs_maps
def test_an_earlier_mount_can_be_the_source(pyrunc, bundle):
    # What the container's mount namespace has there, not what the host has.
    bundle.mount("/tmp", "tmpfs", "mode=1777", kind="tmpfs")
    mapped(bundle, "/data", f"{bundle.rootfs}/tmp").args("stat", "-c", "%u %a", "/data")
    assert pyrunc.run(bundle).stdout == "1000 1777\n"


@tmpfs_maps
def test_a_file_system_of_its_own(pyrunc, bundle):
    mapped(bundle, "/data", "tmpfs", "size=64k", "mode=0751", "idmap", kind="tmpfs")
    seen = pyrunc.probe(bundle)["mounts"]["/data"]
    assert seen["type"] == "tmpfs"
    assert "idmapped" in seen["options"]
    assert "size=64k" in seen["super"]
    assert pyrunc.run(bundle.args("stat", "-c", "%u %g %a", "/data")).stdout == "1000 3000 751\n"


@tmpfs_maps
def test_a_file_system_that_is_a_copy(pyrunc, bundle):
    path = bundle.write("data/file", "text")
    os.chown(path, 7, 7)
    mapped(bundle, "/data", "tmpfs", "tmpcopyup", "ro", kind="tmpfs")
    bundle.sh("cat /data/file; stat -c ' %u %g' /data/file; touch /data/x")
    result = pyrunc.run(bundle, code=1)
    assert result.stdout == "text 2002 3007\n"
    assert "Read-only file system" in result.stderr


def test_an_image_on_a_disk(pyrunc, bundle, tmp_path):
    image = tmp_path / "image"
    subprocess.run(["truncate", "-s", "8M", image], check=True)
    done = subprocess.run(["mkfs.ext4", "-q", image], check=False, capture_output=True)
    if done.returncode or not os.path.exists("/dev/loop-control"):
        pytest.skip("no loop device to mount")
    loop = subprocess.run(
        ["losetup", "--find", "--show", image], check=False, capture_output=True, text=True
    )
    if loop.returncode:
        pytest.skip("no loop device to mount")
    device = loop.stdout.strip()
    try:
        mapped(bundle, "/data", device, "idmap", kind="ext4").sh(SHOW)
        assert ". 1000 3000" in pyrunc.run(bundle).stdout
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_several_mappings(pyrunc, bundle, source):
    other = [{"containerID": 0, "hostID": 4000, "size": 100}]
    mapped(bundle, "/a", source, "ro")
    mapped(bundle, "/b", source, uidMappings=other, gidMappings=other)
    mapped(bundle, "/c", source)
    bundle.mount("/d", source)
    bundle.sh("stat -c %u /a/0 /b/0 /c/0 /d/0")
    assert pyrunc.run(bundle).stdout.split() == ["1000", "4000", "1000", "0"]


@pytest.mark.parametrize(
    ("kind", "destination", "name"),
    [("sysfs", "/sys2", "sysfs"), ("devpts", "/pts2", "devpts"), ("proc", "/proc2", "proc")],
)
def test_a_file_system_that_cannot(pyrunc, bundle, kind, destination, name):
    mapped(bundle, destination, kind, kind=kind)
    message = pyrunc.run(bundle, code=1).message
    assert f'error mounting "{kind}" to rootfs at "{destination}"' in message
    assert f"failed to set MOUNT_ATTR_IDMAP on {destination}: file system {name}: " in message
    assert message.endswith(
        "(maybe the filesystem used doesn't support idmap mounts on this kernel?)"
    )
    assert pyrunc.names() == []


def test_a_bind_of_what_cannot(pyrunc, bundle):
    mapped(bundle, "/data", "/proc/sys")
    message = pyrunc.run(bundle, code=1).message
    assert "failed to set MOUNT_ATTR_IDMAP on /proc/sys: file system proc: invalid arg" in message


def test_mappings_that_no_kernel_takes(pyrunc, bundle, source):
    twice = [{"containerID": 0, "hostID": 1, "size": 5}] * 2
    mapped(bundle, "/data", source, uidMappings=twice, gidMappings=twice)
    message = pyrunc.run(bundle, code=1).message
    number = len(bundle.mounts) - 1
    assert message.endswith(f"mounts[{number}].uidMappings: containerID 0 is mapped twice")


def test_what_cannot_be_mapped(pyrunc, bundle):
    mapped(bundle, "/data", "tmpfs", "remount", kind="tmpfs")
    number = len(bundle.mounts) - 1
    message = pyrunc.run(bundle, code=1).message
    assert message.endswith(f"mounts[{number}]: a remount cannot be ID-mapped")
    bundle.mounts.pop()
    mapped(bundle, "/data", "cgroup", kind="cgroup")
    message = pyrunc.run(bundle, code=1).message
    assert message.endswith(f"mounts[{number}]: a cgroup mount cannot be ID-mapped")


def test_no_child_is_left(pyrunc, bundle, source):
    path = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    before = set(read(path).split())  # an earlier test's, if it was a subreaper
    mapped(bundle, "/data", source)
    name = pyrunc.create(bundle.sh("sleep 100"))
    assert not set(read(path).split()) - before
    pyrunc("delete", "--force", name)


# --- with a user namespace: only the host's root may map the host's file systems ---

FIRST = 100000


@pytest.fixture
def users(bundle):
    """A bundle with a user namespace, whose root is 100000 on the host."""
    mapping = [{"containerID": 0, "hostID": FIRST, "size": 65536}]
    bundle.namespace("user")
    bundle.linux.update(uidMappings=mapping, gidMappings=mapping)
    path = bundle.path
    while path not in ("/tmp", "/"):
        os.chmod(path, os.stat(path).st_mode | 0o011)
        path = os.path.dirname(path)
    for folder, _, names in os.walk(bundle.rootfs):
        for name in ("", *names):
            full = os.path.join(folder, name)
            if os.lstat(full).st_nlink == 1 or not name:
                os.lchown(full, FIRST, FIRST)
    return bundle


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_mappings_of_the_container(pyrunc, users, source, option):
    users.mount("/data", source, "rbind", option).sh(SHOW)
    lines = pyrunc.run(users).stdout.splitlines()
    # What is root's on the disk is root's in the container, whose root is nobody on the host.
    assert lines == [". 0 0", "0 0 0", "7 7 7", "99 99 99"]
    for names in users.process["capabilities"].values():
        names.append("CAP_CHOWN")
    users.sh("touch /data/new && chown 5:6 /data/new")
    pyrunc.run(users)
    made = os.stat(source / "new")
    assert (made.st_uid, made.st_gid) == (5, 6)


def test_without_it_the_files_are_nobodys(pyrunc, users, source):
    users.mount("/data", source, "rbind").sh(SHOW)
    assert ". 65534 65534" in pyrunc.run(users).stdout


def test_mappings_of_a_mount_of_a_container_with_users(pyrunc, users, source):
    own = [{"containerID": 0, "hostID": FIRST + 1000, "size": 100}]
    mapped(users, "/data", source, "ro", "nosuid", uidMappings=own, gidMappings=own).sh(SHOW)
    lines = pyrunc.run(users).stdout.splitlines()
    assert lines == [". 1000 1000", "0 1000 1000", "7 1007 1007", "99 1099 1099"]
    options = pyrunc.probe(users)["mounts"]["/data"]["options"]
    assert {"ro", "nosuid", "idmapped"} <= set(options)


def test_a_file_system_of_its_own_of_a_container_with_users(pyrunc, users):
    own = [{"containerID": 0, "hostID": 5, "size": 100}]
    mapped(users, "/data", "tmpfs", "mode=0751", kind="tmpfs", uidMappings=own, gidMappings=own)
    users.args("stat", "-c", "%u %g %a", "/data")
    result = pyrunc.run(users, code=None)
    # Kernels let only some do that.
    assert (
        result.stdout == "5 5 751\n" or "failed to set MOUNT_ATTR_IDMAP on /data" in result.message
    )


def test_a_source_nobody_else_may_reach(pyrunc, users, source):
    os.chmod(source.parent, 0o700)
    (source.parent / "deep").mkdir()
    (source.parent / "deep" / "file").write_text("text")
    os.chmod(source.parent / "deep", 0o700)
    try:
        users.mount("/data", source.parent / "deep", "idmap").args("cat", "/data/file")
        os.chmod(source.parent, 0o711)
        assert pyrunc.run(users).stdout == "text"
    finally:
        os.chmod(source.parent, 0o755)


def test_an_earlier_mount_as_the_source_with_users(pyrunc, users):
    users.mount("/tmp", "tmpfs", "mode=1777", kind="tmpfs")
    users.mount("/data", f"{users.rootfs}/tmp", "idmap")
    users.args("stat", "-c", "%u %a", "/data")
    # Only the container's mount namespace has it.
    assert pyrunc.run(users).stdout == "0 1777\n"


def test_a_bind_of_what_cannot_with_users(pyrunc, users):
    users.mount("/data", "/proc/sys", "idmap")
    message = pyrunc.run(users, code=1).message
    assert 'error mounting "/proc/sys" to rootfs at "/data": ' in message
    assert "failed to set MOUNT_ATTR_IDMAP on /proc/sys: file system proc: invalid arg" in message
    assert pyrunc.names() == []


def test_a_joined_user_namespace(pyrunc, users, make_bundle, source):
    name = pyrunc.up(users.sh("sleep 100"))
    bundle = users.namespace("user", f"/proc/{pyrunc.pid(name)}/ns/user")
    for kind in ("pid", "network", "ipc", "uts"):
        bundle.namespace(kind)
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    bundle.mount("/data", source, "idmap").sh(SHOW)
    assert pyrunc.run(bundle).stdout.splitlines() == [". 0 0", "0 0 0", "7 7 7", "99 99 99"]
    pyrunc("delete", "--force", name)
