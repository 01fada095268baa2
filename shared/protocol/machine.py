"""What every state machine is made of.

A machine is one pure function ``step(state, event, context) -> Transition``. It
reads no clock, draws no randomness, logs nothing and does no I/O: time and entropy
come in ``Context``, wishes go out as effects that a shell carries out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from shared.messages import Message
from shared.names import MessageId, Principal, SessionId

EPOCH_START = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Context:
    """``now``: aware, UTC. ``entropy``: returns that many fresh random bytes."""

    now: datetime
    entropy: Callable[[int], bytes]

    @property
    def now_ms(self) -> int:
        """The time in milliseconds since the Unix epoch."""
        return (self.now - EPOCH_START) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Received:
    """A message with a sender that ``shared.envelope`` has proven.

    ``mid``: the envelope's, so that an answer can name it. ``payload``: the
    message's bytes as received, for transcripts. ``sid``: the session it came in.
    """

    sender: Principal
    message: Message
    mid: MessageId
    payload: bytes
    sid: SessionId | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that a machine set is due."""

    name: str


@dataclass(frozen=True, slots=True)
class Send:
    """Seal and publish a message. ``re``: the mid of the message it answers."""

    recipient: Principal
    message: Message
    re: MessageId | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire ``name`` at ``due``; the same name replaces an earlier one."""

    name: str
    due: datetime


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget a timer; harmless where there is none."""

    name: str


@dataclass(frozen=True, slots=True)
class Transition(Generic[S, E]):
    """The state after an event, and what the shell shall do."""

    state: S
    effects: tuple[E, ...] = field(default=())
