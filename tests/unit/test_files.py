"""files: atomic replacement, locks on directories, removal of trees."""

import fcntl
import os

import pytest

from pyrunc import files


def test_replace_is_whole_and_leaves_nothing_else(tmp_path):
    path = str(tmp_path / "pid")
    files.replace(path, "12", 0o600)
    files.replace(path, "345")
    assert files.read(path) == b"345"
    assert os.listdir(tmp_path) == ["pid"]


def test_replace_takes_the_mode_for_a_new_file(tmp_path):
    path = str(tmp_path / "state.json")
    files.replace(path, "{}", 0o600)
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_replace_writes_to_nothing_that_is_there(tmp_path, link):
    (tmp_path / "target").write_text("x")
    link(tmp_path / "target", tmp_path / ".pid")
    files.replace(str(tmp_path / "pid"), "1")
    assert (tmp_path / "target").read_text() == "x"
    assert (tmp_path / "pid").read_text() == "1"
    assert sorted(os.listdir(tmp_path)) == ["pid", "target"]


def test_replace_after_one_that_was_killed(tmp_path):
    (tmp_path / ".pid").write_text("half of it, and more than we write")
    files.replace(str(tmp_path / "pid"), "1")
    assert (tmp_path / "pid").read_text() == "1"


def test_replace_that_fails_removes_its_temporary_file(tmp_path):
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.replace(str(tmp_path / "name"), "1")
    assert os.listdir(tmp_path) == ["name"]


def test_read_text_strips(tmp_path):
    (tmp_path / "f").write_bytes(b" a\xff\n")
    assert files.read_text(str(tmp_path / "f")) == "a\udcff"


def test_lock_directory(tmp_path):
    path = str(tmp_path / "c")
    assert files.lock_directory(path, fcntl.LOCK_EX) is None
    os.mkdir(path)
    first = files.lock_directory(path, fcntl.LOCK_SH)
    second = files.lock_directory(path, fcntl.LOCK_SH)
    assert files.lock_directory(path, fcntl.LOCK_EX) == -1
    os.close(first)
    os.close(second)
    whole = files.lock_directory(path, fcntl.LOCK_EX)
    assert files.lock_directory(path, fcntl.LOCK_SH) == -1
    os.close(whole)


def test_lock_directory_is_none_for_a_file(tmp_path):
    (tmp_path / "f").touch()
    assert files.lock_directory(str(tmp_path / "f"), fcntl.LOCK_EX) is None


def test_remove_tree(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "f").touch()
    (tree / "link").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    files.remove_tree(str(tree))
    files.remove_tree(str(tree))
    assert os.listdir(tmp_path) == ["outside"]
    assert (outside / "keep").exists()


def test_remove_tree_of_a_link_removes_the_link(tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "f").touch()
    (tmp_path / "link").symlink_to("dir")
    files.remove_tree(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["dir"]
    assert os.listdir(tmp_path / "dir") == ["f"]
