"""Whoever is not root: one ID mapped, ranges of /etc/subuid, and root of a user namespace."""

import json
import os
import shutil
import subprocess

import pytest

from harness import Runtime, alive, read, wait_for

UID = 54321
NAME = "rootless-tester"


def may_not_be_root():
    """Is there a kernel setting against it?"""
    try:
        return read("/proc/sys/user/max_user_namespaces").strip() == "0"
    except OSError:
        return True


class User(Runtime):
    """The command as somebody else calls it, and without --root unless that is asked for."""

    __slots__ = ("before", "environment")

    def __init__(self, command, directory, prefix):
        super().__init__(command, directory, prefix)
        ids = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all"]
        self.before = ["setpriv", *ids]
        runtime = f"{self.directory}/run"
        self.environment = [f"XDG_RUNTIME_DIR={runtime}", "HOME=/", f"PATH={os.environ['PATH']}"]
        self.root = f"{runtime}/pyrunc"

    def argv(self, *args):
        return [*self.before, "env", "-i", *self.environment, self.command, *map(str, args)]

    def __call__(self, *args, **options):
        return super().__call__(*args, cwd="/", **options)


def open_up(path):
    while path not in ("/tmp", "/"):
        os.chmod(path, os.stat(path).st_mode | 0o011)
        path = os.path.dirname(path)


def give(path):
    """Everything below path but the files that bundles share becomes the user's."""
    for folder, _, names in os.walk(path):
        for full in (folder, *(os.path.join(folder, name) for name in names)):
            if os.path.isdir(full) or os.lstat(full).st_nlink == 1:
                os.lchown(full, UID, UID)


@pytest.fixture
def user(pyrunc):
    """The command for a user; what is left fails the test as it does for root's."""
    if may_not_be_root():
        pytest.skip("this kernel has no user namespaces for users")
    runtime = User(pyrunc.command, pyrunc.directory, f"{pyrunc.prefix}user")
    open_up(runtime.directory)
    os.mkdir(f"{runtime.directory}/run", 0o700)
    os.chown(f"{runtime.directory}/run", UID, UID)
    yield runtime
    for name in runtime.names():
        runtime("delete", "--force", name, code=None)
    assert not runtime.names()


@pytest.fixture
def mine(user, make_bundle):
    """A bundle of `spec --rootless`, in the hands of the user."""
    bundle = make_bundle()
    open_up(bundle.path)
    give(bundle.path)
    user("spec", "--rootless", "--bundle", bundle.path)
    with open(f"{bundle.path}/config.json") as file:
        bundle.config = json.load(file)
    os.unlink(f"{bundle.path}/config.json")
    bundle.process["terminal"] = False
    bundle.config["root"]["readonly"] = False
    return bundle


def test_run(user, mine):
    out = user.run(mine.sh("id -u; cat /proc/self/uid_map; cat /proc/self/setgroups")).stdout
    assert out.split() == ["0", "0", str(UID), "1", "deny"]


def test_life(user, mine):
    name = user.create(mine.args("sleep", "60"))
    assert user.status(name) == "created"
    assert user("exec", name, "id", "-u").stdout == "0\n"
    assert user.status(name) == "created"
    assert os.stat(user.root).st_mode & 0o7777 == 0o1700
    user("start", name)
    pid = user.pid(name)
    assert user.status(name) == "running"
    assert f"Uid:\t{UID}" in read(f"/proc/{pid}/status")
    assert user("exec", name, "sh", "-c", "id -u; echo x > /dev/null").stdout == "0\n"
    assert user("list", "--quiet").stdout == f"{name}\n"
    user("kill", name, "KILL")
    user.stopped(name)
    user("delete", name)
    assert not alive(pid)


def test_the_library(user, mine):
    program = f"""
import pyrunc
with pyrunc.run({user.id()!r}, {mine.sh("exit 7").save()!r}) as made:
    print(made.wait(), [found.id for found in pyrunc.containers()] == [made.id])
"""
    user.command = os.path.join(os.path.dirname(user.command), "python")
    assert user("-c", program).stdout == "7 True\n"


