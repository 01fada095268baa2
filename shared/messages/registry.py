"""Which messages there are, who may send them, under which suite, in which state.

One table, read by the receiver pipeline; a message that is not here does not exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum, unique
from types import MappingProxyType

from shared import codec
from shared.errors import DecodeError
from shared.messages import authentication, job, realm, registration
from shared.messages.wire import Structure, validate
from shared.names import Duty, Role


@unique
class Suite(IntEnum):
    """How an envelope's body is protected."""

    SEALED = 1
    SESSION = 2
    CLEAR = 3


@unique
class Way(StrEnum):
    """Who sends: a participant (up) or the manager (down)."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@unique
class Standing(StrEnum):
    """What the sender must be to send it."""

    ANY = "any"
    ENROLLING = "enrolling"
    REGISTERED = "registered"
    SESSION = "session"


Message = (
    realm.RealmDescriptor
    | registration.RegistrationRequest
    | registration.RegistrationReply
    | registration.RegistrationDone
    | authentication.AsRequest
    | authentication.AsReply
    | authentication.Status
    | authentication.LogOff
    | authentication.Revoked
    | authentication.ErrorNotice
    | job.JobRequest
    | job.JobOffer
    | job.JobAccept
    | job.JobRefuse
    | job.JobStart
    | job.JobReport
    | job.JobAbort
    | job.JobClosed
    | job.JobCancel
    | job.JobCollect
    | job.JobTickets
    | job.JobQuery
    | job.JobState
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the catalogue.

    ``roles``: which roles may send it (up) or get it (down). ``duty``: what a
    client's certificate must permit for it, if anything.
    """

    model: type[Structure]
    way: Way
    suites: frozenset[Suite]
    standing: Standing
    roles: frozenset[Role]
    duty: Duty | None = None


_EVERYBODY = frozenset({Role.MPCS, Role.CLIENT})
_CLIENTS = frozenset({Role.CLIENT})
_SEALED = frozenset({Suite.SEALED})
_SESSION = frozenset({Suite.SESSION})


def _session(
    model: type[Structure],
    way: Way,
    roles: frozenset[Role] = _EVERYBODY,
    duty: Duty | None = None,
) -> Rule:
    return Rule(model, way, _SESSION, Standing.SESSION, roles, duty)


def _consumer(model: type[Structure], way: Way) -> Rule:
    return _session(model, way, _CLIENTS, Duty.OUTPUT)


CATALOGUE: Mapping[str, Rule] = MappingProxyType(
    {
        "realm.descriptor": Rule(
            realm.RealmDescriptor,
            Way.DOWN,
            frozenset({Suite.CLEAR}),
            Standing.ANY,
            _EVERYBODY,
        ),
        "reg.req": Rule(
            registration.RegistrationRequest,
            Way.UP,
            _SEALED,
            Standing.ENROLLING,
            _EVERYBODY,
        ),
        "reg.rep": Rule(
            registration.RegistrationReply,
            Way.DOWN,
            _SEALED,
            Standing.ENROLLING,
            _EVERYBODY,
        ),
        "reg.done": Rule(
            registration.RegistrationDone,
            Way.UP,
            _SEALED,
            Standing.REGISTERED,
            _EVERYBODY,
        ),
        "as.req": Rule(
            authentication.AsRequest, Way.UP, _SEALED, Standing.REGISTERED, _EVERYBODY
        ),
        "as.rep": Rule(
            authentication.AsReply, Way.DOWN, _SEALED, Standing.REGISTERED, _EVERYBODY
        ),
        "status": _session(authentication.Status, Way.UP),
        "revoked": _session(authentication.Revoked, Way.DOWN),
        "log.off": _session(authentication.LogOff, Way.UP),
        "err": Rule(
            authentication.ErrorNotice,
            Way.BOTH,
            frozenset({Suite.SESSION, Suite.CLEAR}),
            Standing.ANY,
            _EVERYBODY,
        ),
        "job.request": _consumer(job.JobRequest, Way.UP),
        "job.cancel": _consumer(job.JobCancel, Way.UP),
        "job.collect": _consumer(job.JobCollect, Way.UP),
        "job.query": _consumer(job.JobQuery, Way.UP),
        "job.state": _consumer(job.JobState, Way.DOWN),
        "job.tickets": _consumer(job.JobTickets, Way.DOWN),
        "job.offer": _session(job.JobOffer, Way.DOWN),
        "job.start": _session(job.JobStart, Way.DOWN),
        "job.abort": _session(job.JobAbort, Way.DOWN),
        "job.closed": _session(job.JobClosed, Way.DOWN),
        "job.accept": _session(job.JobAccept, Way.UP),
        "job.refuse": _session(job.JobRefuse, Way.UP),
        "job.report": _session(job.JobReport, Way.UP),
    }
)


def type_of(message: Structure) -> str:
    """Return a message's wire name."""
    name: str = message.type  # type: ignore[attr-defined]  # each message has one
    return name


def read(name: str, payload: bytes) -> Message:
    """Return the message of this wire name that the payload holds.

    Raises:
        DecodeError: the payload is another message, malformed, or no such name.
    """
    rule = CATALOGUE.get(name)
    if rule is None:
        raise DecodeError(f"no message {name!r}")
    value = codec.decode_map(payload)
    if value.get("type") != name:
        raise DecodeError("the type of header and payload differ")
    return validate(rule.model, value)  # type: ignore[return-value]  # rows are Message
