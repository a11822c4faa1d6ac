"""exec: what the process is, and the golden plans tests/plans/exec-*.

A case is exec.json, {"process": ..., "config": ...}: the process object and what of the record
matters; "console" and "pidfd" tell that there are such sockets.  `pytest --bless` rewrites
plan.txt; the diff is the review.
"""

import glob
import json
import os

import pytest

from pyrunc import listing, namespaces, plan_exec
from pyrunc._core import lib
from pyrunc.errors import Error

PLANS = os.path.join(os.path.dirname(__file__), "..", "plans")
CASES = sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(f"{PLANS}/*/exec.json"))
FACTS = {"last_cap": 40, "selinux": True, "apparmor": True}
# What each flag is when it is not given.
NONE = {
    "args": ["c", "true"],
    "cwd": "",
    "env": [],
    "tty": False,
    "user": "",
    "additional_gids": [],
    "process_label": "",
    "apparmor": "",
    "no_new_privs": False,
    "given": set(),
}
ALL = ("bounding", "effective", "permitted", "inheritable", "ambient")


def load(case):
    with open(f"{PLANS}/{case}/exec.json") as file:
        return json.load(file)


def make(case, placed=False):
    process, config = case["process"], case["config"]
    listed = {entry["type"] for entry in config["namespaces"]}
    fds = {}
    for kind, (name, _) in namespaces.NAMES.items():
        if name in listed:
            fds["ns", kind] = len(fds)
    fds["tasks"] = [len(fds), len(fds) + 1]
    fds["cgroups"] = [len(fds) + 1, len(fds) + 2]
    for kind in ("console", "pidfd"):
        if kind in case:
            fds[kind] = len(fds) + 1
    given = plan_exec.inherited(process, config)
    facts = {name: FACTS[name] for name in plan_exec.facts_for(given)}
    seccomp = (bytes(16), 1) if config.get("seccomp") else None
    opts = {"id": "the-container", "fds": fds, "seccomp": seccomp, "placed": placed}
    return plan_exec.for_exec(given, config, facts, opts)


def names(plan):
    return [name for name, _, _ in plan.ops]


@pytest.mark.parametrize("case", CASES)
def test_golden_plan(case, bless):
    plan = make(load(case))
    text = listing.text(plan) + "".join(f"# {warning}\n" for warning in plan.warnings)
    path = f"{PLANS}/{case}/plan.txt"
    if bless:
        with open(path, "w") as file:
            file.write(text)
    with open(path) as file:
        assert text == file.read()


@pytest.mark.parametrize("case", CASES)
def test_what_every_plan_obeys(case):
    order = names(make(load(case)))
    assert order.count("sync") == 2
    joined, ready = (i for i, name in enumerate(order) if name == "sync")
    assert order.index("clone") < order.index("enter") < joined
    # The container's /proc can be trusted with nothing, nor can its cgroup namespace let us in.
    for name in ("keyring", "umask", "nnp", "seccomp", "user", "chdir", "lookup"):
        assert name not in order[:joined], name
    assert set(order[ready + 1 :]) <= {"seccomp", "exec"}
    assert order[-1] == "exec"
    assert not {"await", "hook", "mount", "bind", "mkdir", "sysctl", "mask"} & set(order)
    if "caps" in order:
        assert order.index("bounding") < order.index("user") < order.index("caps")


def test_a_filter_comes_late_when_no_new_privs_allows_it():
    case = load("exec-all")
    case["process"]["noNewPrivileges"] = False
    order = names(make(case))
    assert order.index("seccomp") < order.index("user")
    case["process"]["noNewPrivileges"] = True
    order = names(make(case))
    assert order.index("nnp") < order.index("user")
    assert order.index("seccomp") == order.index("exec") - 1


def test_the_cgroup_namespace_is_joined_from_within_the_cgroup():
    plan = make(load("exec-all"))
    joins = [(i, args[1]) for i, (name, args, _) in enumerate(plan.ops) if name == "join"]
    assert joins[-1][1] == namespaces.CLONE_NEWCGROUP
    assert names(plan).index("enter") < joins[-1][0]


def test_who_is_put_into_the_cgroup_waits_for_that_first():
    plan = make(load("exec-default"), placed=True)
    assert plan.ops[0][:2] == ("sync", (lib.SYNC_PLACE,))
    assert names(plan)[1:] == names(make(load("exec-default")))


def test_without_a_mount_namespace_the_root_is_the_containers_all_the_same():
    case = load("exec-all")
    case["config"]["namespaces"] = [{"type": "NEWPID"}]
    order = names(make(case))
    assert order.index("clone") < order.index("root") < order.index("chroot") < order.index("chdir")


# --- the flags ---


def flagged(template, **flags):
    return plan_exec.with_options(template, {**NONE, **flags, "given": {*flags}})


TEMPLATE = {
    "args": ["init"],
    "cwd": "/",
    "env": ["A=1"],
    "terminal": True,
    "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
    "noNewPrivileges": True,
}


