"""exec --user with names: the container's own passwd and group decide, whatever they are."""

import json
import os

import pytest
from test_userns import maps, open_up, own

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
alice:x:1000:100:Alice:/home/alice:/bin/sh
"""
GROUP = "root:x:0:\nstaff:x:50:alice\nwheel:x:60:root,alice\n"
NOBODY = "exec failed: unable to find user alice: no matching entries in passwd file"


@pytest.fixture
def known(bundle):
    """The bundle, whose image knows alice; its first process has groups of its own."""
    bundle.write("etc/passwd", PASSWD)
    bundle.write("etc/group", GROUP)
    bundle.process["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
    return bundle.args("sleep", "1000")


def identity(pyrunc, name, *options):
    """uid, gid and the other groups of an exec."""
    seen = json.loads(pyrunc("exec", *options, name, "probe").stdout)
    assert (seen["uid"], seen["gid"]) == (seen["euid"], seen["egid"])
    return seen["uid"], seen["gid"], sorted(seen["groups"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--user", "alice"], (1000, 100, [50, 60])),
        (["--user=alice", "-g", "8"], (1000, 100, [8, 50, 60])),
        (["-u", "root"], (0, 0, [60])),
        # A group that is given is the only one.
        (["--user", "alice:staff"], (1000, 50, [])),
        (["--user", "alice:9"], (1000, 9, [])),
        (["--user", "alice:9", "-g", "8"], (1000, 9, [8])),
        # Only a user's name changes the other groups.
        (["--user", "3:staff"], (3, 50, [7])),
        (["--user", "1000"], (1000, 6, [7])),
        (["--user", "1000:9"], (1000, 9, [7])),
    ],
)
def test_who_it_is(pyrunc, known, options, expected):
    assert identity(pyrunc, pyrunc.up(known), *options) == expected


def test_home_is_the_users(pyrunc, known):
    name = pyrunc.up(known)
    assert pyrunc("exec", "-u", "alice", name, "sh", "-c", "echo $HOME").stdout == "/home/alice\n"


def test_what_the_files_say_now_counts(pyrunc, known):
    name = pyrunc.up(known)
    pyrunc("exec", "-u", "0", name, "sh", "-c", "echo eve:x:3:4 >>/etc/passwd")
    assert identity(pyrunc, name, "-u", "eve") == (3, 4, [])


def test_a_file_that_is_mounted_over_the_images_counts(pyrunc, known, tmp_path):
    (tmp_path / "passwd").write_text("alice:x:11:12::/:\n")
    name = pyrunc.up(known.mount("/etc/passwd", tmp_path / "passwd"))
    assert identity(pyrunc, name, "-u", "alice:0") == (11, 0, [])


def test_without_mounts_of_its_own(pyrunc, known):
    del known.mounts[:], known.linux["maskedPaths"], known.linux["readonlyPaths"]
    known.namespace("mount", False)
    name = pyrunc.up(known)
    assert pyrunc("exec", "-u", "alice", name, "id", "-u").stdout == "1000\n"


def test_in_a_paused_container(pyrunc, known):
    """The files are read before the program has to wait."""
    name = pyrunc.up(known)
    pyrunc("pause", name)
    message = pyrunc("exec", "--ignore-paused", "-u", "eve", name, "true", code=255).message
    assert message == NOBODY.replace("alice", "eve")


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("eve", "unable to find user eve: no matching entries in passwd file"),
        ("0:eve", "unable to find group eve: no matching entries in group file"),
        ("eve:0", "unable to find user eve: no matching entries in passwd file"),
        ("alice:", 'bad gid: strconv.Atoi: parsing "": invalid syntax'),
        (":staff", 'bad uid: strconv.Atoi: parsing "": invalid syntax'),
        ("1-2", 'bad uid: strconv.Atoi: parsing "1-2": invalid syntax'),
        ("-1:staff", 'bad uid: strconv.Atoi: parsing "-1": value out of range'),
    ],
)
def test_nobody(pyrunc, known, user, text):
    message = pyrunc("exec", "--user", user, pyrunc.up(known), "true", code=255).message
    assert message == f"exec failed: {text}"


def test_nobody_without_files(pyrunc, known):
    os.unlink(f"{known.rootfs}/etc/passwd")
    message = pyrunc("exec", "-u", "alice", pyrunc.up(known), "true", code=255).message
    assert message == NOBODY


# --- user namespaces ---


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("far", "cannot setuid to unmapped uid 70000 in user namespace: it has 0 to 65535"),
        ("root:far", "cannot setgid to unmapped gid 70000 in user namespace: it has 0 to 65535"),
        ("member", "setgroups: invalid argument"),
    ],
)
def test_a_user_without_a_mapping(pyrunc, known, user, text):
    known.write("etc/passwd", f"{PASSWD}far:x:70000:0::/:\nmember:x:1:1::/:\n")
    known.write("etc/group", "far:x:70000:member\n")
    known.namespace("user").linux.update(uidMappings=maps(), gidMappings=maps())
    open_up(known.path)
    own(known.rootfs)
    message = pyrunc("exec", "--user", user, pyrunc.up(known), "true", code=255).message
    assert message.endswith(text)


# --- files that were made to hurt ---


@pytest.mark.parametrize("way", ["", "../../../../../../../..", "/proc/{pid}/root"])
@pytest.mark.parametrize("name", ["etc", "etc/passwd"])
def test_a_link_to_what_is_the_hosts(pyrunc, known, tmp_path, name, way):
    """Not even where /proc is the host's, with links that nothing holds back."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    os.rename(f"{known.rootfs}/{name}", f"{known.rootfs}/elsewhere")
    os.symlink(f"{way.format(pid=os.getpid())}{tmp_path}/{name}", f"{known.rootfs}/{name}")
    container = pyrunc.up(known.namespace("pid", False))
    assert pyrunc("exec", "-u", "alice", container, "true", code=255).message == NOBODY


@pytest.mark.parametrize("name", ["passwd", "group"])
@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("mkfifo", "is not a regular file"),
        ("mkdir", "is not a regular file"),
        ("ln -s /dev/zero", "is not a regular file"),
        ("ln -s /dev/ptmx", "is not a regular file"),
        ("truncate -s 1024G", "is larger than 16 MiB"),
    ],
)
def test_a_file_that_would_hold_us_up(pyrunc, known, name, script, text):
    container = pyrunc.up(known)
    path = f"/etc/{name}"
    pyrunc("exec", "-u", "0", container, "sh", "-c", f"rm {path}; {script} {path}")
    message = pyrunc("exec", "-u", "alice", container, "true", code=255).message
    what = "user alice" if name == "passwd" else "the groups of user alice"
    assert message == f"exec failed: unable to find {what}: {path} {text}"


@pytest.mark.parametrize("target", ["kmsg", "sys/kernel/hostname", "self/mem"])
def test_a_file_of_the_kernels_is_empty(pyrunc, known, target):
    """Reading some of them waits for ever, or takes what others wait for."""
    os.unlink(f"{known.rootfs}/etc/passwd")
    os.symlink(f"/proc/{target}", f"{known.rootfs}/etc/passwd")
    name = pyrunc.up(known.namespace("pid", False))
    assert pyrunc("exec", "-u", "alice", name, "true", code=255).message == NOBODY


def test_numbers_are_looked_up_nowhere(pyrunc, known):
    name = pyrunc.up(known)
    script = "rm /etc/passwd /etc/group; mkfifo /etc/passwd /etc/group"
    pyrunc("exec", "-u", "0", name, "sh", "-c", script)
    assert identity(pyrunc, name, "-u", "1:2") == (1, 2, [7])
