"""Kernels without newer system calls: everything works, and what cannot says which call is missing.

A seccomp filter (tests/without.c) makes them fail with ENOSYS, each alone and all together.
"""

import json
import os
import subprocess

import pytest

from harness import read, receive, wait_for

# The same numbers on every architecture: the calls are newer than the common table.
CALLS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "mount_setattr": 442,
}
MOUNT_API = ["open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"]
KERNELS = {
    **{name: [name] for name in CALLS},
    "mount API": MOUNT_API,
    "Linux 5.4": ["clone3", "close_range", "openat2", "pidfd_getfd", "faccessat2", "mount_setattr"],
    "all": list(CALLS),
}


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
    """The compiled tests/without.c."""
    output = str(tmp_path_factory.mktemp("without") / "without")
    source = os.path.join(os.path.dirname(__file__), "..", "without.c")
    subprocess.run(["cc", "-std=gnu11", "-O", "-Wall", "-o", output, source], check=True)
    return output


@pytest.fixture
def without(pyrunc, launcher, tmp_path):
    """without(calls): the command, on a kernel that lacks them."""
    command = pyrunc.command

    def make(calls):
        numbers = ",".join(str(CALLS[name]) for name in calls)
        path = tmp_path / "old-kernel"
        path.write_text(f'#!/bin/sh\nexec {launcher} {numbers} {command} "$@"\n')
        path.chmod(0o755)
        pyrunc.command = str(path)
        return pyrunc

    return make


@pytest.fixture(params=KERNELS)
def old(request, without):
    """The command on each of the old kernels."""
    return without(KERNELS[request.param])


def test_the_filter_is_there(launcher):
    script = "import os\ntry: os.pidfd_open(os.getpid())\nexcept OSError as e: print(e.errno)"
    argv = [launcher, str(CALLS["pidfd_open"]), "/usr/bin/python3", "-c", script]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "38\n"


def test_life(old, bundle):
    """create, start, exec, ps, pause, update, kill and delete."""
    name = old.create(bundle.args("sleep", "1000"))
    assert old.status(name) == "created"
    old("start", name)
    assert old("exec", name, "echo", "inside").stdout == "inside\n"
    old("exec", "-d", name, "sleep", "1000")
    wait_for(lambda: len(json.loads(old("ps", "--format", "json", name).stdout)) == 2)
    old("kill", name, "TERM")
    assert old.status(name) == "running", "the first process of a pid namespace ignores it"
    old("kill", name, "KILL")
    old.stopped(name)
    old("delete", name)
    assert old.names() == []


def test_delete_by_force(old, bundle):
    name = old.up(bundle.args("sleep", "1000"))
    old("delete", "--force", name)
    assert old.names() == []


def test_a_container_of_a_created_state_is_deleted(old, bundle):
    old("delete", old.create(bundle))
    assert old.names() == []


def test_wait(old, bundle):
    name = old.up(bundle.sh("sleep 0.1; exit 7"))
    assert old("wait", name, code=None).code == 0


def test_mounts_and_masks(old, bundle, tmp_path):
    (tmp_path / "below" / "sub").mkdir(parents=True)
    bundle.write("/secret/file", "x")
    bundle.write("/masked", "x")
    bundle.write("/plain/file", "x")
    bundle.write("/copy/file", "copied")
    bundle.mount("/host", tmp_path / "below", "rbind", "ro", "nosuid", "nodev", "noexec")
    bundle.mount("/host/sub", "tmpfs", "noatime", "size=1m", kind="tmpfs")
    bundle.mount("/shared", tmp_path / "below", "rshared", "bind")
    bundle.mount("/copy", "tmpfs", "tmpcopyup", kind="tmpfs")
    bundle.mount("/made/for/it", tmp_path / "below", "ro")
    os.symlink("/made/for", f"{bundle.rootfs}/link")
    bundle.mount("/link/more", "tmpfs", "ro", kind="tmpfs")
    bundle.linux["maskedPaths"] = ["/secret", "/masked", "/proc/kcore", "/made/for"]
    bundle.linux["readonlyPaths"] = ["/plain", "/proc/sys", "/absent"]
    bundle.config["root"]["readonly"] = True
    os.makedirs(f"{bundle.rootfs}/host")
    mounts = old.probe(bundle)["mounts"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounts["/host"]["options"])
    assert "noatime" in mounts["/host/sub"]["options"]
    assert mounts["/shared"]["propagation"]
    assert "ro" in mounts["/plain"]["options"]
    assert "ro" in mounts["/proc/sys"]["options"]
    assert "ro" in mounts["/"]["options"]
    assert mounts["/secret"]["type"] == mounts["/made/for"]["type"] == "tmpfs"
    assert "/dev/null" not in mounts["/masked"]["root"].replace("/null", "")
    script = (
        "cat /copy/file; cat /masked; ls /secret; touch /x /plain/y 2>/dev/null || echo refused"
    )
    assert old.run(bundle.sh(script)).stdout == "copiedrefused\n"


