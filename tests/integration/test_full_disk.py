"""A full disk: what cannot be written is told by its name, and what was written is not lost.

The command runs in a mount namespace of its own, where --root is a tmpfs that is filled at will.
"""

import json
import os
import subprocess

import pytest

from counting import count, goes_on, up
from harness import cgroup_dirs, processes_in, read, wait_for

NO_SPACE = "no space left on device"
PAGE = os.sysconf("SC_PAGESIZE")
SCRIPT = """#!/bin/sh
exec nsenter --mount=/proc/{pid}/ns/mnt --wdns=/ {command} "$@"
"""


class Disk:
    """The file system under --root, seen from outside of its namespace."""

    def __init__(self, pyrunc, holder):
        self.pyrunc = pyrunc
        self.path = f"/proc/{holder}/root{pyrunc.root}"
        self.holder = holder

    def mount(self, path, options):
        command = ["nsenter", f"--mount=/proc/{self.holder}/ns/mnt"]
        command += ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]
        subprocess.run(command, check=True)

    def fill(self, room=0, files=0):
        """Leave room for so many pages, and so many files."""
        self.empty()
        facts = os.statvfs(self.path)
        for number in range(facts.f_ffree - files - 1):
            with open(f"{self.path}/filler{number}", "wb"):
                pass
        with open(f"{self.path}/filler", "wb") as file:
            file.write(bytes((os.statvfs(self.path).f_bfree - room) * facts.f_bsize))

    def empty(self):
        for name in os.listdir(self.path):
            if name.startswith("filler"):
                os.unlink(f"{self.path}/{name}")

    def names(self):
        return [name for name in os.listdir(self.path) if not name.startswith("filler")]


@pytest.fixture
def disk(pyrunc, tmp_path):
    os.makedirs(pyrunc.root)
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        "echo && exec sleep 999",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.read(1) == b"\n"
        try:
            disk = Disk(pyrunc, holder.pid)
            disk.mount(pyrunc.root, f"size={32 * PAGE},nr_inodes=32")
            wrapper = tmp_path / "elsewhere"
            wrapper.write_text(SCRIPT.format(pid=holder.pid, command=pyrunc.command))
            wrapper.chmod(0o755)
            pyrunc.command = str(wrapper)
            yield disk
            for name in disk.names():
                pyrunc("delete", "--force", name)
            assert disk.names() == []
        finally:
            holder.kill()


def assert_undone(disk, name):
    assert name not in disk.names()
    assert not cgroup_dirs(name)
    wait_for(lambda: not processes_in(name), what="end of init")


# In the order in which create needs them: a directory, .intent.json, exec.fifo, .state.json.
@pytest.mark.parametrize("files", range(5))
def test_no_room_for_another_file(pyrunc, disk, bundle, files):
    disk.fill(room=16, files=files)
    name = pyrunc.id()
    result = pyrunc("create", "--bundle", bundle.save(), name, code=1 if files < 4 else 0)
    if files < 4:
        missing = (f"mkdir {pyrunc.root}/{name}", "/intent.json", "/exec.fifo", "/state.json")
        assert missing[files] in result.message and NO_SPACE in result.message
        assert_undone(disk, name)


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize("room", range(5))
def test_no_room_for_what_is_written(pyrunc, disk, bundle, verb, room):
    disk.fill(room=room, files=16)
    name = pyrunc.id()
    bundle.args("true").save()
    result = pyrunc(verb, "--bundle", bundle.path, name, code=None)
    if room < 2:
        assert result.code == 1 and ".json: no space left on device" in result.message
    if result.code:
        assert NO_SPACE in result.message and len(result.stderr.splitlines()) == 1
    if result.code or verb == "run":
        assert_undone(disk, name)


def test_what_writes_nothing_works(pyrunc, disk, bundle):
    name = pyrunc.create(bundle.args("sleep", "1000"))
    disk.fill()
    for verb in ("state", "start", "pause", "resume", "ps"):
        assert pyrunc(verb, name).stderr == ""
    assert pyrunc("exec", name, "echo", "inside").stdout == "inside\n"
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
    pyrunc("delete", name)
    assert disk.names() == []


