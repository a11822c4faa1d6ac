"""mounts and the root filesystem, as seen from inside; the host's mounts never change."""

import os
import stat
import struct
import subprocess

import pytest

from harness import host_mounts, read, wait_for


@pytest.fixture(autouse=True)
def hosts_mounts_stay():
    """Every test here: the host's mounts are the same before and after."""
    before = host_mounts()
    yield
    assert host_mounts() == before


def test_default_mounts(pyrunc, bundle):
    mounts = pyrunc.probe(bundle)["mounts"]
    kinds = {path: mounts[path]["type"] for path in ("/proc", "/dev", "/dev/pts", "/dev/shm")}
    assert kinds == {"/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs"}
    assert mounts["/dev/mqueue"]["type"] == "mqueue"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounts["/sys"]["options"])


def test_nothing_of_the_host_is_left(pyrunc, bundle):
    mounts = pyrunc.probe(bundle)["mounts"]
    configured = {mount["destination"] for mount in bundle.mounts}
    covered = set(bundle.linux["maskedPaths"] + bundle.linux["readonlyPaths"])
    for path in mounts:
        known = path == "/" or path in configured | covered or path.startswith("/sys/fs/cgroup/")
        assert known, path


def test_tmpfs(pyrunc, bundle):
    bundle.mount("/data", "tmpfs", "size=64k", "mode=0711", "nosuid", kind="tmpfs")
    mount = pyrunc.probe(bundle)["mounts"]["/data"]
    assert mount["type"] == "tmpfs"
    assert {"size=64k", "mode=711"} <= set(mount["super"])
    assert "nosuid" in mount["options"]


def test_tmpfs_keeps_the_mode_of_its_mountpoint(pyrunc, bundle):
    os.mkdir(f"{bundle.rootfs}/data")
    os.chmod(f"{bundle.rootfs}/data", 0o1751)
    bundle.mount("/data", "tmpfs", kind="tmpfs")
    assert pyrunc.run(bundle.args("stat", "-c", "%a", "/data")).stdout == "1751\n"


def test_read_only_tmpfs_can_hold_later_mountpoints(pyrunc, bundle, tmp_path):
    (tmp_path / "source").mkdir()
    bundle.mount("/data", "tmpfs", "ro", kind="tmpfs")
    bundle.mount("/data/inner", tmp_path / "source")
    result = pyrunc.run(bundle.sh("ls /data; touch /data/x"), code=1)
    assert result.stdout == "inner\n"
    assert "Read-only file system" in result.stderr


def test_tmpcopyup(pyrunc, bundle):
    bundle.write("data/sub/file", "content", 0o604)
    os.chown(f"{bundle.rootfs}/data/sub/file", 1000, 1001)
    os.symlink("sub/file", f"{bundle.rootfs}/data/link")
    bundle.mount("/data", "tmpfs", "tmpcopyup", kind="tmpfs")
    bundle.sh("cat /data/link; stat -c ' %a %u %g' /data/sub/file; rm -r /data/*")
    assert pyrunc.run(bundle).stdout == "content 604 1000 1001\n"
    assert read(f"{bundle.rootfs}/data/sub/file") == "content"


@pytest.fixture
def copied(pyrunc, bundle):
    """copied(): /data/NAME of a tmpfs with tmpcopyup, as the host sees it below /proc/PID/root."""
    bundle.mount("/data", "tmpfs", "tmpcopyup", kind="tmpfs")

    def create():
        name = pyrunc.create(bundle.sh("sleep 100"))
        return f"/proc/{pyrunc.pid(name)}/root/data"

    os.mkdir(f"{bundle.rootfs}/data")
    create.source = f"{bundle.rootfs}/data"
    return create


