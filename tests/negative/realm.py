"""A running manager and hostile participants: what an attacker can put on the wire.

``AttackedRealm`` is the manager's service on the memory broker, a fake clock and
SQLite. ``Actor`` makes every envelope by itself, valid or not, from ``shared``.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from sqlalchemy import select

from manager.store import schema
from shared import codec, topology
from shared.crypto.keys import SigningKey
from shared.crypto.sealing import hpke_open, hpke_seal, seal_with_nonce
from shared.envelope import (
    MAGIC,
    NONCE_BYTES,
    PREFIX,
    SIGNATURE_BYTES,
    WIRE_VERSION,
    Clear,
    Header,
    KemSeal,
    SessionSeal,
    parse,
)
from shared.messages import (
    AsReply,
    AsReplyCore,
    AsRequest,
    DatasetNotice,
    JobOffer,
    Message,
    Status,
    Structure,
    Suite,
    type_of,
)
from shared.names import MANAGER, Fingerprint, Io, MessageId, Role, SessionId
from shared.transport.base import Outgoing
from tests.manager_realm import LIFE_MS, ManagerRealm, RawParty

STATUS: Final = Status(slots_free=2, slots=2, load=0)
BUSIER: Final = Status(slots_free=1, slots=2, load=50)
VISITS: Final = (DatasetNotice(name="visits", cols=("x",)),)
UNCHANGED: Final = (
    schema.tokens,
    schema.sequences,
    schema.principals,
    schema.sessions,
    schema.presences,
    schema.outbox,
    schema.timers,
    schema.jobs,
    schema.ticket_keys,
    schema.replays,
    schema.tasks,
    schema.commands,
)
"""What a dropped envelope leaves as it was; the outbox too: there is no reply."""

_OVERHEAD: Final = {Suite.CLEAR: 0, Suite.SESSION: NONCE_BYTES + 16, Suite.SEALED: 48}
_LABEL: Final = b"MPX1-env\0"

M = TypeVar("M", bound=Structure)
Snapshot = dict[str, list[tuple[object, ...]]]


def run(history: Callable[["AttackedRealm"], Coroutine[object, object, None]]) -> None:
    """Run a history in a fresh realm in memory."""

    async def whole() -> None:
        realm = AttackedRealm()
        await realm.start()
        await history(realm)

    asyncio.run(whole())


def shuffled(things: list[Outgoing], seed: str) -> list[Outgoing]:
    """Return the messages in another order, the same in every run."""
    return sorted(
        things, key=lambda each: hashlib.sha256(seed.encode() + each.body).digest()
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What an attacker writes into an envelope in place of the honest value.

    ``shift_ms``: of the time of sending. ``seal``: how the body is protected, the
    sender's own session unless said.
    """

    sender: str | None = None
    recipient: str = MANAGER
    mid: MessageId | None = None
    seq: int | None = None
    shift_ms: int = 0
    life_ms: int = LIFE_MS
    name: str | None = None
    signer: SigningKey | None = None
    fingerprint: Fingerprint | None = None
    seal: SessionSeal | KemSeal | Clear | None = None


def bound(
    header: Header, protection: SessionSeal | KemSeal | Clear, size: int
) -> bytes:
    """Return prefix and header of an envelope with a plaintext of this size."""
    suite = suite_of(protection)
    packed = codec.encode(header.model_dump())
    length = size + _OVERHEAD[suite]
    return PREFIX.pack(MAGIC, WIRE_VERSION, suite, 0, len(packed), length) + packed


def suite_of(protection: SessionSeal | KemSeal | Clear) -> Suite:
    """Return the suite that protects a body so."""
    if isinstance(protection, SessionSeal):
        return Suite.SESSION
    return Suite.SEALED if isinstance(protection, KemSeal) else Suite.CLEAR


def protect(
    associated: bytes, plaintext: bytes, protection: SessionSeal | KemSeal | Clear
) -> bytes:
    """Return the envelope of any plaintext: signature first, then payload."""
    if isinstance(protection, SessionSeal):
        body = seal_with_nonce(protection.key, associated, plaintext, protection.nonce)
    elif isinstance(protection, KemSeal):
        body = hpke_seal(protection.public_key, b"MPX1-seal\0" + associated, plaintext)
    else:
        body = plaintext
    return associated + body