def test_without_flags_only_the_terminal_and_the_arguments_differ():
    assert flagged(TEMPLATE) == {**TEMPLATE, "terminal": False, "args": ["true"]}


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        ({"cwd": "/tmp"}, {"cwd": "/tmp"}),
        ({"env": ["B=2", "A=3"]}, {"env": ["A=1", "B=2", "A=3"]}),
        ({"tty": True}, {"terminal": True}),
        ({"user": "1"}, {"user": {"uid": 1, "gid": 6, "additionalGids": [7]}}),
        ({"user": "1:2"}, {"user": {"uid": 1, "gid": 2, "additionalGids": [7]}}),
        (
            {"additional_gids": [8, 9]},
            {"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8, 9]}},
        ),
        ({"process_label": "l"}, {"selinuxLabel": "l"}),
        ({"apparmor": "p"}, {"apparmorProfile": "p"}),
        ({"no_new_privs": True}, {"noNewPrivileges": True}),
        ({"args": ["c", "a", "-b", "--"]}, {"args": ["a", "-b", "--"]}),
    ],
)
def test_flag(flags, changed):
    given = dict(flags)
    result = plan_exec.with_options(TEMPLATE, {**NONE, **given, "given": {*given}})
    assert result == {**TEMPLATE, "terminal": False, "args": ["true"], **changed}


def test_the_groups_of_a_named_user_replace_the_bundles():
    flags = {"user": "1:2", "additional_gids": [9]}
    for groups in ([], [3, 4]):
        user = plan_exec.with_options(TEMPLATE, {**NONE, **flags}, groups)["user"]
        assert user == {"uid": 1, "gid": 2, "additionalGids": [*groups, 9]}


def test_no_new_privs_given_as_false_overrides():
    opts = {**NONE, "no_new_privs": False, "given": {"no-new-privs"}}
    assert plan_exec.with_options(TEMPLATE, opts)["noNewPrivileges"] is False


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"args": ["c"]}, "exec args cannot be empty"),
        ({"user": "root"}, 'bad uid: strconv.Atoi: parsing "root": invalid syntax'),
        ({"user": "0:wheel"}, 'bad gid: strconv.Atoi: parsing "wheel": invalid syntax'),
        ({"user": "1:"}, 'bad gid: strconv.Atoi: parsing "": invalid syntax'),
        ({"user": ":1"}, 'bad uid: strconv.Atoi: parsing "": invalid syntax'),
        ({"user": "-1"}, 'bad uid: strconv.Atoi: parsing "-1": value out of range'),
        (
            {"user": "4294967296"},
            'bad uid: strconv.Atoi: parsing "4294967296": value out of range',
        ),
        ({"additional_gids": [1, -2]}, "additional-gids must be a positive number -2"),
    ],
)
def test_refused(flags, message):
    with pytest.raises(Error) as caught:
        flagged(TEMPLATE, **flags)
    assert caught.value.message == message


# --- what comes from the container ---


def test_capabilities_come_from_the_container_when_the_process_has_none():
    stored = {kind.capitalize(): ["CAP_KILL"] for kind in ALL}
    whole = plan_exec.inherited({"user": {}}, {"capabilities": stored})
    assert whole["capabilities"] == dict.fromkeys(ALL, ["CAP_KILL"])
    own = {"capabilities": {"bounding": []}}
    assert plan_exec.inherited(own, {"capabilities": stored})["capabilities"] == {"bounding": []}
    assert plan_exec.inherited({}, {"capabilities": None}).get("capabilities") is None


@pytest.mark.parametrize("rlimits", [None, []])
def test_rlimits_come_from_the_container_when_the_process_has_none(rlimits):
    stored = [{"type": 4, "soft": 0, "hard": 0}]  # the record has the kernel's numbers, as runc's
    given = {} if rlimits is None else {"rlimits": rlimits}
    named = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    assert plan_exec.inherited(given, {"rlimits": stored})["rlimits"] == named
    own = {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]}
    assert plan_exec.inherited(own, {"rlimits": stored})["rlimits"] == own["rlimits"]


def test_the_umask_is_always_the_containers():
    given = {"user": {"uid": 1, "umask": 0o7}}
    assert plan_exec.inherited(given, {"umask": 0o77})["user"] == {"uid": 1, "umask": 0o77}
    assert plan_exec.inherited(given, {"umask": None})["user"] == {"uid": 1}


def test_added_capabilities_are_not_inheritable():
    # CVE-2022-29162
    given = {"capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": []}}
    grown = plan_exec.inherited(given, {}, ["CAP_CHOWN"])["capabilities"]
    assert grown == {
        "bounding": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_CHOWN"],
        "permitted": ["CAP_CHOWN"],
        "ambient": [],
    }


def test_added_capabilities_are_ambient_where_the_container_had_them_inheritable():
    sets = {kind: ["CAP_KILL"] for kind in ALL}
    sets["inheritable"] = ["CAP_KILL", "CAP_CHOWN"]
    caps = ["CAP_CHOWN", "CAP_SYSLOG"]
    grown = plan_exec.inherited({"capabilities": sets}, {}, caps)["capabilities"]
    assert grown["ambient"] == ["CAP_KILL", "CAP_CHOWN"]
    assert grown["inheritable"] == ["CAP_KILL", "CAP_CHOWN"]
    assert grown["permitted"] == ["CAP_KILL", "CAP_CHOWN", "CAP_SYSLOG"]


def test_added_to_nothing_means_everything_stays():
    assert plan_exec.inherited({}, {}, ["CAP_CHOWN"]).get("capabilities") is None
