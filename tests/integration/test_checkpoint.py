"""`checkpoint` and `restore`, by CRIU where it works, and by a fake where it must fail."""

import json
import os
import signal
import subprocess
import sys

import pytest

from counting import COUNT, count, goes_on, restore, up
from harness import alive, host_mounts, read, receive, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
FAKE = os.path.join(HERE, "fake_criu.py")
FAULTY = os.path.join(HERE, "faulty.py")


@pytest.fixture
def fake(tmp_path):
    """Make a criu that does as it is told: `fake(version=30000, ...)`, its environment."""

    def make(**script):
        folder = tmp_path / "fake"
        folder.mkdir(exist_ok=True)
        (folder / "script.json").write_text(json.dumps(script))
        path = folder / "criu"
        # The interpreter of the tests has the messages.
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "{folder}" "$@"\n')
        path.chmod(0o755)
        return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}

    return make


# --- the real one ---


def test_a_container_goes_on_where_it_was(pyrunc, bundle, counting, criu, tmp_path):
    pyrunc("checkpoint", "--image-path", tmp_path / "images", counting, env=criu)
    assert counting not in pyrunc.names()
    before = count(bundle)
    pid_file = tmp_path / "pid"
    name = restore(pyrunc, bundle, tmp_path / "images", "--pid-file", pid_file, env=criu)
    goes_on(bundle, before)
    record = pyrunc.record(name)
    assert record["init_process_pid"] == pyrunc.pid(name) == int(pid_file.read_text())
    assert pyrunc.status(name) == "running"
    assert record["external_descriptors"][0] == "/dev/null"
    assert os.listdir(f"{pyrunc.root}/{name}") == ["state.json"]
    assert pyrunc("exec", name, "cat", "/proc/1/comm").stdout == "sh\n"
    for path in record["cgroup_paths"].values():
        assert str(record["init_process_pid"]) in read(f"{path}/cgroup.procs").split()
    pyrunc("delete", "--force", name)


def test_it_may_keep_its_name(pyrunc, bundle, counting, criu, tmp_path):
    pyrunc("checkpoint", "--image-path", tmp_path, counting, env=criu)
    before = count(bundle)
    restore(pyrunc, bundle, tmp_path, name=counting, env=criu)
    goes_on(bundle, before)


def test_it_may_go_on_running(pyrunc, bundle, counting, criu, tmp_path):
    pid = pyrunc.pid(counting)
    pyrunc("checkpoint", "--leave-running", "--image-path", tmp_path, counting, env=criu)
    assert (pyrunc.status(counting), pyrunc.pid(counting)) == ("running", pid)
    goes_on(bundle, count(bundle))
    assert os.listdir(f"{pyrunc.root}/{counting}") == ["state.json"]
    assert os.stat(tmp_path / "descriptors.json").st_mode & 0o777 == 0o600
    assert len(json.loads(read(tmp_path / "descriptors.json"))) == 3
    done = pyrunc(
        "restore", "--bundle", bundle.path, "--image-path", tmp_path, counting, code=1, env=criu
    )
    assert done.message == "container with given ID already exists"


def test_a_paused_container(pyrunc, bundle, counting, criu, tmp_path):
    pyrunc("pause", counting)
    pyrunc("checkpoint", "--leave-running", "--image-path", tmp_path / "1", counting, env=criu)
    assert pyrunc.status(counting) == "paused"
    pyrunc("checkpoint", "--image-path", tmp_path / "2", counting, env=criu)
    assert counting not in pyrunc.names()
    before = count(bundle)
    restore(pyrunc, bundle, tmp_path / "2", env=criu)
    goes_on(bundle, before)


def test_the_work_path_has_the_log(pyrunc, bundle, counting, criu, tmp_path):
    images, work = tmp_path / "images", tmp_path / "work"
    pyrunc("checkpoint", "--image-path", images, "--work-path", work, counting, env=criu)
    assert "dump.log" in os.listdir(work)
    assert "dump.log" not in os.listdir(images)
    restore(pyrunc, bundle, images, "--work-path", work, env=criu)
    assert "restore.log" in os.listdir(work)