def sign(
    signer: SigningKey, fingerprint: bytes, associated: bytes, payload: bytes
) -> bytes:
    """Return the plaintext of an envelope: signature and payload."""
    digest = hashlib.sha512(associated).digest()
    return signer.sign(_LABEL, fingerprint + digest + payload) + payload


@dataclass
class AttackedRealm(ManagerRealm):
    """A manager, and what can be seen of it from outside and in its store."""

    actors: list["Actor"] = field(default_factory=list)

    async def enrol(
        self, name: str, role: Role, io: Io | None = None, prefix: str | None = None
    ) -> "Actor":
        """Register an actor; it is not logged in."""
        actor = Actor(self, name, await self.token(role, io, prefix), role, io)
        await actor.register()
        self.actors.append(actor)
        return actor

    async def join_actor(
        self,
        name: str,
        role: Role,
        io: Io | None = None,
        datasets: tuple[DatasetNotice, ...] = (),
    ) -> "Actor":
        """Register an actor and bring it online."""
        actor = await self.enrol(name, role, io)
        await actor.log_in()
        actor.send(STATUS.model_copy(update={"datasets": datasets or None}))
        await self.settle()
        return actor

    async def cast(self) -> tuple["Actor", "Actor", "Actor", "Actor"]:
        """Return two servers, a source and a consumer, all online."""
        return (
            await self.join_actor("s1", Role.MPCS),
            await self.join_actor("s2", Role.MPCS),
            await self.join_actor("source", Role.CLIENT, Io.INPUT, VISITS),
            await self.join_actor("consumer", Role.CLIENT, Io.OUTPUT),
        )

    def inject(
        self, queue: str, message: Outgoing, *, has_copies: bool = False
    ) -> None:
        """Put a message into a queue as a hostile broker can."""
        self.broker.inject(queue, message, has_copies=has_copies)

    async def snapshot(self) -> Snapshot:
        """Return the rows that a dropped envelope must not change."""
        await self.service.tick()
        with self.store._engine.begin() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table))]
                for table in UNCHANGED
            }

    async def count(self) -> dict[str, int]:
        """Return the counters, those of this moment included."""
        await self.service.tick()
        return self.counters()

    async def drops(self, attack: Callable[[], object]) -> dict[str, int]:
        """Attack; return which counters moved by how much.

        Checks that every delivery is acknowledged, that nothing else changed in
        the store and that nobody was answered.
        """
        before, counted = await self.snapshot(), await self.count()
        published = len(self.sent())
        attack()
        await self.settle()
        after, counts = await self.snapshot(), await self.count()

        assert before == after
        assert published == len(self.sent())
        assert self.waiting() == 0
        return {
            name: number - counted.get(name, 0)
            for name, number in counts.items()
            if number != counted.get(name, 0)
        }

    def sent(self, kind: str | None = None) -> list[Outgoing]:
        """Return what the manager has published, perhaps of one type only."""
        return [
            message
            for message in self.broker.seen
            if message.user_id == topology.MANAGER_USER and kind in {None, message.type}
        ]

    def waiting(self) -> int:
        """Return how many deliveries for the manager are not acknowledged."""
        return sum(self.broker.depth(queue) for queue in topology.MANAGER_QUEUES)

    def check_no_number_twice(self) -> None:
        """Check that no (session, number) and no (session, nonce) names two bodies."""
        numbers: dict[tuple[object, object], set[bytes]] = {}
        for message in self.sent():
            sealed = parse(message.body)
            if sealed.suite is not Suite.SESSION:
                continue
            sid = sealed.header.sid
            for key in (sealed.header.seq, sealed.body[:NONCE_BYTES]):
                numbers.setdefault((sid, key), set()).add(message.body)

        assert all(len(bodies) == 1 for bodies in numbers.values())


