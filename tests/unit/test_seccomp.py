"""The flags, and the cache: a hit is what translating again would give, anything else a miss."""

import json
import marshal
import os
import subprocess
import sys

import pytest

from pyrunc import seccomp
from pyrunc.errors import Error

seccomp_filter = pytest.importorskip("pyrunc.seccomp_filter", reason="built without libseccomp")


def profile(*names, **more):
    """A section that allows these calls."""
    allowed = {"names": [*names], "action": "SCMP_ACT_ALLOW"}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allowed], **more}


# Flags


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


def flags(cache, **more):
    return seccomp.load(profile("read", **more), cache=cache)[1]


def test_flags(cache):
    supported = seccomp.supported_flags()
    assert set(supported) <= set(seccomp.FLAGS)
    spec_allow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
    assert flags(cache) == (4 if spec_allow in supported else 0)
    assert flags(cache, flags=[]) == 0
    ignored = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    assert flags(cache, flags=ignored) == 0
    if {"SECCOMP_FILTER_FLAG_LOG", spec_allow} <= set(supported):
        assert flags(cache, flags=["SECCOMP_FILTER_FLAG_LOG", spec_allow]) == 6
    with pytest.raises(Error) as caught:
        flags(cache, flags=["SECCOMP_FILTER_FLAG_NEW_LISTENER"])
    message = "seccomp flag SECCOMP_FILTER_FLAG_NEW_LISTENER is not known to runc"
    assert caught.value.message == message


def notifying(*names, **more):
    rules = [{"names": [*names], "action": "SCMP_ACT_NOTIFY"}]
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "flags": [], **more}


def test_a_rule_for_the_agent_asks_for_a_listener(cache):
    section = notifying("mkdir", listenerPath="/run/agent")
    assert seccomp.load(section, cache=cache)[1] == seccomp.NEW_LISTENER
    # The cache knows the program, and the flags are the same.
    assert seccomp.load(section, cache=cache)[1] == seccomp.NEW_LISTENER
    killable = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    if killable in seccomp.supported_flags():
        section["flags"] = [killable]
        assert seccomp.load(section, cache=cache)[1] == seccomp.NEW_LISTENER | 32


@pytest.mark.parametrize(
    "section, message",
    [
        (notifying("mkdir"), "seccomp listenerPath is not set"),
        (
            notifying("mkdir", "write", listenerPath="/run/agent"),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent"},
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
    ],
)
def test_rules_for_the_agent_that_cannot_work(section, message, cache):
    with pytest.raises(Error) as caught:
        seccomp.load(section, cache=cache)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "empty", [{}, {"defaultAction": ""}, {"defaultAction": "", "syscalls": []}]
)
def test_a_section_without_action_and_rules_is_no_filter(empty, cache):
    assert seccomp.load(empty, cache=cache) is None
    assert not os.path.exists(cache)


# The cache

PROFILE = profile("read")


def entry(cache):
    (name,) = os.listdir(cache)
    return os.path.join(cache, name)


def plant(cache, program=b"planted", library=None):
    """An entry for PROFILE that nothing but the cache can explain."""
    library = library or seccomp_filter.library_path()
    seccomp._store(cache, seccomp._key(PROFILE), library, program)


def test_a_hit_is_the_stored_program_and_loads_no_libseccomp(cache):
    first = seccomp.load(PROFILE, cache=cache)
    code = (
        "import json, sys; from pyrunc import seccomp\n"
        "program, flags = seccomp.load(json.loads(sys.argv[1]), cache=sys.argv[2])\n"
        "print(program.hex(), flags, 'pyrunc._seccomp' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(PROFILE), cache],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",  # where no source of pyrunc is found first
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(seccomp.__file__))},
    )
    assert done.stdout.split() == [first[0].hex(), str(first[1]), "False"]
    plant(cache)
    assert seccomp.load(PROFILE, cache=cache)[0] == b"planted"


def test_files_and_directory_are_private(cache):
    seccomp.load(PROFILE, cache=cache)
    assert os.stat(cache).st_mode & 0o777 == 0o700
    assert os.stat(entry(cache)).st_mode & 0o777 == 0o600


def test_another_profile_is_another_file(cache):
    plant(cache)
    other = profile("read", "write")
    assert seccomp.load(other, cache=cache)[0] == seccomp_filter.program(other)
    assert len(os.listdir(cache)) == 2


