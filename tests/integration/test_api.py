"""`import pyrunc`: the commands' functions in a process that is not theirs."""

import gc
import glob
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

import pyrunc as api
from harness import read, receive, wait_for

TOP = os.path.join(os.path.dirname(__file__), "..", "..")
SLEEP = ("sleep", "1000")


def children():
    """The PIDs of our children, zombies included, whichever thread started them."""
    command = ["ps", "-o", "pid=", "--ppid", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ps:
        return set(ps.stdout.read().split()) - {str(ps.pid)}


@pytest.fixture
def make(pyrunc, bundle):
    """make(program, ...): a container that runs it, like pyrunc.run()."""

    def run(*args, function=api.run, **making):
        if args:
            bundle.args(*args)
        return function(pyrunc.id(), bundle.save(), root=pyrunc.root, **making)

    return run


@pytest.fixture
def up(make):
    """A container that runs, with nothing of ours in it."""
    return make(*SLEEP, stdin=api.DEVNULL, stdout=api.DEVNULL, stderr=api.DEVNULL)


@pytest.fixture
def script(pyrunc, bundle):
    """script(text): a Python program of its own, with `id`, `bundle` and `root`."""

    def run(text):
        values = f"id, bundle, root = {pyrunc.id()!r}, {bundle.save()!r}, {pyrunc.root!r}\n"
        program = f"import pyrunc\n{values}{textwrap.dedent(text)}"
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command,
            cwd="/",  # the tree has no built modules
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    return run


# The life of a container.


def test_a_container_lives_from_create_to_delete(make, pyrunc):
    made = make(*SLEEP, function=api.create)
    assert made.state() == {**pyrunc.state(made.id), "status": "created"}
    made.start()
    assert made.state()["status"] == "running"
    made.kill("KILL")
    assert made.wait() == 128 + 9
    made.delete()
    assert pyrunc.names() == []


def test_a_with_block_deletes_what_still_runs(make, pyrunc):
    with make(*SLEEP) as made:
        assert made.state()["status"] == "running"
    assert pyrunc.names() == []


def test_run_leaves_nothing_of_what_cannot_start(make, bundle, pyrunc):
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    before = children()
    with pytest.raises(api.Error, match="poststart hook #0"):
        make(*SLEEP)
    assert pyrunc.names() == []
    assert children() == before


def test_the_exit_status_is_the_programs(make):
    assert make("sh", "-c", "exit 7").wait() == 7


def test_the_exit_status_is_told_again_and_to_all(make):
    made = make("sh", "-c", "exit 7")
    found = []
    threads = [threading.Thread(target=lambda: found.append(made.wait())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [*found, made.wait(), made.process.poll()] == [7] * 6


def test_wait_gives_up_in_time(up):
    with pytest.raises(TimeoutError, match="has not ended within 0.01 s"):
        up.wait(timeout=0.01)


def test_a_container_of_others_is_waited_for(pyrunc, bundle):
    name = pyrunc.up(bundle.args(*SLEEP))
    theirs = api.Container(name, pyrunc.root)
    with pytest.raises(api.Timeout, match=f"{name} has not stopped"):
        theirs.wait(timeout=0.01)
    theirs.kill(signal.SIGKILL)
    assert theirs.wait() in (None, 128 + 9)  # who reaped it may have been faster


def test_containers_are_listed(make, pyrunc):
    assert api.containers(pyrunc.root) == []
    made = make(*SLEEP)
    assert [found.id for found in api.containers(pyrunc.root)] == [made.id]


def test_pause_resume_and_update(up, pyrunc):
    up.pause()
    assert up.state()["status"] == "paused"
    up.resume()
    up.update({"pids": {"limit": 77}})
    assert pyrunc.record(up.id)["config"]["cgroups"]["pids_limit"] == 77
    assert up.stats()["pids"]["limit"] == 77


def test_processes_are_listed(up):
    assert up.ps() == [up.process.pid]


def test_stats_compare_two_samples(up):
    before = up.stats()
    after = up.stats(since=before)
    assert after["clock"] > before["clock"]
    assert after["cpu"]["percent"] >= 0


def test_events_end_with_the_container(up):
    events = up.events(interval=0.01)
    assert next(events)["type"] == "stats"
    up.kill("KILL")
    assert {event["type"] for event in events} <= {"stats"}


# Processes.


@pytest.mark.parametrize("number", [1, 2])
def test_output_comes_through_a_pipe(up, number):
    streams = {["stdout", "stderr"][number - 1]: api.PIPE}
    with up.exec(["sh", "-c", f"echo seen >&{number}"], **streams) as process:
        assert (process.stdout or process.stderr).read() == b"seen\n"
    assert process.wait() == 0


def test_errors_join_the_output(up):
    script = "echo one; echo two >&2"
    with up.exec(["sh", "-c", script], stdout=api.PIPE, stderr=api.STDOUT) as process:
        assert process.stdout.read() == b"one\ntwo\n"


def test_input_goes_through_a_pipe(up):
    with up.exec(["cat"], stdin=api.PIPE, stdout=api.PIPE) as process:
        process.stdin.write(b"seen")
        process.stdin.close()
        assert process.stdout.read() == b"seen"


def test_output_goes_into_a_file(make, tmp_path):
    with open(tmp_path / "out", "wb") as out, make("echo", "seen", stdout=out) as made:
        made.wait()
    assert read(tmp_path / "out") == "seen\n"


def test_a_process_has_its_environment_user_and_place(up):
    script = "echo $NAME $(id -u):$(id -g) $(pwd)"
    options = {"env": {"NAME": "value"}, "user": "5:6", "cwd": "/tmp"}
    with up.exec(["sh", "-c", script], stdout=api.PIPE, **options) as process:
        assert process.stdout.read() == b"value 5:6 /tmp\n"


def test_a_process_is_killed(up):
    process = up.exec(SLEEP)
    assert process.poll() is None
    process.kill("KILL")
    assert process.wait() == 128 + 9
    process.kill()  # no error, and nobody else's


def test_a_terminal_is_ours(up):
    with up.exec(["sh", "-c", "test -t 0 && read line && exit $line"], terminal=True) as process:
        process.terminal.write(b"9\n")
        assert process.wait() == 9


def test_a_containers_terminal_is_ours(make, bundle):
    bundle.process["terminal"] = True
    made = make("sh", "-c", "test -t 0 && read line && exit $line")
    made.process.terminal.write(b"9\n")
    assert made.wait() == 9
    made.process.terminal.close()


def test_a_terminal_goes_to_who_listens(up, listener):
    up.exec(["true"], terminal=True, console_socket=listener.getsockname()).wait()
    for fd in receive(listener)[1]:
        os.close(fd)


# Failures.


def test_failures_are_errors(up, pyrunc, tmp_path):
    cases = {
        "container does not exist": lambda: api.Container("none", pyrunc.root).state(),
        "chdir /nonexistent": lambda: api.create("x", "/nonexistent", root=pyrunc.root),
        "invalid cgroup-manager": lambda: api.create("x", cgroup_manager="none"),
        "invalid container ID": lambda: api.Container("a/b", pyrunc.root).kill(),
        "executable file not found": lambda: up.exec(["nonexistent"]),
        "a program and its arguments": lambda: up.exec([]),
        "cannot use console socket": lambda: up.exec(["true"], console_socket=tmp_path / "none"),
        "unknown signal": lambda: up.kill("NONE"),
        "not stopped: running": up.delete,
        "resources": lambda: up.update({"pids": 1}),
        "not a directory": lambda: api.containers("/dev/null"),
    }
    for words, call in cases.items():
        with pytest.raises(api.Error, match=words):
            call()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stdot": api.PIPE}, "unexpected argument: stdot"),
        ({"capabilities": "CAP_KILL"}, "capabilities: a sequence of strings"),
        ({"cgroup": "/web"}, "cgroup: a sequence of strings"),
        ({"user": None}, "user: a name or a number"),
        ({"stdout": io.BytesIO()}, "neither a descriptor nor a file"),
        ({"stdin": "/dev/null"}, "neither a descriptor nor a file"),
    ],
)
def test_arguments_that_make_no_sense(up, options, words):
    with pytest.raises(TypeError, match=words):
        up.exec(["true"], **options)


def test_a_program_is_no_single_word(up):
    with pytest.raises(TypeError, match="args: a sequence of strings"):
        up.exec("true")
    with pytest.raises(TypeError, match="args: a sequence of strings"):
        up.exec(["echo", 1])


def test_a_misspelt_option_makes_nothing(bundle, pyrunc):
    bundle.save()
    with pytest.raises(TypeError, match="unexpected argument: pid_file"):
        api.create("x", bundle=bundle.path, root=pyrunc.root, pid_file="pid")
    assert pyrunc.names() == []


def test_a_with_block_ends_although_nobody_reads(up):
    process = up.exec(["sleep", "1000"], stdin=api.PIPE, stdout=api.PIPE)
    with pytest.raises(BrokenPipeError), process:
        process.kill("KILL")
        process.wait()
        process.stdin.write(b"x")
    assert process.stdin.closed
    assert process.stdout.closed


def test_nothing_is_left_of_a_failure(up):
    gc.collect()  # what the exceptions of other tests still refer to
    before = sorted(os.listdir("/proc/self/fd")), children()
    for _ in range(3):
        with pytest.raises(api.Error):
            up.exec(["nonexistent"], stdin=api.PIPE, stdout=api.PIPE, stderr=api.DEVNULL)
        with pytest.raises(api.Error):
            up.exec(["nonexistent"], terminal=True)
    assert (sorted(os.listdir("/proc/self/fd")), children()) == before


def test_warnings_go_to_the_log(make, bundle, caplog, capfd):
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/false"}]}
    with caplog.at_level(logging.WARNING), make("true") as made:
        made.wait()
    assert [(row.name, row.levelname) for row in caplog.records] == [("pyrunc", "WARNING")]
    assert "poststop hook #0" in caplog.text
    assert capfd.readouterr() == ("", "")


# A process that is not ours.


def test_the_working_directory_stays(make, bundle, pyrunc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle.args(*SLEEP)
    path = os.path.relpath(bundle.save(), tmp_path)
    made = api.run(pyrunc.id(), path, root=os.path.relpath(pyrunc.root, tmp_path))
    made.exec(["true"]).wait()
    assert os.getcwd() == str(tmp_path)
    assert made.root == pyrunc.root


def test_a_service_managers_gifts_are_ours(make, monkeypatch, tmp_path):
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        made = make("env", stdout=api.PIPE)
        with made.process as process:
            seen = process.stdout.read()
    assert b"NOTIFY_SOCKET" not in seen and b"LISTEN" not in seen


def test_who_has_ended_is_reaped_at_once(up):
    before = children()
    up.exec(["true"])  # nobody keeps the process
    wait_for(lambda: children() == before, what="reaped child")


def test_a_container_ends_although_nobody_waited(up, pyrunc):
    up.exec(["true"])
    up.exec(SLEEP)
    pyrunc("delete", "--force", up.id)
    assert up.wait() == 128 + 9


def test_an_interrupt_undoes_what_was_begun(script, bundle, pyrunc):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "kill -INT $PPID"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    code, _, stderr = script("pyrunc.create(id, bundle, root=root)")
    assert code == -signal.SIGINT and "KeyboardInterrupt" in stderr
    assert pyrunc.names() == []


def test_who_ignores_the_end_of_children_is_refused(script, pyrunc):
    code, _, stderr = script("""
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        pyrunc.create(id, bundle, root=root)
    """)
    assert code == 1 and "pyrunc.errors.Error: SIGCHLD is ignored" in stderr
    assert pyrunc.names() == []


def test_a_container_outlives_the_program(script, bundle, pyrunc):
    bundle.args(*SLEEP)
    code, stdout, stderr = script("""
        null = {name: pyrunc.DEVNULL for name in ("stdin", "stdout", "stderr")}
        made = pyrunc.run(id, bundle, root=root, **null)
        made.exec(["sleep", "1000"], **null)
        print(id)
    """)
    assert (code, stderr) == (0, "")
    assert len(pyrunc("ps", "--format", "json", stdout.strip()).stdout.split(",")) == 2


def test_threads_work_side_by_side(make, bundle, pyrunc):
    bundle.args(*SLEEP).save()
    found, failed = [], []

    def work(name):
        try:
            for turn in range(3):
                with api.run(f"{name}-{turn}", bundle.path, root=pyrunc.root) as made:
                    found.append(made.exec(["sh", "-c", "exit 3"]).wait())
        except BaseException as err:
            failed.append(err)

    threads = [threading.Thread(target=work, args=(pyrunc.id(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and found == [3] * 12


def test_a_fork_keeps_no_lock(make, bundle, pyrunc, tmp_path):
    # The hook says that the lock is held, and ends once we are about to fork.
    os.mkfifo(tmp_path / "fifo")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo >{tmp_path}/fifo; sleep 0.1"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    made = []
    thread = threading.Thread(target=lambda: made.append(make(*SLEEP)))
    thread.start()
    read(tmp_path / "fifo")
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writer)
        os.read(reader, 1)  # until the test is over
        os._exit(0)
    os.close(reader)
    thread.join()
    try:
        made[0].exec(["true"]).wait()
        made[0].delete(force=True)
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


def test_a_fork_within_a_call_does_not_wait_for_itself(make, bundle):
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -USR1 $PPID"]}]
    }
    forked = []

    def fork(*_):
        pid = os.fork()
        if not pid:
            os._exit(7)
        forked.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    before = signal.signal(signal.SIGUSR1, fork)
    try:
        make("true").wait()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert forked == [7]


def test_a_forked_process_does_not_own_them(make):
    made = make("true")
    pid = os.fork()
    if not pid:
        try:
            made.wait()
        except api.Error:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert made.wait() == 0


# The manual.


def examples():
    for path in (f"{TOP}/README.md", *glob.glob(f"{TOP}/docs/*.md")):
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", read(path), re.DOTALL)):
            yield pytest.param(code, id=f"{os.path.basename(path)}-{number}")


@pytest.mark.parametrize("code", list(examples()))
def test_the_examples_run(code, bundle, pyrunc, tmp_path):
    bundle.sh("trap exit TERM; sleep 1000 & wait")
    os.symlink(bundle.save(), tmp_path / "bundle")
    names = re.findall(r'pyrunc\.(?:run|create)\("(\w+)"', code)
    for name in names:  # for the check that nothing of them is left
        code = code.replace(f'"{name}", bundle="bundle"', f'"{pyrunc.id()}", bundle="bundle"')
    code = code.replace('bundle="bundle"', f'bundle="bundle", root={pyrunc.root!r}')
    assert names and code.count(pyrunc.root) == len(names)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert pyrunc.names() == []
