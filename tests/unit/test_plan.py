"""The plan: its bytes, its text, and the golden plans of tests/plans.

`pytest --bless` rewrites tests/plans/*/plan.txt; the diff is the review.
"""

import glob
import json
import os

import pytest

from pyrunc import listing, mounts, namespaces
from pyrunc._core import lib
from pyrunc.errors import Error
from pyrunc.plan import Fd, Plan
from pyrunc.plan_create import facts_for, for_create

PLANS = os.path.join(os.path.dirname(__file__), "..", "plans")
CASES = sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(f"{PLANS}/*/config.json"))
FACTS = {
    "cgroup_mode": "v2",
    "cgroup_mounts": [],
    "cgroup_paths": {"": "/sys/fs/cgroup/the-container"},
    "last_cap": 40,
    "kcore": True,
    "selinux": True,
    "apparmor": True,
    "proc_mounts": ["/proc", "/sys", "/bundle/rootfs/proc"],
}
HIERARCHIES = [
    {"subsystems": ["cpu", "cpuacct"], "dest": "cpu,cpuacct"},
    {"subsystems": ["memory"], "dest": "memory"},
    {"subsystems": ["name=systemd"], "dest": "systemd"},
    {"subsystems": ["name=unused"], "dest": "unused"},
]
V1 = {
    "cgroup_mode": "v1",
    "cgroup_mounts": [
        {"own": f"/sys/fs/cgroup/{entry['dest']}/caller", **entry} for entry in HIERARCHIES
    ],
    "cgroup_paths": {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/c",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/c",
        "memory": "/sys/fs/cgroup/memory/c",
        "name=systemd": "/sys/fs/cgroup/systemd/c",
    },
}
# What differs from FACTS and from the default options, per case.
FACTS_OF = {"cgroup-v1": V1, "cgroup-v1-bound": V1}
OPTS_OF = {
    "no-pivot": {"no_pivot": True, "no_new_keyring": True},
    "systemd": {"placed": True},
    "user-namespace": {"host_limits": True},
    "rootless": {"host_limits": True, "rootless": True},
    "user-joined": {"host_limits": True},
}


def make(spec, facts=None, **opts):
    """The plan of a spec on the host that FACTS describe."""
    linux = spec.get("linux", {})
    fds = {"fifo": 0}
    for kind, _ in namespaces.joined(linux):
        fds["ns", kind] = len(fds)
    facts = {**FACTS, **(facts or {})}
    if opts.get("placed"):
        pass
    elif facts["cgroup_mode"] == "v2":
        fds["cgroups"] = [len(fds)]
    else:
        fds["tasks"] = [len(fds) + number for number in range(len(facts["cgroup_paths"]))]
    for number, _ in mounts.idmapped(spec):
        fds["idmap", number] = len(fds)
    if spec["process"].get("terminal"):
        fds["console"] = len(fds)
        fds["pidfd"] = len(fds)
    defaults = {
        "id": "the-container",
        "bundle": "/bundle",
        "rootfs": "/bundle/rootfs",
        "fds": fds,
        "seccomp": (bytes(16), 1) if "seccomp" in linux else None,
        "hook_state": lambda status: (f'{{"status":"{status}","pid":', "}"),
    }
    return for_create(spec, facts, {**defaults, **opts})


def load(case):
    with open(f"{PLANS}/{case}/config.json") as file:
        return json.load(file)


def names(plan):
    return [name for name, _, _ in plan.ops]


@pytest.mark.parametrize("case", CASES)
def test_golden_plan(case, bless):
    plan = make(load(case), FACTS_OF.get(case), **OPTS_OF.get(case, {}))
    text = listing.text(plan) + "".join(f"# {warning}\n" for warning in plan.warnings)
    path = f"{PLANS}/{case}/plan.txt"
    if bless:
        with open(path, "w") as file:
            file.write(text)
    with open(path) as file:
        assert text == file.read()


