"""hooks: argv, environment, stdin, outputs, timeouts and the texts of failures."""

import os
import signal
import subprocess
import sys
import time

import pytest

import pyrunc
from pyrunc import hooks
from pyrunc.errors import Error

SITE = os.path.dirname(os.path.dirname(pyrunc.__file__))


def shell(script, **more):
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def failing(script, state="{}", **more):
    """What the error says about a hook that always fails, as (why, stdout, stderr)."""
    text = hooks.run_one(shell(f"{script}\nexit 1", **more), state)
    why, _, rest = text.partition(", stdout: ")
    out, _, err = rest.partition(", stderr: ")
    return why, out, err


def test_a_hook_that_succeeds_says_nothing():
    hooks.run("prestart", [shell("echo out; echo err >&2")], "{}")


def test_the_state_is_on_stdin_whole_and_ends():
    state = '{"id": "x", "annotations": {"a": "' + "y" * 200000 + '"}}'
    assert hooks.run_one(shell(f"test $(wc -c) = {len(state)}"), state) == ""
    assert failing("cat", '{"id":"x"}')[1] == '{"id":"x"}'


def test_a_hook_that_never_reads_a_large_stdin_succeeds():
    assert hooks.run_one({"path": "/bin/true"}, "x" * 1000000) == ""


def test_argv_is_verbatim():
    hook = {"path": "/bin/sh", "args": ["other name", "-c", 'echo "$0 $1"; exit 1', "zero", "one"]}
    assert "stdout: zero one\n" in hooks.run_one(hook, "{}")
    hook = {"path": "/bin/cat", "args": ["odd", "/proc/self/cmdline", "/nonexistent"]}
    assert "stdout: odd\0/proc/self/cmdline\0" in hooks.run_one(hook, "{}")


@pytest.mark.parametrize("args", [None, []])
def test_no_args_mean_the_path(args):
    hook = {"path": "/bin/false"} | ({} if args is None else {"args": args})
    assert hooks.run_one(hook, "{}") == "exit status 1, stdout: , stderr: "


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"path": "/bin/tr\0ue"}, "embedded null byte"),
        ({"path": "/bin/true", "args": ["true", "a\0b"]}, "embedded null byte"),
        ({"path": "/bin/true", "env": ["A=b\0c"]}, "embedded null byte"),
        ({"path": "/bin/true", "args": [""]}, "posix_spawn: argv first element cannot be empty"),
    ],
)
def test_what_no_program_can_be_given_is_a_failure_of_the_hook(more, why):
    assert hooks.run_one(more, "{}") == f"fork/exec {more['path']}: {why}"


@pytest.mark.parametrize(
    ("line", "name"), [(b"#!/no/shell -e", "/no/shell"), (b"#! /no/shell\x1b", "/no/shell?")]
)
def test_a_script_without_its_interpreter(tmp_path, line, name):
    script = tmp_path / "script"
    script.write_bytes(line + b"\n")
    script.chmod(0o755)
    why = f"its interpreter {name} is missing"
    told = f"fork/exec {script}: no such file or directory: {why}"
    assert hooks.run_one({"path": str(script)}, "{}") == told


def test_there_is_no_path_search():
    assert hooks.run_one({"path": "true"}, "{}") == "fork/exec true: no such file or directory"


def test_env_is_the_given_one():
    out = failing("env", env=["A=b=c", "EMPTY=", "nonsense", "=x"])[1].splitlines()
    assert set(out) - {f"PWD={os.getcwd()}", "SHLVL=0", "_=/usr/bin/env"} == {"A=b=c", "EMPTY="}
    hook = {"path": "/usr/bin/env", "env": [], "args": ["env", "/nonexistent"]}
    assert hooks.run_one(hook, "{}").startswith("exit status 127, stdout: , stderr: env:")


def test_the_last_of_several_values_wins():
    out = failing("env", env=["A=1", "B=2", "A=3"])[1].splitlines()
    assert {"A=3", "B=2"} <= set(out)
    assert "A=1" not in out


def test_an_absent_env_is_the_callers_to_the_byte():
    code = (
        f"import sys; sys.path.insert(0, {SITE!r}); from pyrunc import hooks\n"
        "print(hooks.run_one({'path': '/usr/bin/env', 'args': ['env', '-0', 'x']}, '{}'))\n"
        "print(hooks.run_one({'path': '/bin/cat', 'args': ['cat', '/proc/self/environ', '/x']}, "
        "'{}'))"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    env = {"ONLY": "this", "PYTHONPATH": "/x"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "stdout: ONLY=this\0PYTHONPATH=/x\0, stderr" in done.stdout


def test_cwd_is_the_callers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failing("pwd")[1] == f"{tmp_path}\n"


def test_no_descriptor_leaks():
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        listed = failing("ls /proc/self/fd")[1].split()
    finally:
        os.close(read)
        os.close(write)
    assert listed == ["0", "1", "2", "3"]  # 3 is the listing itself


def test_signals_are_as_new():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        out = failing("cat /proc/self/status")[1]
    finally:
        signal.signal(signal.SIGUSR1, old)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    masks = dict(line.split(":\t") for line in out.splitlines() if line.startswith("Sig"))
    assert int(masks["SigBlk"], 16) == 0
    assert int(masks["SigIgn"], 16) & 0x7FFFFFFF == 0


def test_failures_are_worded_as_by_runc():
    assert hooks.run_one(shell("echo o; echo e >&2; exit 3"), "{}") == (
        "exit status 3, stdout: o\n, stderr: e\n"
    )
    assert hooks.run_one(shell("kill -9 $$"), "{}") == "signal: killed, stdout: , stderr: "


def test_an_output_that_the_hook_opens_once_more_has_no_holes():
    why = hooks.run_one(shell("echo first >&2; echo two >/dev/stderr; echo 3 >&2; exit 1"), "{}")
    assert why.endswith("two\n3\n")
    assert "\0" not in why


def test_only_the_tail_of_the_output_is_repeated():
    out = failing("i=0; while [ $i -lt 3000 ]; do echo line$i; i=$((i+1)); done")[1]
    assert len(out) == hooks.TAIL
    assert out.endswith("line2999\n")


def test_the_first_failure_ends_the_list(tmp_path):
    todo = [shell("true"), shell("exit 1"), shell(f"touch {tmp_path}/ran")]
    with pytest.raises(Error) as caught:
        hooks.run("createRuntime", todo, "{}")
    assert caught.value.message.startswith("error running createRuntime hook #1: exit status 1")
    assert not os.listdir(tmp_path)


def test_a_timeout_kills_the_hook():
    began = time.monotonic()
    assert hooks.run_one(shell("exec sleep 60", timeout=1), "{}") == (
        "hook ran past specified timeout of 1.0s"
    )
    assert 0.9 < time.monotonic() - began < 5
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_timeout_that_is_not_reached():
    assert hooks.run_one(shell("true", timeout=2**40), "{}") == ""


def test_a_child_left_behind_does_not_hold_the_hook_up():
    began = time.monotonic()
    assert hooks.run_one(shell("sleep 3 &"), "{}") == ""
    assert time.monotonic() - began < 2


def test_no_descriptor_stays_open():
    before = os.listdir("/proc/self/fd")
    hooks.run_one(shell("exit 1"), "{}")
    hooks.run_one({"path": "/nonexistent"}, "{}")
    assert os.listdir("/proc/self/fd") == before
