"""What the files of a cgroup say, in whichever order the kernel tells of them."""

import pytest

from pyrunc.cgroups import notices


class Poll:
    """poll(2) that tells only of the descriptors in `ready`."""

    def __init__(self):
        self.known, self.ready = [], []

    def register(self, fd, _events):
        self.known.append(fd)

    def poll(self, _milliseconds):
        return [(fd, 0) for fd in self.ready]


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """(directory, notices, poll) of a v2 cgroup with one process."""
    (tmp_path / "memory.events").write_text("oom_kill 3\n")
    (tmp_path / "cgroup.events").write_text("populated 1\n")
    poll = Poll()
    monkeypatch.setattr(notices.select, "poll", lambda: poll)
    heard = notices.Notices({"": str(tmp_path)})
    yield tmp_path, heard, poll
    heard.close()


def test_one_for_each_kill(watched):
    folder, heard, poll = watched
    poll.ready = poll.known[:1]
    (folder / "memory.events").write_text("oom_kill 5\n")
    assert heard.poll(0) == ["oom", "oom"]
    assert heard.poll(0) == []


def test_the_last_kill_is_told_before_the_end(watched):
    folder, heard, poll = watched
    poll.ready = poll.known[1:]
    (folder / "memory.events").write_text("oom_kill 4\n")
    assert heard.poll(0) == [], "somebody lives"
    (folder / "cgroup.events").write_text("populated 0\n")
    assert heard.poll(0) == ["oom", "end"]
