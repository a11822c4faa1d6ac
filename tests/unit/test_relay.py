"""Bytes from one descriptor to another: order, ends, and who is held back."""

import os
import select

import pytest

from pyrunc import relay
from pyrunc.relay import Copy


@pytest.fixture
def pipes():
    """(source read end, source write end, sink read end, sink write end)."""
    made = [*os.pipe(), *os.pipe()]
    yield made
    for fd in made:
        try:
            os.close(fd)
        except OSError:
            pass


def closed(fd):
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False


def test_it_reads_only_what_it_could_pass_on(pipes):
    source, feed, drain, sink = pipes
    copy = Copy(source, sink)
    os.write(feed, b"x" * 10000)
    assert copy.interest() == (source, select.POLLIN)
    copy.move()
    assert copy.interest() == (sink, select.POLLOUT)
    copy.move()
    assert len(copy.data) == 10000 - relay.PIECE
    assert os.read(drain, 65536) == b"x" * relay.PIECE


def test_the_end_of_the_source_closes_both(pipes):
    source, feed, drain, sink = pipes
    copy = Copy(source, sink)
    os.write(feed, b"last")
    os.close(feed)
    while not copy.ended:
        copy.move()
    assert copy.interest() is None
    assert closed(source)
    assert closed(sink)
    assert (os.read(drain, 10), os.read(drain, 10)) == (b"last", b"")


def test_a_sink_nobody_reads_closes_the_source(pipes):
    source, feed, drain, sink = pipes
    copy = Copy(source, sink)
    os.write(feed, b"x")
    os.close(drain)
    copy.move()
    copy.move()
    assert copy.ended
    with pytest.raises(BrokenPipeError):
        os.write(feed, b"y")


def test_a_farewell_follows_the_end(pipes):
    source, feed, drain, sink = pipes
    copy = Copy(source, sink, b"\x04")
    os.write(feed, b"text")
    os.close(feed)
    while not copy.ended:
        copy.move()
    assert (os.read(drain, 10), os.read(drain, 10)) == (b"text\x04", b"")


def test_stdio_is_never_closed():
    copy = Copy(0, 1)
    copy.end()
    assert not closed(0)
    assert not closed(1)


def test_step_says_which_events_are_readable(pipes):
    source, feed, drain, sink = pipes
    copy = Copy(source, sink)
    event, ring = os.pipe()
    other, _ = quiet = os.pipe()
    os.write(ring, b"x")
    assert relay.step([copy], [event, other]) == {event}
    os.read(event, 1)
    os.write(feed, b"data")
    assert relay.step([copy], [event, other]) == set()
    assert copy.data == b"data"
    for fd in (event, ring, *quiet):
        os.close(fd)


def test_the_outlet_of_a_terminal_is_our_own_and_does_not_block():
    master, slave = os.openpty()
    own = relay.outlet(slave)
    assert own not in (master, slave)
    assert os.ttyname(own) == os.ttyname(slave)
    assert not os.get_blocking(own)
    assert os.get_blocking(slave)
    for fd in (master, slave, own):
        os.close(fd)


def test_the_outlet_of_anything_else_is_itself(pipes, tmp_path):
    assert relay.outlet(pipes[3]) == pipes[3]
    fd = os.open(tmp_path / "f", os.O_CREAT | os.O_WRONLY)
    assert relay.outlet(fd) == fd
    os.close(fd)