def test_an_update_that_cannot_be_written_down_is_undone(pyrunc, disk, bundle):
    bundle.linux["resources"]["pids"] = {"limit": 20}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    paths = json.loads(read(f"{disk.path}/{name}/state.json"))["cgroup_paths"]
    limit = f"{paths.get('pids') or paths['']}/pids.max"
    if not os.path.exists(limit):
        pytest.skip("no pids controller")
    before = read(f"{disk.path}/{name}/state.json")
    disk.fill()
    result = pyrunc("update", "--pids-limit", "30", name, code=1)
    assert result.message == f"open {pyrunc.root}/{name}/state.json: {NO_SPACE}"
    assert read(f"{disk.path}/{name}/state.json") == before
    assert read(limit) == "20\n"
    disk.empty()
    pyrunc("update", "--pids-limit", "30", name)
    assert read(limit) == "30\n"


def test_a_pid_file_that_cannot_be_written(pyrunc, disk, bundle, tmp_path):
    """Whoever waits for it would look for a process in vain: there is none."""
    full = tmp_path / "full"
    full.mkdir()
    disk.mount(full, f"size={PAGE}")
    with open(f"/proc/{disk.holder}/root{full}/filler", "wb") as file:
        file.write(bytes(PAGE))
    options = ["--pid-file", f"{full}/pid"]
    why = f"open {full}/.pid: {NO_SPACE}"
    result = pyrunc.create(bundle.args("sleep", "1000"), *options, code=1)
    assert result.message == f"runc create failed: {why}"
    assert disk.names() == [] and not cgroup_dirs(pyrunc.prefix)
    name = pyrunc.up(bundle)
    assert why in pyrunc("exec", "-d", *options, name, "sleep", "999", code=255).message
    wait_for(lambda: len(processes_in(name)) == 1, what="end of the exec's process")
    assert os.listdir(f"/proc/{disk.holder}/root{full}") == ["filler"]


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_a_log_that_cannot_be_written(pyrunc, disk, bundle, verb):
    """It is no reason to fail, and a failure is told on stderr as well."""
    log = f"{pyrunc.root}/log"
    with open(f"{disk.path}/log", "wb"):
        pass
    name = pyrunc.up(bundle.args("sleep", "1000"))
    disk.fill()
    if verb == "delete":
        assert pyrunc("--log", log, "delete", "--force", name).stderr == ""
    else:
        result = pyrunc("--log", log, "create", "--bundle", bundle.path, name, code=1)
        assert "container with given ID already exists" in result.stderr
    assert read(f"{disk.path}/log") == ""
    os.unlink(f"{disk.path}/log")


@pytest.mark.parametrize("options", ["ro", "size=1,nr_inodes=2", "nr_inodes=1"])
def test_no_room_in_the_cache_of_filters(pyrunc, disk, bundle, options):
    os.makedirs("/run/pyrunc-seccomp", 0o700, exist_ok=True)
    disk.mount("/run/pyrunc-seccomp", f"mode=700,{options}")
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    for _ in range(2):
        result = pyrunc.run(bundle.sh("mkdir /tmp/x || exit 5"), code=5)
        assert "mkdir" in result.stderr and "level=" not in result.stderr


@pytest.mark.parametrize("full", ["images", "root"])
def test_a_checkpoint_that_does_not_fit(pyrunc, disk, bundle, criu, tmp_path, full):
    """The container goes on as if nobody had asked for it."""
    name = up(pyrunc, bundle)
    images = tmp_path / "images"
    images.mkdir()
    if full == "images":
        disk.mount(images, f"size={15 * PAGE}")
    else:
        disk.fill()
    result = pyrunc("checkpoint", "--image-path", images, name, env=criu, code=1)
    if full == "images":
        assert "No space left on device" in result.stderr
        assert result.message == "criu failed: type NOTIFY errno 0"
    else:
        assert result.message == f"open {pyrunc.root}/{name}/checkpoint: {NO_SPACE}"
    assert pyrunc.status(name) == "running"
    goes_on(bundle, count(bundle))
