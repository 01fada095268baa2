"""The participant's mail with the manager: seals what goes, opens what comes.

Opening follows the receiver pipeline of docs/protocol.md, "Envelope"; whatever fails
is dropped and counted. Sessions live in memory: a new process has a new one.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from participant.protocol.as_exchange import Sessions
from participant.protocol.identity import Identity
from participant.protocol.trust import check_descriptor
from shared import envelope, topology
from shared.crypto.keys import KemKey
from shared.envelope import (
    Addressing,
    DroppedError,
    DropReason,
    Header,
    KemSeal,
    SessionSeal,
)
from shared.errors import DecodeError, ProtocolError
from shared.figures import MailFigures
from shared.messages import Rule, SignedRealm, Structure, read, type_of
from shared.messages.realm import RealmDescriptor
from shared.names import MANAGER, Fingerprint, JobId, MessageId, SessionId
from shared.protocol.machine import Context, Received
from shared.protocol.window import Verdict, Window, judge
from shared.transport.base import Delivery, Outgoing

APP_ID = "mpc-participant"
SHORT_LIFE_MS = 60_000
"""How long an envelope is good for that belongs to no job's deadline."""
REMEMBERED = 8192
"""Handled envelopes of a session that are recognised when they come again."""

_OUTSTANDING = 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outstanding:
    """An envelope that the manager may answer with an ``err``."""

    type: str
    sid: SessionId | None
    job: JobId | None


@dataclass(slots=True)
class _Heard:
    """What was handled of one session."""

    window: Window = field(default_factory=Window)
    by_mid: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)


