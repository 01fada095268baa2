"""Who is there: one machine a principal, fed by everything that it sends.

Source: docs/protocol.md, section "AS exchange", presence and half-open sessions.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, assert_never

from manager.protocol.model import PartyBack, PartyGone, SlotFreed
from shared.messages import DatasetNotice, LogOff, Status
from shared.names import Principal, SessionId
from shared.protocol.machine import Context, Received, TimerFired, Transition

SILENCE: Final = timedelta(seconds=90)
"""After so long without a word a principal is offline."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What a principal last said of itself.

    ``sid``: its session that M may send in. ``seen``: ms of the last envelope.
    ``slots_free``, ``load``: as in the last ``status``.
    """

    principal: Principal
    sid: SessionId | None = None
    is_online: bool = False
    seen: int = 0
    slots: int = 0
    slots_free: int = 0
    load: int = 0
    datasets: tuple[DatasetNotice, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over: its time is up, or the manager ended it."""

    sid: SessionId


@dataclass(frozen=True, slots=True)
class NotAnswering:
    """A job waits in vain for this principal: offline until its next status."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """The session is used for the first time: from now on M sends in it."""

    sid: SessionId


@dataclass(frozen=True, slots=True)
class Supersede:
    """An older session ends; what still comes in it is answered ``superseded``."""

    sid: SessionId


@dataclass(frozen=True, slots=True)
class Close:
    """The session ends now."""

    sid: SessionId


@dataclass(frozen=True, slots=True)
class Tell:
    """Give an event to the jobs that it concerns."""

    event: PartyGone | PartyBack | SlotFreed


PresenceEvent = Received | TimerFired | PartyGone | SessionEnded | NotAnswering
PresenceEffect = Adopt | Supersede | Close | Tell


def step(
    state: Presence,
    event: PresenceEvent,
    context: Context,
    silence: timedelta = SILENCE,
) -> Transition[Presence, PresenceEffect]:
    """Return what an event says of a principal's presence.

    Args:
        state: of the principal.
        event: ``Received`` is any message that it proved to have sent in a session
            of its that is not superseded; the timer is the silence one.
        context: of this step.
        silence: after so long without a word it is offline.
    """
    match event:
        case Received():
            return _heard(state, event, context)
        case TimerFired():
            silent = context.now_ms - state.seen > silence // timedelta(milliseconds=1)
            return _gone(state) if silent else Transition(state)
        case PartyGone():
            return _gone(state)
        case SessionEnded(sid=sid):
            if sid != state.sid:
                return Transition(state)
            return _gone(replace(state, sid=None), was_online=state.is_online)
        case NotAnswering():
            return Transition(replace(state, is_online=False))
        case _:
            assert_never(event)


def _heard(
    state: Presence, event: Received, context: Context
) -> Transition[Presence, PresenceEffect]:
    effects: list[PresenceEffect] = []
    after = replace(state, seen=context.now_ms)
    is_new = event.sid is not None and event.sid != state.sid
    if is_new and event.sid is not None:
        effects.append(Adopt(event.sid))
        if state.sid is not None:
            effects.append(Supersede(state.sid))
        after = replace(after, sid=event.sid)
    if isinstance(event.message, LogOff) and after.sid is not None:
        effects.append(Close(after.sid))
        gone = _gone(replace(after, sid=None))
        return Transition(gone.state, (*effects, *gone.effects))
    if isinstance(event.message, Status):
        after = _said(after, event.message)
    if is_new:
        effects.append(Tell(PartyBack(state.principal)))
    has_more = after.slots_free > state.slots_free
    if after.is_online and (not state.is_online or has_more):
        effects.append(Tell(SlotFreed()))
    return Transition(after, tuple(effects))


def _said(state: Presence, status: Status) -> Presence:
    datasets = state.datasets if status.datasets is None else status.datasets
    return replace(
        state,
        is_online=True,
        slots=status.slots,
        slots_free=min(status.slots_free, status.slots),
        load=status.load,
        datasets=datasets,
    )


def _gone(
    state: Presence, *, was_online: bool | None = None
) -> Transition[Presence, PresenceEffect]:
    if not (state.is_online if was_online is None else was_online):
        return Transition(replace(state, is_online=False))
    return Transition(
        replace(state, is_online=False), (Tell(PartyGone(state.principal)),)
    )
