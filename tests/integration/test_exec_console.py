"""exec with a terminal: one of the container's devpts, ours in front or a socket that gets it."""

import contextlib
import json
import os
import socket
import subprocess

import pytest
from test_console import Tty, read_all, receive

from harness import processes_in, read, wait_for


@pytest.fixture
def up(pyrunc, bundle):
    """The id of a running container without a terminal."""
    return pyrunc.up(bundle.args("sleep", "1000"))


@pytest.fixture
def tty():
    made = Tty()
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    for fd in (made.master, made.slave):
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "console.sock"))
        sock.listen(1)
        yield sock


def process_file(pyrunc, bundle, **changes):
    path = f"{pyrunc.directory}/process.json"
    with open(path, "w") as file:
        json.dump({**bundle.process, **changes}, file)
    return path


# --- with a console socket ---


@pytest.mark.parametrize("from_file", [True, False])
def test_the_socket_gets_one_message_with_one_terminal(pyrunc, bundle, up, listener, from_file):
    options = ["-d", "--console-socket", listener.getsockname()]
    if from_file:
        size = {"height": 33, "width": 111}
        args = ["sh", "-c", "tty; stty size"]
        file = process_file(pyrunc, bundle, terminal=True, consoleSize=size, args=args)
        result = pyrunc("exec", *options, "-p", file, up)
    else:
        result = pyrunc("exec", *options, "-t", up, "sh", "-c", "tty")
    assert (result.stdout, result.stderr) == ("", "")
    data, fds = receive(listener)
    assert data == b"/dev/pts/ptmx"
    assert len(fds) == 1
    size = [b"33", b"111"] if from_file else []
    assert read_all(fds[0]).split() == [b"/dev/pts/0", *size]
    os.close(fds[0])


def test_the_callers_pipe_ends_when_exec_does(pyrunc, up, listener):
    argv = pyrunc.argv("exec", "-d", "-t", "--console-socket", listener.getsockname(), up)
    done = subprocess.run([*argv, "sleep", "1000"], capture_output=True, timeout=20, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    os.close(receive(listener)[1][0])


def test_it_controls_the_session_and_is_the_users(pyrunc, up, listener):
    options = ["-d", "-t", "-u", "1000", "--console-socket", listener.getsockname()]
    pyrunc("exec", *options, up, "sh", "-c", "stat -c %u /dev/pts/0; echo tty >/dev/tty")
    master = receive(listener)[1][0]
    assert read_all(master).split() == [b"1000", b"tty"]
    os.close(master)


def test_dev_console_stays_as_it_was(pyrunc, bundle, up, listener):
    options = ["-d", "-t", "--console-socket", listener.getsockname()]
    pyrunc("exec", *options, up, "sh", "-c", "test -e /dev/console || echo none")
    master = receive(listener)[1][0]
    assert read_all(master).split() == [b"none"]
    os.close(master)


def test_the_pidfd_socket_gets_a_pidfd(pyrunc, up, listener):
    path = f"{pyrunc.directory}/pid"
    options = ["--pidfd-socket", listener.getsockname(), "--pid-file", path]
    pyrunc("exec", "-d", *options, up, "sleep", "1000")
    data, fds = receive(listener)
    assert data == b"setns"
    assert f"Pid:\t{read(path)}\n" in read(f"/proc/self/fdinfo/{fds[0]}")
    os.close(fds[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-d", "-t"],
            "cannot allocate tty if runc will detach without setting console socket",
        ),
        (
            ["-d", "--console-socket", "/s"],
            "cannot use console socket if runc will not detach or allocate tty",
        ),
        (
            ["-t", "--console-socket", "/s"],
            "cannot use console socket if runc will not detach or allocate tty",
        ),
    ],
)
def test_what_nobody_would_get_is_refused(pyrunc, up, options, message):
    assert pyrunc("exec", *options, up, "true", code=255).message == f"exec failed: {message}"


def test_a_socket_nobody_listens_on(pyrunc, up):
    path = f"{pyrunc.directory}/absent"
    result = pyrunc("exec", "-d", "-t", "--console-socket", path, up, "true", code=255)
    assert f"dial unix {path}: connect: no such file or directory" in result.message
    assert len(processes_in(pyrunc.prefix)) == 1


# --- in the foreground ---