def test_the_groups_of_a_named_user_are_left_out(user, mine):
    """In many images root is a member of some."""
    mine.write("etc/group", "root:x:0:root\nbin:x:1:root\n")
    name = user.up(mine.args("sleep", "1000"))
    assert user("exec", "--user", "root", name, "id", "-u").stdout == "0\n"


def test_exit_codes(user, mine):
    user.run(mine.sh("exit 7"), code=7)
    message = user.run(mine.args("nothing"), code=1).message
    assert 'exec: "nothing": executable file not found in $PATH' in message


def test_delete_by_force(user, mine):
    name = user.up(mine.args("sleep", "60"))
    pid = user.pid(name)
    user("delete", "--force", name)
    wait_for(lambda: not alive(pid))


def test_oom_score(user, mine):
    mine.process["oomScoreAdj"] = 500
    name = user.up(mine.args("sleep", "60"))
    assert read(f"/proc/{user.pid(name)}/oom_score_adj") == "500\n"


def test_the_record_of_a_user_is_hidden_from_others(user, mine):
    name = user.create(mine)
    assert os.stat(f"{user.root}/{name}/state.json").st_uid == UID
    assert os.stat(f"{user.root}/{name}/state.json").st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.namespace("user", False), "rootless container requires user namespaces"),
        (
            lambda b: b.mount("/t", "tmpfs", "gid=5", kind="tmpfs"),
            "cannot specify gid=5 mount option for rootless container",
        ),
        (
            lambda b: b.process["user"].update(additionalGids=[5]),
            "cannot set any additional groups in a rootless container",
        ),
        (lambda b: b.linux.update(resources={"pids": {"limit": 5}}), "limit"),
        (
            lambda b: b.linux.update(cgroupsPath="/elsewhere"),
            "unable to apply cgroup configuration",
        ),
    ],
)
def test_what_a_user_may_not(user, mine, change, words):
    change(mine)
    assert words in user.run(mine, code=1).message


def test_devices_and_masks(user, mine):
    out = user.run(mine.sh("head -c2 /dev/zero | wc -c; wc -c < /proc/keys; ls /sys/firmware"))
    assert out.stdout.split() == ["2", "0"]


def cgroup_mount(bundle):
    """A writable one, instead of the host's /sys."""
    bundle.config["mounts"] = [m for m in bundle.mounts if "/sys" not in m["destination"]]
    return bundle.mount("/sys/fs/cgroup", "cgroup", kind="cgroup")


def test_the_callers_cgroups_of_v1_are_shown_and_no_more(user, mine, cgroup_mode):
    if cgroup_mode == "v2":
        pytest.skip("needs cgroup v1")
    cgroup_mount(mine)
    script = "grep -c . </sys/fs/cgroup/memory/tasks; mkdir /sys/fs/cgroup/memory/x 2>&1"
    out = user.run(mine.sh(script), code=1).stdout
    assert int(out.split()[0]) > 0
    assert "Read-only file system" in out


def test_nobody_is_made_the_owner_of_a_cgroup_of_v2_that_there_is_not(user, mine, cgroup_mode):
    if cgroup_mode == "v1":
        pytest.skip("needs cgroup2")
    if cgroup_mode == "hybrid":
        script = 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
        user.before = ["unshare", "--mount", "sh", "-ec", script, "sh", *user.before]
    cgroup_mount(mine).namespace("cgroup")
    assert user.run(mine.args("ls", "/sys/fs/cgroup")).stdout


def test_two_at_once_and_foreign_containers(user, pyrunc, mine, bundle):
    """A user neither sees nor reaches the containers of root."""
    roots = pyrunc.up(bundle.args("sleep", "60"))
    mine.args("sleep", "60")
    names = [user.up(mine), user.up(mine)]
    assert user("list", "--quiet").stdout.split() == names
    user("--root", pyrunc.root, "kill", roots, "KILL", code=1)
    assert pyrunc.status(roots) == "running"


