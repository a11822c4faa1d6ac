"""An exec that was done before is done by the front, and nobody can tell the difference."""

import hashlib
import json
import os
import signal
import subprocess
import time

import pytest

from harness import read, wait_for
from pyrunc import replay

DECLINED = 252
ONLY_CGROUPS = {"tasks": [], "cgroups": []}


@pytest.fixture
def up(pyrunc, bundle):
    return pyrunc.up(bundle.args("sleep", "1000"))


@pytest.fixture
def native(pyrunc, monkeypatch):
    """Runs one verb without Python: it must not be needed."""

    def run(*args, **options):
        with monkeypatch.context() as patch:
            patch.setenv("PYRUNC_FRONT", "native")
            return pyrunc(*args, **options)

    return run


def plans(pyrunc, name):
    return [file for file in os.listdir(f"{pyrunc.root}/{name}") if file.startswith("exec-")]


def process_file(pyrunc, name, **changes):
    """The container's own process in a file, as engines pass it."""
    with open(f"{pyrunc.record(name)['pyrunc']['bundle']}/config.json") as file:
        process = json.load(file)["process"] | changes
    path = f"{pyrunc.directory}/process.json"
    with open(path, "w") as file:
        json.dump(process, file)
    return path


def test_only_what_was_done_before_is_taken(pyrunc, native, up):
    native("exec", up, "true", code=DECLINED)
    pyrunc("exec", up, "true")
    native("exec", up, "true")
    native("exec", up, "false", code=DECLINED)
    native("exec", "--env", "A=B", up, "true", code=DECLINED)
    native("exec", "--tty", up, "true", code=DECLINED)


def test_a_process_file_is_known_by_its_content(pyrunc, native, up):
    path = process_file(pyrunc, up, args=["echo", "one"])
    pyrunc("exec", "--process", path, up)
    os.rename(path, f"{path}.moved")
    assert native("exec", "-p", f"{path}.moved", up).stdout == "one\n"
    process_file(pyrunc, up, args=["echo", "two"])
    native("exec", "--process", path, up, code=DECLINED)
    assert pyrunc("exec", "--process", path, up).stdout == "two\n"


def test_a_process_file_that_can_be_read_once_is_left_for_python(pyrunc, native, up, tmp_path):
    content = read(process_file(pyrunc, up, args=["echo", "once"]))
    pyrunc("exec", "--process", f"{pyrunc.directory}/process.json", up)
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    running = pyrunc.popen("exec", "--process", fifo, up, stdout=subprocess.PIPE)
    with open(fifo, "w") as file:
        file.write(content)
    assert running.communicate(timeout=20)[0] == b"once\n"


def test_what_the_program_sees_is_the_same(pyrunc, native, bundle):
    bundle.process.update(
        noNewPrivileges=True, oomScoreAdj=500, cwd="/tmp", env=["A=B", "PATH=/bin"]
    )
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o77}
    bundle.process["capabilities"] = {kind: ["CAP_KILL"] for kind in ("bounding", "permitted")}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    name = pyrunc.up(bundle.args("sleep", "1000"))
    script = "mkdir /tmp/x; id; umask; pwd; env; ulimit -a; cat /proc/self/oom_score_adj "
    script += (
        "/proc/self/cgroup; grep -E '^(Cap|Seccomp|NoNew|Groups|Cpus|Shd|Sig)' /proc/self/status"
    )
    script += "; for ns in /proc/self/ns/*; do readlink $ns; done; ls /proc/self/fd"
    words = ("exec", name, "sh", "-c", f"({script}) 2>&1")
    first, again = pyrunc(*words), native(*words)
    assert first.stdout == again.stdout
    assert "Operation not permitted" in again.stdout


def test_it_is_born_into_a_cgroup2_directory(v2, native, bundle):
    name = v2.up(bundle.args("sleep", "1000"))
    words = ("exec", name, "cat", "/proc/self/cgroup")
    first = v2(*words).stdout
    assert native(*words).stdout == first
    assert f"0::/{name}\n" in first or "0::/\n" in first


def test_detached_it_leaves_the_same(pyrunc, native, up, tmp_path):
    pid_file = str(tmp_path / "pid")
    path = process_file(pyrunc, up, args=["sleep", "1000"])
    pids = []
    for run in (pyrunc, native):
        run("exec", "--process", path, "--detach", "--pid-file", pid_file, up)
        pids.append(int(read(pid_file)))
        os.unlink(pid_file)
        assert not os.path.exists(tmp_path / ".pid")
    assert all(read(f"/proc/{pid}/cmdline") == "sleep\0001000\0" for pid in pids)
    cgroups = {read(f"/proc/{pid}/cgroup") for pid in (*pids, pyrunc.pid(up))}
    assert len(cgroups) == 1


def test_a_pid_file_that_cannot_be_is_left_for_python(pyrunc, native, up, tmp_path):
    pyrunc("exec", "-d", up, "true")
    (tmp_path / "directory").mkdir()
    for path in ("directory", "missing/pid"):
        native("exec", "-d", "--pid-file", tmp_path / path, up, "true", code=DECLINED)


