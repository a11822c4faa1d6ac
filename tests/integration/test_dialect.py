"""What only crun's command line has, said to us."""

import json
import os
import shutil
import signal
import socket
import subprocess

import pytest

from harness import alive, cgroup_dirs, read, wait_for


def own_cgroups():
    return read("/proc/self/cgroup")


# --- --cgroup-manager ---


@pytest.fixture
def free(pyrunc, bundle):
    """The id of a container that has no cgroup."""
    bundle.linux["resources"]["pids"] = {"limit": 7}
    name = pyrunc.id()
    pyrunc("--cgroup-manager=disabled", "create", "--bundle", bundle.sh("sleep 100").save(), name)
    pyrunc("start", name)
    return name


def test_disabled_makes_no_cgroup(pyrunc, free):
    pid = pyrunc.pid(free)
    assert read(f"/proc/{pid}/cgroup") == own_cgroups()
    assert pyrunc.record(free)["cgroup_paths"] == {}
    assert pyrunc.record(free)["pyrunc"]["driver"] == "disabled"
    assert not cgroup_dirs(free)


def test_disabled_has_no_cgroup_for_an_exec(pyrunc, free):
    message = pyrunc("exec", "--cgroup", "/below", free, "true", code=255).message
    assert message.endswith("cannot enter a cgroup: cgroups not configured for container")
    pyrunc("exec", free, "true")


def test_disabled_says_which_limits_it_ignores(pyrunc, bundle):
    bundle.linux["resources"]["pids"] = {"limit": 7}
    name = pyrunc.id()
    path = bundle.args("true").save()
    result = pyrunc("--cgroup-manager", "disabled", "run", "--bundle", path, name)
    text = "linux.resources.pids is ignored: the container has no cgroup"
    assert result.stderr.count("level=warning") == 1
    assert text in result.stderr


def test_the_verbs_of_a_container_without_cgroups(pyrunc, free):
    pid = pyrunc.pid(free)
    assert json.loads(pyrunc("ps", "--format", "json", free).stdout) == [pid]
    pyrunc("exec", "--detach", "--pid-file", f"{pyrunc.directory}/pid", free, "sleep", "100")
    assert read(f"/proc/{read(f'{pyrunc.directory}/pid')}/cgroup") == own_cgroups()
    message = "cannot toggle freezer: cgroups not configured for container"
    assert pyrunc("pause", free, code=1).message == message
    assert pyrunc("update", "--pids-limit", "9", free, code=1).message
    pyrunc("kill", free, "KILL")
    pyrunc.stopped(free)
    pyrunc("delete", free)


def test_without_cgroups_and_a_pid_namespace_the_first_process_is_killed(pyrunc, bundle):
    name = pyrunc.id()
    path = bundle.sh("sleep 100").namespace("pid", False).save()
    pyrunc("--cgroup-manager=disabled", "create", "--bundle", path, name)
    pyrunc("start", name)
    pid = pyrunc.pid(name)
    pyrunc("kill", name, "KILL")
    wait_for(lambda: not alive(pid), what="end of init")


def test_the_file_system_by_its_name(pyrunc, bundle):
    name = pyrunc.id()
    pyrunc("--cgroup-manager=cgroupfs", "create", "--bundle", bundle.save(), name)
    assert pyrunc.record(name)["pyrunc"]["driver"] == "cgroupfs"
    assert pyrunc.record(name)["cgroup_paths"]


def test_an_unknown_manager(pyrunc, bundle):
    result = pyrunc("--cgroup-manager=x", "create", "--bundle", bundle.save(), "c", code=1)
    assert result.message == "invalid cgroup-manager: x"


# --- the log ---


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("journald", "/run/systemd/journal/socket", b"container does not exist\nPRIORITY=3\n"),
        ("syslog", "/dev/log", b"<27>web["),
    ],
)
def test_a_daemon_gets_the_log(pyrunc, tmp_path, kind, path, expected):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "daemon"))
        top = f"/{path.split('/')[1]}"
        script = (
            f"mount -t tmpfs none {top} && mkdir -p {os.path.dirname(path)} && "
            f'ln -s {tmp_path}/daemon {path} && exec "$@"'
        )
        argv = pyrunc.argv(f"--log={kind}:web", "state", "none")
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        daemon.settimeout(10)
        assert expected in daemon.recv(4096)
    assert (done.returncode, done.stderr) == (1, "container does not exist\n")


def test_a_level_silences_warnings(pyrunc, bundle):
    bundle.linux["resources"]["pids"] = {"limit": 7}
    path = bundle.args("true").save()
    for level, warnings in (("warning", 1), ("error", 0)):
        options = (f"--log-level={level}", "--cgroup-manager=disabled")
        result = pyrunc(*options, "run", "--bundle", path, pyrunc.id())
        assert result.stderr.count("level=warning") == warnings


# --- --config ---


@pytest.fixture
def elsewhere(bundle, tmp_path):
    """A configuration beside the bundle, which has none; and what it says."""
    bundle.args("echo", "from elsewhere").save()
    os.rename(f"{bundle.path}/config.json", tmp_path / "other.json")
    return bundle.path