class Actor(RawParty):
    """A participant that sends anything; it keeps every session that it ever had."""

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        super().__post_init__()
        self.sessions: dict[SessionId, tuple[bytes, bytes]] = {}

    def open_session(self, request: AsRequest, reply: AsReply) -> AsReplyCore:
        """Derive the keys of a session and keep those of the older ones."""
        core = super().open_session(request, reply)
        self.sessions[core.sid] = self.keys
        return core

    def session_key(self, header: Header) -> bytes:
        """Return the down key of any session that this actor ever had."""
        assert header.sid is not None
        return self.sessions[header.sid][1]

    def session_seal(self, seq: int | None = None) -> SessionSeal:
        """Return the protection of the next message, or of one with any number."""
        assert self.sid is not None
        if seq is None:
            self.seq += 1
            seq = self.seq
        return SessionSeal(self.sid, seq, self.keys[0], self.entropy(NONCE_BYTES))

    def kem_seal(self) -> KemSeal:
        """Return the protection of a message outside a session."""
        return KemSeal(self.realm.keys.kem.public)

    def make(self, message: Structure, change: Change | None = None) -> Outgoing:
        """Return an envelope without sending it."""
        return self.make_payload(type_of(message), message.pack(), message, change)

    def make_payload(
        self,
        kind: str,
        payload: bytes,
        message: Structure | None = None,
        change: Change | None = None,
    ) -> Outgoing:
        """Return the envelope of any bytes; ``message`` gives the job's id."""
        change = change or Change()
        protection = change.seal or self.session_seal(change.seq)
        header = self.header(change.name or kind, message, protection, change)
        associated = bound(header, protection, SIGNATURE_BYTES + len(payload))
        plaintext = sign(
            change.signer or self.signer,
            change.fingerprint or self.realm.keys.fingerprint,
            associated,
            payload,
        )
        body = protect(associated, plaintext, protection)
        return self.outgoing(body, header.t, header.s, header.mid)

    def header(
        self,
        kind: str,
        message: Structure | None,
        protection: SessionSeal | KemSeal | Clear,
        change: Change,
    ) -> Header:
        """Return a header, honest but for the changes."""
        now = self.realm.clock.ms + change.shift_ms
        session = protection if isinstance(protection, SessionSeal) else None
        return Header(
            t=kind,
            s=change.sender or self.me,
            r=change.recipient,
            kid=(change.signer or self.signer).kid,
            sid=session.sid if session else None,
            mid=change.mid or MessageId(self.entropy(16)),
            seq=session.seq if session else 0,
            ts=now,
            exp=now + change.life_ms,
            job=getattr(message, "job", None),
            re=None,
        )

    def put(self, *messages: Outgoing) -> None:
        """Publish envelopes as they are, as this actor's broker user."""
        self.transport.put(messages)

    def spoil(self, message: Outgoing, index: int, value: int) -> Outgoing:
        """Return an envelope with one byte replaced."""
        body = bytearray(message.body)
        body[index] = value
        return replace(message, body=bytes(body))

    def reseal(self, message: Outgoing, recipient: str, to: bytes) -> Outgoing:
        """Return a signed payload under a new header and encryption (suite 1).

        What the recipient of a message can do with it: this actor plays the
        recipient, the message was sealed to its key.
        """
        sealed = parse(message.body)
        info = b"MPX1-seal\0" + sealed.associated
        plaintext = hpke_open(self.kem, info, sealed.body)
        header = sealed.header.model_copy(update={"r": recipient})
        associated = bound(header, KemSeal(to), len(plaintext))
        return replace(message, body=protect(associated, plaintext, KemSeal(to)))

    def bodies(self) -> list[bytes]:
        """Take the bytes of everything in the inbox, unread."""
        found: list[bytes] = []
        while deliveries := self.transport.take(32):
            found.extend(delivery.body for delivery in deliveries)
            self.transport.done(deliveries)
        return found

    def got(self, kind: type[M]) -> list[M]:
        """Take everything in the inbox and return the messages of one kind."""
        return [message for message in self.read() if isinstance(message, kind)]

    def offer(self) -> JobOffer:
        """Take the one offer in the inbox."""
        [offer] = self.got(JobOffer)
        return offer

    def answers(self) -> list[Message]:
        """Take everything in the inbox."""
        return self.read()