@pytest.mark.parametrize("status", ["exit 0", "exit 42", "kill -9 $$", "kill -15 $$"])
def test_the_exit_status_is_the_same(pyrunc, native, up, status):
    words = ("exec", up, "sh", "-c", status)
    code = pyrunc(*words, code=None).code
    native(*words, code=code)


def test_streams_arrive_whole_and_apart(pyrunc, native, up):
    words = ("exec", up, "sh", "-c", "seq 1 100000; echo err >&2; wc -c")
    results = [run(*words, stdin="x" * 300000) for run in (pyrunc, native)]
    digests = [hashlib.sha256(result.stdout.encode()).digest() for result in results]
    assert digests[0] == digests[1]
    assert results[1].stdout.endswith("\n100000\n300000\n")
    assert results[1].stderr == "err\n"


def test_what_a_process_left_behind_still_has_to_say_is_passed_on(pyrunc, native, up):
    script = "rm -f /f; mkfifo /f; { cat; sleep 0.2; echo late; } </f & exec >/f; seq 1 20000"
    words = ("exec", up, "sh", "-c", script)
    pyrunc(*words)
    assert native(*words).stdout.split() == [*map(str, range(1, 20001)), "late"]


def test_output_that_somebody_else_holds_open_is_not_waited_for(pyrunc, native, up):
    words = ("exec", up, "sh", "-c", "sleep 1000 & echo done")
    pyrunc(*words)
    assert native(*words, timeout=20).stdout == "done\n"


def test_a_vanished_reader_ends_the_writer(pyrunc, native, up, monkeypatch):
    words = ("exec", up, "sh", "-c", "while echo y; do :; done; exit 3")

    def start():
        process = pyrunc.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        return process.wait(20)

    code = start()
    monkeypatch.setenv("PYRUNC_FRONT", "native")
    assert start() == code


def test_signals_are_passed_on(pyrunc, native, up, monkeypatch):
    words = ("exec", up, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")

    def start():
        process = pyrunc.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGWINCH)
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        return process.wait(20)

    assert start() == 7
    monkeypatch.setenv("PYRUNC_FRONT", "native")
    assert start() == 7


def test_a_caller_that_ignores_or_blocks_signals_gets_the_status(pyrunc, native, up):
    def ignore():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

    words = ("exec", up, "sh", "-c", "exit 3")
    pyrunc(*words, code=3)
    native(*words, code=3, preexec_fn=ignore)


def test_a_program_that_has_gone_is_told_as_ever(pyrunc, native, bundle):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    bundle.write("bin/hello", "#!/bin/sh\necho hello\n", 0o755)
    pyrunc("exec", name, "hello")
    os.unlink(f"{bundle.rootfs}/bin/hello")
    native("exec", name, "hello", code=DECLINED)
    result = pyrunc("exec", name, "hello", code=255)
    assert '"hello": executable file not found in $PATH' in result.message


def test_another_configuration_is_another_process(pyrunc, native, bundle):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    words = ("exec", name, "sh", "-c", "echo $A")
    assert pyrunc(*words).stdout == "\n"
    bundle.process["env"] += ["A=B"]
    bundle.save()
    native(*words, code=DECLINED)
    assert pyrunc(*words).stdout == "B\n"
    assert native(*words).stdout == "B\n"


def test_another_record_or_another_init_is_another_plan(pyrunc, native, up):
    pyrunc("exec", up, "true")
    pyrunc("update", "--pids-limit", "50", up)
    native("exec", up, "true", code=DECLINED)
    pyrunc("exec", up, "true")
    (plan,) = plans(pyrunc, up)
    path = f"{pyrunc.root}/{up}/{plan}"
    with open(path, "r+b") as file:
        inode = file.read(8)
        file.seek(0)
        file.write(bytes(8))
        file.flush()
        native("exec", up, "true", code=DECLINED)
        file.seek(0)
        file.write(inode)
    native("exec", up, "true")


@pytest.mark.parametrize("at", [0, 7, 63, 64, 65, 100])
def test_half_a_plan_is_none(pyrunc, native, up, at):
    pyrunc("exec", up, "true")
    (plan,) = plans(pyrunc, up)
    os.truncate(f"{pyrunc.root}/{up}/{plan}", at)
    native("exec", up, "true", code=DECLINED)
    pyrunc("exec", up, "true")


def test_a_plan_whose_parts_do_not_fit_is_none(pyrunc, native, up):
    pyrunc("exec", up, "true")
    (plan,) = plans(pyrunc, up)
    path = f"{pyrunc.root}/{up}/{plan}"
    with open(path, "rb") as file:
        whole = file.read()
    for part in range(4, 8):
        for size in (0, 1, 2**31, 2**63, 2**64 - 1):
            head = size.to_bytes(8, "little")
            with open(path, "wb") as file:
                file.write(whole[: part * 8] + head + whole[part * 8 + 8 :])
            native("exec", up, "true", code=DECLINED)


