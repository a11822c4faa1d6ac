"""What containerd's shim needs of the runtime, played by the test: its calls, in its order."""

import json
import os
import random
import re
import signal
import subprocess
import time

import pytest
from callers import Docker, Shim, listening

from harness import alive, cgroup_dirs, processes_in, read, receive, wait_for

SLEEP = "trap 'exit 7' TERM; while :; do sleep 0.02; done"


@pytest.fixture
def shim(play, bundle):
    return play(Shim, bundle.sh(SLEEP))


def reap(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def groups(pid):
    """{controller: path} of the hierarchies that have controllers, or the only one."""
    rows = [line.split(":", 2) for line in read(f"/proc/{pid}/cgroup").splitlines()]
    named = {name: path for _, name, path in rows if name}
    return named or {name: path for _, name, path in rows}


def started(shim):
    pid = shim.create()
    shim.silent("start", shim.id)
    return pid


# --- the transcripts ---


def test_a_life_without_a_terminal(shim, reaper):
    init = shim.create()
    assert reaper() == {init}
    shim.silent("start", shim.id)
    file = shim.process_file("runc-process123", "sleep", "1000")
    shim.wired(*shim.exec_args("e1", file))
    extra = shim.pid("e1.pid")
    assert reaper() == {init, extra}
    pids = json.loads(shim.ask("ps", "--format", "json", shim.id))
    assert {init, extra} <= set(pids)
    limit = json.dumps({"pids": {"limit": 77}})
    shim.silent("update", "--resources=-", shim.id, stdin=limit)
    shim.silent("pause", shim.id)
    assert json.loads(shim.ask("state", shim.id))["status"] == "paused"
    shim.silent("resume", shim.id)
    os.kill(extra, signal.SIGKILL)
    assert reap(extra) == -signal.SIGKILL
    shim.silent("kill", shim.id, 15)
    assert reap(init) == 7
    shim.silent("kill", "--all", shim.id, 9)
    shim.silent("delete", shim.id)
    assert "container does not exist" in shim.ask("delete", shim.id, code=1)
    assert shim.error() == "container does not exist"
    shim.silent("delete", "--force", shim.id)


def test_a_life_behind_dockers_wrapper(play, bundle, reaper):
    docker = play(Docker, bundle.sh(SLEEP))
    docker.death_signal = 0  # it would reach the shell
    output = docker.ask("start", docker.id, code=1)
    assert "container does not exist" in output
    assert docker.error() == "container does not exist"
    assert not os.path.exists(docker.first_log), "the last --log wins"
    init = docker.create()
    assert reaper() == {init}
    docker.ask("start", docker.id)
    docker.ask("kill", docker.id, 9)
    assert reap(init) == -9
    docker.ask("delete", docker.id)
    levels = {json.loads(line)["level"] for line in read(docker.file("log.json")).splitlines()}
    assert levels <= {"debug", "error"}


def test_a_life_with_a_terminal_whose_listener_accepts_late(shim, reaper, tmp_path):
    shim.bundle.process["terminal"] = True
    shim.bundle.sh("readlink /proc/self/fd/0; exec sleep 1000")
    with listening(str(tmp_path / "pty.sock")) as sock:
        shim.silent(*shim.create_args("--console-socket", sock.getsockname()))
        data, fds = receive(sock)
    (master,) = fds
    assert os.isatty(master)
    assert 0 < len(data) < 4096
    init = shim.pid("init.pid")
    shim.silent("start", shim.id)
    assert os.read(master, 100).startswith(b"/dev/pts/")
    file = shim.process_file("p", "readlink", "/proc/self/fd/0", terminal=True)
    with listening(str(tmp_path / "exec.sock")) as sock:
        shim.silent(*shim.exec_args("e1", file, "--console-socket", sock.getsockname()))
        (other,) = receive(sock)[1]
    assert os.read(other, 100).startswith(b"/dev/pts/")
    assert reap(shim.pid("e1.pid")) == 0
    shim.silent("kill", shim.id, 9)
    assert reap(init) == -9
    shim.silent("delete", shim.id)
    os.close(master)
    os.close(other)


def test_the_containers_pipes_end_with_it(shim, reaper):
    shim.bundle.sh("echo out; echo err >&2")
    init = started(shim)
    assert reap(init) == 0
    assert shim.drain() == ("out\n", "err\n")
    shim.silent("delete", shim.id)


# --- pid files, parents, cgroups ---


def test_pid_files_are_digits_and_replace_what_was_there(shim, reaper):
    for name in ("init.pid", "e1.pid"):
        with open(shim.file(name), "w") as file:
            file.write("something longer than a pid\n")
    before = os.stat(shim.file("init.pid")).st_ino
    init = started(shim)
    assert os.stat(shim.file("init.pid")).st_ino != before, "renamed over it"
    shim.wired(*shim.exec_args("e1", shim.process_file("p", "true")))
    assert reap(shim.pid("e1.pid")) == 0
    assert not [name for name in os.listdir(shim.bundle.path) if name.startswith(".")]
    shim.wired(*shim.exec_args("e2", shim.process_file("p", "absent")), code=255)
    assert not os.path.exists(shim.file("e2.pid"))
    assert reaper() == {init}


def test_init_is_the_subreapers_child_and_nothing_else_is_left(shim, reaper):
    init = shim.create()
    status = read(f"/proc/{init}/status")
    assert f"PPid:\t{os.getpid()}\n" in status
    assert os.getsid(init) == init
    assert reaper() == {init}
    assert processes_in(shim.pyrunc.prefix) == [init]


def test_init_is_in_its_final_cgroup_when_create_returns(shim):
    at_create = groups(shim.create())
    path = shim.bundle.linux["cgroupsPath"]
    assert all(value.endswith(path) for value in at_create.values()), at_create
    shim.silent("start", shim.id)
    assert groups(shim.pid("init.pid")) == at_create


def test_oom_score_is_the_specs_or_the_callers(shim, reaper):
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1")
    try:
        init = shim.create()
        assert read(f"/proc/{init}/oom_score_adj") == "1\n"
        shim.ask("delete", "--force", shim.id)
        shim.bundle.process["oomScoreAdj"] = 998
        init = shim.create()
        assert read(f"/proc/{init}/oom_score_adj") == "998\n"
    finally:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")


# --- errors ---


@pytest.mark.parametrize("verb", ["start", "kill", "delete", "pause", "resume", "update", "ps"])
def test_one_error_line_in_the_log_and_the_same_on_standard_error(shim, verb):
    args = [verb, "--resources=-", "nobody"] if verb == "update" else [verb, "nobody"]
    output = shim.ask(*args, code=1, stdin="{}")
    (line,) = read(shim.file("log.json")).splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["msg"]) == ("error", "container does not exist")
    assert "container does not exist" in output
    assert output.count("\n") == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", entry["time"])