def test_symlinks_stay_inside(old, bundle, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    os.symlink("../" * 12 + str(victim).lstrip("/"), f"{bundle.rootfs}/up")
    bundle.mount("/up/made", "tmpfs", kind="tmpfs")
    bundle.mount("/up/file", "/dev/null")
    assert f"{victim}/made" in old.probe(bundle)["mounts"]
    assert os.listdir(victim) == []


def test_proc_and_sysctl(old, bundle):
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    result = old.run(bundle.args("cat", "/proc/sys/net/ipv4/ip_forward"))
    assert result.stdout == "1\n"
    os.rmdir(f"{bundle.rootfs}/proc")
    os.symlink("tmp", f"{bundle.rootfs}/proc")
    assert "must be mounted on ordinary directory" in old.run(bundle, code=1).message


def test_console(old, bundle, listener):
    bundle.process["terminal"] = True
    name = old.create(bundle.sh("tty; sleep 1000"), "--console-socket", listener.getsockname())
    master = receive(listener)[1][0]
    old("start", name)
    assert os.read(master, 100).startswith(b"/dev/pts/0")
    os.close(master)
    old("delete", "--force", name)


def test_hooks(old, bundle, tmp_path):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >>{tmp_path}/hooks"], "timeout": 10}
    bundle.config["hooks"] = {
        kind: [hook] for kind in ("prestart", "createRuntime", "poststart", "poststop")
    }
    inside = {"path": "/bin/true", "timeout": 10}
    bundle.config["hooks"].update(createContainer=[inside], startContainer=[inside])
    inside["path"] = f"{bundle.rootfs}/bin/true"
    bundle.config["hooks"]["startContainer"] = [{"path": "/bin/true", "timeout": 10}]
    old.run(bundle.args("true"))
    assert read(tmp_path / "hooks") == "x\n" * 4


@pytest.mark.parametrize("old", ["pidfd_open", "all"], indirect=True)
def test_a_hook_that_hangs_is_ended(old, bundle):
    slow = {"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}
    for kind in ("createRuntime", "startContainer"):
        bundle.config["hooks"] = {kind: [slow]}
        assert "hook ran past specified timeout of 1.0s" in old.run(bundle, code=None).stderr


def test_program_is_searched(old, bundle):
    bundle.write("/bin/plain", "#!/bin/sh\n", 0o644)
    assert "permission denied" in old.run(bundle.args("/bin/plain"), code=1).message
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert old.run(bundle.args("echo", "x")).stdout == "x\n"


def test_descriptors_do_not_leak(old, bundle):
    with open("/etc/passwd") as file:
        os.set_inheritable(file.fileno(), True)
        seen = json.loads(old.run(bundle, close_fds=False).stdout)
    assert sorted(seen["fds"]) == ["0", "1", "2"]


def test_users(old, bundle):
    from test_userns import maps, open_up, own

    bundle.namespace("user")
    bundle.linux.update(uidMappings=maps(), gidMappings=maps())
    open_up(bundle.path)
    own(bundle.rootfs)
    name = old.up(bundle.args("sleep", "1000"))
    assert old("exec", name, "id", "-u").stdout == "0\n"
    old("delete", "--force", name)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (["bind", "rro"], "mount_setattr(2) of Linux 5.12"),
        (["bind", "idmap"], "mount_setattr(2) of Linux 5.12"),
    ],
)
def test_what_needs_a_call_says_so(without, bundle, tmp_path, options, missing):
    pyrunc = without(["mount_setattr"])
    bundle.mount("/data", tmp_path, *options)
    if "idmap" in options:
        rows = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        bundle.mounts[-1].update(uidMappings=rows, gidMappings=rows)
    message = pyrunc.run(bundle, code=1).message
    assert "function not implemented" in message and missing in message


def test_an_agent_needs_pidfd_getfd(without, bundle, listener):
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": listener.getsockname(),
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}],
    }
    message = without(["pidfd_getfd"]).run(bundle, code=1).message
    assert "needs pidfd_getfd(2) of Linux 5.6" in message


def test_a_pidfd_socket_needs_pidfds(without, bundle, listener):
    pyrunc = without(["pidfd_open"])
    result = pyrunc.create(bundle, "--pidfd-socket", listener.getsockname(), code=1)
    assert "unable to send the pidfd: function not implemented" in result.message