@pytest.mark.parametrize("code", [0, 7, 255])
def test_a_shell_can_be_talked_to(pyrunc, up, tty, code):
    tty.start(pyrunc.argv("exec", "-t", "-e", "PS1=$ ", up, "sh"))
    tty.expect(b"$ ")
    tty.type(b"echo a$((1+1))b\n")
    tty.expect(b"a2b\r\n")
    tty.type(b"exit %d\n" % code)
    assert tty.wait()[0] == code


def test_the_terminal_of_a_process_file(pyrunc, bundle, up, tty):
    # CRI-O's streaming exec: a session leader on a terminal, no --tty
    file = process_file(pyrunc, bundle, terminal=True, args=["sh", "-c", "tty; stty size"])
    tty.size(33, 111)
    tty.start(pyrunc.argv("exec", "--process", file, up))
    code, output = tty.wait()
    assert (code, output.split()) == (0, [b"/dev/pts/0", b"33", b"111"])


def test_the_size_follows_ours(pyrunc, up, tty):
    tty.size(20, 70)
    script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.05; done"
    tty.start(pyrunc.argv("exec", "-t", up, "sh", "-c", script))
    tty.expect(b"20 70")
    tty.size(30, 90)
    tty.expect(b"30 90")
    tty.wait()


def test_a_program_may_choose_a_size_of_its_own(pyrunc, up, tty):
    tty.size(20, 70)
    script = "stty rows 11 cols 22; sleep 0.3; stty size"
    tty.start(pyrunc.argv("exec", "-t", up, "sh", "-c", script))
    code, output = tty.wait()
    assert (code, output.split()) == (0, [b"11", b"22"])


def test_our_terminal_is_restored(pyrunc, up, tty):
    before = tty.attributes()
    tty.start(pyrunc.argv("exec", "-t", up, "sh", "-c", "echo go; read x; exit 3"))
    tty.expect(b"go")
    wait_for(lambda: tty.attributes() != before, what="raw mode")
    tty.type(b"\n")
    assert tty.wait()[0] == 3
    assert tty.attributes() == before


def test_a_program_that_cannot_be_run_leaves_the_terminal_as_it_was(pyrunc, up, tty):
    before = tty.attributes()
    tty.start(pyrunc.argv("exec", "-t", up, "absent"))
    code, output = tty.wait()
    assert code == 255
    assert b'exec: "absent": executable file not found in $PATH' in output
    assert tty.attributes() == before


def test_without_any_terminal_of_ours_there_is_none(pyrunc, up):
    result = pyrunc("exec", "-t", up, "true", code=255, start_new_session=True)
    assert result.message == "exec failed: open /dev/tty: no such device or address"
    assert len(processes_in(pyrunc.prefix)) == 1


def test_a_container_without_devpts_has_no_terminal(pyrunc, bundle, listener):
    bundle.config["mounts"] = [
        row for row in bundle.config["mounts"] if row["destination"] != "/dev/pts"
    ]
    name = pyrunc.up(bundle.args("sleep", "1000"))
    options = ["-d", "-t", "--console-socket", listener.getsockname()]
    result = pyrunc("exec", *options, name, "true", code=255)
    assert result.message.startswith("exec failed: unable to start container process: ")
    assert "/dev/pts/ptmx" in result.message


# --- other descriptors ---


def test_preserved_descriptors(pyrunc, up, tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    with open(path) as file:
        argv = pyrunc.argv("exec", "--preserve-fds", "2", up, "sh", "-c", "cat <&3; cat <&4")
        command = ["bash", "-c", 'exec 3<&$0 4</dev/null; exec "$@"', str(file.fileno()), *argv]
        done = subprocess.run(
            command, pass_fds=[file.fileno()], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (0, "content"), done


def test_preserved_descriptors_have_to_exist(pyrunc, up):
    message = pyrunc("exec", "--preserve-fds", "1", up, "true", code=255).message
    assert message == (
        "exec failed: unable to stat preserved-fd 0 (of 1): no such file or directory"
    )


def test_socket_activation_is_not_for_exec(pyrunc, up):
    script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3</dev/null'
    argv = pyrunc.argv("exec", up, "env")
    done = subprocess.run(["sh", "-c", script, "-", *argv], capture_output=True, check=True)
    assert b"LISTEN_" not in done.stdout
