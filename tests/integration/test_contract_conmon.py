"""What conmon, Podman and CRI-O need of the runtime, played by the test."""

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
import time

import pytest
from callers import PATH, Conmon, Crio, listening

from harness import alive, read, receive, wait_for

SLEEP = "trap 'exit 7' TERM; while :; do sleep 0.02; done"
PERMISSION = re.compile("permission denied|operation not permitted", re.I)
MISSING = re.compile("executable file not found in|no such file or directory", re.I)
NULL = subprocess.DEVNULL


def reap(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def podman(play, bundle):
    """Podman names no --root: its containers are in the default one."""
    player = play(Conmon, bundle.sh(SLEEP))
    yield player
    player.direct("delete", "--force", player.id)


@pytest.fixture
def crio(play, bundle):
    return play(Crio, bundle.sh(SLEEP))


@pytest.fixture
def running(crio):
    crio.create()
    crio.direct("start", crio.id)
    return crio


# --- Podman ---


@pytest.mark.parametrize("log", [True, False], ids=["json-log", "stderr"])
def test_podmans_life_of_a_container(podman, reaper, log):
    podman.log_options = log
    init = podman.create()
    assert reaper() == {init}
    assert podman.direct("start", podman.id) == ""
    extra = podman.exec(podman.process_file("exec-process-1", "sleep", "1000"))
    assert reaper() == {init, extra}
    assert podman.direct("pause", podman.id, path=False) == ""
    assert podman.direct("resume", podman.id, path=False) == ""
    resources = podman.file("podman-update")
    with open(resources, "w") as file:
        json.dump({"pids": {"limit": 99}}, file)
    assert podman.direct("update", f"--resources={resources}", podman.id) == ""
    assert podman.direct("kill", podman.id, 15) == ""
    # A namespace's first process ends after all others were reaped.
    assert (reap(extra), reap(init)) == (-9, 7)
    for _ in range(2):
        assert podman.direct("delete", "--force", podman.id, path=False) == ""
    assert not os.path.exists(f"/run/pyrunc/{podman.id}")
    assert not os.path.exists(podman.file("oci-log")) or read(podman.file("oci-log")) == ""


def test_podman_4_asks_for_the_state_without_a_path(podman):
    podman.create()
    state = json.loads(podman.ask("state", podman.id, env={"XDG_RUNTIME_DIR": ""}))
    assert state["status"] == "created"
    assert podman.ask("state", "nobody", env={}, code=1).count("\n") == 1


def test_podmans_terminals(podman, tmp_path):
    podman.bundle.process["terminal"] = True
    podman.bundle.sh("readlink /proc/self/fd/0; exec sleep 1000")
    with listening(str(tmp_path / "conmon-term")) as sock:
        podman.create("--console-socket", sock.getsockname())
        (master,) = receive(sock)[1]
    assert podman.drain() == ("", ""), "no write end of conmon's pipes is left"
    podman.direct("start", podman.id)
    assert os.read(master, 100).startswith(b"/dev/pts/")
    file = podman.process_file("p", "readlink", "/proc/self/fd/0", terminal=True)
    with listening(str(tmp_path / "exec-term")) as sock:
        pid = podman.exec(file, "--tty", "--console-socket", sock.getsockname())
        (other,) = receive(sock)[1]
    assert podman.drain() == ("", "")
    assert reap(pid) == 0
    assert os.read(other, 100).startswith(b"/dev/pts/")
    os.close(master)
    os.close(other)


def test_sigpipe_is_default_and_no_signal_blocked_in_the_container(podman):
    podman.bundle.args("probe")
    init = podman.create()
    podman.direct("start", podman.id)
    assert reap(init) == 0
    podman.direct("delete", "--force", podman.id)
    podman.bundle.sh(SLEEP)
    texts = [podman.drain()[0]]
    podman.create()
    podman.direct("start", podman.id)
    assert reap(podman.exec(podman.process_file("p", "probe"))) == 0
    texts.append(podman.drain()[0])
    for seen in map(json.loads, texts):
        assert (int(seen["SigIgn"], 16), int(seen["SigBlk"], 16)) == (0, 0)


def test_the_log_of_a_failure_is_one_json_object(podman):
    podman.bundle.args("absent")
    podman.create(code=1)
    out, err = podman.drain()
    assert out == ""
    assert MISSING.search(podman.error())
    assert "executable file not found in $PATH" in err
    assert len(err) < 8192
    assert not os.path.exists(podman.file("pidfile"))


@pytest.mark.parametrize("directory", ["foreign", "deleted"])
def test_the_callers_directory_does_not_matter(podman, tmp_path, directory):
    here = tmp_path / directory
    here.mkdir()
    back = os.open(".", os.O_RDONLY)
    os.chdir(here)
    podman.cwd = None
    if directory == "deleted":
        here.rmdir()
    try:
        podman.create()
        assert podman.direct("start", podman.id) == ""
        assert reap(podman.exec(podman.process_file("p", "true"))) == 0
        assert podman.direct("kill", podman.id, 9) == ""
        assert podman.direct("delete", "--force", podman.id) == ""
    finally:
        os.chdir(back)
        os.close(back)


def test_conmons_oom_score_is_not_the_containers(podman, reaper):
    podman.bundle.process["oomScoreAdj"] = 0
    before = read("/proc/self/oom_score_adj")
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"-1000")
    except PermissionError:
        pytest.skip("needs CAP_SYS_RESOURCE")
    try:
        init = podman.create()
        extra = podman.exec(podman.process_file("p", "sleep", "1000"))
    finally:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(before)
    assert read(f"/proc/{init}/oom_score_adj") == "0\n"
    assert read(f"/proc/{extra}/oom_score_adj") == "0\n"
    # As conmon does; the first process of a pid namespace waits for it.
    os.kill(extra, 9)
    os.waitpid(extra, 0)


