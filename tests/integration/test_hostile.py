"""Images and configurations made to hurt: the host is untouched, errors are one clear line."""

import json
import os
import random
import shutil
import subprocess
import threading

import pytest

from harness import read


@pytest.fixture
def victim(tmp_path):
    """A directory of the host that no container is told about."""
    path = tmp_path / "victim"
    path.mkdir()
    yield path
    assert os.listdir(path) == [], "something of the host was touched"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("mnt", "{victim}"),
        ("mnt", "../../../../../../../../..{victim}"),
        ("mnt", "/proc/1/root{victim}"),
        ("mnt", "/proc/self/root{victim}"),
        ("a/b/mnt", "../../../../../../..{victim}"),
        ("a", "{victim}"),
    ],
)
def test_a_symlink_on_the_way_to_a_mountpoint_stays_inside(pyrunc, bundle, victim, link, target):
    path = f"{bundle.rootfs}/{link}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target.format(victim=victim), path)
    destination = "/mnt/x" if link != "a" else "/a/b/mnt/x"
    if link.startswith("a/"):
        destination = "/a/b/mnt/x"
    bundle.mount(destination, "tmpfs", "nosuid", kind="tmpfs")
    bundle.mount(destination + ".file", f"{bundle.path}/config.json")
    bundle.sh(f"grep -c tmpfs /proc/mounts; cat {destination}.file >/dev/null && echo read")
    result = pyrunc.run(bundle, code=None)
    if result.code == 0:
        assert "read" in result.stdout
    else:
        assert "error mounting" in result.message


@pytest.mark.parametrize("name", ["dev", "proc", "sys", "tmp", "dev/shm", "dev/pts"])
def test_directories_of_the_default_mounts_may_be_symlinks_to_the_host(
    pyrunc, bundle, victim, name
):
    path = f"{bundle.rootfs}/{name}"
    if os.path.isdir(path):
        os.rmdir(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(victim, path)
    result = pyrunc.run(bundle.sh("ls /dev"), code=None)
    if result.code:
        # proc and sysfs insist on plain directories
        assert name in ("proc", "sys"), result
        assert "must be mounted on ordinary directory" in result.message
    null = os.stat("/dev/null")
    assert null.st_rdev == os.makedev(1, 3)


@pytest.mark.parametrize(
    "node",
    ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "stdout", "core"],
)
def test_device_names_that_are_symlinks_to_the_host(pyrunc, bundle, victim, node):
    """The image brings /dev itself (no tmpfs over it), with links where nodes belong."""
    bundle.config["mounts"] = [m for m in bundle.mounts if not m["destination"].startswith("/dev")]
    os.symlink(victim / "made", f"{bundle.rootfs}/dev/{node}")
    pyrunc.run(bundle.sh("true"), code=None)
    assert not os.path.lexists(victim / "made")


def test_a_fake_null_device_masks_nothing(pyrunc, bundle):
    bundle.config["mounts"] = [m for m in bundle.mounts if not m["destination"].startswith("/dev")]
    bundle.write("/dev/null", "secret of the image")
    bundle.write("/masked", "x")
    bundle.linux["maskedPaths"] = ["/masked"]
    result = pyrunc.run(bundle.args("cat", "/masked"), code=1)
    assert "/dev/null" in result.message
    assert "secret" not in result.stdout


def test_an_etc_passwd_that_blocks_does_not_hang_create(pyrunc, bundle):
    os.unlink(f"{bundle.rootfs}/etc/passwd")
    os.mkfifo(f"{bundle.rootfs}/etc/passwd")
    result = pyrunc.run(bundle.sh("echo $HOME"))
    assert result.stdout == "/\n"


def config_mutations(config, count):
    """The same damaged documents at every run."""
    dice = random.Random(20260101)
    junk = [
        None,
        True,
        -1,
        2**64,
        1.5,
        "",
        "x" * 300,
        "\0",
        "/",
        "../..",
        [],
        {},
        [None],
        {"": None},
    ]
    for _ in range(count):
        document = json.loads(json.dumps(config))
        for _ in range(dice.randint(1, 3)):
            place = document
            while True:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    break
                key = dice.choice(keys)
                if not isinstance(place[key], (dict, list)) or dice.random() < 0.3:
                    place[key] = dice.choice(junk)
                    break
                place = place[key]
        yield document


def test_damaged_configurations_give_one_clear_line(pyrunc, bundle):
    bundle.args("true")
    bundle.config["hooks"] = {"prestart": [{"path": "/bin/true", "timeout": 5}]}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}],
    }
    good = bundle.config
    for document in config_mutations(good, 150):
        bundle.config = document
        result = pyrunc.run(bundle, code=None, timeout=30)
        assert "Traceback" not in result.stderr, (document, result)
        assert "internal error" not in result.stderr, (document, result)
        if result.code:
            assert result.code == 1 or result.code in (255, 126, 127), (document, result)
            assert len(result.stderr.strip().splitlines()) <= 4, (document, result)
            assert result.message, (document, result)
    bundle.config = good


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{]",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\xff\xfe",
        b'{"ociVersion": "\xff"}',
        b"{" * 100000,
        b"[" * 100000,
        b'{"ociVersion":"1.0.0","process":' * 2000,
        b'{"a":NaN}',
        b'{"process":{"args":["\\ud800"]}}',
        b'{"ociVersion":1e999}',
        b"\0" * 64,
    ],
)
def test_files_that_are_no_configuration(pyrunc, bundle, data):
    bundle.save()
    with open(f"{bundle.path}/config.json", "wb") as file:
        file.write(data)
    result = pyrunc("create", "--bundle", bundle.path, pyrunc.id(), code=1)
    assert "Traceback" not in result.stderr
    assert result.message
    assert pyrunc.names() == []


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing", "unreadable"])
def test_config_json_that_is_no_file(pyrunc, bundle, kind):
    bundle.save()
    path = f"{bundle.path}/config.json"
    os.unlink(path)
    if kind == "directory":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
        threading.Thread(target=lambda: os.close(os.open(path, os.O_WRONLY)), daemon=True).start()
    elif kind == "unreadable":
        os.symlink("/proc/self/mem", path)
    result = pyrunc("create", "--bundle", bundle.path, pyrunc.id(), code=1)
    assert "Traceback" not in result.stderr
    if kind == "missing":
        assert result.message.endswith("JSON specification file config.json not found")


