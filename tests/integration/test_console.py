"""Terminals of a container's devpts, with ours in front or a socket that gets the master."""

import contextlib
import fcntl
import hashlib
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

from harness import alive, read, receive, wait_for

WAIT = "while :; do sleep 0.05; done"


class Tty:
    """A terminal with us at its master: the user in front of `pyrunc run`."""

    __slots__ = ("master", "output", "process", "slave")

    def __init__(self):
        self.master, self.slave = os.openpty()
        self.output = b""
        self.process = None

    def start(self, argv, **streams):
        """Run argv as the leader of a session that this terminal controls."""
        streams = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave, **streams}

        def control():
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            argv,
            start_new_session=True,
            preexec_fn=control,  # noqa: PLW1509 - tests have one thread
            pass_fds=[self.slave],
            **streams,
        )
        return self

    def attributes(self):
        return termios.tcgetattr(self.slave)

    def size(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data):
        os.write(self.master, data)

    def read(self):
        """What is there; b"" if nothing comes for a moment."""
        if not select.select([self.master], [], [], 0.02)[0]:
            return b""
        data = os.read(self.master, 65536)
        self.output += data
        return data

    def expect(self, text, timeout=10):
        """Read until the output contains it; what came up to there is taken off."""

        def seen():
            self.read()
            return text in self.output

        wait_for(seen, timeout, lambda: f"{text!r} in {self.output!r}")
        before, _, self.output = self.output.partition(text)
        return before

    def wait(self, timeout=10):
        """The exit status, and everything that came out."""

        def ended():
            self.read()
            return self.process.poll() is not None

        wait_for(ended, timeout, lambda: f"end of {self.process.args}, output {self.output!r}")
        while self.read():
            pass
        return self.process.returncode, self.output


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
def terminal(bundle):
    """A bundle whose process has a terminal."""
    bundle.process["terminal"] = True
    return bundle


def foreground(pyrunc, tty, bundle, *options, **streams):
    name = pyrunc.id()
    tty.start(pyrunc.argv("run", "--bundle", bundle.save(), *options, name), **streams)
    return name


def read_all(master, timeout=10):
    """What comes out of a master until its last slave is closed."""
    output = b""
    while select.select([master], [], [], timeout)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:
            return output
        output += data
    raise AssertionError(f"no end of the terminal, output {output!r}")


def cpu_ticks(pid):
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# --- with a console socket ---


def test_the_socket_gets_one_message_with_one_terminal(pyrunc, terminal, listener):
    path = listener.getsockname()
    name = pyrunc.create(terminal.sh("tty"), "--console-socket", path)
    # Engines accept only now.
    data, fds = receive(listener)
    assert data == b"/dev/pts/ptmx"
    assert len(fds) == 1
    assert os.isatty(fds[0])
    pyrunc("start", name)
    assert read_all(fds[0]).split() == [b"/dev/pts/0"]
    os.close(fds[0])
    pyrunc.stopped(name)


