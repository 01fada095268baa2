"""What the manager's machines see and wish: the pool, events and effects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.messages import Attributes, DatasetNotice, SignedCertificate
from shared.names import (
    Duty,
    Io,
    JobId,
    Principal,
    Role,
    SessionId,
    duties_allowed,
)
from shared.protocol.machine import CancelTimer, Received, Send, SetTimer, TimerFired


@dataclass(frozen=True, slots=True)
class Member:
    """A registered principal with a live session, as selection sees it.

    ``slots_free``: what it said, less what the manager has reserved since.
    ``endorse``, ``endorse_sig``: of its current session, as received.
    ``endorse_exp``: end of that endorsement, ms. ``spki``: SHA-256 of its TLS key.
    """

    principal: Principal
    role: Role
    io: Io | None
    attributes: Attributes
    cert: SignedCertificate
    sid: SessionId
    endorse: bytes
    endorse_sig: bytes
    endorse_exp: int
    spki: bytes
    slots: int
    slots_free: int
    load: int
    datasets: tuple[DatasetNotice, ...]

    @property
    def duties(self) -> frozenset[Duty]:
        """What its role and io permit."""
        return duties_allowed(self.role, self.io)


class Pool(Protocol):
    """Everybody who is online now; read-only, one snapshot a step."""

    def servers(self) -> Sequence[Member]:
        """Return the online MPC servers."""
        ...

    def sources(self, dataset: str) -> Sequence[Member]:
        """Return the online clients that may give input and offer this dataset."""
        ...

    def member(self, principal: Principal) -> Member | None:
        """Return one online principal, or none."""
        ...


@dataclass(frozen=True, slots=True)
class PartyGone:
    """The broker has no consumer on a party's inbox, or returned a message to it."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class PartyBack:
    """A party has a new session; what is open for it is sent again."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class SlotFreed:
    """Some MPC server has a slot again: a waiting job may try."""


@dataclass(frozen=True, slots=True)
class PartyRevoked:
    """The operator revoked a party: it takes part in nothing any more."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class CancelledByOperator:
    """The operator ended the job."""


JobEvent = (
    Received
    | TimerFired
    | PartyGone
    | PartyBack
    | PartyRevoked
    | SlotFreed
    | CancelledByOperator
)


@dataclass(frozen=True, slots=True)
class Start:
    """Make the manifest, the tickets and one ``job.start`` to each of these parties.

    The shell does it from the job's state: it signs and draws the keys.
    """

    job: JobId
    recipients: tuple[Principal, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """Make fresh tickets for a consumer that fetches its result later."""

    job: JobId
    request: Received


@dataclass(frozen=True, slots=True)
class MarkOffline:
    """A party did not answer: it is not offered anything until it says status."""

    principal: Principal


JobEffect = Send | SetTimer | CancelTimer | Start | Collect | MarkOffline
