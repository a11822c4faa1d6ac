"""A plan for people."""

import json

import pytest

from pyrunc import listing, mounts
from pyrunc._core import lib
from pyrunc.plan import Plan


def line(op):
    plan = Plan()
    op(plan)
    return listing.text(plan).rstrip("\n")


def test_every_op_has_named_arguments():
    ops = {name[3:].lower() for name in dir(lib) if name.startswith("OP_")}
    assert set(listing.FIELDS) == ops - {"last"}


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (lambda p: p.pivot(), "pivot"),
        (lambda p: p.clone(0x20000 | 0x20000000), "clone      pid|mount"),
        (lambda p: p.sync(lib.SYNC_READY), "sync       ready"),
        (lambda p: p.join(4, 0x40000000), "join       fd=fd:4 network"),
        (lambda p: p.propagate(mounts.MS_SLAVE | mounts.MS_REC, ""), "propagate  rslave"),
        (lambda p: p.mkdir("/a b", 0o755), 'mkdir      "/a b" mode=0755'),
        (lambda p: p.umask(0), "umask      mask=0000"),
        (lambda p: p.add("bounding", 0x400001), "bounding   keep=CAP_CHOWN|CAP_SYS_BOOT"),
        (lambda p: p.add("caps", 0, 0, 0, 1 << 63), f"caps       ambient={1 << 63:#x}"),
        (lambda p: p.add("seccomp", bytes(16), 2), 'seccomp    filter="16 bytes" 0x2'),
        (
            lambda p: p.mount(
                "s", "/t", "tmpfs", "", flags=1 | 1 << 30, options=2, propagation=[mounts.MS_SHARED]
            ),
            "mount      s /t type=tmpfs rdonly|0x40000000 options=keep-mode propagation=shared",
        ),
        (
            lambda p: p.bind("/s", "/t", flags=4096, recursive=(0x10, 0x70)),
            "bind       /s /t bind set=noatime clear=atime",
        ),
        (
            lambda p: p.add("exec", 1, 2, "sh", "-c x", "A=é", "B"),
            'exec       append_home=yes argv=["sh", "-c x"] env=["A=é", "B"]',
        ),
    ],
)
def test_text(op, text):
    assert line(op) == text


def test_arguments_may_be_secret():
    plan = Plan()
    plan.add("exec", 0, 1, "sh", "A=b")
    assert listing.text(plan, ("env",)) == "exec       argv=sh\n"


def test_origin_stands_behind():
    assert line(lambda p: p.mask("/x", origin="linux.maskedPaths[0]")).endswith(
        "  linux.maskedPaths[0]"
    )


def test_a_hook_without_timeout_shows_none():
    plan = Plan()
    plan.hook("l", "/h", ("a", "b"), timeout=2**64 - 1, argv=["h"], env=["E=1"])
    assert "timeout" not in listing.text(plan)
    (shown,) = listing.objects(plan)
    assert shown["timeout"] is None
    assert (shown["argv"], shown["env"]) == (["h"], ["E=1"])


def test_lines_stay_lines():
    assert "\n" not in line(lambda p: p.add("exec", 0, 1, "a\nb"))


def test_json_is_json():
    plan = Plan()
    plan.user(0, 0, 1, [5, 6])
    plan.seccomp(b"\xff\0", 0)
    plan.await_(0)
    assert json.loads(json.dumps(listing.objects(plan)))[0] == {
        "op": "user",
        "uid": 0,
        "gid": 0,
        "setgroups": True,
        "groups": [5, 6],
        "origin": "process.user",
    }
