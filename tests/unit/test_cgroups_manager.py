"""systemd's manager while the message bus, or systemd itself, is started anew."""

import os

import pytest

from pyrunc.cgroups import manager
from pyrunc.cgroups.dbus import Failure, Lost
from pyrunc.errors import Error

JOB = "/org/freedesktop/systemd1/job/7"
ENDED = [7, JOB, "a.scope", "done"]
AWAY = Failure("Message recipient disconnected", manager.NO_REPLY)


class Bus:
    """A connection on which each call fails as often as `faults` says."""

    has_bus = True

    def __init__(self, faults=(), signals=(ENDED,), answers=()):
        self.faults = {member: list(errors) for member, errors in faults}
        self.signals = list(signals)
        self.answers = {
            "StartTransientUnit": [JOB],
            "StopUnit": [JOB],
            "GetUnit": ["/unit"],
            "GetConnectionUnixProcessID": [os.getpid()],
            "Version": [("s", "252.1")],
            **dict(answers),
        }
        self.asked = []
        self.pending = {}

    def name(self):
        return ":1.7"

    def send(self, destination, path, interface, member, signature="", *arguments):
        self.asked.append(member)
        self.pending[len(self.asked)] = arguments[-1] if member == "Get" else member
        return len(self.asked)

    def reply(self, serial):
        # An answer is given once, on the connection on which it was asked for.
        member = self.pending.pop(serial)
        if self.faults.get(member):
            raise self.faults[member].pop(0)
        answer = self.answers.get(member, [])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def signal(self, interface, member, deadline):
        # Who has not asked to be told waits in vain; systemd knows who asked for a job.
        told = self.asked[len(self.asked) - 1 - self.asked[::-1].index("new") :]
        known = {"StartTransientUnit", "StopUnit", "Subscribe"} & set(told)
        assert "AddMatch" not in self.pending.values()
        if "AddMatch" not in told or not known:
            return None
        found = self.signals.pop(0) if self.signals else None
        if isinstance(found, Exception):
            raise found
        return found

    def reconnect(self):
        self.asked.append("new")
        self.pending.clear()


def using(bus):
    found = manager.Manager.__new__(manager.Manager)
    bus.reconnect()
    found.bus, found.asked, found.listening, found.lives = bus, [], False, 5
    return found


def test_questions_are_asked_before_their_answers_are_needed():
    bus = Bus()
    systemd = using(bus)
    systemd.get_ready()
    first = list(bus.asked)
    assert first == ["new", "GetConnectionUnixProcessID", "Get", "AddMatch"]
    assert len(bus.pending) == 3
    systemd.check_processes()
    assert systemd.version() == 252
    assert bus.asked == first
    systemd.start("a.scope", [])
    assert bus.asked == [*first, "StartTransientUnit"]
    assert not bus.pending


@pytest.mark.parametrize("member", ["GetConnectionUnixProcessID", "Version", "AddMatch"])
def test_questions_are_asked_again_on_another_connection(member):
    bus = Bus([(member, [Lost("reset")])])
    systemd = using(bus)
    systemd.get_ready()
    systemd.check_processes()
    assert systemd.version() == 252
    systemd.start("a.scope", [])
    assert bus.asked.count("StartTransientUnit") == 1


def test_properties_are_asked_for_all_at_once():
    bus = Bus(answers=[("MemoryMax", [("t", 5)]), ("TasksMax", [("t", 6)])])
    most = []
    reply = bus.reply

    def late(serial):
        most.append(len(bus.pending))
        return reply(serial)

    bus.reply = late
    found = using(bus).properties("a.scope", ["MemoryMax", "TasksMax"])
    assert found == [("MemoryMax", "t", 5), ("TasksMax", "t", 6)]
    assert most == [1, 2, 1]  # GetUnit, and then these two


def test_a_stranger_that_has_our_pid():
    with pytest.raises(Error, match="systemd counts processes in another pid namespace"):
        using(Bus(answers=[("GetConnectionUnixProcessID", [1])])).check_processes()


@pytest.mark.parametrize("member", ["AddMatch", "StartTransientUnit"])
@pytest.mark.parametrize("error", [Lost("reset"), AWAY])
def test_a_unit_is_made_although_somebody_was_away(member, error):
    bus = Bus([(member, [error])])
    using(bus).start("a.scope", [])
    assert bus.asked.count("StartTransientUnit") == 1 + (member == "StartTransientUnit")


def test_a_subscription_may_be_there_already():
    twice = Failure("twice", manager.SUBSCRIBED)
    bus = Bus([("StopUnit", [Lost("reset")]), ("Subscribe", [AWAY, twice])])
    using(bus).stop("a.scope")
    assert bus.asked.count("Subscribe") == 2


@pytest.mark.parametrize("member", ["AddMatch", "StopUnit", "ResetFailedUnit"])
@pytest.mark.parametrize("error", [Lost("reset"), AWAY])
def test_a_unit_is_stopped_although_somebody_was_away(member, error):
    using(Bus([(member, [error])])).stop("a.scope")


def test_a_name_that_systemd_refuses_is_nothing_to_stop():
    refused = Failure("Unit name a!.scope is not valid.", manager.INVALID)
    using(Bus(answers=[("StopUnit", refused)])).stop("a!.scope")


def test_a_job_that_lasts_longer_than_the_message_bus():
    using(Bus(signals=[Lost("reset"), ENDED], answers=[("State", [("s", "running")])])).stop("a")


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_job_that_ended_while_the_message_bus_was_away(verb):
    gone = Failure("no such object", "org.freedesktop.DBus.Error.UnknownObject")
    answers = [("State", gone), ("ActiveState", [("s", "active")])]
    bus = Bus(signals=[Lost("reset")], answers=answers)
    getattr(using(bus), verb)("a.scope", *([[]] if verb == "start" else []))


def test_a_unit_that_failed_while_the_message_bus_was_away():
    gone = Failure("no such object", "org.freedesktop.DBus.Error.UnknownObject")
    answers = [("State", gone), ("ActiveState", [("s", "failed")])]
    with pytest.raises(Error, match="error creating systemd unit"):
        using(Bus(signals=[Lost("reset")], answers=answers)).start("a.scope", [])


def test_a_message_bus_that_always_hangs_up():
    with pytest.raises(Lost):
        using(Bus([("StopUnit", [Lost("reset")] * 20)])).stop("a.scope")


def test_of_a_unit_that_is_gone_there_is_nothing_to_forget():
    bus = Bus(answers=[("StopUnit", Failure("Unit a.scope not loaded.", manager.ABSENT))])
    using(bus).stop("a.scope")
    assert "ResetFailedUnit" not in bus.asked


def test_without_a_message_bus_nobody_is_asked_for_signals():
    bus = Bus()
    bus.has_bus = False
    systemd = using(bus)
    systemd._listen()
    assert "AddMatch" not in bus.asked
