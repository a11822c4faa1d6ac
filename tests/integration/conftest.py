"""Fixtures: the command, bundles, and the check that a test left nothing on the host."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys

import prctl
import pytest

from compare import Pair
from counting import up
from harness import PATIENCE, Bundle, Runtime, cgroup_dirs, processes_in, read, wait_for

SCRIPT = """#!/bin/sh
exec unshare -m --propagation private sh -c '
    mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh {command} "$@"
"""


@pytest.fixture(scope="session", autouse=True)
def patience():
    """Timeouts of processes, as the tests say them, are PATIENCE times as long."""
    wait, communicate = subprocess.Popen.wait, subprocess.Popen.communicate

    def longer(timeout):
        return timeout and timeout * PATIENCE

    def patient_wait(self, timeout=None):
        return wait(self, longer(timeout))

    def patient_communicate(self, input=None, timeout=None):
        return communicate(self, input, longer(timeout))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "wait", patient_wait)
        patch.setattr(subprocess.Popen, "communicate", patient_communicate)
        yield


@pytest.fixture(scope="session")
def command():
    """The installed command: PYRUNC, or the one beside this interpreter."""
    path = os.environ.get("PYRUNC") or os.path.join(os.path.dirname(sys.executable), "pyrunc")
    if not os.access(path, os.X_OK):
        pytest.skip(f"{path} is not there: make build")
    return path


@pytest.fixture(scope="session")
def binaries(tmp_path_factory):
    """(busybox, probe): the static programs of every root filesystem."""
    directory = tmp_path_factory.mktemp("binaries")
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing (package busybox-static)")
    shutil.copy(busybox, directory / "busybox")
    source = os.path.join(os.path.dirname(__file__), "..", "probe.c")
    output = str(directory / "probe")
    subprocess.run(["cc", "-std=gnu11", "-Os", "-static", "-o", output, source], check=True)
    return str(directory / "busybox"), output


@pytest.fixture(scope="session")
def base_config(command, tmp_path_factory):
    """What `spec` writes: the configuration that tests edit."""
    directory = tmp_path_factory.mktemp("spec")
    subprocess.run([command, "spec"], cwd=directory, check=True)
    return json.loads(read(directory / "config.json"))


@contextlib.contextmanager
def watched(command, directory):
    """The command with a private --root; what is left at the end is deleted, leaks are failures."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    prefix = f"pt{os.getpid()}-{directory.name}-"
    runtime = Runtime(command, directory, prefix)
    host = os.uname().nodename
    yield runtime
    for name in runtime.names():
        runtime("delete", "--force", name, code=None)
    left = runtime.names()
    assert not left, f"left in --root: {left}"
    wait_for(lambda: not processes_in(prefix), 3, f"end of {processes_in(prefix)}")
    # A busy kernel lets runc give up too early; the last process has only just gone.
    wait_for(lambda: not cgroup_dirs(prefix), 5, f"end of {cgroup_dirs(prefix)}")
    mounts = [line for line in read("/proc/self/mountinfo").splitlines() if str(directory) in line]
    assert not mounts
    assert os.uname().nodename == host, "the host was renamed"
    null = os.stat("/dev/null")
    assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3)
    assert (null.st_mode & 0o777, null.st_uid) == (0o666, 0)


@pytest.fixture
def pyrunc(command, tmp_path):
    """The command with a private --root; what the test leaves is deleted, leaks fail it."""
    with watched(command, tmp_path) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def watch():
    """The same for containers that several tests share: watched()."""
    return watched


@pytest.fixture(scope="session")
def criu():
    """The environment in which a criu that works is found."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    top = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    done = subprocess.run(
        [f"{top}/scripts/criu.sh", f"{top}/build/criu"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no criu that works here: {done.stderr.strip()[-200:]}")
    return {**os.environ, "PATH": f"{done.stdout.strip()}:{os.environ['PATH']}"}


@pytest.fixture
def counting(pyrunc, bundle):
    """The name of a container that counts."""
    return up(pyrunc, bundle)


@pytest.fixture
def runc(pyrunc, tmp_path):
    """The reference.  What is left of its containers is found by the fixture of ours."""
    command = shutil.which("runc")
    if command is None:
        pytest.skip("runc is missing (package runc)")
    (tmp_path / "runc").mkdir()
    reference = Runtime(command, tmp_path / "runc", f"{pyrunc.prefix}r")
    yield reference
    for name in reference.names():
        reference("delete", "--force", name)


@pytest.fixture
def pair(pyrunc, runc):
    """runc and us."""
    return Pair(runc, pyrunc)


@pytest.fixture
def make_bundle(base_config, binaries, tmp_path):
    """Makes one more bundle."""
    made = []

    def make():
        made.append(Bundle(tmp_path / f"bundle{len(made)}", base_config, *binaries))
        return made[-1]

    return make


@pytest.fixture
def bundle(make_bundle):
    """A bundle whose process is the probe."""
    return make_bundle()


@pytest.fixture
def cgroup_mode():
    """v1, hybrid or v2, by the mounts of this host."""
    mounts = read("/proc/self/mounts")
    if " /sys/fs/cgroup cgroup2 " in mounts:
        return "v2"
    return "hybrid" if " /sys/fs/cgroup/unified cgroup2 " in mounts else "v1"


@pytest.fixture
def listener(tmp_path):
    """A socket for --console-socket or --pidfd-socket; harness.receive() takes what it gets."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "console.sock"))
        sock.listen(1)
        yield sock


@pytest.fixture
def v2(pyrunc, cgroup_mode, tmp_path):
    """The command where /sys/fs/cgroup is a cgroup2 mount; the root's controllers stay."""
    if cgroup_mode == "v1":
        pytest.skip("needs cgroup2")
    root = "/sys/fs/cgroup/unified" if cgroup_mode == "hybrid" else "/sys/fs/cgroup"
    before = read(f"{root}/cgroup.subtree_control").split()
    wrapper = tmp_path / "pyrunc-v2"
    wrapper.write_text(SCRIPT.format(command=pyrunc.command))
    wrapper.chmod(0o755)
    if cgroup_mode == "hybrid":
        pyrunc.command = str(wrapper)
    yield pyrunc
    if cgroup_mode == "v2":
        return  # the service manager's
    for name in pyrunc.names():
        pyrunc("delete", "--force", name, code=None)
    for name in set(read(f"{root}/cgroup.subtree_control").split()) - set(before):
        with open(f"{root}/cgroup.subtree_control", "w") as file:
            file.write(f"-{name}")


@pytest.fixture
def reaper():
    """The test process inherits orphans, as a shim does; reaper() is the set of its new children.

    None of them outlives the test.
    """

    def children():
        return {int(pid) for pid in read(f"/proc/self/task/{os.getpid()}/children").split()}

    before = children()
    prctl.set_child_subreaper(True)
    yield lambda: children() - before
    while left := children() - before:
        # All of them first: an init is not gone before everybody in its pid namespace was reaped.
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        for _ in left:
            os.waitpid(-1, 0)
    prctl.set_child_subreaper(False)


@pytest.fixture
def play(pyrunc, reaper):
    """play(Shim, bundle): one of callers.py, with its pipes closed at the end."""
    players = []

    def start(kind, bundle):
        players.append(kind(pyrunc, bundle))
        return players[-1]

    yield start
    for player in players:
        player.close()