def test_a_failed_create_ends_its_pipes_and_says_why(shim):
    shim.bundle.args("absent")
    shim.create(code=1)
    out, err = shim.drain()
    assert out == ""
    assert 'exec: "absent": executable file not found in $PATH' in shim.error()
    assert "executable file not found in $PATH" in err
    assert shim.pyrunc.names() == []


# --- states ---


def test_a_created_container_is_deleted_without_force(shim, reaper):
    init = shim.create()
    shim.silent("delete", shim.id)
    assert reap(init) == -9
    assert shim.pyrunc.names() == []


def test_exec_works_before_start_and_not_when_stopped_or_paused(shim, reaper):
    init = shim.create()
    file = shim.process_file("p", "true")
    shim.wired(*shim.exec_args("e1", file))
    assert reap(shim.pid("e1.pid")) == 0
    shim.silent("start", shim.id)
    shim.silent("pause", shim.id)
    shim.ask(*shim.exec_args("e2", file), code=255)
    assert "cannot exec in a paused container" in shim.error()
    shim.silent("resume", shim.id)
    os.kill(init, signal.SIGKILL)
    wait_for(lambda: not alive(init), what="zombie")
    shim.ask(*shim.exec_args("e3", file), code=255)
    assert "cannot exec in a stopped container" in shim.error()


