"""mounts[]: options, paths, the rules about /proc, cgroup mounts."""

import pytest

from pyrunc import mounts
from pyrunc._core import lib
from pyrunc.errors import Error
from pyrunc.mounts import Mount
from pyrunc.plan import Plan

FACTS = {"cgroup_mode": "v2", "cgroup_mounts": [], "cgroup_paths": {"": "/sys/fs/cgroup/c"}}
OPTS = {"bundle": "/bundle", "rootfs": "/bundle/rootfs"}


def entry(*options, destination="/d", source="/s", type="tmpfs"):
    mount = {"destination": destination, "source": source, "type": type, "options": list(options)}
    return Mount(mount, 0, "/bundle", "/bundle/rootfs")


def plan(*entries, facts=None, **linux):
    """The ops of mounts[] and of what follows them after the pivot."""
    made = Plan()
    facts = {**FACTS, **(facts or {})}
    decoded = mounts.decode(made, {"mounts": list(entries)}, facts, OPTS)
    mounts.mount(made, decoded, linux, facts, {})
    mounts.remount(made, decoded)
    return made


def mount(destination, type="tmpfs", source="s", options=()):
    return {"destination": destination, "type": type, "source": source, "options": list(options)}


# --- options ---


def test_every_option_of_the_spec_is_known():
    known = {*mounts.SET, *mounts.CLEAR, *mounts.PROPAGATION, *mounts.RECURSIVE, "tmpcopyup"}
    # config.md, "Linux mount options", without idmap and ridmap, which spec.py refuses by name
    assert known == set(
        "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime "
        "nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid "
        "nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev "
        "rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime "
        "rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave "
        "strictatime suid symfollow sync tmpcopyup unbindable".split()
    )


def test_numbers_are_the_kernels():
    # linux/mount.h
    values = {name: value for name, value in vars(mounts).items() if name.startswith("MS_")}
    assert values == {
        "MS_RDONLY": 0x1,
        "MS_NOSUID": 0x2,
        "MS_NODEV": 0x4,
        "MS_NOEXEC": 0x8,
        "MS_SYNCHRONOUS": 0x10,
        "MS_REMOUNT": 0x20,
        "MS_MANDLOCK": 0x40,
        "MS_DIRSYNC": 0x80,
        "MS_NOSYMFOLLOW": 0x100,
        "MS_NOATIME": 0x400,
        "MS_NODIRATIME": 0x800,
        "MS_BIND": 0x1000,
        "MS_REC": 0x4000,
        "MS_SILENT": 0x8000,
        "MS_UNBINDABLE": 0x20000,
        "MS_PRIVATE": 0x40000,
        "MS_SLAVE": 0x80000,
        "MS_SHARED": 0x100000,
        "MS_RELATIME": 0x200000,
        "MS_I_VERSION": 0x800000,
        "MS_STRICTATIME": 0x1000000,
        "MS_LAZYTIME": 0x2000000,
    }


@pytest.mark.parametrize(
    ("on", "off"),
    [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("sync", "async"),
        ("silent", "loud"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
        ("relatime", "norelatime"),
        ("strictatime", "nostrictatime"),
        ("lazytime", "nolazytime"),
        ("iversion", "noiversion"),
        ("mand", "nomand"),
        ("nosymfollow", "symfollow"),
    ],
)
def test_pairs_set_and_clear_one_flag_and_the_last_wins(on, off):
    flag = mounts.SET[on]
    assert flag and flag == mounts.CLEAR[off]
    assert (entry(on).flags, entry(on).cleared) == (flag, 0)
    assert (entry(off).flags, entry(off).cleared) == (0, flag)
    assert (entry(on, off).flags, entry(on, off).cleared) == (0, flag)
    assert (entry(off, on).flags, entry(off, on).cleared) == (flag, 0)


def test_unknown_options_are_data_in_their_order():
    assert entry("size=1m", "ro", "mode=755", "acl").data == "size=1m,mode=755,acl"


def test_defaults_means_nothing():
    assert entry("defaults").data == ""
    assert entry("defaults").flags == 0
    assert entry("bind", "defaults").flags == mounts.MS_BIND


def test_propagation_is_kept_in_order():
    assert entry("rslave", "shared").propagation == [
        mounts.MS_SLAVE | mounts.MS_REC,
        mounts.MS_SHARED,
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("rro", (mounts.ATTR_RDONLY, 0)),
        ("rrw", (0, mounts.ATTR_RDONLY)),
        ("rro rrw", (0, mounts.ATTR_RDONLY)),
        ("rrw rro", (mounts.ATTR_RDONLY, 0)),
        ("rnoatime", (mounts.ATTR_NOATIME, mounts.ATTR_ATIME)),
        ("ratime", (0, mounts.ATTR_ATIME)),
        ("rrelatime", (0, mounts.ATTR_ATIME)),
        ("rnoatime rstrictatime", (mounts.ATTR_STRICTATIME, mounts.ATTR_ATIME)),
        ("rnoatime ratime", (0, mounts.ATTR_ATIME)),
        ("rnodiratime", (mounts.ATTR_NODIRATIME, 0)),
        ("rro rnosuid", (mounts.ATTR_RDONLY | mounts.ATTR_NOSUID, 0)),
    ],
)
def test_recursive_attributes(options, expected):
    found = entry("rbind", *options.split())
    assert (found.recursive_set, found.recursive_clear) == expected
    assert found.flags == mounts.MS_BIND | mounts.MS_REC