@pytest.mark.parametrize("record", ["", "{", "null", "[]", "{}", '{"config":{}}', '{"id":1}'])
@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "list"])
def test_a_damaged_record_is_named_not_a_traceback(pyrunc, bundle, verb, record):
    os.makedirs(f"{pyrunc.root}/broken", exist_ok=True)
    with open(f"{pyrunc.root}/broken/state.json", "w") as file:
        file.write(record)
    result = pyrunc(verb, *([] if verb == "list" else ["broken"]), code=None)
    assert "Traceback" not in result.stderr + result.stdout
    assert result.code == (0 if verb == "list" else 1), result
    pyrunc("delete", "--force", "broken")
    assert pyrunc.names() == []


@pytest.mark.parametrize("front", ["native", "python"])
@pytest.mark.parametrize("kind", ["fifo", "endless", "directory"])
@pytest.mark.parametrize("file", ["state.json", "intent.json"])
def test_a_record_that_is_no_file_holds_nobody_up(pyrunc, monkeypatch, front, kind, file):
    if front == "python":
        monkeypatch.setenv("PYRUNC_FRONT", "python")
    path = f"{pyrunc.root}/broken/{file}"
    os.makedirs(os.path.dirname(path))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "endless":
        os.symlink("/dev/zero", path)
    else:
        os.mkdir(path)
    for verb in ("state", "start", "kill"):
        assert len(pyrunc(verb, "broken", code=1).stderr.splitlines()) == 1
    assert pyrunc("list", "-q").stdout == ""
    pyrunc("delete", "--force", "broken")
    assert pyrunc.names() == []


@pytest.mark.parametrize("front", ["native", "python"])
def test_the_copy_of_a_record_is_nobodys(pyrunc, bundle, monkeypatch, front):
    """Who deletes it would end the other container."""
    if front == "python":
        monkeypatch.setenv("PYRUNC_FRONT", "python")
    name = pyrunc.up(bundle.args("sleep", "1000"))
    shutil.copytree(f"{pyrunc.root}/{name}", f"{pyrunc.root}/copy")
    why = f"{pyrunc.root}/copy/state.json is not the record of a container"
    for verb in ("state", "kill", "delete"):
        assert pyrunc(verb, "copy", code=1).message == why
    pyrunc("delete", "--force", "copy")
    assert pyrunc.names() == [name]
    assert pyrunc.status(name) == "running"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "x" * 300, "a\nb"])
def test_ids_that_are_no_ids(pyrunc, bundle, name):
    bundle.save()
    for verb in (["create", "--bundle", bundle.path], ["state"], ["start"], ["kill"]):
        result = pyrunc(*verb, "--", name, code=1)
        assert "Traceback" not in result.stderr
        assert "unexpected error" not in result.stderr
    # what cannot exist is gone already; what is no id at all is refused
    pyrunc("delete", "--force", "--", name, code=0 if len(name) == 300 else 1)
    assert pyrunc.names() == []


@pytest.mark.parametrize("name", ["-", "--", "-f"])
def test_ids_that_look_like_flags(pyrunc, bundle, name):
    pyrunc("create", "--bundle", bundle.args("true").save(), "--", name)
    assert pyrunc.names() == [name]
    pyrunc("delete", "--", name)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_any_umask(pyrunc, bundle, umask):
    result = pyrunc.run(bundle.sh("umask; ls -ld /dev/null"), preexec_fn=lambda: os.umask(umask))
    assert result.stdout.split()[0] == "0022"
    assert result.stdout.split()[1] == "crw-rw-rw-"


def test_an_empty_environment_and_a_deleted_working_directory(pyrunc, bundle, tmp_path):
    bundle.args("true").save()
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'rmdir "{gone}"; exec "$0" "$@"'
    for verb in (
        ["run", "--bundle", bundle.path, pyrunc.id()],
        ["list"],
        ["features"],
        ["--version"],
        ["delete", "--force", "unknown"],
    ):
        gone.mkdir(exist_ok=True)
        done = subprocess.run(
            ["/bin/sh", "-c", script, *pyrunc.argv(*verb)],
            cwd=gone,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (verb, done)


def test_nothing_reaches_the_hosts_mount_namespace(pyrunc, bundle):
    before = read("/proc/self/mountinfo")
    name = pyrunc.up(bundle.mount("/mnt", "tmpfs", kind="tmpfs").args("sleep", "1000"))
    assert read("/proc/self/mountinfo") == before
    pyrunc("delete", "--force", name)
    assert read("/proc/self/mountinfo") == before
