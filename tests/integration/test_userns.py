"""User namespaces: linux.uidMappings and gidMappings, new and joined, for create and exec."""

import json
import os
import subprocess

import pytest

from counting import count, goes_on, restore, up
from harness import alive, read, receive, wait_for

FIRST = 100000
SIZE = 65536


def maps(first=FIRST, size=SIZE, inside=0):
    return [{"containerID": inside, "hostID": first, "size": size}]


def open_up(path):
    """Let everybody reach what is below path: the container's root is nobody on the host."""
    while path not in ("/tmp", "/"):
        os.chmod(path, os.stat(path).st_mode | 0o011)
        path = os.path.dirname(path)


def own(path, first=FIRST):
    """Files of the host's root become those of the container's."""
    for folder, _, names in os.walk(path):
        for name in ("", *names):
            full = os.path.join(folder, name)
            status = os.lstat(full)
            if status.st_uid == 0 and status.st_nlink == 1 or not name:
                os.lchown(full, first, first)


@pytest.fixture
def mapped(make_bundle):
    """Makes a bundle with a user namespace of its own."""

    def make(first=FIRST, size=SIZE):
        bundle = make_bundle().namespace("user")
        bundle.linux.update(uidMappings=maps(first, size), gidMappings=maps(first, size))
        open_up(bundle.path)
        own(bundle.rootfs, first)
        return bundle

    return make


def ids(pid, kind):
    """The real, effective, saved and filesystem IDs of a process, as the host has them."""
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith(kind):
            return {int(word) for word in line.split()[1:]}
    raise AssertionError(kind)


def test_the_containers_root_is_nobody_on_the_host(pyrunc, mapped):
    bundle = mapped().sh("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u")
    out = pyrunc.run(bundle).stdout.split()
    assert out == ["0", str(FIRST), str(SIZE)] * 2 + ["allow", "0"]


def test_process_user_is_mapped(pyrunc, mapped):
    bundle = mapped().args("sleep", "60")
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6]}
    pid = pyrunc.pid(pyrunc.up(bundle))
    assert ids(pid, "Uid:") == {FIRST + 1000}
    assert ids(pid, "Gid:") == {FIRST + 1001}
    assert ids(pid, "Groups:") == {FIRST + 5, FIRST + 6}


def test_every_namespace_belongs_to_the_user_namespace(pyrunc, mapped):
    """Owned by the container's root: it may do what root of those may."""
    bundle = mapped().sh(
        "hostname renamed && hostname; "
        "mount -t tmpfs none /tmp && echo tmpfs; "
        "echo 1 > /proc/sys/net/ipv4/ip_forward && echo forward; "
        "stat -c %u /proc/sys/net/ipv4/ip_forward /dev/mqueue /sys/class/net/lo/ /dev /proc/1; "
        "ls /sys/class/net"
    )
    bundle.process["capabilities"] = {
        kind: ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"] for kind in ("bounding", "effective", "permitted")
    }
    bundle.linux["readonlyPaths"] = []
    out = pyrunc.run(bundle).stdout.split()
    assert out == ["renamed", "tmpfs", "forward", "0", "0", "0", "0", "0", "lo"]


def test_devices_are_the_hosts(pyrunc, mapped):
    bundle = mapped().sh("echo x > /dev/null; head -c3 /dev/zero | wc -c; ls -l /dev/kmsg2; tty")
    bundle.linux["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 0, "gid": 0}
    ]
    bundle.sh("echo x > /dev/null; head -c3 /dev/zero | wc -c; stat -c '%t %T' /dev/fuse /dev/null")
    out = pyrunc.run(bundle).stdout.split()
    assert out == ["3", "a", "e5", "1", "3"]


