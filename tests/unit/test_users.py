"""The names of `exec --user`: what passwd and group say, and files that say nothing."""

import os

import pytest

from pyrunc import users
from pyrunc.errors import Error

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
:x:1:1::/:
alice:x:1000:100:Alice:/home/alice:/bin/sh
alice:x:1001:101::/:
short:x:7
bare:x:8:9
word:x:eight:9
word:x:8:nine
minus:x:-1:5
none:x:4294967295:5
huge:x:99999999999999999999:5
last:x:4294967294:5
5:x:0:0::/:

#comment:x:1:1
"""
GROUP = """\
root:x:0:root,alice
alice:x:1000:
staff:x:50:bob,alice,carol
staff:x:51:
again:x:50:alice
other:x:60:alicea,balice
broken:x:sixty:alice
short:x
bare:x:70
5:x:0:
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("alice", ("1000:100", [0, 50])),
        ("bare", ("8:9", [])),
        ("last", ("4294967294:5", [])),
        ("alice:7", ("1000:7", [])),
        ("alice:staff", ("1000:50", [])),
        ("alice:bare", ("1000:70", [])),
        ("7:staff", ("7:50", None)),
        ("alice:5", ("1000:5", [])),
        # Not whole, or not sensible: told by who parses numbers.
        ("alice:", ("1000:", [])),
        (":staff", (":50", None)),
        ("-5:staff", ("-5:50", None)),
    ],
)
def test_names_become_numbers(root, text, found):
    assert users.numbers(text, root) == found


@pytest.mark.parametrize(
    "name", ["short", "word", "minus", "none", "huge", "bob", "ALICE", " ", "\n"]
)
def test_no_such_user(root, name):
    with pytest.raises(Error) as caught:
        users.numbers(name, root)
    assert caught.value.message == f"unable to find user {name}: no matching entries in passwd file"


@pytest.mark.parametrize("name", ["short", "broken", "sta", "a:b"])
def test_no_such_group(root, name):
    with pytest.raises(Error) as caught:
        users.numbers(f"alice:{name}", root)
    assert caught.value.message == f"unable to find group {name}: no matching entries in group file"


def test_a_missing_file_has_no_entries(tmp_path):
    with pytest.raises(Error, match="unable to find user alice: no matching entries in passwd"):
        users.numbers("alice", str(tmp_path))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    assert users.numbers("alice", str(tmp_path)) == ("1000:100", [])


def test_a_last_line_without_its_end_counts(root):
    with open(f"{root}/etc/passwd", "w") as file:
        file.write("eve:x:3:4")
    assert users.numbers("eve", root) == ("3:4", [])


def test_bytes_that_are_no_text(root):
    with open(f"{root}/etc/passwd", "wb") as file:
        file.write(b"\xff\0\n\xfe:x:3:4\n")
    assert users.numbers(os.fsdecode(b"\xfe"), root) == ("3:4", [])


@pytest.mark.parametrize("kind", ["directory", "fifo", "device", "socket"])
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_only_regular_files_are_opened(root, kind, name):
    path = f"{root}/etc/{name}"
    os.unlink(path)
    if kind == "directory":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif os.geteuid() != 0 and kind == "device":
        pytest.skip("needs root")
    else:
        mode, number = (0o20600, os.makedev(1, 5)) if kind == "device" else (0o140600, 0)
        os.mknod(path, mode, number)
    with pytest.raises(Error, match=f"/etc/{name} is not a regular file$"):
        users.numbers("alice", root)


def test_a_file_of_any_size_is_not_read(root):
    os.truncate(f"{root}/etc/passwd", 1 << 40)
    with pytest.raises(Error, match="unable to find user alice: /etc/passwd is larger than 16 MiB"):
        users.numbers("alice", root)


@pytest.mark.parametrize("way", ["", "../../../../../../../../..", "/proc/self/root"])
def test_links_do_not_leave_the_root(root, tmp_path_factory, way):
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("eve:x:3:4\n")
    path = f"{root}/etc/passwd"
    os.unlink(path)
    os.symlink(f"{way}{outside}", path)
    assert os.path.exists(path), "from here it leads there"
    with pytest.raises(Error, match="no matching entries in passwd file"):
        users.numbers("eve", root)


def test_links_within_the_root_are_followed(root):
    os.makedirs(f"{root}/nix/store")
    os.rename(f"{root}/etc/passwd", f"{root}/nix/store/passwd")
    os.symlink("/nix/store/passwd", f"{root}/etc/passwd")
    assert users.numbers("bare", root) == ("8:9", [])


def test_a_circle_of_links_is_an_error(root):
    os.unlink(f"{root}/etc/passwd")
    os.symlink("passwd", f"{root}/etc/passwd")
    with pytest.raises(Error) as caught:
        users.numbers("eve", root)
    assert caught.value.message == (
        "unable to find user eve: open /etc/passwd: too many levels of symbolic links"
    )
