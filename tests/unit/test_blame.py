"""What may follow an error's sentence, and which component of a path is to blame."""

import errno
import glob
import os
import re
import tempfile

import pytest

from pyrunc import blame
from pyrunc.errors import Error

TOP = os.path.join(os.path.dirname(__file__), "..", "..")


def test_a_missing_component_is_named(tmp_path):
    assert blame.path(f"{tmp_path}/a/b/c", errno.ENOENT) == f"{tmp_path}/a is missing"


def test_the_last_component_is_named_by_the_error_itself(tmp_path):
    assert blame.path(f"{tmp_path}/a", errno.ENOENT) == ""


def test_a_component_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert blame.path(f"{tmp_path}/file/a", errno.ENOTDIR) == f"{tmp_path}/file is no directory"


def test_a_link_is_named_with_what_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to("gone")
    told = f"the link {tmp_path}/link leads to gone, which is missing"
    assert blame.path(f"{tmp_path}/link", errno.ENOENT) == told
    assert blame.path(f"{tmp_path}/link/a", errno.ENOENT) == told


def test_links_in_a_circle_are_named(tmp_path):
    (tmp_path / "link").symlink_to("link")
    told = blame.path(f"{tmp_path}/link/a", errno.ELOOP)
    assert told == f"the link {tmp_path}/link leads to link"


def test_a_relative_path_stays_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert blame.path("a/b", errno.ENOENT) == "a is missing"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_directory_that_may_not_be_searched_is_named():
    with tempfile.TemporaryDirectory(dir="/tmp") as top:
        os.chmod(top, 0o755)
        os.mkdir(f"{top}/closed", 0o700)
        os.seteuid(65534)
        try:
            told = blame.path(f"{top}/closed/a/b", errno.EACCES)
        finally:
            os.seteuid(0)
    assert told == f"{top}/closed may not be searched by user 65534"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EACCES, None])
def test_what_does_not_explain_the_error_is_not_told(tmp_path, number):
    (tmp_path / "dir" / "inner").mkdir(parents=True)
    assert blame.path(f"{tmp_path}/dir/inner", number) == ""
    (tmp_path / "file").touch()
    assert blame.path(f"{tmp_path}/file/x", errno.EACCES) == ""
    assert blame.path(f"{tmp_path}/absent/x", errno.EACCES) == ""
    assert blame.path("/\0/x", number) == ""


def test_an_error_says_what_is_to_blame(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        os.stat(tmp_path / "a" / "b")
    error = blame.os_error("stat", f"{tmp_path}/a/b", caught.value)
    assert isinstance(error, Error)
    assert error.message == (
        f"stat {tmp_path}/a/b: no such file or directory: {tmp_path}/a is missing"
    )


@pytest.mark.parametrize("word", blame.SIGNALS)
def test_a_clause_with_words_of_another_error_is_dropped(word):
    assert blame.explained("sentence", f"its interpreter /{word.title()} is missing") == "sentence"


def test_a_missing_controller_is_named(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    assert blame.controller(str(tmp_path), "memory.max") == "this cgroup has no controller memory"
    assert blame.controller(str(tmp_path), "pids.nosuch") == ""
    assert blame.controller(str(tmp_path), "cgroup.nosuch") == ""  # is every cgroup's own
    assert blame.controller(f"{tmp_path}/absent", "memory.max") == ""


def test_a_hierarchy_that_is_not_mounted_is_named():
    assert blame.hierarchy("nosuch") == "no hierarchy of nosuch is mounted"
    with open("/proc/self/mountinfo") as file:
        names = re.findall(r" - cgroup \S+ \S*\b(memory|pids|cpuset)\b", file.read())
    for name in names:
        assert blame.hierarchy(name) == ""


def test_init_and_we_leave_out_the_same():
    with open(f"{TOP}/csrc/why.h") as file:
        words = re.search(r"#define ERRNO_WORDS((?:.*\\\n)*.*)", file.read())[1]
    assert tuple(re.findall(r'"(.*?)"', words)) == blame.SIGNALS


def test_our_own_words_are_not_those_by_which_engines_choose_an_exit_status():
    texts = []
    for path in glob.glob(f"{TOP}/csrc/init_why*.c"):
        with open(path) as file:
            texts += re.findall(r'"((?:[^"\\]|\\.)*)"', file.read())
    for name in ("blame", "explain"):
        with open(f"{TOP}/pyrunc/{name}.py") as file:
            texts += re.findall(r'return f?"(.*)"', file.read())
    assert " is missing" in texts
    for text in texts:
        assert not any(words in text for words in blame.SIGNALS), text
    # Across a border: "the source " and "is a directory".
    assert not any(text.startswith(("a directory", "found")) for text in texts)
