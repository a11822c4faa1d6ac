"""What the kernel's files tell about a failure of init."""

import errno
import os

import pytest

from pyrunc import explain, namespaces
from pyrunc._core import lib
from pyrunc.handshake import Init
from pyrunc.plan import Plan


def clause(add, step, number, value=0):
    """What is said about the only op of a plan; add: a function that adds it."""
    plan = Plan()
    add(plan)
    return explain.clause(Init(plan, os.getpid(), -1), 0, step, number, value)


def mount(kind):
    return lambda plan: plan.mount("none", "/x", kind, "", flags=0)


def test_a_file_system_that_the_kernel_has_not():
    told = clause(mount("nosuchfs"), lib.STEP_MOUNT, errno.ENODEV)
    assert told == "this kernel has no file system nosuchfs"


def test_a_file_system_that_the_kernel_has():
    assert clause(mount("proc"), lib.STEP_MOUNT, errno.ENODEV) == ""


def test_another_errno_of_a_mount():
    assert clause(mount("nosuchfs"), lib.STEP_MOUNT, errno.EPERM) == ""


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSPC, errno.EPERM, errno.ENOMEM])
def test_namespaces_that_the_kernel_has_and_allows(number):
    with open("/proc/sys/user/max_uts_namespaces") as file:
        assert file.read() != "0\n"
    told = clause(lambda plan: plan.clone(namespaces.CLONE_NEWUTS), lib.STEP_CLONE, number)
    assert told == ""


@pytest.mark.parametrize("kind", ["user", "time"])
def test_namespaces_that_the_kernel_has_not(monkeypatch, kind):
    monkeypatch.setitem(namespaces.NAMES, kind, ("NEW", "nosuch"))
    flag = namespaces.FLAGS[kind]
    told = clause(lambda plan: plan.unshare(flag), lib.STEP_UNSHARE, errno.EINVAL)
    assert told == f"this kernel has no {kind} namespaces"


def test_an_id_that_a_map_lacks(tmp_path):
    (tmp_path / "uid_map").write_text("         0     100000       1000\n      2000  5 1\n")
    path = str(tmp_path / "uid_map")
    assert explain.mapped(path, 1000) == "it has 0 to 999, 2000"
    assert explain.mapped(path, 2000) == ""
    assert explain.mapped(path, explain.NOBODY) == ""
    assert explain.mapped(f"{path}.absent", 1000) == ""


def test_an_id_that_is_mapped_is_no_reason():
    user = lambda plan: plan.user(0, 0, 0)  # noqa: E731 - as the others
    assert clause(user, lib.STEP_SETUID, errno.EINVAL, value=os.getuid()) == ""


def test_an_op_that_is_not_in_the_plan():
    assert explain.clause(Init(Plan(), 1, -1), 7, lib.STEP_PLAN, errno.EINVAL, 0) == ""
