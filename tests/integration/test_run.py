"""run: create, start, wait, delete."""

import json
import os
import signal
import subprocess

import pytest

from harness import read


def test_output_and_success(pyrunc, bundle):
    result = pyrunc.run(bundle.sh("echo out; echo err >&2"))
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize("code", [1, 42, 255])
def test_exit_code_is_the_programs(pyrunc, bundle, code):
    pyrunc.run(bundle.sh(f"exit {code}"), code=code)


def test_death_by_signal_is_128_and_the_signal(pyrunc, bundle):
    # Process 1 of a pid namespace is immune to its own signals, so a host's one.
    bundle.namespace("pid", False)
    pyrunc.run(bundle.sh("kill -TERM $$"), code=128 + signal.SIGTERM)


def test_stdin_reaches_the_program(pyrunc, bundle):
    assert pyrunc.run(bundle.args("cat"), stdin="hello\n").stdout == "hello\n"


def test_much_input_and_output(pyrunc, bundle):
    text = "0123456789abcdef" * 65536
    assert pyrunc.run(bundle.args("cat"), stdin=text).stdout == text


def test_leaves_nothing(pyrunc, bundle):
    pyrunc.run(bundle.args("true"))
    assert pyrunc.names() == []


def test_keep_leaves_the_stopped_container(pyrunc, bundle):
    name = pyrunc.id()
    pyrunc("run", "--bundle", bundle.sh("exit 3").save(), "--keep", name, code=3)
    assert pyrunc.status(name) == "stopped"
    pyrunc("delete", name)


def test_detached_returns_at_once(pyrunc, bundle, tmp_path):
    name = pyrunc.id()
    save = bundle.sh("sleep 100").save()
    result = pyrunc("run", "--detach", "--pid-file", tmp_path / "pid", "--bundle", save, name)
    assert (result.stdout, result.stderr) == ("", "")
    assert pyrunc.status(name) == "running"
    assert read(tmp_path / "pid") == str(pyrunc.pid(name))


def test_pid_file_in_the_foreground(pyrunc, bundle, tmp_path):
    pyrunc.run(bundle.args("true"), "--pid-file", tmp_path / "pid")
    assert read(tmp_path / "pid").isdigit()


def test_error_has_its_prefix_and_code_1(pyrunc, bundle):
    result = pyrunc.run(bundle.args("absent"), code=1)
    assert result.message.startswith("runc run failed: unable to start container process: ")
    assert result.message.endswith('exec: "absent": executable file not found in $PATH')
    assert pyrunc.names() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_signals_are_forwarded(pyrunc, bundle, number):
    name = signal.Signals(number).name.removeprefix("SIG")
    bundle.sh(f"trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done")
    argv = pyrunc.argv("run", "--bundle", bundle.save(), pyrunc.id())
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"got {name}\n"
        assert process.wait(timeout=30) == 7


def test_nobody_reads_the_output(pyrunc, bundle):
    os.symlink("busybox", f"{bundle.rootfs}/bin/yes")
    argv = pyrunc.argv("run", "--bundle", bundle.args("yes").save(), pyrunc.id())
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(timeout=30) != 0
    assert pyrunc.names() == []


def test_killed_runtime_leaves_a_container_that_can_be_deleted(pyrunc, bundle):
    name = pyrunc.id()
    argv = pyrunc.argv("run", "--bundle", bundle.sh("echo up; sleep 100").save(), name)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        process.kill()
    pyrunc("delete", "--force", name)
    assert pyrunc.names() == []


def test_children_left_behind_do_not_keep_it(pyrunc, bundle):
    result = pyrunc.run(bundle.sh("sleep 100 & echo done"), timeout=20)
    assert result.stdout == "done\n"


def test_debug_tells_what_is_done(pyrunc, bundle, tmp_path):
    bundle.process["env"].append("PASSWORD=secret")
    hook = {"path": "/bin/true"}
    bundle.config["hooks"] = {"prestart": [hook], "poststop": [hook]}
    result = pyrunc("--debug", "run", "--bundle", bundle.args("true").save(), pyrunc.id())
    assert result.stdout == ""
    assert all(" level=debug " in line for line in result.stderr.splitlines())
    assert "PASSWORD" not in result.stderr
    told = [
        "nsexec container setup",
        "mounts[0]",
        "argv=true",
        "running prestart hook #0: /bin/true",
    ]
    told += ["child process in init(): ready", "closing the pipe", 'msg="process exited"']
    at = [result.stderr.index(text) for text in told]
    assert at == sorted(at)
    assert " status=0\n" in result.stderr
    assert "running poststop hook #0: /bin/true" in result.stderr


def test_debug_in_a_log_of_json_leaves_stderr_alone(pyrunc, bundle, tmp_path):
    options = ("--debug", "--log", tmp_path / "log", "--log-format", "json")
    result = pyrunc(*options, "run", "--bundle", bundle.sh("exit 7").save(), pyrunc.id(), code=7)
    assert (result.stdout, result.stderr) == ("", "")
    entries = [json.loads(line) for line in read(tmp_path / "log").splitlines()]
    assert {entry["level"] for entry in entries} == {"debug"}
    assert entries[-1]["status"] == 7