class Mail:
    """Seals and opens envelopes of one identity.

    Args:
        identity: returns the identity as it is now.
        context: returns the time and entropy.
        figures: where envelopes are counted; nowhere unless given.
    """

    def __init__(
        self,
        identity: Callable[[], Identity],
        context: Callable[[], Context],
        figures: MailFigures | None = None,
    ) -> None:
        self._identity = identity
        self._context = context
        self._sequence: dict[SessionId, int] = {}
        self._heard: OrderedDict[SessionId, _Heard] = OrderedDict()
        self._sent: OrderedDict[MessageId, Outstanding] = OrderedDict()
        self.sessions = Sessions()
        self.counters: Counter[str] = Counter()
        self.figures = figures or MailFigures(CollectorRegistry())

    def answered(self, mid: MessageId | None) -> Outstanding | None:
        """Return which envelope of ours a message answers, once."""
        return None if mid is None else self._sent.pop(mid, None)

    def seal(
        self,
        message: Structure,
        *,
        is_sessionless: bool = False,
        re: MessageId | None = None,
        job: JobId | None = None,
        expires_ms: int | None = None,
    ) -> Outgoing:
        """Return a message to the manager, ready to be published.

        Args:
            message: what to say.
            is_sessionless: seal it to the manager's key instead of the session's.
            re: the envelope that it answers.
            job: which job it is about.
            expires_ms: until when it is of use, in milliseconds since 1970.

        Raises:
            ProtocolError: there is no session.
        """
        identity, context = self._identity(), self._context()
        now = context.now_ms
        life = SHORT_LIFE_MS
        if expires_ms is not None:
            life = max(SHORT_LIFE_MS, expires_ms - now)
        mid = MessageId(context.entropy(16))
        session = self.sessions.current
        protection: SessionSeal | KemSeal
        if is_sessionless:
            protection = KemSeal(identity.realm.kem_key(now))
        elif session is None:
            raise ProtocolError("there is no session with the manager")
        else:
            number = self._sequence.get(session.sid, 0) + 1
            self._sequence[session.sid] = number
            protection = SessionSeal(
                session.sid, number, session.up, context.entropy(24)
            )
        name = type_of(message)
        body = envelope.seal(
            message,
            Addressing(identity.principal, MANAGER, mid, now, life, job, re),
            protection,
            identity.signing,
            identity.realm.fingerprint,
        )
        sid = session.sid if session and not is_sessionless else None
        self._remember(mid, Outstanding(name, sid, job))
        return Outgoing(
            exchange=topology.MANAGER_EXCHANGE,
            routing_key=topology.routing_key(name, identity.principal),
            body=body,
            message_id=mid.hex(),
            type=name,
            correlation_id=job.hex() if job else None,
            expiration_ms=life,
            timestamp=now // 1000,
            user_id=identity.broker.user,
            app_id=APP_ID,
        )

    def open(self, delivery: Delivery) -> Received | None:
        """Return the message in a delivery, its sender proven; ``None`` if dropped."""
        try:
            return self._open(delivery)
        except DroppedError as error:
            self.counters[error.reason] += 1
            self.figures.refused(error.reason)
            level = logging.INFO
            if error.reason in {DropReason.EQUIVOCATION, DropReason.SIGNATURE}:
                level = logging.WARNING
            _log.log(
                level,
                "envelope dropped",
                extra={
                    "code": error.reason.value,
                    "message_type": error.header.t if error.header else None,
                    "message_id": error.header.mid.hex() if error.header else None,
                    "redelivered": delivery.redelivered,
                },
            )
            return None

    def _open(self, delivery: Delivery) -> Received:
        identity = self._identity()
        sealed = envelope.parse(delivery.body)
        if delivery.has_copies:
            raise DroppedError(DropReason.COPIES, sealed.header)
        directory = _Directory(identity, self.sessions, self._context().now_ms)
        envelope.check(sealed, identity.principal, directory, self._context().now_ms)
        proven = envelope.prove(sealed, directory, identity.realm.fingerprint)
        header = proven.header
        if header.sid is not None:
            self._judge(header, header.sid, proven.digest)
        message = envelope.message_of(proven)
        if identity.role not in proven.rule.roles:
            raise DroppedError(DropReason.FORBIDDEN, header)
        if proven.rule.duty is not None and proven.rule.duty not in identity.duties:
            raise DroppedError(DropReason.FORBIDDEN, header)
        self.figures.opened(header.t)
        _log.info(
            "delivery",
            extra={
                "message_type": header.t,
                "sender": header.s,
                "message_id": header.mid.hex(),
                "job_id": header.job.hex() if header.job else None,
                "redelivered": delivery.redelivered,
            },
        )
        return Received(MANAGER, message, header.mid, proven.payload, header.sid)

    def _judge(self, header: Header, sid: SessionId, digest: bytes) -> None:
        """Let each number and mid of a session through once."""
        heard = self._heard.setdefault(sid, _Heard())
        verdict = judge(
            heard.window, header.seq, digest, heard.by_mid.get(header.mid), None
        )
        reasons = {
            Verdict.DUPLICATE: DropReason.DUPLICATE,
            Verdict.EQUIVOCATION: DropReason.EQUIVOCATION,
            Verdict.STALE: DropReason.STALE,
        }
        if verdict is not Verdict.HANDLE:
            raise DroppedError(reasons[verdict], header)
        heard.window = heard.window.with_seen(header.seq)
        heard.by_mid[header.mid] = digest
        while len(heard.by_mid) > REMEMBERED:
            heard.by_mid.popitem(last=False)
        while len(self._heard) > 3:  # noqa: PLR2004 - current, older, one to spare
            self._heard.popitem(last=False)

    def _remember(self, mid: MessageId, outstanding: Outstanding) -> None:
        self._sent[mid] = outstanding
        while len(self._sent) > _OUTSTANDING:
            self._sent.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Directory:
    """What this participant knows of senders and keys: there is the manager."""

    identity: Identity
    sessions: Sessions
    now_ms: int

    def knows(self, header: Header, rule: Rule) -> bool:  # noqa: ARG002 - protocol
        """Say whether the manager is who claims to send."""
        return header.s == MANAGER

    def session_key(self, header: Header) -> bytes:
        """Return the key under which the manager seals in this session."""
        key = None
        if header.sid is not None:
            key = self.sessions.down_key(header.sid, self.now_ms)
        if key is None:
            raise DroppedError(DropReason.SESSION, header)
        return key

    def kem_keys(self) -> tuple[KemKey, ...]:
        """Return this participant's key."""
        return (self.identity.kem,)

    def verify_key(self, header: Header, payload: bytes) -> bytes | None:
        """Return the manager's signing key with this id.

        A realm descriptor may bring the key that signs its own envelope: what makes
        it true is the root's signature, checked against the pinned fingerprint.
        """
        key = self.identity.realm.signing_key(header.kid, self.now_ms)
        if key is None and header.t == "realm.descriptor":
            key = descriptor_key(
                payload, self.identity.realm.fingerprint, header, self.now_ms
            )
        return key


def descriptor_key(
    payload: bytes, fingerprint: Fingerprint, header: Header, now_ms: int
) -> bytes | None:
    """Return the manager's key that a descriptor of this realm names for its envelope.

    Args:
        payload: that of a ``realm.descriptor``, not yet proven.
        fingerprint: the pinned one.
        header: the envelope's.
        now_ms: by this machine's clock.
    """
    try:
        message = read("realm.descriptor", payload)
        if not isinstance(message, RealmDescriptor):
            return None
        signed = SignedRealm(rd=message.rd, sig=message.sig)
        return check_descriptor(signed, fingerprint, 1).signing_key(header.kid, now_ms)
    except (DecodeError, ProtocolError):
        return None
