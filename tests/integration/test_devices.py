"""linux.devices and their access rules."""

import os
import stat

import pytest

DEFAULT = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}


def test_default_devices(pyrunc, bundle):
    paths = [f"/dev/{name}" for name in DEFAULT]
    result = pyrunc.run(bundle.args("stat", "-c", "%n %F %a %t %T %u %g", *paths))
    for name, (major, minor) in DEFAULT.items():
        assert f"/dev/{name} character special file 666 {major:x} {minor:x} 0 0" in result.stdout


def test_default_devices_work(pyrunc, bundle):
    bundle.sh(
        "head -c 4 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; echo x > /dev/null"
    )
    assert pyrunc.run(bundle).stdout.split() == ["00"] * 4 + ["8"]


def test_configured_device(pyrunc, bundle):
    bundle.linux["devices"] = [
        {
            "path": "/dev/dir/mine",
            "type": "c",
            "major": 1,
            "minor": 5,
            "fileMode": 0o640,
            "uid": 1000,
            "gid": 1001,
        }
    ]
    result = pyrunc.run(bundle.args("stat", "-c", "%F %a %t %T %u %g", "/dev/dir/mine"))
    assert result.stdout == "character special file 640 1 5 1000 1001\n"


def test_fifo(pyrunc, bundle):
    bundle.linux["devices"] = [{"path": "/dev/fifo", "type": "p"}]
    result = pyrunc.run(bundle.args("stat", "-c", "%F %a", "/dev/fifo"))
    assert result.stdout == "fifo 666\n"


def test_unknown_type(pyrunc, bundle):
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "z", "major": 1, "minor": 5}]
    assert "z" in pyrunc.run(bundle, code=1).message


def test_device_outside_dev(pyrunc, bundle):
    bundle.linux["devices"] = [{"path": "/node", "type": "c", "major": 1, "minor": 3}]
    pyrunc.run(bundle.args("test", "-c", "/node"))
    assert stat.S_ISCHR(os.stat(f"{bundle.rootfs}/node").st_mode)


def test_a_device_that_is_there_already(pyrunc, bundle):
    os.mknod(f"{bundle.rootfs}/node", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    device = {"path": "/node", "type": "c", "major": 1, "minor": 3}
    bundle.linux["devices"] = [device, dict(device)]
    assert pyrunc.run(bundle.args("stat", "-c", "%a", "/node")).stdout == "600\n"


@pytest.mark.parametrize("kind", ["file", "number", "fifo", "link"])
def test_something_else_where_a_device_should_be(pyrunc, bundle, kind):
    path = f"{bundle.rootfs}/node"
    if kind == "file":
        bundle.write("node", "")
    elif kind == "link":
        os.symlink("/dev/null", path)
    else:
        numbers = (stat.S_IFIFO, 0) if kind == "fifo" else (stat.S_IFCHR, os.makedev(1, 5))
        os.mknod(path, numbers[0] | 0o666, numbers[1])
    bundle.linux["devices"] = [{"path": "/node", "type": "c", "major": 1, "minor": 3}]
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("error creating device nodes: mknod /node: something else is there")
    assert pyrunc.names() == []


USE = "mknod /tmp/node c 1 11 && echo made; head -c 1 /tmp/node > /tmp/x && echo read"


@pytest.fixture
def privileged(bundle):
    """May use mknod, so that only the rules refuse."""
    for names in bundle.process["capabilities"].values():
        names.append("CAP_MKNOD")
    bundle.process["noNewPrivileges"] = False
    return bundle


def test_what_no_rule_allows_is_refused(pyrunc, privileged):
    # 1:11 is /dev/kmsg.
    assert pyrunc.run(privileged.sh(USE), code=1).stdout == "made\n"


def test_rule_that_allows_reading(pyrunc, privileged):
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    privileged.linux["resources"]["devices"].append(rule)
    assert pyrunc.run(privileged.sh(USE), code=None).stdout.startswith("made\n")
    result = pyrunc.run(privileged.sh("mknod /tmp/n2 c 1 11; true > /tmp/n2 || echo refused"))
    assert "refused" in result.stdout


def test_allow_all(pyrunc, privileged):
    privileged.linux["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    # 1:1 is /dev/mem; the kernel may refuse to open it, the rules do not refuse mknod.
    result = pyrunc.run(
        privileged.sh("mknod /tmp/node c 1 1 && mknod /tmp/block b 7 0 && echo made")
    )
    assert result.stdout == "made\n"


def test_default_devices_are_allowed_after_deny_all(pyrunc, bundle):
    bundle.linux["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    pyrunc.run(bundle.sh("echo x > /dev/null && head -c 1 /dev/zero > /dev/null"))


def test_terminal_devices_are_allowed(pyrunc, bundle):
    bundle.sh("test -c /dev/pts/ptmx && exec 3<>/dev/ptmx && ls /dev/pts")
    assert "0" in pyrunc.run(bundle).stdout.split()


def test_host_device_nodes_are_untouched(pyrunc, bundle):
    before = os.stat("/dev/null")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    pyrunc.run(bundle.sh("echo > /dev/null"))
    after = os.stat("/dev/null")
    assert (before.st_mode, before.st_uid, before.st_ino) == (
        after.st_mode,
        after.st_uid,
        after.st_ino,
    )
