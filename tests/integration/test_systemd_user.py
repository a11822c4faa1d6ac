"""The systemd cgroup driver of a user: units of the user's own manager, on cgroup v2.

Skipped where systemd is not the init system, or nobody has the first ordinary user id.
"""

import os
import pwd
import shutil
import subprocess
import tempfile

import pytest

from harness import Bundle, Runtime, read, wait_for

UID = 1000
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="systemd is not PID 1"),
    pytest.mark.skipif(not V2, reason="a user has no part of cgroup v1"),
]
PREFIX = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env"]


class User(Runtime):
    """The command as the user runs it."""

    __slots__ = ()

    def argv(self, *args):
        more = ["--systemd-cgroup"] if args[0] in ("create", "run") else []
        command = [self.command, "--root", self.root, *more, *map(str, args)]
        return [*PREFIX, f"XDG_RUNTIME_DIR=/run/user/{UID}", *command]


def systemctl(*args):
    command = [*PREFIX, f"XDG_RUNTIME_DIR=/run/user/{UID}", "systemctl", "--user", *args]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def show(unit, name):
    return systemctl("show", "--value", f"--property={name}", unit)


@pytest.fixture
def manager():
    """The user's manager runs."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        pwd.getpwuid(UID)
    except KeyError:
        pytest.skip(f"there is no user {UID}")
    subprocess.run(["systemctl", "start", f"user@{UID}.service"], check=True)
    wait_for(lambda: os.path.exists(f"/run/user/{UID}/bus"), what="the user's bus")


@pytest.fixture
def sd(command, manager):
    directory = tempfile.mkdtemp(prefix="pu")
    os.chown(directory, UID, UID)
    runtime = User(command, directory, f"pu{os.getpid()}-")
    yield runtime
    for name in runtime.names():
        runtime("delete", "--force", name, code=None)
    shutil.rmtree(directory)
    left = systemctl("list-units", "--all", "--plain", "--no-legend")
    assert runtime.prefix not in left
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        assert not [name for name in names if runtime.prefix in name], folder


@pytest.fixture
def bundle(sd, base_config, binaries):
    """A bundle of the user's, whose root is the user."""
    config = base_config
    made = Bundle(f"{sd.directory}/bundle", config, *binaries)
    made.linux["namespaces"] = [row for row in made.linux["namespaces"] if row["type"] != "network"]
    made.namespace("user")
    for kind in ("uidMappings", "gidMappings"):
        made.linux[kind] = [{"containerID": 0, "hostID": UID, "size": 1}]
    for mount in list(made.mounts):
        if mount["destination"] in ("/sys", "/sys/fs/cgroup"):
            made.mounts.remove(mount)
        options = mount.get("options") or []
        mount["options"] = [text for text in options if not text.startswith(("gid=", "uid="))]
    made.process["args"] = ["sleep", "1000"]
    for folder, names, files in os.walk(made.path):
        for name in ("", *names, *files):
            os.chown(os.path.join(folder, name), UID, UID, follow_symlinks=False)
    return made


def test_the_life_of_a_users_container(sd, bundle):
    name = sd.up(bundle)
    unit = f"runc-{name}.scope"
    record = sd.record(name)
    path = record["cgroup_paths"][""]
    home = f"/user.slice/user-{UID}.slice/user@{UID}.service"
    assert path == f"/sys/fs/cgroup{home}/user.slice/{unit}"
    assert record["config"]["cgroups"]["Rootless"] is True
    assert str(sd.pid(name)) in read(f"{path}/cgroup.procs").split()
    assert show(unit, "ActiveState") == "active"
    assert show(unit, "Slice") == "user.slice"
    assert os.stat(path).st_uid == UID
    # From outside of the manager's cgroups, where the user may not move a process into them.
    sd("exec", "--detach", name, "sleep", "999")
    wait_for(lambda: len(read(f"{path}/cgroup.procs").split()) == 2, what="both processes")
    sd("pause", name)
    assert sd.status(name) == "paused"
    sd("resume", name)
    sd("kill", name, "KILL")
    sd.stopped(name)
    sd("delete", name)
    assert not os.path.exists(path)
    assert show(unit, "LoadState") == "not-found"


def test_a_users_limits(sd, bundle):
    delegated = read(
        f"/sys/fs/cgroup/user.slice/user-{UID}.slice/user@{UID}.service/cgroup.controllers"
    )
    if not {"memory", "pids"} <= set(delegated.split()):
        pytest.skip("memory and pids are not the user's")
    bundle.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 77}}
    name = sd.up(bundle)
    unit = f"runc-{name}.scope"
    path = sd.record(name)["cgroup_paths"][""]
    assert (show(unit, "MemoryMax"), show(unit, "TasksMax")) == (str(64 << 20), "77")
    assert read(f"{path}/memory.max").strip() == str(64 << 20)
    sd("update", "--pids-limit", "88", name)
    assert show(unit, "TasksMax") == "88"
    assert read(f"{path}/pids.max").strip() == "88"


def test_without_an_environment(sd, bundle):
    """Podman's own calls may have none: the bus is where the user's is."""
    name = sd.up(bundle)
    command = [*PREFIX, "-i", sd.command, "--root", sd.root, "delete", "--force", name]
    subprocess.run(command, check=True)
    assert sd.names() == []
