"""Foreground `run`: a proxy that loses no byte and no signal, and exits as the container did."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import pyrunc as product
from harness import alive, read, wait_for


def start(pyrunc, bundle, *options, **streams):
    name = pyrunc.id()
    process = pyrunc.popen("run", "--bundle", bundle.save(), *options, name, **streams)
    return name, process


def cpu_ticks(pid):
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_is_the_programs(pyrunc, bundle, code):
    pyrunc.run(bundle.sh(f"exit {code}"), code=code)


def test_a_death_by_signal_is_128_and_its_number(pyrunc, bundle):
    # pid 1 of a pid namespace ignores signals it sends to itself, so a shared one it is
    pyrunc.run(bundle.namespace("pid", False).sh("kill -9 $$"), code=137)
    pyrunc.run(bundle.namespace("pid", False).sh("kill -15 $$"), code=143)


def test_streams_stay_apart(pyrunc, bundle):
    result = pyrunc.run(bundle.sh("echo out; echo err >&2"))
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_stdin_reaches_the_program_and_so_does_its_end(pyrunc, bundle):
    assert pyrunc.run(bundle.args("wc", "-c"), stdin="x" * 300000).stdout.strip() == "300000"


def test_stdio_is_pipes_and_not_ours(pyrunc, bundle):
    result = pyrunc.run(bundle.sh("for fd in 0 1 2; do readlink /proc/self/fd/$fd; done"))
    assert [line.partition(":")[0] for line in result.stdout.split()] == ["pipe"] * 3


def test_huge_output_arrives_whole(pyrunc, bundle):
    result = pyrunc.run(bundle.sh("seq 1 400000"))
    expected = "".join(f"{n}\n" for n in range(1, 400001))
    digest = lambda text: hashlib.sha256(text.encode()).hexdigest()  # noqa: E731
    assert digest(result.stdout) == digest(expected)


def test_a_slow_reader_holds_the_writer_back_and_loses_nothing(pyrunc, bundle):
    name, process = start(
        pyrunc,
        bundle.sh("seq 1 100000; echo written >/tmp/done"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    wait_for(lambda: name in pyrunc.names() and pyrunc("state", name, code=None).code == 0)
    before = cpu_ticks(process.pid)
    time.sleep(0.5)  # the test's subject: time passes, nobody reads
    assert cpu_ticks(process.pid) - before <= 5, "the relay spins"
    assert not os.path.exists(f"{bundle.rootfs}/tmp/done"), "the writer was not held back"
    assert process.communicate()[0].split()[-1] == b"100000"
    assert process.returncode == 0


def test_a_vanished_reader_ends_the_writer(pyrunc, bundle):
    _, process = start(
        pyrunc,
        bundle.namespace("pid", False).args("sh", "-c", "while echo y; do :; done; exit 3"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(20) in (3, 128 + signal.SIGPIPE)


def test_our_own_sigpipe_is_not_forwarded_but_another_ones_is(pyrunc, bundle):
    script = (
        "trap 'echo pipe >/tmp/got' PIPE; echo x; sleep .3; echo y; while :; do sleep .05; done"
    )
    _, process = start(pyrunc, bundle.sh(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    time.sleep(0.6)  # until the relay has written what nobody reads
    assert not os.path.exists(f"{bundle.rootfs}/tmp/got")
    process.send_signal(signal.SIGPIPE)
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/tmp/got"))
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [1, 2, 10, 12, 15, 18, 20, 34, 64])
def test_signals_are_forwarded(pyrunc, bundle, number):
    name, process = start(
        pyrunc,
        bundle.sh(f"trap 'echo got; exit 7' {number}; echo set; while :; do sleep 0.05; done"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"set\n", name
    process.send_signal(number)
    assert process.communicate(timeout=20)[0] == b"got\n"
    assert process.returncode == 7


def test_the_container_is_removed_and_keep_keeps_it(pyrunc, bundle):
    pyrunc.run(bundle.args("true"))
    assert pyrunc.names() == []
    name = pyrunc.id()
    pyrunc("run", "--keep", "--bundle", bundle.path, name)
    assert pyrunc.status(name) == "stopped"
    assert pyrunc.state(name)["pid"] == 0
    pyrunc("delete", name)


def test_orphans_are_reaped_and_only_the_main_status_counts(pyrunc, bundle):
    bundle.namespace("pid", False).sh("(sleep 0.1; exit 9) & (exit 5) & exit 4")
    pyrunc.run(bundle, code=4)


def test_an_argument_that_is_no_utf_8(pyrunc, bundle):
    name = pyrunc.up(bundle.args("sleep", "60"))
    # Long enough for the foreground to take on the name of what was typed.
    script = ["sh", "-c", "sleep 0.5; echo $0; exit 3"]
    result = pyrunc("exec", name, *script, "caf\udce9", code=3)
    assert result.stderr == ""


def test_detached_run_returns_at_once_and_prints_nothing(pyrunc, bundle):
    name = pyrunc.id()
    result = pyrunc("run", "-d", "--bundle", bundle.args("sleep", "1000").save(), name)
    assert (result.stdout, result.stderr) == ("", "")
    assert pyrunc.status(name) == "running"


def test_a_killed_run_leaves_a_container_that_can_be_deleted(pyrunc, bundle):
    name, process = start(pyrunc, bundle.args("sleep", "1000"), stdin=subprocess.DEVNULL)
    wait_for(
        lambda: pyrunc("state", name, code=None).code == 0 and pyrunc.status(name) == "running"
    )
    process.kill()
    process.wait()
    pyrunc("delete", "--force", name)
    assert pyrunc.names() == []


def test_another_command_may_remove_it_meanwhile(pyrunc, bundle):
    name, process = start(
        pyrunc,
        bundle.sh("echo up; sleep 1000"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"up\n"
    pyrunc("delete", "--force", name, timeout=5)
    assert process.communicate(timeout=5) == (b"", b"")
    assert process.returncode == 128 + signal.SIGKILL


def test_a_successor_of_the_same_name_is_left_alone(pyrunc, bundle, make_bundle):
    name, process = start(
        pyrunc,
        bundle.sh("echo up; exec sleep 1000"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGSTOP)
    pyrunc("delete", "--force", name)
    pyrunc("create", "--bundle", make_bundle().args("true").save(), name)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=5)
    assert pyrunc.status(name) == "created"


def test_a_stuck_reader_does_not_make_it_immortal(pyrunc, bundle):
    name, process = start(
        pyrunc,
        bundle.sh("seq 1 20000"),  # more than our pipe holds, less than ours and the container's
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert os.read(process.stdout.fileno(), 1) == b"1"
    wait_for(lambda: name not in pyrunc.names(), what="removal")
    assert process.poll() is None
    process.terminate()
    assert process.wait(5) == 0
    process.stdout.close()


def test_the_relay_loads_little(pyrunc, bundle):
    site = os.path.dirname(os.path.dirname(product.__file__))
    main = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pyrunc.cli import main; main()"
    python = [sys.executable, "-I", "-S", "-X", "utf8", "-X", "importtime", "-c", main, site]
    argv = pyrunc.argv("run", "--bundle", bundle.args("true").save(), pyrunc.id())
    done = subprocess.run(
        [*python, *argv], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    assert {"pyrunc.console", "pyrunc.relay"} <= loaded
    dear = "prctl pyrunc.terminal termios socket re json enum typing signal subprocess".split()
    assert not loaded & set(dear)


def test_a_stuck_terminal_as_stdout_does_not_keep_signals_away(pyrunc, bundle):
    master, slave = os.openpty()
    bundle.namespace("pid", False).args("seq", "1", "1000000")
    name, process = start(pyrunc, bundle, stdin=subprocess.DEVNULL, stdout=slave)
    os.close(slave)
    wait_for(lambda: name in pyrunc.names() and pyrunc("state", name, code=None).code == 0)
    pid = pyrunc.pid(name)
    time.sleep(0.3)  # until all buffers are full
    process.terminate()
    wait_for(lambda: not alive(pid), what="death of the container's process")
    process.terminate()
    assert process.wait(5) == 128 + signal.SIGTERM
    os.close(master)


# --- who stays ---


def stay(pyrunc, bundle, *options, globals=(), **streams):
    """A `run` that waits so long already that the front has taken it over."""
    name = pyrunc.id()
    command = [pyrunc.command, "--root", pyrunc.root, *globals, "run", "--bundle", bundle.save()]
    process = subprocess.Popen([*command, *options, name], stdin=subprocess.DEVNULL, **streams)
    wait_for(lambda: is_front(process.pid))
    return name, process


def is_front(pid):
    return "\0PYRUNC_FOREGROUND=" in "\0" + read(f"/proc/{pid}/environ")


def test_who_stays_takes_little_memory(pyrunc, bundle):
    name, process = stay(pyrunc, bundle.args("sleep", "1000"))
    rows = dict(row.split(":") for row in read(f"/proc/{process.pid}/status").splitlines())
    assert int(rows["VmRSS"].split()[0]) < 3000
    assert rows["Name"].strip() == "pyrunc"
    assert read(f"/proc/{process.pid}/cmdline").startswith(f"{pyrunc.command}\0--root\0")
    pyrunc("kill", name, "KILL")
    assert process.wait(20) == 137
    assert name not in pyrunc.names()


def test_who_stays_passes_everything_on(pyrunc, bundle):
    script = "trap 'echo told; exit 7' TERM; echo up; read line; echo $line >&2; "
    name = pyrunc.id()
    process = pyrunc.popen(
        *("run", "--bundle", bundle.sh(script + "while :; do sleep 0.01; done").save(), name),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"up\n"
    wait_for(lambda: is_front(process.pid))
    process.stdin.write(b"line\n")
    process.stdin.flush()
    assert process.stderr.readline() == b"line\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == (b"told\n", b"")
    assert process.returncode == 7
    assert name not in pyrunc.names()


def test_an_exec_that_stays_takes_little_memory(pyrunc, bundle):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    process = pyrunc.popen("exec", name, "sh", "-c", "sleep 1; exit 9", stdin=subprocess.DEVNULL)
    wait_for(lambda: is_front(process.pid))
    assert process.wait(20) == 9
    assert pyrunc.status(name) == "running"


def test_what_the_front_does_not_remove_python_does(pyrunc, bundle, tmp_path):
    script = f"#!/bin/sh\ncat >{tmp_path}/told; env >{tmp_path}/env\n"
    (tmp_path / "hook").write_text(script)
    (tmp_path / "hook").chmod(0o755)
    bundle.config["hooks"] = {"poststop": [{"path": str(tmp_path / "hook")}]}
    name, process = stay(pyrunc, bundle.args("sleep", "1000"), env={"A": "B"})
    pyrunc("kill", name, "KILL")
    assert process.wait(20) == 137
    assert name not in pyrunc.names()
    assert '"stopped"' in read(tmp_path / "told")
    assert {row for row in read(tmp_path / "env").splitlines() if "PWD" not in row} == {"A=B"}


def test_a_bundle_that_is_gone_does_not_keep_python_from_it(pyrunc, bundle, tmp_path):
    bundle.config["hooks"] = {"poststop": [{"path": shutil.which("true")}]}
    globals = ("--root", os.path.relpath(pyrunc.root, tmp_path))
    name, process = stay(pyrunc, bundle.args("sleep", "1000"), globals=globals, cwd=str(tmp_path))
    shutil.rmtree(bundle.path)
    pyrunc("kill", name, "KILL")
    assert process.wait(20) == 137
    assert name not in pyrunc.names()


def test_what_cannot_be_removed_is_told_in_the_log(pyrunc, bundle, tmp_path):
    (tmp_path / "hook").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "hook").chmod(0o755)
    bundle.config["hooks"] = {"poststop": [{"path": str(tmp_path / "hook")}]}
    globals = ("--log", tmp_path / "log")
    name, process = stay(pyrunc, bundle.args("sleep", "1000"), globals=map(str, globals))
    pyrunc("kill", name, "KILL")
    assert process.wait(20) == 137
    assert "error running poststop hook #0" in read(tmp_path / "log")


def test_who_keeps_the_container_does_not_remove_it(pyrunc, bundle):
    name, process = stay(pyrunc, bundle.args("sleep", "1000"), "--keep")
    pyrunc("kill", name, "KILL")
    assert process.wait(20) == 137
    assert pyrunc.status(name) == "stopped"


def test_who_stays_leaves_another_container_of_that_name_alone(pyrunc, bundle):
    name, process = stay(pyrunc, bundle.sh("sleep 1000"))
    os.kill(process.pid, signal.SIGSTOP)
    pyrunc("delete", "--force", name)
    pyrunc("create", "--bundle", bundle.path, name)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(20) == 137
    assert pyrunc.status(name) == "created"


@pytest.mark.parametrize("told", ["", "nonsense", "-1 -1 -1 -1 -1 -1 -1 -1 {} {} {}"])
def test_what_a_caller_says_about_a_foreground_is_not_believed(pyrunc, bundle, monkeypatch, told):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    start = pyrunc.record(name)["init_process_start"]
    told = told.format(pyrunc.pid(name), start, f"{pyrunc.root}/{name}")
    monkeypatch.setenv("PYRUNC_FOREGROUND", told)
    assert pyrunc.status(name) == "running"
    assert pyrunc("exec", name, "echo", "fine").stdout == "fine\n"
    assert pyrunc.status(name) == "running"


def test_a_log_that_would_be_another_keeps_python(pyrunc, bundle, tmp_path):
    name = pyrunc.id()
    command = [pyrunc.command, "--root", pyrunc.root, "--log", "log", "run", "--bundle"]
    command += [bundle.sh("sleep 1").save(), name]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=tmp_path)
    wait_for(lambda: "python" in os.readlink(f"/proc/{process.pid}/exe"))
    wait_for(lambda: read(f"/proc/{process.pid}/comm") == "pyrunc\n", what="name of who stays")
    assert not is_front(process.pid)
    assert process.wait(20) == 0
    assert not os.path.exists(f"{bundle.path}/log")