def test_atime_attributes_never_leave_part_of_the_field():
    # mount_setattr(2): EINVAL if attr_clr has some but not all of MOUNT_ATTR__ATIME.
    for name, (on, off) in mounts.RECURSIVE.items():
        assert off & mounts.ATTR_ATIME in (0, mounts.ATTR_ATIME), name
        assert not on & mounts.ATTR_ATIME or off & mounts.ATTR_ATIME, name


def test_recursive_attributes_of_a_mount_of_its_own_are_its_flags():
    found = entry("rro", "rnosymfollow", "rnoatime", "rnodiratime")
    assert found.flags == (
        mounts.MS_RDONLY | mounts.MS_NOSYMFOLLOW | mounts.MS_NOATIME | mounts.MS_NODIRATIME
    )


# --- binds ---


@pytest.mark.parametrize("option", ["bind", "rbind"])
def test_the_option_makes_the_bind_not_the_type(option):
    found = entry(option, type="none")
    assert found.fstype == "bind"
    assert bool(found.flags & mounts.MS_REC) == (option == "rbind")
    assert entry(type="bind").fstype == "bind"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("/a/b", "/a/b"), ("a", "/bundle/a"), ("./a/../b", "/bundle/b"), ("", "/bundle")],
)
def test_relative_source_joins_the_bundle(source, expected):
    assert entry("bind", source=source).source == expected


def test_source_of_a_filesystem_is_a_name():
    assert entry(source="tmpfs").source == "tmpfs"


def test_data_on_a_bind_is_refused():
    with pytest.raises(Error) as caught:
        entry("bind", "size=1m")
    assert "bind mounts cannot have any filesystem-specific options applied" in str(caught.value)


def test_an_empty_option_says_nothing():
    """buildah gives a volume one."""
    assert entry("", "bind", "ro").flags == mounts.MS_BIND | mounts.MS_RDONLY
    assert entry("size=1m", "", type="tmpfs").data == "size=1m"


@pytest.mark.parametrize("word", ["copy", "nocopy"])
def test_how_podman_fills_a_volume_is_not_data_of_its_bind(word):
    assert entry("rbind", word).data == ""
    assert entry(word, type="tmpfs").data == word


@pytest.mark.parametrize("key", ["destination", "source", "type"])
def test_nul_bytes_are_refused(key):
    with pytest.raises(Error, match="mount field contains null byte"):
        entry(**{key: "/a\0b"})
    with pytest.raises(Error, match="mount field contains null byte"):
        entry("a\0b")


# --- paths ---


@pytest.mark.parametrize(
    ("destination", "target"),
    [
        ("/a", "/a"),
        ("//a//b/", "/a/b"),
        ("/a/../../b", "/b"),
        ("a/b", "/a/b"),
        ("../a", "/a"),
        ("", "/"),
        ("/bundle/rootfs", "/"),
        ("/bundle/rootfs/a", "/a"),
        ("/bundle/rootfsx/a", "/bundle/rootfsx/a"),
    ],
)
def test_destinations_are_beneath_the_rootfs(destination, target):
    assert entry(destination=destination).target == target


