"""Descriptors of the caller: none by default, those of --preserve-fds and systemd; a pidfd back."""

import os
import select
import signal
import socket
import subprocess

import pytest

from harness import Result, read, receive, wait_for


def shell(pyrunc, before, *args, code=0, **env):
    """Run a verb from a shell that did `before`; its pid and the command's are the same."""
    out, err = f"{pyrunc.directory}/stdout", f"{pyrunc.directory}/stderr"
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        done = subprocess.run(
            ["sh", "-c", f'{before}; exec "$@"', "sh", *pyrunc.argv(*args)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **env},
            timeout=30,
            check=False,
        )
    result = Result(done.returncode, read(out), read(err))
    assert result.code == code, result
    return result


def run(pyrunc, bundle, before, *options, code=0, **env):
    args = ("run", "--bundle", bundle.save(), *options, pyrunc.id())
    return shell(pyrunc, before, *args, code=code, **env)


@pytest.fixture
def files(tmp_path):
    """Shell redirections that open three files as 3, 4 and 5."""
    for name in "abc":
        (tmp_path / name).write_text(f"content of {name}\n")
    return f"exec 3<{tmp_path}/a 4<{tmp_path}/b 5<{tmp_path}/c"


def test_nothing_is_passed_on_unasked(pyrunc, bundle, files):
    bundle.sh("for fd in 3 4 5 6 7 8 9 10; do test -e /proc/self/fd/$fd && echo $fd; done; true")
    assert run(pyrunc, bundle, files).stdout == ""


def test_preserved_descriptors_keep_their_numbers(pyrunc, bundle, files):
    bundle.sh("cat <&3; cat <&4; test -e /proc/self/fd/5 || echo no 5")
    result = run(pyrunc, bundle, files, "--preserve-fds", "2")
    assert result.stdout == "content of a\ncontent of b\nno 5\n"


def test_create_passes_them_too(pyrunc, bundle, files):
    bundle.sh("cat <&3 >/tmp/out; test -e /proc/self/fd/4 || echo no 4 >>/tmp/out")
    name = pyrunc.id()
    shell(pyrunc, files, "create", "--preserve-fds", "1", "--bundle", bundle.save(), name)
    pid = pyrunc.pid(name)
    held = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    # stdio, the one preserved, exec.fifo, and nothing else
    assert len([path for path in held if path.startswith(str(pyrunc.directory))]) == 4, held
    pyrunc("start", name)
    pyrunc.stopped(name)
    assert read(f"{bundle.rootfs}/tmp/out") == "content of a\nno 4\n"


def test_many_descriptors(pyrunc, bundle, tmp_path):
    (tmp_path / "f").write_text("")
    opened = "; ".join(f"eval 'exec {fd}<{tmp_path}/f'" for fd in range(3, 10))
    bundle.sh("ls /proc/self/fd | wc -l")
    # ls has one for the directory itself
    assert run(pyrunc, bundle, opened, "--preserve-fds", "7").stdout == "11\n"


def test_a_descriptor_that_is_not_there_is_named(pyrunc, bundle, files):
    for options in ((), ("--log", f"{pyrunc.directory}/log")):  # opens a file first
        name = pyrunc.id()
        argv = (*options, "run", "--preserve-fds", "4", "--bundle", bundle.save(), name)
        result = shell(pyrunc, files, *argv, code=1)
        expected = "unable to stat preserved-fd 3 (of 4): no such file or directory"
        assert expected in result.stderr
    assert pyrunc.names() == []


def test_hooks_do_not_get_them(pyrunc, bundle, files):
    script = "ls /proc/self/fd | tr '\\n' ' ' >>{}; true"
    host = f"{pyrunc.directory}/hook"
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script.format(host)]}],
        "createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script.format(host)]}],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script.format("/tmp/hook")]}],
    }
    bundle.process["env"] = ["PATH=/bin"]
    run(pyrunc, bundle.args("true"), files, "--preserve-fds", "3")
    assert read(host).split() == ["0", "1", "2", "3"] * 2  # 3 is the directory that ls lists
    assert read(f"{bundle.rootfs}/tmp/hook").split() == ["0", "1", "2", "3"]


# --- socket activation ---


def test_systemds_descriptors_and_variables(pyrunc, bundle, files):
    bundle.sh(
        "cat <&3; echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; test -e /dev/fd/4 || echo no 4"
    )
    before = f"{files}; export LISTEN_PID=$$"
    result = run(pyrunc, bundle, before, LISTEN_FDS="1", LISTEN_FDNAMES="web")
    assert result.stdout == "content of a\n1 1\nno 4\n"


def test_systemds_come_before_the_preserved(pyrunc, bundle, files):
    bundle.sh("cat <&3 <&4; cat <&3; cat <&5; echo $LISTEN_FDS")
    before = f"{files}; export LISTEN_PID=$$"
    result = run(pyrunc, bundle, before, "--preserve-fds", "1", LISTEN_FDS="2")
    assert result.stdout == "content of b\ncontent of a\ncontent of c\n2\n"


def test_what_is_meant_for_another_process_stays_away(pyrunc, bundle, files):
    bundle.sh("echo ${LISTEN_FDS-unset}; test -e /proc/self/fd/3 || echo no 3")
    for value in ("1", "x", ""):
        result = run(pyrunc, bundle, files, LISTEN_FDS="1", LISTEN_PID=value)
        assert result.stdout == "unset\nno 3\n"
    result = run(pyrunc, bundle, f"{files}; export LISTEN_PID=$$", LISTEN_FDS="none")
    assert result.stdout == "unset\nno 3\n"


def test_systemds_descriptors_must_be_there(pyrunc, bundle, files):
    before = f"{files}; export LISTEN_PID=$$"
    result = run(pyrunc, bundle, before, code=1, LISTEN_FDS="9")
    assert "LISTEN_FDS=9, but descriptor 6 is not open" in result.stderr


# --- the pidfd ---


def pidfd_of(fd):
    """The pid a pidfd stands for, as we see it."""
    (line,) = [row for row in read(f"/proc/self/fdinfo/{fd}").splitlines() if row[:4] == "Pid:"]
    return int(line.split()[1])


def test_the_pidfd_is_that_of_the_process(pyrunc, bundle, listener):
    name = pyrunc.create(bundle.args("sleep", "100"), "--pidfd-socket", listener.getsockname())
    data, fds = receive(listener)
    assert (data, len(fds)) == (b"standard", 1)
    assert pidfd_of(fds[0]) == pyrunc.pid(name)
    pyrunc("start", name)
    signal.pidfd_send_signal(fds[0], signal.SIGKILL)
    assert select.select(fds, [], [], 10)[0]
    os.close(fds[0])
    wait_for(lambda: pyrunc.status(name) == "stopped")


def test_the_pidfd_comes_beside_a_console(pyrunc, bundle, listener, tmp_path):
    bundle.process["terminal"] = True
    with socket.socket(socket.AF_UNIX) as second:
        second.bind(str(tmp_path / "pidfd.sock"))
        second.listen(1)
        pyrunc.create(
            bundle,
            "--console-socket",
            listener.getsockname(),
            "--pidfd-socket",
            second.getsockname(),
        )
        for sock, text in ((listener, b"/dev/pts/ptmx"), (second, b"standard")):
            data, fds = receive(sock)
            assert data == text
            os.close(fds[0])


def test_a_pidfd_socket_nobody_listens_on(pyrunc, bundle, tmp_path):
    result = pyrunc.create(bundle, "--pidfd-socket", tmp_path / "missing", code=1)
    assert f"dial unix {tmp_path}/missing: connect: no such file" in result.message
    assert pyrunc.names() == []