def test_tmpcopyup_copies_what_a_file_is(copied):
    source = copied.source
    path = f"{source}/file"
    with open(path, "w") as file:
        file.write("content")
    os.chown(path, 1000, 1001)
    os.chmod(path, 0o6755)
    cap_net_raw = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(path, "security.capability", cap_net_raw)
    os.setxattr(path, "trusted.note", b"x" * 3000)
    os.utime(path, ns=(123456789, 987654321012345678))
    os.mkdir(f"{source}/dir")
    os.setxattr(f"{source}/dir", "trusted.note", b"")
    with open(f"{source}/dir/inner", "w"):
        pass
    os.chmod(f"{source}/dir", 0o1731)
    os.utime(f"{source}/dir", ns=(5, 10**18))
    os.symlink("nowhere", f"{source}/link")
    os.lchown(f"{source}/link", 7, 8)
    os.utime(f"{source}/link", ns=(6, 7), follow_symlinks=False)
    copy = copied()
    for name in ("file", "dir", "dir/inner", "link"):
        old, new = os.lstat(f"{source}/{name}"), os.lstat(f"{copy}/{name}")
        for what in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
            assert getattr(old, what) == getattr(new, what), (name, what)
    assert os.lstat(f"{copy}/file").st_atime_ns == 123456789
    assert os.getxattr(f"{copy}/file", "security.capability") == cap_net_raw
    assert os.getxattr(f"{copy}/file", "trusted.note") == b"x" * 3000
    assert os.getxattr(f"{copy}/dir", "trusted.note") == b""
    assert os.readlink(f"{copy}/link") == "nowhere"


def test_tmpcopyup_copies_access_lists(copied):
    # user::rw- user:1000:rwx group::r-- mask::rwx other::---
    rows = [(1, 6, 2**32 - 1), (2, 7, 1000), (4, 4, 2**32 - 1), (16, 7, 2**32 - 1)]
    rows.append((32, 0, 2**32 - 1))
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    path = f"{copied.source}/dir"
    os.mkdir(path)
    try:
        for name in ("system.posix_acl_access", "system.posix_acl_default"):
            os.setxattr(path, name, access)
    except OSError:
        pytest.skip("no access lists on this file system")
    with open(f"{path}/file", "w"):
        pass
    copy = copied()
    for name in ("dir", "dir/file"):
        for kind in ("access", "default")[: 1 + (name == "dir")]:
            key = f"system.posix_acl_{kind}"
            old = os.getxattr(f"{copied.source}/{name}", key)
            assert os.getxattr(f"{copy}/{name}", key) == old
        assert os.stat(f"{copy}/{name}").st_mode == os.stat(f"{copied.source}/{name}").st_mode