@pytest.fixture
def ranges(user, tmp_path):
    """The user with a name, and a range of IDs in /etc/subuid, in a mount namespace of its own."""
    if not shutil.which("newuidmap"):
        pytest.skip("needs newuidmap")
    lines = {
        "passwd": read("/etc/passwd") + f"{NAME}:x:{UID}:{UID}::/:/bin/sh\n",
        "group": read("/etc/group") + f"{NAME}:x:{UID}:\n",
        "subuid": f"{NAME}:200000:65536\n",
        "subgid": f"{NAME}:300000:65536\n",
    }
    script = ""
    for name, text in lines.items():
        (tmp_path / name).write_text(text)
        if not os.path.exists(f"/etc/{name}"):
            pytest.skip(f"this host has no /etc/{name}")
        script += f"mount --bind {tmp_path}/{name} /etc/{name}; "
    user.before = ["unshare", "--mount", "sh", "-ec", script + 'exec "$@"', "sh", *user.before]
    return user


def test_ranges(ranges, mine):
    def rows(first):
        return [
            {"containerID": 0, "hostID": UID, "size": 1},
            {"containerID": 1, "hostID": first, "size": 65536},
        ]

    mine.linux.update(uidMappings=rows(200000), gidMappings=rows(300000))
    mine.process["user"] = {"uid": 1000, "gid": 5}
    name = ranges.up(mine.args("sleep", "60"))
    status = read(f"/proc/{ranges.pid(name)}/status")
    assert "Uid:\t200999" in status and "Gid:\t300004" in status
    assert ranges("exec", name, "id", "-u").stdout == "1000\n"
    mine.linux["uidMappings"][1]["hostID"] = 100000
    assert "newuidmap" in ranges.run(mine, code=1).message


def test_without_newuidmap(user, mine):
    user.environment[-1] = "PATH=/nowhere"
    user.before[0] = shutil.which("setpriv")
    mine.linux["uidMappings"].append({"containerID": 1, "hostID": 200000, "size": 10})
    words = user.argv("run", user.id())
    argv = [shutil.which("env") if word == "env" else word for word in words]
    done = subprocess.run(
        argv, cwd=mine.save(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"unable to run newuidmap: no such file or directory" in done.stderr


def test_root_of_a_user_namespace(user, bundle):
    """What rootless Podman is: root, but not the host's."""
    open_up(bundle.path)
    give(bundle.path)
    user.before += ["unshare", "--user", "--map-root-user", "--mount"]
    bundle.linux.pop("resources", None)
    bundle.linux["maskedPaths"] = ["/proc/keys"]
    bundle.config["mounts"] = [m for m in bundle.mounts if m["type"] != "cgroup"]
    for mount in bundle.mounts:
        mount["options"] = [o for o in mount.get("options", ()) if o != "gid=5"]
    bundle.sh("id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null; ls /sys/class/net")
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    out = user.run(bundle).stdout
    assert out.split() == ["0", "0", str(UID), "1", "null", "lo"]
    assert os.listdir(f"{user.directory}/run/pyrunc-seccomp"), "the filter was not kept"


def test_mounts_that_come_later(user, mine, tmp_path):
    """File systems of its own; of the host's mounts only root may give a part away."""
    name = user.up(mine.sh("sleep 100"))
    path = tmp_path / "mounts.json"
    path.write_text(json.dumps([{"destination": "/later", "type": "tmpfs", "source": "tmpfs"}]))
    user("mounts", "add", name, path)
    assert "/later tmpfs" in user("exec", name, "cat", "/proc/mounts").stdout
    user("mounts", "remove", name, path)
    assert "/later" not in user("exec", name, "cat", "/proc/mounts").stdout
    bind = {"destination": "/later", "type": "bind", "source": "/etc", "options": ["bind"]}
    path.write_text(json.dumps([bind]))
    message = user("mounts", "add", name, path, code=1).message
    text = "mounts[0]: open_tree /etc: operation not permitted"
    assert message == f"mounts add failed: {text}"


def test_without_cgroups_on_purpose(user, mine):
    bundle = mine.sh("sleep 100")
    bundle.linux["resources"] = {"pids": {"limit": 5}}
    name = user.id()
    user("--cgroup-manager=disabled", "create", "--bundle", bundle.save(), name)
    user("start", name)
    assert user.record(name)["cgroup_paths"] == {}
    user("kill", name, "KILL")
    user.stopped(name)
    user("delete", name)