# --- commands that cannot be run ---


def broken(bundle, kind):
    """Make the bundle's process one that cannot be run."""
    if kind == "x-bit":
        bundle.write("plain", "text")
    if kind == "cwd":
        bundle.write("file", "")
        bundle.process["cwd"] = "/file"
    words = {"command": "absent", "path": "/absent", "directory": "/etc", "x-bit": "/plain"}
    bundle.args(words.get(kind, "true"))


@pytest.mark.parametrize(
    ("kind", "pattern", "text"),
    [
        ("command", MISSING, 'exec: "absent": executable file not found in $PATH'),
        ("path", MISSING, 'exec: "/absent": stat /absent: no such file or directory'),
        ("directory", PERMISSION, 'exec: "/etc": is a directory: permission denied'),
        ("x-bit", PERMISSION, 'exec: "/plain": permission denied'),
        ("cwd", re.compile("not a directory"), "not a directory"),
    ],
)
def test_a_bad_command_fails_in_create_with_the_words_for_126_and_127(
    podman, reaper, kind, pattern, text
):
    broken(podman.bundle, kind)
    podman.create(code=1)
    message = podman.error()
    assert text in message
    assert pattern.search(message)
    assert kind in ("command", "path") or not MISSING.search(message)
    assert text in podman.drain()[1]
    assert reaper() == set()


def test_a_bad_command_of_an_exec_leaves_no_pid_file(podman):
    podman.create()
    podman.direct("start", podman.id)
    podman.exec(podman.process_file("p", "absent"), code=255)
    assert podman.error().startswith("exec failed: ")
    assert "exec failed" in podman.drain()[1]
    assert not os.path.exists(podman.file("exec_pid"))


# --- CRI-O ---


def test_crios_life_of_a_container(crio, reaper):
    init = crio.create()
    assert reaper() == {init}
    assert json.loads(crio.direct("state", crio.id))["status"] == "created"
    assert crio.direct("start", crio.id) == ""
    update = ["--root", crio.pyrunc.root, "update", "--resources", "-", crio.id]
    assert crio.ask(*update, stdin=json.dumps({"pids": {"limit": 88}})) == ""
    assert crio.direct("kill", crio.id, "15") == ""
    assert reap(init) == 7
    state = json.loads(crio.direct("state", crio.id))
    assert state["status"] == "stopped"
    overwritten = {"started", "finished", "exitCode", "oomKilled", "seccompKilled", "error"}
    assert not overwritten & set(state), "CRI-O would take these for its own"
    output = crio.direct("kill", crio.id, "KILL", code=1)
    assert re.search("no such process|container not running|invalid process", output.lower())
    assert crio.direct("kill", "-a", crio.id, "9") == ""
    for _ in range(2):
        assert crio.direct("delete", "--force", crio.id) == ""


def test_crios_failed_create_says_why_on_standard_error(crio, reaper):
    crio.bundle.args("/absent")
    crio.create(code=1)
    out, err = crio.drain()
    assert (out, err.count("\n")) == ("", 1)
    assert "no such file or directory" in err
    assert reaper() == set()


