"""process and linux.sysctl."""

import resource

import pytest

from pyrunc import process
from pyrunc.errors import Error
from pyrunc.plan import Plan


def ops(function, *args):
    plan = Plan()
    function(plan, *args)
    return [(name, *args) for name, args, _ in plan.ops]


# --- environment ---


@pytest.mark.parametrize(
    ("env", "result", "needs_home"),
    [
        (None, [], False),
        ([], [], True),
        (["A=1"], ["A=1"], True),
        (["HOME=/h"], ["HOME=/h"], False),
        (["HOME="], [], True),
        (["HOME=/h", "HOME="], [], True),
        (["HOME=", "HOME=/h"], ["HOME=/h"], False),
        (["A=1", "B=2", "A=3"], ["B=2", "A=3"], True),
        (["A=", "B==", "C= x=y "], ["A=", "B==", "C= x=y "], True),
        (["HOMER=1"], ["HOMER=1"], True),
    ],
)
def test_environment(env, result, needs_home):
    assert process.environment(env) == (result, needs_home)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("A", "invalid environment variable: missing '='"),
        ("", "invalid environment variable: missing '='"),
        ("=A", "invalid environment variable: name cannot be empty"),
        ("A=b\0c", r'invalid environment variable "A": contains nul byte (\x00)'),
        ("A\0B=c", 'invalid environment variable "A\0B": contains nul byte (\\x00)'),
    ],
)
def test_bad_environment(item, message):
    with pytest.raises(Error) as caught:
        process.environment(["OK=1", item])
    assert str(caught.value).endswith(message)


# --- capabilities ---


def test_numbers_are_the_kernels():
    # linux/capability.h
    assert len(process.CAPABILITIES) == 41
    known = {"CHOWN": 0, "SETPCAP": 8, "SYS_ADMIN": 21, "AUDIT_READ": 37, "CHECKPOINT_RESTORE": 40}
    for name, number in known.items():
        assert process.CAPABILITIES[number] == f"CAP_{name}"


def test_capabilities_become_masks():
    plan = Plan()
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "permitted": ["CAP_KILL", "CAP_KILL", "CAP_CHOWN"],
        "ambient": ["CAP_CHECKPOINT_RESTORE"],
    }
    masks = process.capabilities(plan, {"capabilities": sets}, 40)
    assert masks == (0b100001, 0b1, 0b100001, 0, 1 << 40)
    assert plan.warnings == []


def test_no_capabilities_object_leaves_them_alone():
    plan = Plan()
    assert process.capabilities(plan, {}, 40) is None
    assert process.capabilities(plan, {"capabilities": {}}, 40) == (0, 0, 0, 0, 0)


def test_unknown_and_unavailable_capabilities_are_warned_of_once():
    plan = Plan()
    sets = {
        "bounding": ["CAP_ZZ", "CAP_CHOWN", "chown", "CAP_CHECKPOINT_RESTORE"],
        "effective": ["CAP_ZZ", "CAP_AA", "CAP_chown"],
    }
    masks = process.capabilities(plan, {"capabilities": sets}, 39)
    assert masks == (1, 0, 0, 0, 0)
    names = "CAP_AA CAP_CHECKPOINT_RESTORE CAP_ZZ CAP_chown chown"
    assert plan.warnings == [f"ignoring unknown or unavailable capabilities: [{names}]"]


def test_capabilities_that_the_other_sets_rule_out_are_warned_of():
    plan = Plan()
    sets = {
        "bounding": ["CAP_KILL"],
        "effective": ["CAP_CHOWN", "CAP_FOWNER", "CAP_KILL"],
        "permitted": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
    }
    assert process.capabilities(plan, {"capabilities": sets}, 40) == (32, 32, 32, 32, 0)
    assert plan.warnings == [
        "ignoring effective capabilities that are not permitted: [CAP_CHOWN CAP_FOWNER]",
        "ignoring inheritable capabilities that are not bounding: [CAP_CHOWN]",
    ]


# --- rlimits ---


def test_rlimit_numbers_are_the_kernels():
    for name, number in process.RLIMITS.items():
        if hasattr(resource, name):
            assert getattr(resource, name) == number
    assert sorted(process.RLIMITS.values()) == list(range(16))


def test_rlimits():
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
    ]
    assert process.rlimits({"rlimits": limits}) == [
        (7, 10, 20, "process.rlimits[0]"),
        (4, 2**64 - 1, 2**64 - 1, "process.rlimits[1]"),
    ]
    assert process.rlimits({}) == []