def test_tmpcopyup_of_what_is_no_file(copied):
    source = copied.source
    os.mkfifo(f"{source}/fifo", 0o640)
    os.mknod(f"{source}/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(f"{source}/high", stat.S_IFBLK | 0o600, os.makedev(259, 300000))
    os.mknod(f"{source}/socket", stat.S_IFSOCK | 0o666)
    copy = copied()
    for name in ("fifo", "null", "high", "socket"):
        old, new = os.lstat(f"{source}/{name}"), os.lstat(f"{copy}/{name}")
        assert (old.st_mode, old.st_rdev) == (new.st_mode, new.st_rdev), name


def test_tmpcopyup_keeps_links_together(copied):
    source = copied.source
    for name in ("a", "b"):
        os.mkdir(f"{source}/{name}")
    with open(f"{source}/a/one", "w") as file:
        file.write("text")
    os.link(f"{source}/a/one", f"{source}/b/two")
    os.link(f"{source}/a/one", f"{source}/three")
    os.link(f"{source}/a/one", f"{source}/../elsewhere")
    os.symlink("x", f"{source}/a/soft")
    os.link(f"{source}/a/soft", f"{source}/b/soft", follow_symlinks=False)
    os.utime(f"{source}/a", ns=(1, 2))
    copy = copied()
    numbers = {os.stat(f"{copy}/{name}").st_ino for name in ("a/one", "b/two", "three")}
    assert len(numbers) == 1
    assert os.stat(f"{copy}/three").st_nlink == 3
    assert os.lstat(f"{copy}/a/soft").st_ino == os.lstat(f"{copy}/b/soft").st_ino
    assert sorted(os.listdir(copy)) == ["a", "b", "three"]
    assert os.stat(f"{copy}/a").st_mtime_ns == 2
    os.unlink(f"{source}/../elsewhere")


def test_tmpcopyup_keeps_holes(copied, bundle):
    size = 1 << 30
    bundle.mounts[-1]["options"].append("size=1m")
    with open(f"{copied.source}/sparse", "wb") as file:
        file.write(b"head")
        file.seek(size // 2)
        file.write(b"middle")
        file.truncate(size)
    with open(f"{copied.source}/empty", "wb"):
        pass
    with open(f"{copied.source}/hole", "wb") as file:
        file.truncate(5)
    copy = copied()
    with open(f"{copy}/sparse", "rb") as file:
        assert file.read(5) == b"head\0"
        file.seek(size // 2 - 1)
        assert file.read(8) == b"\0middle\0"
    assert os.stat(f"{copy}/sparse").st_size == size
    assert os.stat(f"{copy}/sparse").st_blocks < 100
    assert [os.stat(f"{copy}/{name}").st_size for name in ("empty", "hole")] == [0, 5]


def test_tmpcopyup_of_many_names(copied):
    for number in range(3000):
        with open(f"{copied.source}/{'n' * 200}{number}", "w") as file:
            file.write(str(number))
    path = copied.source
    for _ in range(100):
        path += "/d"
        os.mkdir(path)
    copy = copied()
    assert len(os.listdir(copy)) == 3001
    assert os.path.isdir(f"{copy}{'/d' * 100}")


def test_tmpcopyup_that_does_not_fit(pyrunc, bundle, copied):
    bundle.mounts[-1]["options"].append("size=64k")
    with open(f"{copied.source}/file", "wb") as file:
        file.write(b"x" * 100_000)
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("tmpcopyup: failed to copy /data to the tmpfs: no space left on device")


def test_bind_directory(pyrunc, bundle, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    bundle.mount("/data", source).sh("echo inside > /data/file")
    pyrunc.run(bundle)
    assert read(source / "file") == "inside\n"


def test_bind_file_makes_its_mountpoint(pyrunc, bundle, tmp_path):
    (tmp_path / "file").write_text("content")
    bundle.mount("/new/dir/file", tmp_path / "file").args("cat", "/new/dir/file")
    assert pyrunc.run(bundle).stdout == "content"
    assert stat.S_IMODE(os.stat(f"{bundle.rootfs}/new/dir").st_mode) == 0o755
    assert stat.S_ISREG(os.stat(f"{bundle.rootfs}/new/dir/file").st_mode)


def test_bind_source_relative_to_the_bundle(pyrunc, bundle):
    os.mkdir(f"{bundle.path}/source")
    bundle.mount("/data", "source").sh("touch /data/file")
    pyrunc.run(bundle)
    assert os.path.exists(f"{bundle.path}/source/file")


def test_bind_options(pyrunc, bundle, tmp_path):
    (tmp_path / "source").mkdir()
    bundle.mount("/data", tmp_path / "source", "ro", "nosuid", "nodev", "noexec", "noatime")
    options = pyrunc.probe(bundle)["mounts"]["/data"]["options"]
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(options)


def test_type_is_ignored_for_a_bind(pyrunc, bundle, tmp_path):
    (tmp_path / "source").mkdir()
    bundle.mount("/data", tmp_path / "source", "rbind", kind="ext4")
    assert "/data" in pyrunc.probe(bundle)["mounts"]


def test_missing_bind_source(pyrunc, bundle):
    bundle.mount("/data", "/absent")
    message = pyrunc.run(bundle, code=1).message
    assert message.endswith("stat /absent: no such file or directory")
    assert 'error mounting "/absent" to rootfs at "/data"' in message
    assert pyrunc.names() == []


def test_mounts_come_in_order(pyrunc, bundle, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("seen")
    bundle.mount("/a", "tmpfs", kind="tmpfs")
    bundle.mount("/a/b", tmp_path / "source")
    assert pyrunc.run(bundle.args("cat", "/a/b/file")).stdout == "seen"


def test_recursive_bind_brings_submounts(pyrunc, bundle):
    bundle.mount("/data", "/proc", "rbind", "ro")
    # Sources are the host's, seen from the container's mount namespace.
    assert pyrunc.run(bundle.sh("test -e /data/1")).code == 0


def test_recursive_read_only(pyrunc, bundle, tmp_path):
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    bundle.mount("/data", tmp_path / "outer")
    bundle.mount("/data/inner", tmp_path / "other")
    bundle.mount("/again", f"{bundle.rootfs}/tmp", "rbind", "rro")
    assert "ro" in pyrunc.probe(bundle)["mounts"]["/again"]["options"]


@pytest.fixture
def noatime(pyrunc, tmp_path):
    """noatime(flags): a source on a mount with these flags, in a mount namespace of pyrunc's."""

    def make(flags):
        source = tmp_path / "source"
        source.mkdir()
        script = tmp_path / "with-source"
        script.write_text(
            "#!/bin/sh\nexec unshare -m --propagation private sh -c '"
            f'mount -t tmpfs -o {flags} none {source} && exec "$@"\' sh {pyrunc.command} "$@"\n'
        )
        script.chmod(0o755)
        pyrunc.command = str(script)
        return source

    return make


ATIMES = {"noatime", "relatime", "nodiratime"}


@pytest.mark.parametrize(
    ("has", "options", "gets"),
    [
        ("noatime", [], {"noatime"}),
        ("noatime", ["ro"], {"noatime"}),
        ("noatime", ["atime"], {"relatime"}),
        ("noatime,nodiratime", ["atime"], {"relatime", "nodiratime"}),
        ("noatime,nodiratime", ["diratime"], {"noatime"}),
        ("relatime,nodiratime", ["diratime"], {"relatime"}),
        ("strictatime", ["nostrictatime"], {"relatime"}),
        ("strictatime", ["atime", "ro"], set()),
        ("noatime", ["strictatime"], set()),
        ("noatime", ["relatime", "nodiratime"], {"relatime", "nodiratime"}),
        ("noatime", ["norelatime"], {"noatime"}),
        ("noatime", ["ratime"], {"relatime"}),
        ("nodiratime", ["rnoatime", "rdiratime"], {"noatime"}),
    ],
)
def test_access_times_of_a_bind(pyrunc, bundle, noatime, has, options, gets):
    bundle.mount("/data", noatime(has), "rbind", *options)
    assert set(pyrunc.probe(bundle)["mounts"]["/data"]["options"]) & ATIMES == gets


def test_flags_of_a_bind_that_are_not_asked_for_go(pyrunc, bundle, noatime):
    bundle.mount("/data", noatime("nosuid,nodev,noexec"), "rbind", "nodev", "exec")
    options = set(pyrunc.probe(bundle)["mounts"]["/data"]["options"])
    assert options & {"nosuid", "nodev", "noexec"} == {"nodev"}


RECURSIVE = {
    "rro": "ro",
    "rnosuid": "nosuid",
    "rnodev": "nodev",
    "rnoexec": "noexec",
    "rnodiratime": "nodiratime",
    "rnoatime": "noatime",
    "rnosymfollow": "nosymfollow",
}


@pytest.mark.parametrize("option", RECURSIVE)
def test_recursive_options_are_for_all_below(pyrunc, bundle, option):
    # Mounts of the container itself are what is below.
    for path in ("/a", "/a/b"):
        bundle.mount(path, "tmpfs", kind="tmpfs")
    bundle.mount("/data", f"{bundle.rootfs}/a", "rbind", option)
    opposite = f"r{RECURSIVE[option].removeprefix('no')}" if option != "rro" else "rrw"
    bundle.mount("/back", f"{bundle.rootfs}/data", "rbind", opposite)
    mounts = pyrunc.probe(bundle)["mounts"]
    for path, expected in (("/data", True), ("/data/b", True), ("/a/b", False), ("/back/b", False)):
        assert (RECURSIVE[option] in mounts[path]["options"]) == expected, path


def test_no_symlinks_are_followed(pyrunc, bundle, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("text")
    (tmp_path / "source" / "link").symlink_to("file")
    bundle.mount("/data", tmp_path / "source", "nosymfollow")
    bundle.mount("/t", "tmpfs", "nosymfollow", kind="tmpfs")
    bundle.sh("cat /data/file; ln -s /etc/passwd /t/link; cat /t/link /data/link")
    result = pyrunc.run(bundle, code=1)
    assert result.stdout == "text"
    assert result.stderr.count("Too many levels of symbolic links") == 2


def test_remount_changes_what_is_there(pyrunc, bundle):
    bundle.mount("/t", "tmpfs", "size=1m", kind="tmpfs")
    bundle.mount("/t", "tmpfs", "remount", "size=2m", "nosuid", kind="tmpfs")
    bundle.mount("/u", "tmpfs", "nodev", kind="tmpfs")
    bundle.mount("/u", "none", "bind", "remount", "ro", kind="none")
    seen = pyrunc.probe(bundle)
    assert [line.split()[4] for line in seen["mountinfo"]].count("/u") == 1
    assert "size=2048k" in seen["mounts"]["/t"]["super"]
    assert "nosuid" in seen["mounts"]["/t"]["options"]
    assert set(seen["mounts"]["/u"]["options"]) & {"ro", "nodev"} == {"ro"}
    assert "rw" in seen["mounts"]["/u"]["super"]


def test_remount_of_what_is_no_mount(pyrunc, bundle):
    bundle.mount("/tmp", "none", "bind", "remount", "ro", kind="none")
    message = pyrunc.run(bundle, code=1).message
    assert "flags=MS_RDONLY|MS_REMOUNT|MS_BIND: invalid argument" in message


def test_the_last_of_contradicting_options_wins(pyrunc, bundle, tmp_path):
    (tmp_path / "source").mkdir()
    bundle.mount("/a", tmp_path / "source", "ro", "nosuid", "rw", "suid", "noexec")
    bundle.mount("/b", tmp_path / "source", "rw", "ro", "rbind", "rnodev", "rdev")
    mounts = pyrunc.probe(bundle)["mounts"]
    assert set(mounts["/a"]["options"]) & {"ro", "nosuid", "noexec"} == {"noexec"}
    assert set(mounts["/b"]["options"]) & {"ro", "nodev"} == {"ro"}


def test_relative_destination_is_below_the_root(pyrunc, bundle):
    bundle.mount("data", "tmpfs", kind="tmpfs")
    assert "/data" in pyrunc.probe(bundle)["mounts"]


def test_symbolic_links_of_a_destination_stay_inside(pyrunc, bundle, tmp_path):
    # CVE-2021-30465 and its kind: the image decides where a destination leads.
    victim = tmp_path / "victim"
    victim.mkdir()
    os.symlink(victim, f"{bundle.rootfs}/link")
    bundle.mount("/link/data", "tmpfs", kind="tmpfs")
    assert f"{victim}/data" in pyrunc.probe(bundle)["mounts"]
    assert os.listdir(victim) == []
    assert os.path.isdir(f"{bundle.rootfs}{victim}/data")


def test_dots_of_a_destination_stay_inside(pyrunc, bundle):
    os.symlink("../../../../..", f"{bundle.rootfs}/up")
    bundle.mount("/up/data", "tmpfs", kind="tmpfs")
    bundle.mount("/../../more", "tmpfs", kind="tmpfs")
    mounts = pyrunc.probe(bundle)["mounts"]
    assert "/data" in mounts and "/more" in mounts


def test_mount_onto_the_root_is_refused(pyrunc, bundle):
    bundle.mount("/", "tmpfs", kind="tmpfs")
    message = pyrunc.run(bundle, code=1).message
    assert "is on the top of rootfs" in message or "is outside of rootfs" in message


def test_unknown_file_system(pyrunc, bundle):
    bundle.mount("/data", "x", kind="nonsense")
    assert "no such device" in pyrunc.run(bundle, code=1).message


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_proc_and_sysfs_need_a_plain_directory(pyrunc, bundle, kind):
    # CVE-2019-19921
    path = {"proc": "proc", "sysfs": "sys"}[kind]
    os.rmdir(f"{bundle.rootfs}/{path}")
    os.symlink("tmp", f"{bundle.rootfs}/{path}")
    message = pyrunc.run(bundle, code=1).message
    assert "must be mounted on ordinary directory" in message


def test_nothing_else_is_mounted_on_proc(pyrunc, bundle, tmp_path):
    bundle.mount("/proc", tmp_path)
    assert "cannot be mounted because it is not of type proc" in pyrunc.run(bundle, code=1).message


def test_nothing_is_mounted_inside_proc(pyrunc, bundle, tmp_path):
    (tmp_path / "file").write_text("")
    bundle.mount("/proc/self/attr/exec", tmp_path / "file")
    assert "it is inside /proc" in pyrunc.run(bundle, code=1).message


def test_lxcfs_files_may_be(pyrunc, bundle, tmp_path):
    (tmp_path / "file").write_text("replaced")
    bundle.mount("/proc/uptime", tmp_path / "file")
    assert pyrunc.run(bundle.args("cat", "/proc/uptime")).stdout == "replaced"


def test_masked_paths(pyrunc, bundle):
    bundle.write("secret/file", "secret")
    bundle.write("single", "secret")
    bundle.linux["maskedPaths"] = ["/secret", "/single", "/absent", "/proc/kcore"]
    bundle.sh("ls /secret; cat /single; cat /proc/kcore; touch /secret/x")
    result = pyrunc.run(bundle, code=1)
    assert result.stdout == ""


def test_read_only_paths(pyrunc, bundle):
    bundle.write("data/file", "x")
    bundle.linux["readonlyPaths"] = ["/data", "/proc/sys", "/absent"]
    options = pyrunc.probe(bundle)["mounts"]
    assert "ro" in options["/data"]["options"]
    assert "ro" in options["/proc/sys"]["options"]


def test_read_only_path_that_is_the_root(pyrunc, bundle):
    bundle.linux["readonlyPaths"] = ["/"]
    assert pyrunc.run(bundle.sh("touch /x || echo refused")).stdout == "refused\n"


def test_read_only_root(pyrunc, bundle):
    bundle.config["root"]["readonly"] = True
    result = pyrunc.run(bundle.sh("touch /x || echo refused"))
    assert result.stdout == "refused\n"
    assert "ro" in pyrunc.probe(bundle)["mounts"]["/"]["options"]
    assert not os.path.exists(f"{bundle.rootfs}/x")


def test_default_links_of_dev(pyrunc, bundle):
    names = ["fd", "stdin", "stdout", "stderr", "ptmx"]
    result = pyrunc.run(bundle.sh("; ".join(f"readlink /dev/{name}" for name in names)))
    fds = ["/proc/self/fd", *(f"/proc/self/fd/{n}" for n in (0, 1, 2))]
    assert result.stdout.split() == [*fds, "pts/ptmx"]


def test_bound_dev_is_left_alone(pyrunc, bundle, tmp_path):
    dev = tmp_path / "dev"
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    keep = [m for m in bundle.mounts if not m["destination"].startswith("/dev")]
    bundle.config["mounts"] = keep
    bundle.mount("/dev", dev, "rbind")
    bundle.linux["maskedPaths"] = []
    assert pyrunc.run(bundle.args("ls", "/dev")).stdout == "null\n"


def test_dev_that_is_a_symbolic_link(pyrunc, bundle, tmp_path):
    # CVE-2026-41579
    victim = tmp_path / "victim"
    victim.mkdir()
    os.rmdir(f"{bundle.rootfs}/dev")
    os.symlink(victim, f"{bundle.rootfs}/dev")
    bundle.config["mounts"] = [m for m in bundle.mounts if m["destination"] != "/dev"]
    pyrunc.run(bundle.args("true"), code=None)
    assert os.listdir(victim) == []


@pytest.mark.parametrize(
    ("option", "marker"),
    [("rslave", None), ("rprivate", None), ("rshared", "shared:"), ("unbindable", "unbindable")],
)
def test_propagation_of_a_mount(pyrunc, bundle, tmp_path, option, marker):
    (tmp_path / "source").mkdir()
    bundle.mount("/data", tmp_path / "source", option)
    tags = " ".join(pyrunc.probe(bundle)["mounts"]["/data"]["propagation"])
    assert (marker in tags) if marker else (tags == "")


def test_root_propagation(pyrunc, bundle):
    bundle.linux["rootfsPropagation"] = "shared"
    tags = pyrunc.probe(bundle)["mounts"]["/"]["propagation"]
    assert any(tag.startswith("shared:") for tag in tags)


def test_unknown_root_propagation(pyrunc, bundle):
    bundle.linux["rootfsPropagation"] = "nonsense"
    message = pyrunc.run(bundle, code=1).message
    assert "rootfsPropagation" in message


def cgroup_mounts(bundle, *options):
    """The cgroup mount with other options."""
    for mount in bundle.mounts:
        if mount["type"] == "cgroup":
            mount["options"] = ["nosuid", "noexec", "nodev", *options]
    return bundle


@pytest.mark.parametrize("options", [("ro",), ()])
@pytest.mark.parametrize("own", [True, False])
def test_cgroup_mount_on_v1(pyrunc, bundle, cgroup_mode, own, options):
    if cgroup_mode == "v2":
        pytest.skip("needs cgroup v1")
    bundle.namespace("cgroup", None if own else False)
    seen = pyrunc.probe(cgroup_mounts(bundle, *options))["mounts"]
    below = {path: mount for path, mount in seen.items() if path.startswith("/sys/fs/cgroup/")}
    assert {"/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"} <= set(below)
    for mount in (*below.values(), seen["/sys/fs/cgroup"]):
        assert ("ro" in mount["options"]) == bool(options)
        assert {"nosuid", "noexec", "nodev"} <= set(mount["options"])
    assert seen["/sys/fs/cgroup"]["type"] == "tmpfs"
    for mount in below.values():
        assert mount["type"] == "cgroup"
        # In a namespace of its own its cgroup is the root of all it sees.
        assert (mount["root"] == "/") == own
    bundle.linux["resources"]["pids"] = {"limit": 77}
    script = "cat /sys/fs/cgroup/pids/pids.max; mkdir /sys/fs/cgroup/pids/x && echo made"
    result = pyrunc.run(bundle.sh(f"{script}; rmdir /sys/fs/cgroup/pids/x; true"))
    assert result.stdout == ("77\n" if options else "77\nmade\n")


@pytest.mark.parametrize("options", [("ro",), ()])
@pytest.mark.parametrize("own", [True, False])
def test_cgroup_mount_on_v2(v2, bundle, own, options):
    bundle.namespace("cgroup", None if own else False)
    seen = v2.probe(cgroup_mounts(bundle, *options))["mounts"]
    mount = seen["/sys/fs/cgroup"]
    assert mount["type"] == "cgroup2"
    assert ("ro" in mount["options"]) == bool(options)
    assert not [path for path in seen if path.startswith("/sys/fs/cgroup/")]
    # Without a namespace of its own it sees where it is.
    script = "cat /proc/self/cgroup | grep ^0:; cat /sys/fs/cgroup/cgroup.procs | grep -c ."
    lines = v2.run(bundle.sh(script), code=None).stdout.splitlines()
    assert (lines[0] == "0::/") == own
    if own:
        assert int(lines[1]) >= 3  # the shell and the two behind it


def test_cgroup_mount_shows_the_container_its_own(pyrunc, bundle, cgroup_mode):
    bundle.linux["resources"]["pids"] = {"limit": 77}
    path = "/sys/fs/cgroup/pids.max" if cgroup_mode == "v2" else "/sys/fs/cgroup/pids/pids.max"
    assert pyrunc.run(bundle.args("cat", path)).stdout == "77\n"


def test_cgroup_mount_is_read_only(pyrunc, bundle, cgroup_mode):
    path = "/sys/fs/cgroup" if cgroup_mode == "v2" else "/sys/fs/cgroup/pids"
    assert pyrunc.run(bundle.sh(f"mkdir {path}/x || echo refused")).stdout == "refused\n"


def test_no_pivot(pyrunc, bundle):
    result = pyrunc.run(bundle.sh("ls /; cat /proc/1/comm"), "--no-pivot")
    assert "etc" in result.stdout.split()


def test_device_options_of_pts(pyrunc, bundle):
    mount = pyrunc.probe(bundle)["mounts"]["/dev/pts"]
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= set(mount["super"])


def test_bind_with_file_system_data_is_refused(pyrunc, bundle, tmp_path):
    bundle.mount("/data", tmp_path, "size=1m")
    message = pyrunc.run(bundle, code=1).message
    assert "bind mounts cannot have any filesystem-specific options applied" in message


def test_sources_are_looked_up_with_the_hosts_paths(pyrunc, bundle, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    os.symlink("real", tmp_path / "link")
    bundle.mount("/data", tmp_path / "link")
    assert pyrunc.run(bundle.args("cat", "/data/file")).stdout == "x"


@pytest.mark.parametrize("recursive", ["", "r"])
@pytest.mark.parametrize(
    ("kind", "tag"), [("private", ""), ("slave", ""), ("shared", "shared"), ("unbindable",) * 2]
)
def test_root_propagation_of_every_kind(pyrunc, bundle, tmp_path, kind, tag, recursive):
    # With all that is made by a bind: devices of a mount, masked and read-only paths, cgroups.
    (tmp_path / "source").mkdir()
    bundle.mount("/data", tmp_path / "source", "rbind", "ro")
    bundle.mount("/t", "tmpfs", kind="tmpfs")
    bundle.write("secret", "text")
    bundle.linux["maskedPaths"] += ["/secret", "/tmp", "/root"]
    bundle.linux["readonlyPaths"] += ["/bin", "/t"]
    bundle.linux["rootfsPropagation"] = recursive + kind
    mounts = pyrunc.probe(bundle)["mounts"]
    tags = {path: " ".join(mounts[path]["propagation"]).split(":")[0] for path in ("/", "/t")}
    assert tags == {"/": tag, "/t": tag if recursive else ""}


class MountNamespace:
    """A mount namespace that stands where the host's does, with all mounts shared."""

    def __init__(self, directory):
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sleep", "1000"]
        )
        own, new = "/proc/self/ns/mnt", f"/proc/{self.process.pid}/ns/mnt"
        wait_for(lambda: os.readlink(own) != os.readlink(new), what="another namespace")
        self("mount", "--make-rshared", "/")
        self("mount", "-t", "tmpfs", "none", str(directory))
        self("mount", "--make-shared", str(directory))

    def __call__(self, *command):
        argv = ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", *command]
        subprocess.run(argv, check=True)

    def mounts(self):
        return read(f"/proc/{self.process.pid}/mountinfo")


@pytest.mark.parametrize(
    ("root", "option", "comes", "goes"),
    [
        ("", "", True, False),
        ("rprivate", "rprivate", False, False),
        ("", "rslave", True, False),
        ("rslave", "rslave", True, False),
        ("rshared", "rshared", True, True),
        ("shared", "rshared", True, True),
        ("unbindable", "rslave", True, False),
    ],
)
def test_mounts_that_come_and_go(pyrunc, bundle, tmp_path, root, option, comes, goes):
    source = tmp_path / "source"
    source.mkdir()
    host = MountNamespace(source)
    try:
        host("mkdir", f"{source}/in", f"{source}/out")
        script = tmp_path / "in-namespace"
        script.write_text(
            f"#!/bin/sh\nexec nsenter --mount=/proc/{host.process.pid}/ns/mnt "
            f'--wd={tmp_path} {pyrunc.command} "$@"\n'
        )
        script.chmod(0o755)
        outside, pyrunc.command = pyrunc.command, str(script)
        bundle.mount("/data", source, "rbind", *filter(None, [option]))
        bundle.linux["rootfsPropagation"] = root
        bundle.process["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
        for kind in ("effective", "permitted"):
            bundle.process["capabilities"][kind].append("CAP_SYS_ADMIN")
        name = pyrunc.up(bundle.sh("mount -t tmpfs inside /data/out && sleep 100"))
        pid = pyrunc.pid(name)
        wait_for(lambda: "/data/out" in read(f"/proc/{pid}/mountinfo"), what="a mount inside")
        assert (f"{source}/out" in host.mounts()) == goes
        host("mount", "-t", "tmpfs", "outside", f"{source}/in")
        assert ("/data/in" in read(f"/proc/{pid}/mountinfo")) == comes
        pyrunc("delete", "--force", name)
        pyrunc.command = outside
    finally:
        host.process.kill()
        host.process.wait()


def test_the_root_cannot_be_masked(pyrunc, bundle):
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/../."]
    message = pyrunc.run(bundle, code=1).message
    assert message.endswith('linux.maskedPaths[1] is "/": the root cannot be masked')
    assert pyrunc.names() == []
