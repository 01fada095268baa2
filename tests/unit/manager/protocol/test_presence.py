"""Presence: every event in every standing."""

from datetime import timedelta

from manager.protocol.model import PartyBack, PartyGone, SlotFreed
from manager.protocol.presence import (
    Adopt,
    Close,
    NotAnswering,
    Presence,
    SessionEnded,
    Supersede,
    Tell,
    step,
)
from shared.messages import DatasetNotice, LogOff, Message, Status
from shared.names import MessageId, Principal, SessionId
from shared.protocol.machine import Context, Received, TimerFired
from tests.manager_realm import START, stream

ME = Principal("client001")
OLD, NEW = SessionId(b"o" * 16), SessionId(b"n" * 16)
NOW = Context(START, stream("presence"))
STATUS = Status(
    slots_free=1, slots=2, load=3, datasets=(DatasetNotice(name="d", cols=()),)
)
ONLINE = Presence(ME, OLD, is_online=True, seen=NOW.now_ms, slots=2, slots_free=1)
GONE = Tell(PartyGone(ME))


def _heard(message: Message, sid: SessionId | None) -> Received:
    return Received(ME, message, MessageId(bytes(16)), b"", sid)


def test_the_first_status_brings_a_principal_online() -> None:
    """Its session is in use from then on, and jobs are told."""
    after = step(Presence(ME), _heard(STATUS, NEW), NOW)

    assert after.state.is_online
    assert after.state.datasets == STATUS.datasets
    assert after.effects == (Adopt(NEW), Tell(PartyBack(ME)), Tell(SlotFreed()))


def test_a_newer_session_ends_the_older() -> None:
    """With its first message, whatever that is; datasets are kept."""
    short = Status(slots_free=1, slots=2, load=3)
    before = step(ONLINE, _heard(STATUS, OLD), NOW).state
    after = step(before, _heard(short, NEW), NOW)

    assert after.state.sid == NEW
    assert after.state.datasets == STATUS.datasets
    assert after.effects == (Adopt(NEW), Supersede(OLD), Tell(PartyBack(ME)))


def test_more_free_slots_are_told_and_fewer_are_not() -> None:
    """A waiting job may try only when there is something to gain."""
    more = step(ONLINE, _heard(Status(slots_free=9, slots=2, load=0), OLD), NOW)
    fewer = step(ONLINE, _heard(Status(slots_free=0, slots=2, load=0), OLD), NOW)

    assert more.state.slots_free == 2
    assert more.effects == (Tell(SlotFreed()),)
    assert fewer.effects == ()


def test_log_off_ends_session_and_presence() -> None:
    """At once, and jobs are told if it was online."""
    after = step(ONLINE, _heard(LogOff(), OLD), NOW)
    again = step(Presence(ME), _heard(LogOff(), None), NOW)

    assert after.effects == (Close(OLD), GONE)
    assert after.state.sid is None
    assert again.effects == ()


def test_silence_is_more_than_its_time() -> None:
    """A timer that is early changes nothing."""
    late = Context(START + timedelta(seconds=91), NOW.entropy)
    early = step(ONLINE, TimerFired("silence"), NOW)
    silent = step(ONLINE, TimerFired("silence"), late)
    patient = step(ONLINE, TimerFired("silence"), late, timedelta(minutes=5))

    assert early.effects == patient.effects == ()
    assert silent.effects == (GONE,)
    assert not silent.state.is_online


def test_a_returned_message_or_an_ended_session_takes_it_offline() -> None:
    """Once: who is offline does not go again."""
    returned = step(ONLINE, PartyGone(ME), NOW)
    ended = step(ONLINE, SessionEnded(OLD), NOW)
    other = step(ONLINE, SessionEnded(NEW), NOW)
    twice = step(returned.state, PartyGone(ME), NOW)

    assert returned.effects == ended.effects == (GONE,)
    assert ended.state.sid is None
    assert (other.state, other.effects) == (ONLINE, ())
    assert twice.effects == ()


def test_who_does_not_answer_is_not_asked_until_its_next_status() -> None:
    """The job that waited knows already, so nobody is told."""
    after = step(ONLINE, NotAnswering(), NOW)
    back = step(after.state, _heard(STATUS, OLD), NOW)

    assert (after.state.is_online, after.effects) == (False, ())
    assert back.state.is_online
    assert back.effects == (Tell(SlotFreed()),)