def test_hooks(pyrunc, bundle, criu, tmp_path):
    log = tmp_path / "log"
    for kind in ("prestart", "createRuntime", "poststart", "poststop"):
        script = f'sed \'s/.*"status":"\\([a-z]*\\)".*/{kind} \\1/\' >> {log}; echo >> {log}'
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
        bundle.config.setdefault("hooks", {})[kind] = [hook]
    name = up(pyrunc, bundle)
    log.unlink()
    pyrunc("checkpoint", "--image-path", tmp_path / "images", name, env=criu)
    assert read(log).split("\n")[0] == "poststop stopped"
    log.unlink()
    restore(pyrunc, bundle, tmp_path / "images", env=criu)
    assert [line for line in read(log).split("\n") if line] == [
        "prestart creating",
        "createRuntime creating",
    ]


def test_a_hook_that_fails_ends_the_restore(pyrunc, bundle, counting, criu, tmp_path):
    pyrunc("checkpoint", "--image-path", tmp_path, counting, env=criu)
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    done = pyrunc(
        "restore",
        "--bundle",
        bundle.save(),
        "--image-path",
        tmp_path,
        pyrunc.id(),
        code=1,
        env=criu,
    )
    assert done.message.startswith("error running createRuntime hook #0: exit status 1")
    assert "x" not in pyrunc.names()