@pytest.mark.parametrize("case", CASES)
def test_what_every_plan_obeys(case):
    plan = make(load(case), FACTS_OF.get(case), **OPTS_OF.get(case, {}))
    order = names(plan)
    for name in ("root", "umask", "bounding", "user", "caps", "lookup", "await", "exec"):
        assert order.count(name) <= 1
    points = [args[0] for name, args, _ in plan.ops if name == "sync"]
    assert points[-2:] == [lib.SYNC_MOUNTED, lib.SYNC_READY]
    if OPTS_OF.get(case, {}).get("placed"):  # before it can fork
        assert points[:-2] == [lib.SYNC_PLACE]
        assert order[0] == "sync"
        assert "enter" not in order
    else:
        assert set(points[:-2]) <= {lib.SYNC_UNSHARED}
    assert order[-1] == "exec"
    entered = next(i for i, name in enumerate(order) if name in ("pivot", "move", "chroot"))
    for name in ("mount", "bind", "device", "symlink", "root"):
        assert name not in order[entered:], f"{name} after the container's root became /"
    for name in ("mask", "readonly", "sysctl", "hostname", "mkdir", "user", "nnp", "seccomp"):
        assert name not in order[:entered], f"{name} while / is the host's"
    # A read-only /proc/sys would refuse the sysctls.
    if "sysctl" in order and "readonly" in order:
        assert order.index("readonly") > len(order) - 1 - order[::-1].index("sysctl")
    # Between the record and the program nothing but the filter may fail.
    ready = len(order) - 1 - order[::-1].index("sync")
    assert set(order[ready + 1 :]) <= {"seccomp", "await", "hook", "exec"}
    if "caps" in order:
        assert order.index("bounding") < order.index("user") < order.index("caps")


def test_a_filter_comes_late_when_no_new_privs_allows_it():
    spec = load("process")
    order = names(make(spec))
    assert order.index("seccomp") < order.index("user")
    spec["process"]["noNewPrivileges"] = True
    order = names(make(spec))
    assert order.index("nnp") < order.index("caps") < order.index("seccomp")
    assert order.index("seccomp") == order.index("await") - 1


def test_no_linux_section_means_no_namespaces():
    spec = load("default")
    del spec["linux"], spec["hostname"], spec["root"]["readonly"]
    spec["mounts"] = []
    plan = make(spec)
    assert plan.ops[0][0] == "clone" and plan.ops[0][1][0] == 0
    assert "pivot" not in names(plan)
    assert "propagate" not in names(plan), "/ is the host's"


def test_the_hosts_root_keeps_its_dev():
    spec = load("no-mount-namespace")
    assert "device" in names(make(spec))
    order = names(make(spec, rootfs="/"))
    assert "device" not in order and "symlink" not in order and "nullio" not in order


def test_hook_without_timeout_waits_for_ever():
    hooks = [args for name, args, _ in make(load("hooks")).ops if name == "hook"]
    assert [args[4] for args in hooks] == [3000, 2**64 - 1, 2**64 - 1, 1000]


def test_hooks_get_the_environment_of_their_kind():
    def env(args):
        return list(args[7 + args[6] :])

    a, b, inside, own = (args for name, args, _ in make(load("hooks")).ops if name == "hook")
    assert env(a) == ["K=v"]
    assert env(b) == [], "createContainer: not the host's"
    assert env(inside) == load("hooks")["process"]["env"], "startContainer: the container's"
    assert env(own) == ["A=b"]
    assert b[7 : 7 + b[6]] == ("/usr/bin/b",), "argv without args is the path"


# --- bytes ---