def test_stdio_of_a_foreground_run_can_be_opened_again(pyrunc, mapped):
    bundle = mapped().sh("echo again > /proc/self/fd/1; echo err > /dev/stderr")
    bundle.process["user"] = {"uid": 0, "gid": 0}
    result = pyrunc.run(bundle)
    assert (result.stdout, result.stderr) == ("again\n", "err\n")
    assert pyrunc.run(bundle, stdin="").stdout == "again\n"


def test_rlimits_are_set_by_the_host(pyrunc, mapped):
    bundle = mapped().sh("ulimit -Hn; ulimit -Sn; ulimit -c")
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    assert pyrunc.run(bundle).stdout.split() == ["400", "300", "0"]


def test_limits_of_the_cgroup_apply(pyrunc, mapped):
    bundle = mapped().args("sleep", "60")
    bundle.linux["resources"]["pids"] = {"limit": 17}
    name = pyrunc.up(bundle)
    paths = pyrunc.record(name)["cgroup_paths"]
    pid = pyrunc.pid(name)
    limits = paths.get("pids", paths.get(""))
    assert read(f"{limits}/pids.max").strip() == "17"
    for path in paths.values():
        assert str(pid) in read(f"{path}/cgroup.procs").split()


def test_the_record_has_the_mappings(pyrunc, mapped):
    name = pyrunc.create(mapped())
    config = pyrunc.record(name)["config"]
    entry = {"container_id": 0, "host_id": FIRST, "size": SIZE}
    assert config["uid_mappings"] == config["gid_mappings"] == [entry]


def test_exec_enters_the_user_namespace(pyrunc, mapped):
    name = pyrunc.up(mapped().args("sleep", "60"))
    out = pyrunc("exec", name, "sh", "-c", "id -u; cat /proc/self/uid_map; echo a >/proc/self/fd/1")
    assert out.stdout.split() == ["0", "0", str(FIRST), str(SIZE), "a"]
    out = pyrunc("exec", "--user", "7:8", name, "sh", "-c", "id -u; id -g; ulimit -n")
    assert out.stdout.split() == ["7", "8", "1024"]


def test_exec_in_a_created_container(pyrunc, mapped):
    name = pyrunc.create(mapped().args("sleep", "60"))
    assert pyrunc("exec", name, "id", "-u").stdout == "0\n"


def test_many_execs_at_once(pyrunc, mapped):
    name = pyrunc.up(mapped().args("sleep", "60"))
    argv = pyrunc.argv("exec", name, "true")
    started = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for _ in range(20)]
    assert [process.wait(60) for process in started] == [0] * 20


def test_a_terminal(pyrunc, mapped, listener):
    bundle = mapped().sh("tty; stat -c %u $(tty); stat -c '%t' /dev/console")
    bundle.process["terminal"] = True
    bundle.process["user"] = {"uid": 5, "gid": 0}
    name = pyrunc.create(bundle, "--console-socket", listener.getsockname())
    _, (master,) = receive(listener)
    pyrunc("start", name)
    pyrunc.stopped(name)
    assert os.read(master, 100).split() == [b"/dev/pts/0", b"5", b"88"]
    os.close(master)


@pytest.mark.parametrize("kinds", [("user",), ("user", "network", "ipc", "uts", "pid")])
def test_join_another_containers_user_namespace(pyrunc, mapped, make_bundle, kinds):
    pid = pyrunc.pid(pyrunc.up(mapped().args("sleep", "60")))
    other = make_bundle()
    open_up(other.path)
    own(other.rootfs)
    for kind in kinds:
        file = {"network": "net"}.get(kind, kind)
        other.namespace(kind, f"/proc/{pid}/ns/{file}")
    seen = pyrunc.probe(other)
    for kind in kinds:
        file = {"network": "net"}.get(kind, kind)
        assert seen["ns"][file] == os.readlink(f"/proc/{pid}/ns/{file}")
    name = pyrunc.create(other)
    entry = {"container_id": 0, "host_id": FIRST, "size": SIZE}
    assert pyrunc.record(name)["config"]["uid_mappings"] == [entry]