def test_bind_mounts_and_masked_files_come_back(pyrunc, bundle, criu, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("here\n")
    os.symlink("/tmp", f"{bundle.rootfs}/link")
    bundle.mount("/link/data", source).mount("/etc/file", source / "file")
    bundle.mount("/data/deep", "tmpfs", kind="tmpfs")
    name = up(pyrunc, bundle, script="echo kept > /data/deep/file; " + COUNT)
    pyrunc("checkpoint", "--image-path", tmp_path / "images", name, env=criu)
    for path in ("tmp/data", "data/deep", "data"):
        os.rmdir(f"{bundle.rootfs}/{path}")
    os.unlink(f"{bundle.rootfs}/etc/file")
    name = restore(pyrunc, bundle, tmp_path / "images", env=criu)
    files = ["/tmp/data/file", "/etc/file", "/data/deep/file"]
    assert pyrunc("exec", name, "cat", *files).stdout == "here\nhere\nkept\n"
    assert pyrunc("exec", name, "wc", "-c", "/proc/keys").stdout.split()[0] == "0"


def test_limits_are_the_configurations(pyrunc, bundle, counting, criu, tmp_path):
    pyrunc("checkpoint", "--image-path", tmp_path, counting, env=criu)
    bundle.linux["resources"] = {"pids": {"limit": 77}}
    name = restore(pyrunc, bundle, tmp_path, env=criu)
    paths = pyrunc.record(name)["cgroup_paths"]
    path = paths.get("pids") or paths[""]
    assert read(f"{path}/pids.max") == "77\n"


def test_in_the_foreground_the_status_is_the_programs(pyrunc, bundle, criu, tmp_path):
    """Its pipes are new ones, and the container is gone in the end."""
    script = "trap 'echo told; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    bundle.sh(script).save()
    out = tmp_path / "out"

    def foreground(*args, **options):
        with open(out, "w") as file:
            null = subprocess.DEVNULL
            return pyrunc.popen(*args, stdin=null, stdout=file, stderr=file, **options)

    name = pyrunc.id()
    first = foreground("run", "--bundle", bundle.path, name)
    wait_for(lambda: read(out) == "up\n", what="output")
    pyrunc("checkpoint", "--image-path", tmp_path / "images", name, env=criu)
    assert first.wait(20) == 137
    args = ["restore", "--bundle", bundle.path, "--image-path", str(tmp_path / "images"), name]
    second = foreground(*args, env=criu)
    wait_for(lambda: name in pyrunc.names() and pyrunc("state", name, code=None).code == 0)
    second.terminate()
    assert second.wait(20) == 7
    assert read(out) == "told\n"
    assert name not in pyrunc.names()


def test_a_terminal(pyrunc, bundle, criu, tmp_path, listener):
    """The master of the terminal is another one, sent to the socket as create does."""
    bundle.process["terminal"] = True
    bundle.sh("while read line; do echo got $line; done")
    name = pyrunc.up(bundle, "--console-socket", listener.getsockname())
    _, (master,) = receive(listener)
    try:
        pyrunc("checkpoint", "--image-path", tmp_path / "images", name, env=criu)
    finally:
        os.close(master)
    images = tmp_path / "images"
    restore(pyrunc, bundle, images, "--console-socket", listener.getsockname(), env=criu)
    data, (master,) = receive(listener)
    try:
        assert data == b"/dev/ptmx"
        os.write(master, b"line\n")
        seen = b""
        while b"got line" not in seen:
            seen += os.read(master, 1000)
    finally:
        os.close(master)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts"])
def test_namespaces_of_others_are_joined(pyrunc, bundle, criu, tmp_path, kind):
    file = {"network": "net"}.get(kind, kind)
    holder = subprocess.Popen(["unshare", f"--{file}", "sleep", "60"])
    try:
        path = f"/proc/{holder.pid}/ns/{file}"
        wait_for(lambda: os.readlink(path) != os.readlink(f"/proc/self/ns/{file}"))
        bundle.namespace(kind, path)
        if kind == "uts":
            del bundle.config["hostname"]
        name = up(pyrunc, bundle)
        pyrunc("checkpoint", "--image-path", tmp_path, name, env=criu)
        name = restore(pyrunc, bundle, tmp_path, env=criu)
        assert os.readlink(f"/proc/{pyrunc.pid(name)}/ns/{file}") == os.readlink(path)
    finally:
        holder.kill()
        holder.wait()


def test_what_criu_says_is_quoted(pyrunc, bundle, counting, criu, tmp_path):
    """An image of nothing cannot be restored."""
    (tmp_path / "descriptors.json").write_text('["/dev/null","/dev/null","/dev/null"]')
    done = pyrunc(
        "restore",
        "--bundle",
        bundle.save(),
        "--image-path",
        tmp_path,
        pyrunc.id(),
        code=1,
        env=criu,
    )
    assert done.message.startswith("criu failed: type RESTORE errno ")
    assert f'--- Quoting \\"{tmp_path}/restore.log\\"' in done.stderr
    assert "x" not in pyrunc.names()


# --- a fake, or none ---


def test_without_criu(pyrunc, bundle, counting, tmp_path):
    env = {"PATH": str(tmp_path)}
    missing = 'CRIU version check failed: exec: "criu": executable file not found in $PATH'
    images = tmp_path / "images"
    done = pyrunc("checkpoint", "--image-path", images, counting, env=env, code=1)
    assert done.message == missing
    assert pyrunc.status(counting) == "running"
    (images / "descriptors.json").write_text("[]")
    done = pyrunc(
        "restore", "--bundle", bundle.path, "--image-path", images, pyrunc.id(), env=env, code=1
    )
    assert done.message == missing
    assert "x" not in pyrunc.names()


def test_only_what_runs_can_be_dumped(pyrunc, bundle, tmp_path):
    name = pyrunc.create(bundle.sh("exit 0"))
    done = pyrunc("checkpoint", "--image-path", tmp_path, name, code=1)
    assert done.message == "Container cannot be checkpointed in created state"
    pyrunc("start", name)
    pyrunc.stopped(name)
    done = pyrunc("checkpoint", "--image-path", tmp_path, name, code=1)
    assert done.message == "Container cannot be checkpointed in stopped state"
    done = pyrunc("checkpoint", "--image-path", tmp_path, "nobody", code=1)
    assert done.message == "container does not exist"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--page-server", "here"], "Use --page-server ADDRESS:PORT to specify page server"),
        (["--page-server", "here:x"], "Invalid port number"),
        (["--manage-cgroups-mode", "x"], "invalid manage-cgroups-mode value"),
        (["--empty-ns", "uts"], 'namespace "uts" is not supported'),
        (["--parent-path", "/x"], "--parent-path must be relative"),
        (["--parent-path", "x"], "invalid --parent-path: stat IMAGES/x: no such file or directory"),
        (["--status-fd", "99"], "invalid --status-fd argument 99: bad file descriptor"),
        (["--status-fd", "0"], "invalid --status-fd argument 0: not writable"),
    ],
)
def test_options_are_checked(pyrunc, counting, tmp_path, fake, options, message):
    args = ["checkpoint", "--image-path", tmp_path / "i", *options, counting]
    done = pyrunc(*args, code=1, env=fake(version=[9, 0, 0]), stdin="")
    assert done.message == message.replace("IMAGES", str(tmp_path / "i"))


