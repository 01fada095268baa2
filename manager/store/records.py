"""Rows as the manager's code sees them; every time in ms."""

from dataclasses import dataclass
from enum import StrEnum, unique

from shared.messages import Attributes, SignedCertificate
from shared.names import Io, MessageId, Principal, Role, SessionId
from shared.protocol.window import Window
from shared.transport.base import Outgoing


@unique
class Standing(StrEnum):
    """Where a principal stands."""

    ENROLLING = "enrolling"
    REGISTERED = "registered"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class PrincipalRecord:
    """A registered principal with its public keys and certificate.

    ``password_hash``: RabbitMQ's, of its broker password, with which its broker user
    can be made anew; empty if it registered before that was kept. ``revoked``: when,
    0 unless it is.
    """

    principal: Principal
    role: Role
    io: Io | None
    standing: Standing
    serial: int
    created: int
    attributes: Attributes
    sig_pk: bytes
    kem_pk: bytes
    cert: SignedCertificate
    cert_begins: int
    cert_ends: int
    password_hash: str = ""
    revoked: int = 0


@unique
class SessionStanding(StrEnum):
    """Where a session stands; ended ones are erased in time."""

    HALF_OPEN = "half_open"
    LIVE = "live"
    SUPERSEDED = "superseded"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session. ``wrapped``: its keys under the session key of ``slot``.

    ``out_seq``: the last number used downwards. ``window``: of the up direction.
    ``ended``: when, or ``None``.
    """

    sid: SessionId
    principal: Principal
    standing: SessionStanding
    slot: int
    wrapped: bytes
    created: int
    exp: int
    ended: int | None
    out_seq: int
    window: Window
    endorse: bytes
    endorse_sig: bytes
    endorse_exp: int
    spki: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class InboxRecord:
    """An envelope that was handled; ``seq`` is 0 outside sessions."""

    sender: str
    mid: MessageId
    sid: SessionId | None
    seq: int
    digest: bytes
    expires: int


@dataclass(frozen=True, slots=True)
class Letter:
    """Something to publish.

    ``answers``: sender and mid of the envelope that it answers, so that a
    redelivery of that one sends it again. ``recipient``: whose inbox it is for,
    ``None`` for a token's queue. ``after_task``: what must be done before.
    """

    outgoing: Outgoing
    expires: int
    answers: tuple[str, MessageId] | None = None
    recipient: Principal | None = None
    after_task: int | None = None
    id: int = 0
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class TimerRecord:
    """A timer of a machine; ``key`` names which one."""

    machine: str
    key: bytes
    name: str
    due: int


@unique
class TaskKind(StrEnum):
    """What is to be done at the broker."""

    CREATE_PARTICIPANT = "create_participant"
    DELETE_ENROLMENT = "delete_enrolment"
    DELETE_PARTICIPANT = "delete_participant"


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do at the broker, idempotent. Unused fields are empty."""

    kind: TaskKind
    principal: str = ""
    role: str = ""
    password_hash: str = ""
    token_id: bytes = b""


@unique
class CommandKind(StrEnum):
    """What the command line may ask of the running manager."""

    REVOKE_TOKEN = "revoke_token"  # noqa: S105 - the name of a command
    REVOKE_PARTICIPANT = "revoke_participant"
    CANCEL_JOB = "cancel_job"
    DESCRIBE_REALM = "describe_realm"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the audit trail."""

    at: int
    event: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class TicketKey:
    """The wrapped ticket key of one server in one job and epoch."""

    job: bytes
    epoch: int
    server: Principal
    slot: int
    wrapped: bytes
    expires: int