def test_a_zombie_init_counts_as_stopped(shim, reaper):
    init = started(shim)
    os.kill(init, signal.SIGKILL)
    wait_for(lambda: not alive(init), what="zombie")
    state = json.loads(shim.ask("state", shim.id))
    assert (state["status"], state["pid"]) == ("stopped", 0)
    assert "container not running" in shim.ask("kill", shim.id, 15, code=1)
    shim.silent("delete", shim.id)
    assert reap(init) == -9


def test_a_reused_pid_is_told_apart_by_its_start_time(shim, reaper):
    init = started(shim)
    os.kill(init, signal.SIGKILL)
    reap(init)
    path = f"{shim.pyrunc.root}/{shim.id}/state.json"
    record = read(path)
    other = record.replace(f'"init_process_pid":{init}', f'"init_process_pid":{os.getpid()}')
    assert other != record
    with open(path, "w") as file:
        file.write(other)
    assert json.loads(shim.ask("state", shim.id))["status"] == "stopped"
    assert "container not running" in shim.ask("kill", shim.id, 9, code=1)
    shim.silent("delete", shim.id)


def test_kill_all_ends_what_a_stopped_container_without_pid_namespace_left(shim, reaper):
    shim.bundle.namespace("pid", False).sh("sleep 1000 & sleep 1000 & exec sleep 0.05")
    init = started(shim)
    assert reap(init) == 0
    left = processes_in(shim.pyrunc.prefix)
    assert len(left) == 2
    shim.silent("kill", "--all", shim.id, 9)
    for pid in left:
        assert reap(pid) == -9
    shim.silent("kill", "--all", shim.id, 9)
    shim.silent("delete", shim.id)


def test_state_is_what_go_runc_decodes(shim):
    shim.bundle.config["annotations"] = {"a": "b"}
    pid = shim.create()
    output = shim.ask("state", shim.id)
    assert '"status": "created"' in output
    state = json.loads(output)
    created = state.pop("created")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created), created
    assert abs(time.time() - os.stat(shim.file("init.pid")).st_mtime) < 60
    assert state == {
        "ociVersion": shim.bundle.config["ociVersion"],
        "id": shim.id,
        "pid": pid,
        "status": "created",
        "bundle": shim.bundle.path,
        "rootfs": shim.bundle.rootfs,
        "annotations": {"a": "b"},
        "owner": "",
    }


# --- delete --force ---


def test_delete_force_of_an_unknown_id_is_silent(shim):
    shim.silent("delete", "--force", shim.id)
    assert not os.path.exists(shim.file("log.json")) or shim.error() is None


@pytest.mark.parametrize("content", [None, "", "{", '{"id":"x"}', "null"])
def test_delete_force_removes_a_half_written_state(shim, content):
    directory = f"{shim.pyrunc.root}/{shim.id}"
    os.makedirs(directory)
    if content is not None:
        with open(f"{directory}/state.json", "w") as file:
            file.write(content)
    shim.silent("delete", "--force", shim.id)
    assert shim.pyrunc.names() == []


@pytest.mark.parametrize("moment", range(10))
def test_delete_force_after_create_was_killed(shim, reaper, moment):
    delay = random.Random(moment).uniform(0, 0.12)
    process = shim.popen(
        [*shim.globals(), *shim.create_args()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay)
    process.kill()
    process.wait()
    shim.silent("delete", "--force", shim.id)
    for pid in reaper():
        wait_for(lambda pid=pid: not alive(pid), what=f"end of {pid}")
    assert shim.pyrunc.names() == []
    assert not cgroup_dirs(shim.pyrunc.prefix)
    init = shim.create()
    shim.silent("delete", shim.id)
    assert reap(init) == -9