def test_join_with_mappings(pyrunc, mapped, make_bundle):
    pid = pyrunc.pid(pyrunc.up(mapped().args("sleep", "60")))
    other = make_bundle().namespace("user", f"/proc/{pid}/ns/user").args("true")
    open_up(other.path)
    own(other.rootfs)
    other.linux.update(uidMappings=maps(), gidMappings=maps())
    assert "both namespace path and mapping" in pyrunc.run(other).stderr
    other.linux["uidMappings"][0]["size"] = 1
    message = pyrunc.run(other, code=1).message
    assert "both namespace path and non-matching mapping specified" in message


def test_new_user_namespace_with_a_network_of_the_hosts(pyrunc, mapped, make_bundle):
    """Joined with the host's privileges, before those are gone."""
    pid = pyrunc.pid(pyrunc.up(make_bundle().args("sleep", "60")))
    bundle = mapped().namespace("network", f"/proc/{pid}/ns/net")
    # sysfs shows a network namespace, to be mounted by who owns that.
    bundle.config["mounts"] = [m for m in bundle.mounts if m["type"] != "sysfs"]
    seen = pyrunc.probe(bundle)
    assert seen["ns"]["net"] == os.readlink(f"/proc/{pid}/ns/net")


def test_pid_of_a_joined_pid_namespace_is_the_hosts(pyrunc, mapped, make_bundle):
    outer = pyrunc.pid(pyrunc.up(make_bundle().args("sleep", "60")))
    bundle = mapped().namespace("pid", f"/proc/{outer}/ns/pid").args("sleep", "60")
    bundle.mounts[0] = {**bundle.mounts[0], "type": "bind", "source": "/proc", "options": ["rbind"]}
    name = pyrunc.up(bundle)
    pid = pyrunc.pid(name)
    assert read(f"/proc/{pid}/cmdline") == "sleep\x0060\x00"
    assert ids(pid, "Uid:") == {FIRST}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"uidMappings": None, "gidMappings": None},
            "user namespaces enabled, but no namespace path nor mappings",
        ),
        ({"gidMappings": None}, "linux.gidMappings is missing"),
        ({"uidMappings": maps(size=0)}, "size must not be zero"),
        ({"uidMappings": maps() + maps(1)}, "containerID 0 is mapped twice"),
        ({"gidMappings": maps() + maps(inside=SIZE)}, "hostID 100000 is mapped twice"),
        ({"gidMappings": maps(2**32 - 2)}, "out of range"),
        ({"uidMappings": maps(inside=1)}, "no mapping for the container's root"),
    ],
)
def test_bad_mappings(pyrunc, mapped, change, words):
    bundle = mapped()
    bundle.linux.update(change)
    bundle.config["linux"] = {k: v for k, v in bundle.linux.items() if v is not None}
    assert words in pyrunc.run(bundle, code=1).message


def test_mappings_without_a_namespace(pyrunc, bundle):
    bundle.linux["uidMappings"] = maps()
    message = pyrunc.run(bundle, code=1).message
    assert "user namespace mappings specified, but user namespace isn't enabled" in message


def test_an_unmapped_user_is_named(pyrunc, mapped):
    bundle = mapped(size=10).args("true")
    bundle.linux["readonlyPaths"] = []
    bundle.config["mounts"] = [m for m in bundle.mounts if m["type"] in ("proc", "sysfs")]
    bundle.process["user"] = {"uid": 77, "gid": 0}
    message = pyrunc.run(bundle, code=1).message
    assert "cannot setuid to unmapped uid 77 in user namespace" in message
    bundle.process["user"] = {"uid": 0, "gid": 77}
    assert "unmapped gid 77" in pyrunc.run(bundle, code=1).message