def test_create_with_a_terminal_prints_nothing_and_holds_nothing(pyrunc, terminal, listener):
    name = pyrunc.id()
    argv = pyrunc.argv("create", "--console-socket", listener.getsockname())
    done = subprocess.run(
        [*argv, "--bundle", terminal.args("sleep", "100").save(), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    receive(listener)
    pid = pyrunc.pid(name)
    links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert [links.pop(str(fd)) for fd in range(3)] == ["/dev/pts/0"] * 3
    assert len(links) == 1, links  # exec.fifo


def test_the_console_size_is_the_configured_one(pyrunc, terminal, listener):
    terminal.process["consoleSize"] = {"height": 33, "width": 111}
    name = pyrunc.create(terminal.sh("stty size"), "--console-socket", listener.getsockname())
    master = receive(listener)[1][0]
    pyrunc("start", name)
    assert read_all(master).split() == [b"33", b"111"]
    os.close(master)


def test_a_detached_run_uses_the_socket_too(pyrunc, terminal, listener):
    name = pyrunc.id()
    argv = ("run", "-d", "--console-socket", listener.getsockname())
    pyrunc(*argv, "--bundle", terminal.sh("read line; echo got $line").save(), name)
    master = receive(listener)[1][0]
    os.write(master, b"this\n")
    assert b"got this" in read_all(master)
    os.close(master)
    pyrunc.stopped(name)


def test_the_terminal_controls_the_session_and_is_dev_console(pyrunc, terminal, listener):
    script = (
        "echo $(tty) $(stat -c %t:%T /dev/console) $(stat -c %t:%T /dev/pts/0);"
        "grep -c ' /dev/console .*devpts' /proc/self/mountinfo;"
        "echo controlled >/dev/tty; echo over the console >/dev/console"
    )
    name = pyrunc.create(terminal.sh(script), "--console-socket", listener.getsockname())
    master = receive(listener)[1][0]
    pyrunc("start", name)
    lines = read_all(master).decode().splitlines()
    os.close(master)
    assert lines == ["/dev/pts/0 88:0 88:0", "1", "controlled", "over the console"]


def test_the_terminal_belongs_to_the_user(pyrunc, terminal, listener):
    terminal.process["user"] = {"uid": 1000, "gid": 1000}
    name = pyrunc.create(
        terminal.sh("stat -c %u /dev/pts/0; echo x >/dev/tty"),
        "--console-socket",
        listener.getsockname(),
    )
    master = receive(listener)[1][0]
    pyrunc("start", name)
    assert read_all(master).split() == [b"1000", b"x"]
    os.close(master)


def test_a_read_only_root_still_gets_its_console(pyrunc, terminal, listener):
    terminal.config["root"]["readonly"] = True
    name = pyrunc.create(
        terminal.sh("echo x >/dev/console"), "--console-socket", listener.getsockname()
    )
    master = receive(listener)[1][0]
    pyrunc("start", name)
    assert read_all(master).split() == [b"x"]
    os.close(master)


def test_a_terminal_that_nobody_would_get_is_refused(pyrunc, terminal):
    expected = "cannot allocate tty if runc will detach without setting console socket"
    result = pyrunc.create(terminal, code=1)
    assert result.message == f"runc create failed: {expected}"
    result = pyrunc("run", "-d", "--bundle", terminal.path, pyrunc.id(), code=1)
    assert result.message == f"runc run failed: {expected}"
    assert pyrunc.names() == []


def test_a_socket_that_would_get_nothing_is_refused(pyrunc, bundle, listener):
    expected = "cannot use console socket if runc will not detach or allocate tty"
    path = listener.getsockname()
    assert expected in pyrunc.create(bundle, "--console-socket", path, code=1).message
    bundle.process["terminal"] = True
    assert expected in pyrunc.run(bundle, "--console-socket", path, code=1).message
    assert pyrunc.names() == []


def test_a_socket_nobody_listens_on(pyrunc, terminal, tmp_path):
    for path, why in (
        (tmp_path / "missing", "no such file or directory"),
        (tmp_path, "connection refused"),
    ):
        result = pyrunc.create(terminal, "--console-socket", path, code=1)
        assert result.message == f"runc create failed: dial unix {path}: connect: {why}"
    assert pyrunc.names() == []


def test_a_socket_with_a_very_long_path(pyrunc, terminal, tmp_path):
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        fd = os.open(directory, os.O_PATH)
        sock.bind(f"/proc/self/fd/{fd}/s")
        os.close(fd)
        sock.listen(1)
        pyrunc.create(terminal, "--console-socket", directory / "s")
        assert receive(sock)[0] == b"/dev/pts/ptmx"


# --- what the image may not do (CVE-2025-52565) ---


def test_a_terminal_needs_a_devpts(pyrunc, terminal, listener):
    terminal.mounts[:] = [row for row in terminal.mounts if row["destination"] != "/dev/pts"]
    result = pyrunc.create(terminal, "--console-socket", listener.getsockname(), code=1)
    assert "open /dev/pts/ptmx: no such file or directory" in result.message
    assert pyrunc.names() == []


@pytest.mark.parametrize("kind", ["file", "symlink", "null", "host"])
def test_a_false_ptmx_is_not_used(pyrunc, terminal, listener, kind, tmp_path):
    fake = tmp_path / "pts"
    fake.mkdir()
    if kind == "file":
        (fake / "ptmx").write_text("")
    elif kind == "symlink":
        (fake / "ptmx").symlink_to("/dev/ptmx")
    elif kind == "null":
        os.mknod(fake / "ptmx", 0o20666, os.makedev(1, 3))
    else:
        os.mknod(fake / "ptmx", 0o20666, os.makedev(5, 2))  # right numbers, no devpts
    for row in terminal.mounts:
        if row["destination"] == "/dev/pts":
            row.update(type="bind", source=str(fake), options=["bind"])
    result = pyrunc.create(terminal, "--console-socket", listener.getsockname(), code=1)
    assert "open /dev/pts/ptmx: " in result.message


def test_dev_console_as_a_symlink_is_refused(pyrunc, terminal, listener):
    terminal.mounts[:] = [row for row in terminal.mounts if row["destination"] != "/dev"]
    os.makedirs(f"{terminal.rootfs}/dev/pts")
    terminal.write("/etc/victim", "mine")
    os.symlink("/etc/victim", f"{terminal.rootfs}/dev/console")
    result = pyrunc.create(terminal, "--console-socket", listener.getsockname(), code=1)
    assert "/dev/console: too many levels of symbolic links" in result.message
    assert read(f"{terminal.rootfs}/etc/victim") == "mine"


def test_dev_console_may_exist_in_the_image(pyrunc, terminal, listener):
    terminal.mounts[:] = [row for row in terminal.mounts if row["destination"] != "/dev"]
    os.makedirs(f"{terminal.rootfs}/dev/pts")
    os.mknod(f"{terminal.rootfs}/dev/console", 0o20600, os.makedev(5, 1))
    name = pyrunc.create(
        terminal.sh("echo x >/dev/console"), "--console-socket", listener.getsockname()
    )
    master = receive(listener)[1][0]
    pyrunc("start", name)
    assert read_all(master).split() == [b"x"]
    os.close(master)


# --- in the foreground ---


def test_output_passes_two_terminals_once_translated(pyrunc, terminal, tty):
    foreground(pyrunc, tty, terminal.sh("tty; echo two"))
    assert tty.wait() == (0, b"/dev/pts/0\r\ntwo\r\n")
    assert pyrunc.names() == []


@pytest.mark.parametrize("code", [0, 7, 255])
def test_the_exit_code_passes(pyrunc, terminal, tty, code):
    foreground(pyrunc, tty, terminal.sh(f"exit {code}"))
    assert tty.wait()[0] == code


def test_a_shell_can_be_talked_to(pyrunc, terminal, tty):
    foreground(pyrunc, tty, terminal.args("sh"))
    tty.expect(b"# ")
    tty.type(b"echo $((6*7))\n")
    tty.expect(b"42\r\n")
    tty.type(b"exit 3\n")
    assert tty.wait()[0] == 3


def test_our_terminal_is_raw_meanwhile_and_restored_after(pyrunc, terminal, tty):
    before = tty.attributes()
    foreground(pyrunc, tty, terminal.sh("echo up; read x"))
    tty.expect(b"up")
    raw = tty.attributes()
    assert not raw[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert not raw[0] & (termios.ICRNL | termios.IXON)
    assert raw[1] & termios.OPOST
    assert raw[1] & termios.ONLCR == before[1] & termios.ONLCR
    tty.type(b"\n")
    assert tty.wait()[0] == 0
    assert tty.attributes() == before


def test_control_c_goes_to_the_container(pyrunc, terminal, tty):
    foreground(pyrunc, tty, terminal.sh(f"trap 'echo caught; exit 9' INT; echo up; {WAIT}"))
    tty.expect(b"up")
    tty.type(b"\x03")
    tty.expect(b"caught")
    assert tty.wait()[0] == 9


@pytest.mark.parametrize("number", [1, 3, 10, 15, 18])
def test_other_signals_are_forwarded_and_the_terminal_restored(pyrunc, terminal, tty, number):
    before = tty.attributes()
    script = f"trap 'echo got; exit 7' {number}; echo up; {WAIT}"
    foreground(pyrunc, tty, terminal.sh(script))
    tty.expect(b"up")
    tty.process.send_signal(number)
    tty.expect(b"got")
    assert tty.wait()[0] == 7
    assert tty.attributes() == before


def test_sigint_ends_the_relay_with_0_and_leaves_the_container(pyrunc, terminal, tty):
    before = tty.attributes()
    name = foreground(pyrunc, tty, terminal.sh(f"trap '' HUP INT; echo up; {WAIT}"))
    tty.expect(b"up")
    tty.process.send_signal(signal.SIGINT)
    assert tty.wait()[0] == 0
    assert tty.attributes() == before
    assert pyrunc.status(name) == "running"


def test_the_size_is_ours_and_follows_it(pyrunc, terminal, tty):
    tty.size(41, 97)
    terminal.process["consoleSize"] = {"height": 1, "width": 1}
    foreground(pyrunc, tty, terminal.sh(f"trap 'stty size' WINCH; stty size; {WAIT}"))
    tty.expect(b"41 97")
    tty.size(50, 132)
    tty.expect(b"50 132")
    tty.process.terminate()


def test_a_terminal_of_no_size_leaves_the_configured_one(pyrunc, terminal, tty):
    terminal.process["consoleSize"] = {"height": 12, "width": 34}
    foreground(pyrunc, tty, terminal.sh("stty size"))
    assert tty.wait() == (0, b"12 34\r\n")


def test_huge_output_arrives_whole(pyrunc, terminal, tty):
    foreground(pyrunc, tty, terminal.sh("seq 1 200000"))
    code, output = tty.wait(60)
    expected = "".join(f"{n}\r\n" for n in range(1, 200001)).encode()
    assert code == 0
    assert hashlib.sha256(output).digest() == hashlib.sha256(expected).digest()


def test_the_last_words_are_not_lost(pyrunc, terminal, tty):
    for _ in range(5):
        foreground(pyrunc, tty, terminal.sh("seq 1 500; exit 1"))
        code, output = tty.wait()
        assert (code, output[-5:]) == (1, b"500\r\n")
        tty.output = b""


def test_a_slow_reader_holds_the_writer_back(pyrunc, terminal, tty):
    name = foreground(pyrunc, tty, terminal.sh("seq 1 50000; echo written >/tmp/done"))
    wait_for(lambda: name in pyrunc.names() and pyrunc("state", name, code=None).code == 0)
    time.sleep(0.3)
    before = cpu_ticks(tty.process.pid)
    time.sleep(0.5)  # the test's subject: time passes, nobody reads
    assert cpu_ticks(tty.process.pid) - before <= 5, "the relay spins"
    assert not os.path.exists(f"{terminal.rootfs}/tmp/done")
    # And signals are heard all the same.
    code, output = tty.wait(60)
    assert (code, output[-7:]) == (0, b"50000\r\n")


def test_a_stuck_terminal_does_not_keep_signals_from_the_container(pyrunc, terminal, tty):
    terminal.namespace("pid", False).args("seq", "1", "1000000")
    name = foreground(pyrunc, tty, terminal)
    wait_for(lambda: name in pyrunc.names() and pyrunc("state", name, code=None).code == 0)
    pid = pyrunc.pid(name)
    time.sleep(0.3)
    tty.process.terminate()
    wait_for(lambda: not alive(pid), what="death of the container's process")
    tty.process.terminate()  # nobody reads the rest, either
    assert tty.process.wait(5) == 128 + signal.SIGTERM


def test_a_terminal_that_vanishes_hangs_the_containers_up(pyrunc, terminal, tty):
    terminal.namespace("pid", False).sh("while :; do echo y; sleep 0.02; done")
    foreground(pyrunc, tty, terminal)
    tty.expect(b"y")
    os.close(tty.master)
    os.close(tty.slave)
    assert tty.process.wait(10) == 128 + signal.SIGHUP
    assert pyrunc.names() == []


def test_a_vanished_reader_of_stdout_hangs_up_too(pyrunc, terminal, tty):
    terminal.namespace("pid", False).sh("while :; do echo y; sleep 0.02; done")
    foreground(pyrunc, tty, terminal, stdout=subprocess.PIPE)
    assert tty.process.stdout.readline() == b"y\n"
    tty.process.stdout.close()
    assert tty.process.wait(10) == 128 + signal.SIGHUP


def test_the_end_of_stdin_is_the_end_of_the_terminals_input(pyrunc, terminal, tty):
    foreground(pyrunc, tty, terminal.args("cat"), stdin=subprocess.PIPE)
    tty.process.stdin.write(b"line\nrest")
    tty.process.stdin.close()
    assert tty.wait() == (0, b"line\r\nrestline\r\nrest")


def test_only_the_controlling_terminal_is_left(pyrunc, terminal, tty):
    before = tty.attributes()
    foreground(
        pyrunc,
        tty,
        terminal.sh("tty"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = tty.process.communicate(timeout=20)
    assert (tty.process.returncode, out, err) == (0, b"/dev/pts/0\n", b"")
    assert tty.attributes() == before


def test_without_any_terminal_of_ours_there_is_none(pyrunc, terminal):
    result = pyrunc.run(terminal, code=1, start_new_session=True)
    assert result.message == "runc run failed: open /dev/tty: no such device or address"
    assert pyrunc.names() == []


def test_a_failed_start_leaves_the_terminal_as_it_was(pyrunc, terminal, tty):
    before = tty.attributes()
    foreground(pyrunc, tty, terminal.args("/no/such/program"))
    code, output = tty.wait()
    assert code == 1
    assert b"stat /no/such/program: no such file or directory" in output
    assert tty.attributes() == before
    assert pyrunc.names() == []


def test_the_container_can_close_its_terminal_and_open_it_again(pyrunc, terminal, tty):
    script = "exec <&- >&- 2>&-; sleep .2; exec <>/dev/console >&0 2>&0; echo back; read x; echo $x"
    foreground(pyrunc, tty, terminal.sh(script))
    before = cpu_ticks(tty.process.pid)
    tty.expect(b"back")
    assert cpu_ticks(tty.process.pid) - before <= 20
    tty.type(b"word\n")
    tty.expect(b"word\r\nword")
    assert tty.wait()[0] == 0


def test_input_nobody_reads_does_not_block_the_relay(pyrunc, terminal, tty):
    foreground(pyrunc, tty, terminal.sh("stty raw -echo; echo up; sleep 1; echo still"))
    tty.expect(b"up")
    os.set_blocking(tty.master, False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            tty.type(b"x" * 4096)
    tty.expect(b"still")
    assert tty.wait()[0] == 0


def test_a_killed_relay_hangs_the_container_up(pyrunc, terminal, tty):
    terminal.namespace("pid", False).args("sh", "-c", "echo up; while :; do sleep 1; done")
    name = foreground(pyrunc, tty, terminal)
    tty.expect(b"up")
    pid = pyrunc.pid(name)
    tty.process.kill()
    tty.process.wait()
    wait_for(lambda: not alive(pid), what="death by SIGHUP")
    assert pyrunc.status(name) == "stopped"


def test_the_relay_shows_the_command_line(pyrunc, terminal, tty):
    name = foreground(pyrunc, tty, terminal.sh("echo up; read x"))
    tty.expect(b"up")
    pid = tty.process.pid
    wait_for(lambda: read(f"/proc/{pid}/comm") == "pyrunc\n", what="name, once it is quiet")
    title = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    assert re.fullmatch(rf"\S*pyrunc --root \S+ run --bundle \S+ {name}", title)