def test_an_old_criu_is_refused(pyrunc, counting, tmp_path, fake):
    done = pyrunc(
        "checkpoint", "--image-path", tmp_path, counting, code=1, env=fake(version=[2, 12, 1])
    )
    assert done.message == "CRIU version 21201 must be 30000 or higher"


def test_missing_features_are_named(pyrunc, counting, tmp_path, fake):
    args = ["checkpoint", "--image-path", tmp_path, "--pre-dump", counting]
    done = pyrunc(*args, code=1, env=fake(version=[3, 17, 0]))
    assert done.message == "criu is missing features: [MemTrack]"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"fail": 0}, "criu failed: type DUMP errno 0"),
        ({"fail": 3}, "criu failed: type DUMP errno 3"),
        ({"notify": ["pre-dump"], "fail": 0}, "criu failed: type NOTIFY errno 0"),
        ({"hang_up": True}, "unexpected EOF"),
        ({"status": 3}, "criu failed: exit status 3"),
        ({"garbage": "\x07"}, "criu sent a malformed message"),
        ({"garbage": "x" * 50000}, "buffer is too small"),
    ],
)
def test_a_dump_that_fails(pyrunc, counting, tmp_path, fake, script, message):
    log = "".join(f"line {n}\n" for n in range(1, 9)) + "(00.1) Error (x.c:1): no\n"
    env = fake(version=[3, 17, 0], log=log, **script)
    done = pyrunc("checkpoint", "--image-path", tmp_path / "i", counting, code=1, env=env)
    assert done.message == message
    assert pyrunc.status(counting) == "running"
    lines = [line.partition(" msg=")[2] for line in done.stderr.splitlines()]
    assert lines[0] == f'"--- Quoting \\"{tmp_path}/i/dump.log\\""'
    assert lines[1:6] == [f'"{n}:line {n}"' for n in range(4, 9)]
    assert lines[6:8] == ['"9:(00.1) Error (x.c:1): no"', "---"]