def test_relative_destination_is_warned_of():
    made = plan(mount("a/b"))
    assert len(made.warnings) == 1 and "a/b is not absolute" in made.warnings[0]
    assert made.ops[0][1][1] == "/a/b"


# --- /proc (CVE-2019-16884, CVE-2019-19921, CVE-2023-28642) ---


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (mount("/proc"), "it is not of type proc"),
        (mount("/proc/"), "it is not of type proc"),
        (mount("/x/../proc"), "it is not of type proc"),
        (mount("/proc", "none", "/fake", ["bind"]), "it is not of type proc"),
        (mount("/bundle/rootfs/proc"), "it is not of type proc"),
        (mount("/proc/sys", "proc"), "it is inside /proc"),
        (mount("/proc/self/attr"), "it is inside /proc"),
        (mount("/proc/net/dev", "none", "/s", ["bind"]), "it is inside /proc"),
        (mount("/proc/stat/x", "none", "/s", ["bind"]), "it is inside /proc"),
    ],
)
def test_proc_cannot_be_faked(bad, why):
    with pytest.raises(Error) as caught:
        plan(bad)
    text = str(caught.value)
    assert text.startswith("unable to start container process: error during container init: error ")
    assert text.endswith(f"cannot be mounted because {why}")


@pytest.mark.parametrize("path", mounts.PROC_FILES)
def test_harmless_files_of_proc_may_be_covered(path):
    assert plan(mount(path, "none", "/s", ["bind"])).ops[0][0] == "bind"


def test_proc_itself_may_be_mounted_or_bound():
    assert plan(mount("/proc", "proc", "proc")).ops[0][0] == "mount"
    assert plan(mount("/proc", "none", "/proc", ["rbind"])).ops[0][0] == "bind"
    facts = {"procfs": ["/other"]}
    assert plan(mount("/proc", "none", "/other", ["bind"]), facts=facts).ops[0][0] == "bind"
    with pytest.raises(Error):
        plan(mount("/proc", "none", "/proc", ["bind"]), facts=facts)


def test_names_that_only_begin_like_proc_are_free():
    assert plan(mount("/process")).ops[0][0] == "mount"


# --- filesystems ---


@pytest.mark.parametrize(
    ("type", "options", "expected"),
    [
        ("proc", [], lib.MOUNT_ORDINARY),
        ("sysfs", [], lib.MOUNT_ORDINARY),
        ("tmpfs", [], lib.MOUNT_KEEP_MODE),
        ("tmpfs", ["tmpcopyup"], lib.MOUNT_KEEP_MODE | lib.MOUNT_COPY_UP),
        ("devpts", [], 0),
    ],
)
def test_mount_options_of_init(type, options, expected):
    destination = "/proc" if type == "proc" else "/d"
    assert plan(mount(destination, type, "s", options)).ops[0][1][5] == expected


@pytest.mark.parametrize(
    ("destination", "type", "late"),
    [
        ("/d", "tmpfs", True),
        ("/dev", "tmpfs", True),
        ("/dev", "devtmpfs", True),
        ("/sys", "sysfs", False),
        ("/d", "ext4", False),
    ],
)
def test_read_only_waits_where_init_still_writes(destination, type, late):
    made = plan(mount(destination, type, "s", ["ro", "nosuid"]))
    flags = made.ops[0][1][4]
    assert bool(flags & mounts.MS_RDONLY) != late
    assert flags & mounts.MS_NOSUID
    assert made.ops[1:] == ([("remount", (destination, 1), "mounts[0]")] if late else [])


def test_read_only_bind_is_so_at_once():
    made = plan(mount("/dev", "none", "/dev", ["bind", "ro"]))
    assert [name for name, _, _ in made.ops] == ["bind"]
    assert made.ops[0][1][2] & mounts.MS_RDONLY


@pytest.mark.parametrize(
    ("type", "options", "data"),
    [
        ("tmpfs", [], 'context="l"'),
        ("tmpfs", ["size=1"], 'size=1,context="l"'),
        ("ext4", [], 'context="l"'),
        ("sysfs", [], ""),
        ("mqueue", [], ""),
    ],
)
def test_mount_label(type, options, data):
    assert plan(mount("/d", type, "s", options), mountLabel="l").ops[0][1][3] == data


