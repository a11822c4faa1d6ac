"""signals: what `kill` accepts, and how Go words a death."""

import os
import signal

import pytest

from pyrunc import signals
from pyrunc.errors import Error


@pytest.mark.parametrize("name", [s.name for s in signal.Signals])
def test_every_name_the_system_knows(name):
    number = getattr(signal, name)
    for text in (name, name.lower(), name.removeprefix("SIG"), name.title(), str(int(number))):
        assert signals.parse(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("09", 9),
        ("+15", 15),
        ("-9", -9),
        ("64", 64),
        ("999", 999),
        ("RTMIN+3", 37),
        ("sigrtmax-1", 63),
        ("RTMIN", 34),
        ("CLD", 17),
        ("STKFLT", 16),
    ],
)
def test_numbers_and_names_python_lacks(text, number):
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    "text",
    ["FOO", "SIG", "", " 9", "9 ", "1_0", "0x9", "RTMIN+31", "RTMAX+1", "RTMIN-1", "SIGSIGTERM"]
    + ["1" * 30, "TERM\n", "٣"],
)
def test_unknown_ones_are_quoted(text):
    with pytest.raises(Error) as caught:
        signals.parse(text)
    assert caught.value.message.startswith('unknown signal "')
    assert "\n" not in caught.value.message


def test_names_by_number():
    assert signals.name(15) == "SIGTERM"
    assert signals.name(36) == "SIGRTMIN+2"
    assert signals.name(99) == "99"


def test_wait_statuses_in_the_words_of_go():
    assert signals.describe_status(3 << 8) == "exit status 3"
    assert signals.describe_status(9) == "signal: killed"
    assert signals.describe_status(11 | 0x80) == "signal: segmentation fault (core dumped)"
    assert signals.describe_status(40) == "signal: signal 40"


def test_send_reaches_only_the_process_of_the_pidfd():
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    pidfd = os.pidfd_open(pid)
    try:
        signals.send(pidfd, 0)
        with pytest.raises(OSError, match="Invalid argument"):
            signals.send(pidfd, 65)
        signals.send(pidfd, signals.KILL)
        assert os.waitpid(pid, 0)[1] == signals.KILL
        with pytest.raises(ProcessLookupError):
            signals.send(pidfd, 0)
    finally:
        os.close(pidfd)
