"""systemd's manager while the message bus, or systemd itself, is started anew."""

import pytest

from pyrunc.cgroups import manager
from pyrunc.cgroups.dbus import Failure, Lost
from pyrunc.errors import Error

JOB = "/org/freedesktop/systemd1/job/7"
ENDED = [7, JOB, "a.scope", "done"]
AWAY = Failure("Message recipient disconnected", manager.NO_REPLY)


class Bus:
    """A connection on which each call fails as often as `faults` says."""

    def __init__(self, faults=(), signals=(ENDED,), answers=()):
        self.faults = {member: list(errors) for member, errors in faults}
        self.signals = list(signals)
        self.answers = {
            "StartTransientUnit": [JOB],
            "StopUnit": [JOB],
            "GetUnit": ["/unit"],
            **dict(answers),
        }
        self.asked = []

    def call(self, destination, path, interface, member, signature="", *arguments):
        self.asked.append(member)
        if self.faults.get(member):
            raise self.faults[member].pop(0)
        answer = self.answers.get(arguments[-1] if member == "Get" else member, [])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def signal(self, interface, member, deadline):
        # Who has not asked to be told waits in vain.
        told = self.asked[len(self.asked) - 1 - self.asked[::-1].index("new") :]
        if "AddMatch" not in told or "Subscribe" not in told:
            return None
        found = self.signals.pop(0) if self.signals else None
        if isinstance(found, Exception):
            raise found
        return found

    def reconnect(self):
        self.asked.append("new")


def using(bus):
    found = manager.Manager.__new__(manager.Manager)
    bus.reconnect()
    found.bus, found.listening, found.lives = bus, False, 5
    return found


@pytest.mark.parametrize("member", ["AddMatch", "Subscribe", "StartTransientUnit"])
@pytest.mark.parametrize("error", [Lost("reset"), AWAY])
def test_a_unit_is_made_although_somebody_was_away(member, error):
    bus = Bus([(member, [error])])
    using(bus).start("a.scope", [])
    assert bus.asked.count("StartTransientUnit") == 1 + (member == "StartTransientUnit")


def test_a_subscription_may_be_there_already():
    using(Bus([("Subscribe", [AWAY, Failure("twice", manager.SUBSCRIBED)])])).start("a.scope", [])


@pytest.mark.parametrize("member", ["Subscribe", "StopUnit", "ResetFailedUnit"])
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
        using(Bus([("Subscribe", [Lost("reset")] * 20)])).stop("a.scope")