def test_the_label_of_a_message_queue_is_set_afterwards():
    made = plan(mount("/dev/mqueue", "mqueue", "mqueue"), mountLabel="l")
    assert [op for op, *_ in made.ops] == ["mount", "relabel"]
    assert made.ops[1] == ("relabel", ("/dev/mqueue", "l"), "mounts[0]")


def test_proc_has_no_mount_label():
    assert plan(mount("/proc", "proc", "proc"), mountLabel="l").ops[0][1][3] == ""


# --- cgroup ---

CGROUP = mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro", "nosuid", "rprivate"])
PRIVATE = mounts.MS_PRIVATE | mounts.MS_REC
V1 = {
    "cgroup_mode": "v1",
    "cgroup_mounts": [
        {"dest": "cpu,cpuacct", "subsystems": ["cpu", "cpuacct"], "own": "/h/cpu"},
        {"dest": "systemd", "subsystems": ["name=systemd"], "own": "/h/systemd"},
        {"dest": "other", "subsystems": ["name=other"], "own": "/h/other/caller"},
    ],
    "cgroup_paths": {"cpu": "/h/cpu/c", "cpuacct": "/h/cpu/c", "name=systemd": "/h/systemd/c"},
}


@pytest.mark.parametrize(
    ("namespaces", "fallback"),
    [([], "/sys/fs/cgroup"), ([{"type": "cgroup"}], "/sys/fs/cgroup/c")],
)
def test_unified_hierarchy(namespaces, fallback):
    made = plan(CGROUP, namespaces=namespaces)
    flags = mounts.MS_RDONLY | mounts.MS_NOSUID
    args = ("cgroup", "/sys/fs/cgroup", "cgroup2", "", flags, 0, fallback, PRIVATE)
    assert made.ops == [("mount", args, "mounts[0]")]


def test_v1_in_a_cgroup_namespace_mounts_each_hierarchy():
    made = plan(CGROUP, facts=V1, namespaces=[{"type": "cgroup"}])
    three = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    assert [(name, args) for name, args, _ in made.ops] == [
        ("mount", ("tmpfs", "/sys/fs/cgroup", "tmpfs", "mode=755", three, 0, "", PRIVATE)),
        *(
            ("mount", (source, f"/sys/fs/cgroup/{name}", "cgroup", data, three | 1, 0, ""))
            for source, name, data in [
                ("cgroup", "cpu,cpuacct", "cpu,cpuacct"),
                ("systemd", "systemd", "name=systemd"),
                ("cgroup", "other", "name=other"),
            ]
        ),
        ("symlink", ("cpu,cpuacct", "/sys/fs/cgroup/cpu", 0)),
        ("symlink", ("cpu,cpuacct", "/sys/fs/cgroup/cpuacct", 0)),
        ("remount", ("/sys/fs/cgroup", 1)),
    ]


@pytest.mark.parametrize("mode", ["v1", "hybrid"])
def test_v1_without_one_binds_the_containers_own(mode):
    made = plan(CGROUP, facts={**V1, "cgroup_mode": mode})
    binds = [args for name, args, _ in made.ops if name == "bind"]
    flags = mounts.MS_BIND | mounts.MS_REC | mounts.MS_RDONLY | mounts.MS_NOSUID
    assert binds == [
        ("/h/cpu/c", "/sys/fs/cgroup/cpu,cpuacct", flags, 0, 0, 0, PRIVATE),
        ("/h/systemd/c", "/sys/fs/cgroup/systemd", flags, 0, 0, 0, PRIVATE),
        ("/h/other/caller", "/sys/fs/cgroup/other", flags, 0, 0, 0, PRIVATE),
    ], "where the container has no cgroup it is in the caller's"


def test_v1_the_callers_cgroup_is_only_shown():
    made = plan(mount("/c", "cgroup", options=["rw"]), facts=V1)
    flags = {args[1]: args[2] & mounts.MS_RDONLY for name, args, _ in made.ops if name == "bind"}
    assert flags == {"/c/cpu,cpuacct": 0, "/c/systemd": 0, "/c/other": mounts.MS_RDONLY}


def test_v1_label_goes_to_the_tmpfs():
    assert plan(CGROUP, facts=V1, mountLabel="l").ops[0][1][3] == 'mode=755,context="l"'


def test_writable_v1_mount_is_not_remounted():
    names = [name for name, _, _ in plan(mount("/c", "cgroup"), facts=V1).ops]
    assert "remount" not in names