def test_what_is_mapped_is_told(pyrunc, mapped):
    bundle = mapped(size=50)
    bundle.linux["uidMappings"] += maps(FIRST + 90, 1, inside=90)
    bundle.process["user"] = {"uid": 77, "gid": 0}
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("unmapped uid 77 in user namespace: it has 0 to 49, 90")


def test_a_root_filesystem_out_of_its_roots_reach(pyrunc, mapped):
    bundle = mapped()
    os.chmod(bundle.path, 0o700)
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith(f"permission denied: {bundle.path} may not be searched")


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_a_working_directory_that_nobody_in_it_may_enter(pyrunc, mapped, verb):
    bundle = mapped().args("sleep", "60")
    os.mkdir(f"{bundle.rootfs}/closed", 0o700)
    user = {"uid": 1000, "gid": 1000}
    why = "failed: permission denied: /closed may not be searched by user 1000"
    if verb == "exec":
        name = pyrunc.up(bundle)
        options = ("--user", "1000:1000", "--cwd", "/closed")
        assert pyrunc("exec", *options, name, "true", code=255).message.endswith(why)
        return
    bundle.process.update(cwd="/closed", user=user)
    assert pyrunc.create(bundle, code=1).message.endswith(why)


def test_the_initial_namespaces_files_are_out_of_reach(pyrunc, mapped, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("host")
    secret.chmod(0o600)
    bundle = mapped().mount("/secret", secret).sh("cat /secret; stat -c %u /secret")
    result = pyrunc.run(bundle)
    assert "Permission denied" in result.stderr
    assert result.stdout == "65534\n"


def test_a_source_the_containers_root_cannot_reach(pyrunc, mapped, tmp_path):
    """Docker keeps volumes below directories of root's alone."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "dir").mkdir()
    (hidden / "dir" / "file").write_text("found")
    (hidden / "dir").chmod(0o755)
    bundle = mapped().mount("/there", hidden / "dir", "rbind").sh("cat /there/file")
    assert pyrunc.run(bundle).stdout == "found"
    bundle.mount("/file", hidden / "dir" / "file", "bind", "ro").sh("cat /file; echo x > /file")
    result = pyrunc.run(bundle, code=1)
    assert result.stdout == "found"


def test_a_killed_create_leaves_nothing(pyrunc, mapped):
    """kill -9 at different moments; delete --force has the rest."""
    bundle = mapped().args("sleep", "60")
    path = bundle.save()
    for delay in range(0, 40, 2):
        name = pyrunc.id()
        process = pyrunc.popen(
            "create", "--bundle", path, name, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            process.wait(delay / 1000)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        pyrunc("delete", "--force", name)


def test_init_dies_with_a_killed_run(pyrunc, mapped):
    bundle = mapped().args("sleep", "60")
    name = pyrunc.up(bundle)
    pid = pyrunc.pid(name)
    pyrunc("kill", name, "KILL")
    wait_for(lambda: not alive(pid))
    pyrunc("delete", name)


def test_hooks_see_the_pid_of_the_container(pyrunc, mapped, tmp_path):
    out = tmp_path / "document"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {out}"]}
    bundle = mapped()
    bundle.config["hooks"] = {"createRuntime": [hook]}
    name = pyrunc.create(bundle)
    assert json.loads(out.read_text())["pid"] == pyrunc.pid(name)


def test_checkpoint_and_restore(pyrunc, mapped, criu, tmp_path):
    """Its root, and ours without its rights, can read the images; nobody else can."""
    bundle, images = mapped(), tmp_path / "images"
    name = up(pyrunc, bundle)
    pyrunc("checkpoint", "--image-path", images, name, env=criu, umask=0o077)
    before = count(bundle)
    name = restore(pyrunc, bundle, images, env=criu)
    goes_on(bundle, before)
    assert ids(pyrunc.pid(name), "Uid") == {FIRST}
    assert pyrunc("exec", name, "id", "-u").stdout == "0\n"
    for path in (images, images / "pstree.img"):
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o007) == (0, FIRST, 0)