def test_bad_rlimits():
    with pytest.raises(Error, match="^wrong rlimit value: RLIMIT_FOO$"):
        process.rlimits({"rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]})
    twice = [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2
    with pytest.raises(Error, match="RLIMIT_CPU"):
        process.rlimits({"rlimits": twice})


# --- user, cwd, umask, labels ---


def test_groups_are_dropped_even_when_none_is_given():
    assert ops(process.user, {}, False) == [("user", 0, 0, 1)]
    identity = {"uid": 4, "gid": 5, "additionalGids": [6, 7]}
    assert ops(process.user, identity, False) == [("user", 4, 5, 1, 6, 7)]


def test_whoever_is_not_root_has_its_groups_for_ever():
    assert ops(process.user, {"uid": 4}, True) == [("user", 4, 0, 0)]
    with pytest.raises(Error, match="cannot set any additional groups in a rootless container"):
        ops(process.user, {"additionalGids": [6]}, True)


@pytest.mark.parametrize(
    ("user", "mask"),
    [({}, 0o22), ({"umask": 0}, 0), ({"umask": 0o77}, 0o77), ({"umask": 0o7027}, 0o27)],
)
def test_umask(user, mask):
    assert ops(process.umask, {"user": user}) == [("umask", mask)]


def test_working_directory_is_made():
    assert ops(process.make_cwd, {"cwd": "/"}) == []
    assert ops(process.make_cwd, {"cwd": "/a//b/../c"}) == [("mkdir", "/a/c", 0o755)]


def test_apparmor():
    assert ops(process.apparmor, {}) == []
    expected = [("label", "exec p", "apparmor/exec", "exec")]
    assert ops(process.apparmor, {"apparmorProfile": "p"}) == expected


def test_keyring_carries_the_selinux_label():
    assert ops(process.keyring, {}, "c", 8) == [("keyring", "_ses.c", 8)]
    assert ops(process.keyring, {"selinuxLabel": "l"}, "c", 8) == [
        ("label", "l", "keycreate"),
        ("keyring", "_ses.c", 8),
        ("label", "", "keycreate"),
    ]
    assert ops(process.selinux, {"selinuxLabel": "l"}) == [("label", "l", "exec")]


def test_program_is_looked_up_by_the_containers_path():
    assert ops(process.lookup, ["sh"], ["A=b", "PATH=/x:/y"]) == [("lookup", "sh", 1, "/x:/y")]
    assert ops(process.lookup, ["sh"], ["PATH="]) == [("lookup", "sh", 1, "")]
    assert ops(process.lookup, ["sh"], ["XPATH=/x"]) == [("lookup", "sh", 0, "")]


# --- sysctl ---

ALL = dict.fromkeys(("ipc", "network", "uts", "pid", "mount"), "")


def sysctls(entries, own=ALL, **facts):
    return ops(process.sysctls, {"sysctl": entries}, own, facts)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced"),
        ("kernel/sem", "kernel/sem"),
        ("kernel.domainname", "kernel/domainname"),
    ],
)
def test_sysctls_of_the_containers_namespaces(key, path):
    assert sysctls({key: "v"}) == [("sysctl", path, "v")]


@pytest.mark.parametrize(
    ("key", "without", "message"),
    [
        (
            "kernel.shmmax",
            "ipc",
            'sysctl "kernel.shmmax" is not allowed in the hosts ipc namespace',
        ),
        ("fs.mqueue.x", "ipc", 'sysctl "fs.mqueue.x" is not allowed in the hosts ipc namespace'),
        ("fs/mqueue/x", "ipc", 'sysctl "fs/mqueue/x" is not allowed in the hosts ipc namespace'),
        ("net.x", "network", 'sysctl "net.x" not allowed in host network namespace'),
        (
            "kernel.domainname",
            "uts",
            'sysctl "kernel.domainname" is not in a separate kernel namespace',
        ),
        (
            "kernel.hostname",
            "",
            'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
        ),
        (
            "kernel.hostname",
            "uts",
            'sysctl "kernel.hostname" is not in a separate kernel namespace',
        ),
        ("user.x", "", "setting ucounts without a user namespace not allowed: user.x"),
        ("vm.swappiness", "", 'sysctl "vm.swappiness" is not in a separate kernel namespace'),
        ("kernel.core_pattern", "", "is not in a separate kernel namespace"),
        ("kernel.msgmaxx", "", "is not in a separate kernel namespace"),
        ("net", "", "is not in a separate kernel namespace"),
        ("", "", "is not in a separate kernel namespace"),
    ],
)
def test_sysctls_of_the_host_are_refused(key, without, message):
    own = {kind: path for kind, path in ALL.items() if kind != without}
    with pytest.raises(Error) as caught:
        sysctls({key: "v"}, own)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "net/../kernel/core_pattern",
        "net.//.kernel.core_pattern",
        "net/./x",
        "net//x",
        "net..x",
        "net.ipv4.",
        "fs.mqueue.//.x",
        "/net/x",
    ],
)
def test_sysctl_cannot_walk_out_of_its_namespace(key):
    with pytest.raises(Error, match="is not in a separate kernel namespace"):
        sysctls({key: "v"})


def test_joined_network_that_is_the_hosts():
    own = {**ALL, "network": "/proc/1/ns/net"}
    assert sysctls({"net.x": "1"}, own)
    with pytest.raises(Error, match="not allowed in host network namespace"):
        sysctls({"net.x": "1"}, own, same_namespaces=["network"])
