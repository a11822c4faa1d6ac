"""A foreground container on a terminal as a job of an interactive shell: stopped, `bg`, `fg`."""

import contextlib
import os
import shlex
import signal
import termios

import pytest
from test_console import WAIT, Tty

from harness import alive, read, wait_for

PROMPT = b"shell> "


class Shell(Tty):
    """A terminal with an interactive bash on it."""

    __slots__ = ("before",)

    def begin(self, *flags):
        """Start it; returns once it asks for the first command."""
        self.start(["env", "-i", f"PS1={PROMPT.decode()}", "bash", "--norc", *flags, "-i"])
        self.expect(PROMPT)
        self.command("set -b")
        self.expect(PROMPT)
        self.before = self.attributes()
        return self

    def command(self, text):
        self.type(text.encode() + b"\n")

    def is_raw(self):
        return not self.attributes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


@pytest.fixture(params=["plain", "editing"])
def shell(request):
    """With and without a mode of the terminal of its own."""
    made = Shell()
    yield made.begin(*([] if request.param == "editing" else ["--noediting"]))
    made.process.kill()
    made.process.wait()
    for fd in (made.master, made.slave):
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture(params=["run", "exec"])
def line(request, pyrunc, bundle):
    """line(script): what is typed to have a shell run a script on a terminal in a container."""

    def make(script):
        if request.param == "run":
            bundle.process["terminal"] = True
            argv = ("run", "--bundle", bundle.sh(script).save(), pyrunc.id())
        else:
            argv = ("exec", "-t", pyrunc.up(bundle.args("sleep", "1000")), "sh", "-c", script)
        return shlex.join(pyrunc.argv(*argv))

    return make


def status(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0]


def is_stopped(pid):
    return status(pid) == "T"


def test_a_job_in_the_background_is_stopped_and_gets_its_input_after_fg(shell, line):
    shell.command(line("echo $((6*7))up; read x; stty size; echo [$x]; exit 7") + " &")
    shell.expect(b"Stopped")
    wait_for(lambda: shell.attributes() == shell.before, what="the shell's mode")
    shell.size(33, 111)
    shell.command("fg")
    wait_for(shell.is_raw, what="raw mode")
    shell.type(b"word\n")
    shell.expect(b"33 111\r\n[word]\r\n")
    shell.expect(PROMPT)
    shell.command("echo $?")
    shell.expect(b"7\r\n")
    wait_for(lambda: shell.attributes() == shell.before, what="restored terminal")


def test_bg_stops_it_again(shell, line):
    shell.command(line("read x; echo [$x]") + " &")
    for _ in range(3):
        shell.expect(b"Stopped")
        shell.command("bg")
    shell.expect(b"Stopped")
    shell.command("fg")
    wait_for(shell.is_raw, what="raw mode")
    shell.type(b"word\n")
    shell.expect(b"[word]\r\n")
    shell.expect(PROMPT)


@pytest.mark.parametrize("number", ["TSTP", "TTIN", "TTOU", "STOP"])
def test_a_stop_from_outside_gives_the_terminal_back_until_fg(shell, line, number):
    shell.command(line("echo $((6*7))up; read x; stty size; echo [$x]"))
    shell.expect(b"42up")
    wait_for(shell.is_raw, what="raw mode")
    foreground = os.tcgetpgrp(shell.master)
    os.kill(foreground, getattr(signal, f"SIG{number}"))
    shell.expect(PROMPT)
    assert is_stopped(foreground)
    wait_for(lambda: shell.attributes() == shell.before, what="restored terminal")
    shell.command("stty -a")
    shell.expect(b"\nisig icanon ")
    shell.expect(PROMPT)
    shell.size(44, 99)
    shell.command("fg")
    wait_for(shell.is_raw, what="raw mode")
    shell.type(b"word\n")
    shell.expect(b"44 99\r\n[word]\r\n")
    shell.expect(PROMPT)
    wait_for(lambda: shell.attributes() == shell.before, what="restored terminal")


def test_a_stopped_job_can_be_ended(shell, line):
    shell.command(line(f"trap 'exit 9' TERM; echo $((6*7))up; {WAIT}"))
    shell.expect(b"42up")
    pid = os.tcgetpgrp(shell.master)
    os.kill(pid, signal.SIGTSTP)
    shell.expect(PROMPT)
    shell.command("kill %1")  # with a SIGCONT, as shells do
    wait_for(lambda: not alive(pid), what="its end")
    shell.command("wait %1; echo code $?")
    shell.expect(b"code 9\r\n")


def test_a_job_without_a_terminal_of_its_own_reads_only_when_it_is_its_turn(shell, pyrunc, bundle):
    argv = pyrunc.argv("run", "--bundle", bundle.sh("read x; echo [$x]").save(), pyrunc.id())
    shell.command(shlex.join(argv) + " &")
    shell.command("echo $((6 * 7))")  # would be read by who does not wait
    shell.expect(b"42\r\n")
    shell.command("fg")
    shell.expect(b"run --bundle")
    shell.command("word")
    shell.expect(b"[word]\r\n")