def test_run_with_a_configuration_that_is_relative_to_the_caller(pyrunc, elsewhere, tmp_path):
    options = ("--bundle", elsewhere, "--config", "other.json")
    assert pyrunc("run", *options, pyrunc.id(), cwd=tmp_path).stdout == "from elsewhere\n"


def test_exec_takes_the_process_from_where_create_did(pyrunc, elsewhere, tmp_path):
    name = pyrunc.id()
    pyrunc("create", "--bundle", elsewhere, "-f", "other.json", name, cwd=tmp_path)
    assert pyrunc.record(name)["pyrunc"]["config"] == str(tmp_path / "other.json")
    assert pyrunc("exec", name, "echo", "hello").stdout == "hello\n"


def test_plan_of_another_configuration(pyrunc, elsewhere, tmp_path):
    result = pyrunc("plan", "--bundle", elsewhere, "--config", tmp_path / "other.json")
    assert "from elsewhere" in result.stdout


def test_a_configuration_that_is_not_there(pyrunc, bundle, tmp_path):
    result = pyrunc.create(bundle, "--config", tmp_path / "none.json", code=1)
    text = f"JSON specification file {tmp_path}/none.json not found"
    assert result.message == f"runc create failed: {text}"


def test_spec_writes_another_file_once(pyrunc, tmp_path):
    pyrunc("spec", "-b", tmp_path, "--file", "other.json")
    assert json.loads(read(tmp_path / "other.json"))["ociVersion"]
    assert not (tmp_path / "config.json").exists()
    message = pyrunc("spec", "-b", tmp_path, "-f", "other.json", code=1).message
    assert message == "File other.json exists. Remove it first"


# --- --regex ---


@pytest.fixture
def three(pyrunc, make_bundle):
    """The ids of three containers that run, and the directory of another runtime's."""
    names = [pyrunc.up(make_bundle().sh("sleep 100")) for _ in range(3)]
    theirs = f"{pyrunc.root}/{names[0]}-theirs"
    os.mkdir(theirs)
    with open(f"{theirs}/status", "w"):
        pass
    yield names
    shutil.rmtree(theirs)


def test_kill_all_that_match(pyrunc, three):
    pyrunc("kill", "--regex", f"^{three[0][:-1]}[12]", "KILL")
    for name in three[:2]:
        pyrunc.stopped(name)
    assert pyrunc.status(three[2]) == "running"
    # Those that have stopped need no signal.
    pyrunc("kill", "--regex", three[0][:-1], "KILL")
    pyrunc.stopped(three[2])


def test_delete_all_that_match_and_have_stopped(pyrunc, three):
    pyrunc("kill", three[1], "KILL")
    pyrunc.stopped(three[1])
    result = pyrunc("delete", "--regex", "[[:digit:]]$|theirs", code=1)
    assert result.message == "; ".join(
        f"{name}: cannot delete container {name} that is not stopped: running"
        for name in (three[0], three[2])
    )
    assert three[1] not in pyrunc.names()
    pyrunc("delete", "-f", "-r", "^")
    assert pyrunc.names() == [f"{three[0]}-theirs"]


@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_nothing_matches(pyrunc, verb):
    pyrunc(verb, "--regex", "^none$")


@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_what_is_no_regular_expression(pyrunc, verb):
    message = pyrunc(verb, "--regex", "(", code=1).message
    assert message.startswith("invalid regular expression '(': ")


# --- what has crun's words, and not its meaning: docs/differences.md ---


def test_kill_all_is_for_the_first_process(pyrunc, bundle):
    bundle.sh("trap 'touch /hit' TERM; sleep 1000 & while :; do wait; done")
    name = pyrunc.up(bundle)

    def other():
        pids = json.loads(pyrunc("ps", "--format", "json", name).stdout)
        found = [pid for pid in pids if read(f"/proc/{pid}/cmdline") == "sleep\0001000\0"]
        return found[0] if found else None

    pid = wait_for(other, what="another process")
    os.kill(pid, signal.SIGSTOP)  # what it gets now stays pending
    pyrunc("kill", "--all", name, "TERM")
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/hit"), what="signal")
    pending = next(row for row in read(f"/proc/{pid}/status").splitlines() if "ShdPnd" in row)
    assert int(pending.split()[1], 16) == 0


def test_a_log_of_another_kind_is_a_file(pyrunc, tmp_path):
    pyrunc("--log=other:web", "state", "none", code=1, cwd=tmp_path)
    assert "container does not exist" in read(tmp_path / "other:web")


def test_no_terminal_when_tty_is_false(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    assert (
        pyrunc("exec", "--tty=false", name, "sh", "-c", "test -t 0 || echo none").stdout == "none\n"
    )


def test_annotations_for_crun_are_only_annotations(pyrunc, bundle):
    bundle.config["annotations"] = {"run.oci.keep_original_groups": "1"}
    name = pyrunc.up(bundle.sh("sleep 100"), extra_groups=[12345])
    assert "12345" not in pyrunc("exec", name, "grep", "^Groups:", "/proc/1/status").stdout
    assert pyrunc.state(name)["annotations"] == bundle.config["annotations"]


@pytest.mark.parametrize("option", ["copy-symlink", "src-nofollow", "dest-nofollow"])
def test_mount_options_of_cruns_are_refused(pyrunc, bundle, option):
    bundle.mount("/x", "/etc", option)
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("bind mounts cannot have any filesystem-specific options applied")