def test_a_paused_or_stopped_container_is_left_for_python(pyrunc, native, up):
    pyrunc("exec", up, "true")
    pyrunc("pause", up)
    native("exec", up, "true", code=DECLINED)
    pyrunc("resume", up)
    native("exec", up, "true")
    pyrunc("kill", up, "KILL")
    pyrunc.stopped(up)
    native("exec", up, "true", code=DECLINED)


def test_what_is_not_ordinary_is_not_kept(pyrunc, up, tmp_path):
    for options in (("--cwd", "/tmp"), ("--user", "1"), ("--env", "A=B"), ("--cap", "CAP_KILL")):
        pyrunc("exec", *options, up, "true")
    for change in ({"execCPUAffinity": {"initial": "0"}}, {"user": {"uid": 1, "gid": 1}}):
        pyrunc("exec", "--process", process_file(pyrunc, up, args=["true"], **change), up)
    assert len(plans(pyrunc, up)) == 1, "the last one"


def test_a_container_with_users_of_its_own_is_left_for_python(pyrunc, bundle):
    bundle.namespace("user")
    for kind in ("uidMappings", "gidMappings"):
        bundle.linux[kind] = [{"containerID": 0, "hostID": 0, "size": 100000}]
    name = pyrunc.up(bundle.args("sleep", "1000"))
    pyrunc("exec", name, "true")
    assert plans(pyrunc, name) == []


def test_a_container_has_few_plans(pyrunc, up):
    for number in range(12):
        pyrunc("exec", up, "echo", number)
    assert len(plans(pyrunc, up)) == 8


def test_what_is_too_large_for_the_front_is_not_kept(pyrunc, up):
    env = [f"A{n}={'x' * 100000}" for n in range(12)]
    path = process_file(pyrunc, up, args=["true"], env=["PATH=/bin", *env])
    pyrunc("exec", "--process", path, up)
    assert plans(pyrunc, up) == []


def test_plans_go_with_their_container(pyrunc, native, up):
    pyrunc("exec", up, "true")
    native("delete", "--force", up)
    assert not os.path.exists(f"{pyrunc.root}/{up}")


def test_many_at_once(pyrunc, up, monkeypatch):
    words = ("exec", up, "sh", "-c", "echo $0; exit 5", "x")
    pyrunc(*words, code=5)
    monkeypatch.setenv("PYRUNC_FRONT", "native")
    running = [
        pyrunc.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(50)
    ]
    for process in running:
        assert process.communicate(timeout=100)[0] == b"x\n"
        assert process.returncode == 5


def test_who_waits_in_a_paused_container_lets_it_be_resumed(pyrunc, up, monkeypatch):
    words = ("exec", up, "sh", "-c", "echo there")
    pyrunc(*words)
    monkeypatch.setenv("PYRUNC_FRONT", "native")
    codes = set()
    for _ in range(10):
        running = pyrunc.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        pyrunc("pause", up, code=None)
        pyrunc("resume", up, code=None)
        codes.add(running.wait(20))
    monkeypatch.delenv("PYRUNC_FRONT")
    if pyrunc.status(up) == "paused":
        pyrunc("resume", up)
    assert codes <= {0, DECLINED}


def test_what_was_changed_while_it_waited_in_a_paused_container(pyrunc, native, up, tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    content = read(process_file(pyrunc, up, args=["true"]))
    running = pyrunc.popen("exec", "--process", fifo, up)
    with open(fifo, "w") as file:  # it has seen that the container runs
        pyrunc("pause", up)
        file.write(content)
    wait_for(lambda: pyrunc("update", "--pids-limit", "50", up, code=None).code == 0)
    pyrunc("resume", up)
    assert running.wait(20) == 0
    native("exec", "--process", f"{pyrunc.directory}/process.json", up, code=DECLINED)


def test_a_bundle_that_goes_meanwhile_takes_no_process_with_it(tmp_path, monkeypatch):
    (tmp_path / "bundle").mkdir()
    monkeypatch.chdir(tmp_path / "bundle")
    (tmp_path / "bundle").rmdir()
    replay.store(str(tmp_path), ("config.json", b"{}"), ["true"], ONLY_CGROUPS, {}, None, b"plan")
    assert os.listdir(tmp_path) == []


def test_a_container_that_ends_meanwhile_leaves_it_to_python(pyrunc, bundle, monkeypatch):
    for delay in range(0, 10):
        name = pyrunc.up(bundle.args("sleep", "1000"))
        pid = pyrunc.pid(name)
        pyrunc("exec", "-d", name, "sleep", "1000")
        with monkeypatch.context() as patch:
            patch.setenv("PYRUNC_FRONT", "native")
            running = [
                pyrunc.popen("exec", name, "sleep", "1000", stdin=subprocess.DEVNULL) for _ in "12"
            ]
            time.sleep(delay / 1000)
            os.kill(pid, signal.SIGKILL)
            assert {process.wait(20) for process in running} <= {DECLINED, 137}
        pyrunc("delete", "--force", name)
