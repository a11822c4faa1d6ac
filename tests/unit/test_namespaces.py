"""linux.namespaces: which are joined, made, or shared, and in what order."""

from pyrunc import namespaces
from pyrunc._core import lib
from pyrunc.plan import Plan


def ops(entries, **opts):
    plan = Plan()
    linux = {"namespaces": entries}
    fds = {("ns", kind): i for i, (kind, _) in enumerate(namespaces.joined(linux))}
    namespaces.enter(plan, linux, fds, opts, "origin")
    namespaces.enter_cgroup(plan, linux, fds)
    namespaces.loopback(plan, linux)
    return [(name, *(getattr(arg, "index", arg) for arg in args)) for name, args, _ in plan.ops]


def test_numbers_are_the_kernels():
    # linux/sched.h
    assert namespaces.FLAGS == {
        "mount": 0x20000,
        "cgroup": 0x2000000,
        "uts": 0x4000000,
        "ipc": 0x8000000,
        "pid": 0x20000000,
        "network": 0x40000000,
        "user": 0x10000000,
        "time": 0x80,
    }


def test_nothing_listed_still_clones():
    assert ops([]) == [("clone", 0)]


def test_mount_is_joined_last_whatever_the_config_says():
    entries = [{"type": kind, "path": "/p"} for kind in ("mount", "cgroup", "pid", "network")]
    joins = [op for op in ops(entries) if op[0] == "join"]
    assert joins == [
        ("join", 0, namespaces.CLONE_NEWNET, lib.JOIN_MUST),
        ("join", 1, namespaces.CLONE_NEWPID, lib.JOIN_MUST),
        ("join", 2, namespaces.CLONE_NEWNS, lib.JOIN_MUST),
        ("join", 3, namespaces.CLONE_NEWCGROUP, lib.JOIN_MUST),
    ]


def test_the_cgroup_namespace_is_joined_from_within_the_cgroup():
    # cgroup2 mounted with nsdelegate lets nobody in from another namespace.
    kinds = [op[0] for op in ops([{"type": "cgroup", "path": "/p"}, {"type": "ipc"}])]
    assert kinds == ["clone", "join"]


def test_new_cgroup_namespace_is_not_part_of_the_clone():
    assert ops([{"type": "cgroup"}, {"type": "pid"}]) == [
        ("clone", namespaces.CLONE_NEWPID),
        ("unshare", namespaces.CLONE_NEWCGROUP),
    ]


def test_empty_path_is_a_new_namespace():
    assert ops([{"type": "pid", "path": ""}]) == [("clone", namespaces.CLONE_NEWPID)]


def test_loopback_of_a_joined_network_is_left_alone():
    assert ("loopback",) in ops([{"type": "network"}])
    assert ("loopback",) not in ops([{"type": "network", "path": "/p"}])
    assert ("loopback",) not in ops([])


def test_joined_tells_what_to_open():
    linux = {"namespaces": [{"type": "uts", "path": "/u"}, {"type": "ipc"}]}
    assert namespaces.joined(linux) == [("uts", "/u")]


def test_ops_name_their_entry():
    plan = Plan()
    linux = {"namespaces": [{"type": "pid"}, {"type": "network"}]}
    namespaces.loopback(plan, linux)
    assert plan.ops[0][2] == "linux.namespaces[1]"


def test_a_user_namespace_owns_what_is_made():
    """Cgroups and joins as the host's root, everything new as the container's."""
    entries = [{"type": "pid"}, {"type": "network", "path": "/n"}, {"type": "user"}]
    assert ops(entries) == [
        ("clone", 0),
        ("join", 0, namespaces.CLONE_NEWNET, lib.JOIN_TRY),
        ("unshare", namespaces.CLONE_NEWUSER),
        ("sync", lib.SYNC_UNSHARED),
        ("owner", 1),
        ("join", 0, namespaces.CLONE_NEWNET, lib.JOIN_AGAIN),
        ("clone", namespaces.CLONE_NEWPID),
    ]


def test_an_unprivileged_host_needs_init_to_be_readable_for_the_maps():
    kinds = [op[0] for op in ops([{"type": "user"}], rootless=True)]
    assert kinds == ["clone", "unshare", "dumpable", "sync", "dumpable", "owner", "clone"]


def test_a_joined_user_namespace_has_its_maps():
    entries = [{"type": "user", "path": "/u"}, {"type": "ipc"}]
    assert ops(entries) == [
        ("clone", 0),
        ("join", 0, namespaces.CLONE_NEWUSER, lib.JOIN_MUST),
        ("owner", 1),
        ("clone", namespaces.CLONE_NEWIPC),
    ]


def test_a_time_namespace_is_for_children():
    assert [op[0] for op in ops([{"type": "time"}])] == ["unshare", "clone"]