def test_encoding_is_what_plan_h_says():
    plan = Plan()
    plan.add("hostname", "ab")
    plan.add("await", Fd(3))
    plan.add("seccomp", b"\1\2", 7)

    def u32(*numbers):
        return b"".join(number.to_bytes(4, "little") for number in numbers)

    def op(code, argc, body):
        return u32(code, argc, len(body)) + body

    body = op(lib.OP_HOSTNAME, 1, b"s\3\0\0\0ab\0")
    body += op(lib.OP_AWAIT, 1, b"f\x08\0\0\0" + (3).to_bytes(8, "little"))
    body += op(lib.OP_SECCOMP, 2, b"b\2\0\0\0\1\2" + b"u\x08\0\0\0" + (7).to_bytes(8, "little"))
    head = u32(lib.PLAN_MAGIC, lib.PLAN_BUILD_ID, 3, 16 + len(body))
    assert plan.encode() == head + body


def test_strings_are_bytes_to_the_kernel():
    plan = Plan()
    plan.add("hostname", b"\xff\xc3\xa4".decode("utf-8", "surrogateescape"))
    assert plan.encode().endswith(b"s\4\0\0\0\xff\xc3\xa4\0")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("a\0b",), r"hostname contains nul byte (\x00)"),
        ((-1,), "hostname: number out of range: -1"),
        ((2**64,), f"hostname: number out of range: {2**64}"),
        (("x" * lib.PLAN_MAX_SIZE,), "container configuration too large"),
    ],
)
def test_what_cannot_be_encoded_is_an_error(args, message):
    plan = Plan()
    plan.add("hostname", *args, origin="hostname")
    with pytest.raises(Error) as caught:
        plan.encode()
    assert caught.value.message == message


# --- for people ---


def test_json_names_the_arguments():
    ops = listing.objects(make(load("joined")))
    assert ops[0] == {
        "op": "join",
        "fd": "fd:1",
        "namespace": ["network"],
        "how": None,
        "origin": "linux.namespaces[3]",
    }
    assert json.loads(json.dumps(ops)) == ops
    last = ops[-1]
    assert last["op"] == "exec" and last["argv"] == ["sh"] and last["append_home"] is True


def test_zero_is_shown():
    plan = Plan()
    plan.user(0, 0, 0)
    assert listing.text(plan) == f"{'user':10} {'uid=0 gid=0':61}  process.user\n"


# --- facts ---


@pytest.mark.parametrize(
    ("case", "no_pivot", "names"),
    [
        ("default", False, {"kcore", "last_cap", "cgroup_mode", "cgroup_mounts"}),
        ("containerd", False, {"kcore", "last_cap"}),
        ("containerd", True, {"kcore", "last_cap", "proc_mounts"}),
        (
            "process",
            False,
            {"kcore", "last_cap", "cgroup_mode", "cgroup_mounts", "selinux", "apparmor"},
        ),
    ],
)
def test_only_needed_facts_are_asked_for(case, no_pivot, names):
    assert set(facts_for(load(case), no_pivot)) == names


@pytest.mark.parametrize("case", CASES)
def test_the_facts_asked_for_suffice(case):
    spec = load(case)
    opts = OPTS_OF.get(case, {})
    facts = {**FACTS, **FACTS_OF.get(case, {})}
    few = {name: facts[name] for name in facts_for(spec, opts.get("no_pivot", False))}
    few["cgroup_paths"] = facts["cgroup_paths"]
    linux = spec["linux"]
    fds = {"fifo": 0, "console": 2, **{("ns", kind): 1 for kind, _ in namespaces.joined(linux)}}
    fds |= {("idmap", number): 3 for number, _ in mounts.idmapped(spec)}
    fixed = {"id": "c", "bundle": "/b", "rootfs": "/b/r", "fds": fds, "seccomp": None}
    for_create(spec, few, {**fixed, **opts, "hook_state": lambda status: ("", "")})


def test_a_bind_on_proc_wants_to_know_where_procfs_is():
    spec = load("containerd")
    spec["mounts"] = [{"destination": "/proc", "source": "/p", "options": ["bind"]}]
    assert "procfs" in facts_for(spec, False)


def test_an_empty_hostname_is_none():
    spec = load("default")
    spec.update(hostname="", domainname="")
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "uts"]
    assert not {"hostname", "domainname"} & set(names(make(spec)))