def test_the_whole_key_is_compared(cache):
    plant(cache)
    other = profile("write")
    name = seccomp._name(seccomp._key(other))
    os.rename(entry(cache), f"{cache}/{name}")  # as if the hashes were equal
    assert seccomp.load(other, cache=cache)[0] == seccomp_filter.program(other)


def test_the_key_depends_on_content_only():
    again = json.loads(json.dumps(PROFILE))
    assert seccomp._key(again) == seccomp._key(PROFILE)
    shared = ["read"]
    apart = {"defaultAction": "SCMP_ACT_LOG", "flags": ["read"], "x": ["read"]}
    assert seccomp._key({**apart, "flags": shared, "x": shared}) == seccomp._key(apart)


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "garbage", "other shape"])
def test_a_damaged_file_is_replaced(cache, damage):
    plant(cache)
    with open(entry(cache), "rb") as file:
        data = file.read()
    body = marshal.dumps(["surprise"], 2)
    data = {
        "empty": b"",
        "truncated": data[:-1],
        "flipped": data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        "garbage": os.urandom(100),
        "other shape": seccomp._hash(body).to_bytes(8, "little") + body,
    }[damage]
    with open(entry(cache), "wb") as file:
        file.write(data)
    expected = seccomp_filter.program(PROFILE)
    assert seccomp.load(PROFILE, cache=cache)[0] == expected
    with open(entry(cache), "rb") as file:
        assert expected in file.read()


def test_another_libseccomp_is_another_translator(cache, tmp_path):
    library = tmp_path / "libseccomp.so"
    library.write_bytes(b"old")
    plant(cache, library=str(library))
    assert seccomp.load(PROFILE, cache=cache)[0] == b"planted"
    library.write_bytes(b"newer")
    assert seccomp.load(PROFILE, cache=cache)[0] == seccomp_filter.program(PROFILE)
    plant(cache, library=str(library))
    library.unlink()
    assert seccomp.load(PROFILE, cache=cache)[0] == seccomp_filter.program(PROFILE)


@pytest.mark.parametrize("what", ["directory", "file"])
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_what_others_can_write_is_not_used(cache, what, mode):
    plant(cache)
    os.chmod(cache if what == "directory" else entry(cache), mode)
    assert seccomp.load(PROFILE, cache=cache)[0] == seccomp_filter.program(PROFILE)


def test_what_others_own_is_not_used(cache, monkeypatch):
    plant(cache)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert seccomp.load(PROFILE, cache=cache)[0] == seccomp_filter.program(PROFILE)


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_a_file_of_another_user_is_not_used(cache):
    plant(cache)
    os.chown(entry(cache), 1, -1)
    assert seccomp.load(PROFILE, cache=cache)[0] == seccomp_filter.program(PROFILE)


def test_symlinks_and_special_files_are_not_followed(cache, tmp_path):
    plant(cache)
    name = entry(cache)
    os.rename(name, tmp_path / "away")
    os.symlink(tmp_path / "away", name)
    expected = seccomp_filter.program(PROFILE)
    assert seccomp.load(PROFILE, cache=cache)[0] == expected
    os.unlink(name)
    os.mkfifo(name)
    assert seccomp.load(PROFILE, cache=cache)[0] == expected
    plant(cache)
    os.symlink(cache, tmp_path / "link")
    assert seccomp.load(PROFILE, cache=str(tmp_path / "link"))[0] == expected


@pytest.mark.parametrize("path", ["", "file/cache", "missing/cache"])
def test_no_cache_is_no_failure(tmp_path, path):
    (tmp_path / "file").touch()
    cache = str(tmp_path / path) if path else ""
    assert seccomp.load(PROFILE, cache=cache)[0] == seccomp_filter.program(PROFILE)


def test_the_cache_is_bounded(cache):
    plant(cache)
    for at in range(seccomp.CACHE_FILES + 10):
        seccomp._store(cache, b"%d" % at, seccomp_filter.library_path(), b"")
        assert len(os.listdir(cache)) <= seccomp.CACHE_FILES


def test_the_place_of_the_cache(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert seccomp.cache_path() == "/run/user/7/pyrunc-seccomp"
    for nowhere in ("", "relative"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", nowhere)
        assert seccomp.cache_path() == ""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert seccomp.cache_path() == "/run/pyrunc-seccomp"