def test_an_exec_sync_replaces_the_empty_pid_file_and_leads_its_session(running):
    with open(running.file("exec_pid"), "w"):
        pass
    pid = running.exec(running.process_file("p", "sleep", "1000"))
    assert os.getsid(pid) == os.getpgid(pid) == pid
    os.killpg(pid, signal.SIGKILL)
    assert reap(pid) == -9


def foreground(crio, file, **options):
    """A streaming exec: in the foreground, without PATH."""
    args = ["--root", crio.pyrunc.root, "--systemd-cgroup", "exec", "--process", file, crio.id]
    return crio.popen(args, env={"XDG_RUNTIME_DIR": "/run/user/0"}, **options)


def test_a_streaming_exec_has_pipes_and_the_commands_exit_code(running):
    file = running.process_file("p", "sh", "-c", "cat; echo err >&2; exit 9")
    pipe = subprocess.PIPE
    with foreground(running, file, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.communicate(b"in", timeout=20) == (b"in", b"err\n")
    assert process.returncode == 9


def test_a_killed_streaming_exec_leaves_the_container_as_it_was(running):
    file = running.process_file("p", "sh", "-c", "echo up; exec sleep 1000")
    with foreground(running, file, stdin=NULL, stdout=subprocess.PIPE, stderr=NULL) as process:
        assert process.stdout.readline() == b"up\n"
        process.kill()
    assert json.loads(running.direct("state", running.id))["status"] == "running"


def test_a_reader_that_is_full_costs_no_processor_time(running):
    file = running.process_file("p", "yes")
    running.bundle.write("bin/yes", "#!/bin/sh\nwhile :; do echo yyyyyyyyyyyyyyyy; done\n", 0o755)
    with foreground(running, file, stdin=NULL, stdout=subprocess.PIPE, stderr=NULL) as process:

        def ticks():
            fields = read(f"/proc/{process.pid}/stat").rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        time.sleep(1)  # more than the pipe holds
        before = ticks()
        time.sleep(0.5)
        assert ticks() - before < 10
        process.kill()


def test_a_streaming_exec_on_a_terminal_follows_its_size(running):
    script = "stty size; trap 'stty size; exit 4' WINCH; echo set; while :; do sleep 0.02; done"
    file = running.process_file("p", "sh", "-c", script, terminal=True)
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 20, 70, 0, 0))
    # As creack/pty: a session of its own, with the terminal controlling it.
    shell = ["setsid", "-cw", running.command, "--root", running.pyrunc.root, "exec"]
    env = {"XDG_RUNTIME_DIR": "/run/user/0", "PATH": PATH}
    process = subprocess.Popen(
        [*shell, "--process", file, running.id], stdin=slave, stdout=slave, stderr=slave, env=env
    )
    os.close(slave)
    output = b""
    while b"set" not in output:
        output += os.read(master, 1000)
    assert output.split()[:2] == [b"20", b"70"]
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 99, 0, 0))
    output = b""
    while output.count(b"\n") < 1:
        output += os.read(master, 1000)
    assert output.split() == [b"33", b"99"]
    assert process.wait(20) == 4
    os.close(master)


@pytest.mark.parametrize("env", [{}, {"XDG_RUNTIME_DIR": ""}])
def test_an_empty_environment_is_enough(crio, env):
    crio.env = env
    init = crio.create()
    for words in (["start", crio.id], ["ps", "--format", "json", crio.id], ["kill", crio.id, "9"]):
        crio.ask("--root", crio.pyrunc.root, *words, env=env)
    assert reap(init) == -9
    assert not alive(init)
    crio.ask("--root", crio.pyrunc.root, "delete", crio.id, env=env)


def test_features_and_version_are_clean_when_both_outputs_are_one(crio):
    features = json.loads(crio.ask("features"))
    assert features["ociVersionMin"]
    assert features["ociVersionMax"]
    assert "rro" in features["mountOptions"]
    assert {"pid", "mount", "network", "ipc", "uts", "cgroup"} <= set(
        features["linux"]["namespaces"]
    )
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"] in (True, False)
    first, commit, spec = crio.ask("--version").splitlines()[:3]
    assert re.fullmatch(r"\S+ version \S+", first)
    assert commit.startswith("commit: ")
    assert spec.startswith("spec: ")


def test_a_created_container_can_be_waited_for(crio, reaper):
    init = crio.create()
    crio.direct("kill", crio.id, "9")
    wait_for(lambda: not alive(init), what="zombie")
    assert json.loads(crio.direct("state", crio.id))["status"] == "stopped"
    assert reap(init) == -9