def test_what_criu_is_asked_for(pyrunc, bundle, counting, tmp_path, fake):
    env = fake(version=[3, 17, 0], notify=["status-ready"])
    read_end, write_end = os.pipe()
    try:
        pyrunc(
            "checkpoint",
            *("--image-path", tmp_path / "i", "--work-path", tmp_path / "w", "--leave-running"),
            *("--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks"),
            *("--page-server", "192.0.2.1:9", "--manage-cgroups-mode", "strict"),
            *("--status-fd", write_end),
            counting,
            env=env,
            pass_fds=[write_end],
        )
        assert os.read(read_end, 10) == b"\0"
    finally:
        os.close(read_end)
        os.close(write_end)
    asked = json.loads((tmp_path / "fake" / "asked.json").read_text())
    opts = asked["opts"]
    assert asked["type"] == "DUMP"
    assert opts["pid"] == pyrunc.pid(counting)
    assert opts["root"] == bundle.rootfs
    assert opts["log_file"] == "dump.log"
    assert opts["manage_cgroups_mode"] == "STRICT"
    assert opts["ps"] == {"address": "192.0.2.1", "port": 9}
    assert opts["empty_ns"] == 0x40000000
    for name in "leave_running tcp_established ext_unix_sk shell_job file_locks".split():
        assert opts[name] is True
    assert opts["images_dir"] == str(tmp_path / "i")
    assert opts["work_dir"] == str(tmp_path / "w")
    assert {"key": "/dev/null", "val": "/dev/null"} in opts["ext_mnt"]
    assert {"key": "/proc/keys", "val": "/dev/null"} in opts["ext_mnt"]
    assert alive(pyrunc.pid(counting))


def test_a_new_profile_needs_a_new_criu(pyrunc, bundle, tmp_path, fake):
    (tmp_path / "descriptors.json").write_text("[]")
    args = ["restore", "--bundle", bundle.save(), "--image-path", tmp_path]
    for flag in ("--lsm-profile", "--lsm-mount-context"):
        done = pyrunc(*args, flag, "selinux:x", pyrunc.id(), code=1, env=fake(version=[3, 15, 0]))
        assert done.message == f"{flag} requires at least CRIU 3.16"


def test_what_a_killed_restore_has_mounted_is_not_emptied(pyrunc, bundle, counting, tmp_path):
    """The root filesystem in the container's directory, the host's cgroups where CRIU works."""
    folder = f"{pyrunc.root}/{counting}"
    work, yard = tmp_path / "work", tmp_path / "work" / ".criu.cgyard.abc def"
    path = f"{folder}/criu-root"
    os.mkdir(path)
    yard.mkdir(parents=True)
    os.symlink(work, f"{folder}/criu-work")
    subprocess.run(["mount", "--rbind", bundle.rootfs, path], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", yard], check=True)
    (yard / "pids").mkdir()
    subprocess.run(["mount", "--bind", bundle.rootfs, yard / "pids"], check=True)
    pyrunc("delete", "--force", counting)
    assert counting not in pyrunc.names()
    assert os.listdir(work) == []
    assert os.path.exists(f"{bundle.rootfs}/bin/busybox")


def test_a_restore_that_is_killed_leaves_no_mounts(pyrunc, bundle, counting, criu, tmp_path):
    images = ["--image-path", str(tmp_path / "images"), "--work-path", str(tmp_path / "work")]
    pyrunc("checkpoint", *images, counting, env=criu)
    name = pyrunc.id()
    argv = pyrunc.argv("restore", "-d", "--bundle", bundle.path, *images, name)[1:]
    argv = [sys.executable, FAULTY, "pyrunc.restore:Restore._notified:before", *argv]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, env=criu, check=False)
    assert done.returncode == -signal.SIGKILL
    pyrunc("delete", "--force", name)
    assert [row for row in host_mounts() if str(tmp_path) in row] == []
    restore(pyrunc, bundle, tmp_path / "images", name=name, env=criu)


SHOW = (
    "import sys; from pyrunc import mountpoints; mountpoints.bind_root(*sys.argv[1:]); "
    "print(open('/proc/self/mountinfo').read())"
)


def test_the_root_for_criu_shares_nothing_with_the_host(pyrunc, bundle, tmp_path):
    program = [sys.executable, "-P", "-c", SHOW, str(tmp_path), bundle.rootfs, "/nowhere"]
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "shared", *program],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    propagation = {row[4]: row[6] for row in rows if row}
    assert propagation["/"].startswith("shared:")
    assert propagation[f"{tmp_path}/criu-root"] == "-"
