"""A running manager on the memory broker, and participants made of raw envelopes.

Nothing here is the participant's program: what a test sends is what it says.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from manager.protocol.job_state import JobSettings
from manager.realm.founding import set_up_store
from manager.realm.keys import ManagerKeys, describe, make_keys
from manager.realm.rotation import (
    OVERLAP,
    SIGNED,
    Rotated,
    newest_keys,
    publish,
    rotated,
)
from manager.service.enrolment import BrokerAddress, TokenRequest, create_token
from manager.service.loop import Service, ServiceSettings
from manager.store.sqlite import IN_MEMORY
from manager.store.store import Place, Store
from shared import topology
from shared.clock import to_ms
from shared.crypto.certificates import TlsKey, spki_hash
from shared.crypto.derivation import (
    as_confirm,
    as_keys,
    as_transcript,
    job_id,
    rabbitmq_password_hash,
)
from shared.crypto.keys import KemKey, SigningKey, kid
from shared.envelope import (
    Addressing,
    Clear,
    Header,
    KemSeal,
    SessionSeal,
    message_of,
    parse,
    prove,
    seal_payload,
)
from shared.messages import (
    AsReply,
    AsReplyCore,
    AsRequest,
    Attributes,
    Authorisation,
    DatasetNotice,
    Endorsement,
    ErrorNotice,
    JobRequest,
    Message,
    RegistrationDone,
    RegistrationReply,
    RegistrationRequest,
    Requirements,
    Rule,
    Spec,
    Status,
    Structure,
    type_of,
    unpack,
)
from shared.names import (
    MANAGER,
    Io,
    JobId,
    MessageId,
    Principal,
    Realm,
    Role,
    SessionId,
    TokenId,
)
from shared.protocol.manifest import ENDORSEMENT_LABEL, SPEC_LABEL
from shared.token import Token
from shared.transport.base import Outgoing
from shared.transport.memory import MemoryBroker, MemoryTransport

REALM = Realm("demo")
START = datetime(2030, 1, 1, 6, tzinfo=UTC)
LIFE_MS = 60_000
NOT_WAITING = timedelta(0)


def stream(seed: str) -> Callable[[int], bytes]:
    """Return entropy that is the same in every run."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed} {count}".encode()).digest(size)

    return draw


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        """Return the time that it was set to."""
        return self.time

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)

    @property
    def ms(self) -> int:
        """The time in milliseconds."""
        return to_ms(self.time)


class MemoryProvisioner:
    """Makes users and queues at a memory broker; remembers what it was asked."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.users: set[str] = set()

    def create_enrolment(self, token_id: TokenId, password_hash: str) -> None:
        """Let the holder of a token in."""
        assert password_hash
        user = topology.enrolment_user(token_id)
        self.users.add(user)
        self.broker.declare(topology.enrolment_queue(token_id))
        self.broker.restrict(user, topology.enrolment_permissions(token_id))

    def delete_enrolment(self, token_id: TokenId) -> None:
        """Remove a token's user and queue."""
        self.users.discard(topology.enrolment_user(token_id))
        self.broker.delete(topology.enrolment_queue(token_id).name)

    def create_participant(
        self, principal: Principal, role: Role, password_hash: str
    ) -> None:
        """Give a participant its inbox and its user."""
        assert password_hash
        self.users.add(principal)
        self.broker.declare(topology.inbox(principal, role))
        self.broker.restrict(
            principal, topology.participant_permissions(principal, role)
        )

    def delete_participant(self, principal: Principal, role: Role) -> None:
        """Remove a participant's user and inbox."""
        self.users.discard(principal)
        self.broker.delete(topology.inbox(principal, role).name)


@dataclass
class ManagerRealm:
    """A broker, a store and the manager of one realm."""

    path: Place = IN_MEMORY
    settings: ServiceSettings | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    saved: list[ManagerKeys] = field(default_factory=list)

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        self.entropy = stream("manager")
        self.root = SigningKey.from_seed(self.entropy(32))
        self.keys = make_keys(REALM, self.root.public, self.clock.now(), self.entropy)
        self.store = Store.create(self.path)
        set_up_store(self.store, describe(self.keys, self.root, 1))
        self.broker = MemoryBroker(stream("broker"), now=self.clock.now)
        self.provisioner = MemoryProvisioner(self.broker)
        self.transport = MemoryTransport(self.broker, topology.MANAGER_USER)
        self.service = self._new_service()

    def _new_service(self) -> Service:
        return Service(
            self.store,
            self.transport,
            self.clock,
            self.newest,
            self.saved.append,
            self.provisioner,
            self.entropy,
            self.settings
            or ServiceSettings(
                JobSettings(self.keys.fingerprint, REALM), provision_in_thread=False
            ),
        )

    @property
    def newest(self) -> ManagerKeys:
        """The manager's keys as its file has them."""
        return self.saved[-1] if self.saved else self.keys

    def rotate(self, *kinds: Rotated, overlap: timedelta = OVERLAP) -> ManagerKeys:
        """Make new keys, as the command line does; the manager has not taken them."""
        now = self.clock.now()
        with self.store.transaction() as unit:
            before = newest_keys(unit, self.newest)
            after = rotated(before, frozenset(kinds), now, overlap, self.entropy)
            root = self.root if SIGNED & set(kinds) else None
            publish(
                *(unit, before, after, root, now, self.entropy), is_handed_over=True
            )
        return after

    async def start(self) -> None:
        """Start the manager."""
        await self.transport.connect()
        await self.service.start()

    async def crash(self) -> None:
        """Kill the manager and start another one on the same store."""
        self.transport.crash()
        self.transport = MemoryTransport(self.broker, topology.MANAGER_USER)
        if self.path != IN_MEMORY:
            self.store.close()
            self.store = Store.open(self.path)
        self.service = self._new_service()
        await self.start()

    async def settle(self) -> None:
        """Let the manager work until nothing moves."""
        while True:
            moved = self.broker.settle()
            moved += await self.service.pump(NOT_WAITING)
            if not moved:
                return

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, fire what is due, and settle."""
        self.clock.move(seconds)
        await self.service.tick()
        await self.settle()

    async def token(
        self,
        role: Role,
        io: Io | None = None,
        prefix: str | None = None,
        life: timedelta = timedelta(hours=1),
    ) -> Token:
        """Make a token as the command line does."""
        made = create_token(
            self.store,
            self.keys,
            self.provisioner,
            BrokerAddress("amqp://127.0.0.1:5672"),
            TokenRequest(role, io, prefix, life),
            self.clock.now(),
            self.entropy,
        )
        await self.service.tick()
        await self.settle()
        return made

    async def enrol(
        self, name: str, role: Role, io: Io | None = None, prefix: str | None = None
    ) -> "RawParty":
        """Register a participant; it is not logged in."""
        token = await self.token(role, io, prefix)
        party = RawParty(self, name, token, role, io)
        await party.register()
        return party

    async def join(
        self,
        name: str,
        role: Role,
        io: Io | None = None,
        datasets: tuple[DatasetNotice, ...] = (),
    ) -> "RawParty":
        """Register a participant, log it in and let it say its status."""
        party = await self.enrol(name, role, io)
        await party.log_in()
        party.send(Status(slots_free=2, slots=2, load=0, datasets=datasets or None))
        await self.settle()
        return party

    def counters(self) -> dict[str, int]:
        """Return the manager's counters."""
        with self.store.transaction() as unit:
            return unit.journal.counters()


@dataclass
class RawParty:
    """A participant that sends what it is told to, sealed as it should be."""

    realm: ManagerRealm
    name: str
    token: Token
    role: Role
    io: Io | None = None

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        self.entropy = stream(self.name)
        self.signer = SigningKey.from_seed(self.entropy(32))
        self.kem = KemKey.from_bytes(self.entropy(32))
        self.transport = self._connect(self.token.user)
        self.transport.listen(topology.enrolment_queue(self.token.token_id).name)
        self.me = self.token.sender
        self.principal = Principal("")
        self.serial = 0
        self.sid: SessionId | None = None
        self.keys = (b"", b"")
        self.seq = 0
        self.last: Outgoing | None = None

    def _connect(self, user: str) -> MemoryTransport:
        transport = MemoryTransport(self.realm.broker, user)
        transport.up()
        return transport

    def request(self) -> RegistrationRequest:
        """Return a registration with this party's own keys."""
        return RegistrationRequest(
            token_id=self.token.token_id,
            secret=self.token.secret,
            role=self.role,
            io=self.io,
            sig_pk=self.signer.public,
            kem_pk=self.kem.public,
            attrs=Attributes(location="Utrecht", cpus=4, csp="aws"),
            pwhash=rabbitmq_password_hash("password", b"salt"),
            nonce=self.entropy(16),
            vers=(1,),
        )

    async def register(self) -> None:
        """Go through the registration exchange."""
        self.send_sealed(self.request())
        await self.realm.settle()
        [reply] = [m for m in self.read() if isinstance(m, RegistrationReply)]
        self.become(reply)
        self.send_sealed(
            RegistrationDone(
                principal=reply.principal, serial=self.serial, nonce=self.entropy(16)
            )
        )
        await self.realm.settle()

    def become(self, reply: RegistrationReply) -> None:
        """Take the name that a reg.rep gives."""
        from shared.messages import CertificateBody  # noqa: PLC0415 - only here

        self.principal = reply.principal
        self.me = reply.principal
        self.serial = unpack(CertificateBody, reply.cert.c).serial
        self.transport = self._connect(reply.principal)
        self.transport.listen(reply.broker.queue)

    def login(self, **changes: object) -> AsRequest:
        """Return an as.req; ``changes`` replace fields of it."""
        now = self.realm.clock.ms
        self.ephemeral = KemKey.from_bytes(self.entropy(32))
        self.tls = TlsKey.generate()
        endorsement = Endorsement(
            v=1,
            realm=self.realm.keys.fingerprint,
            p=self.principal,
            role=self.role,
            spki=spki_hash(self.tls.spki),
            addrs=("127.0.0.1:1270",) if self.role is Role.MPCS else (),
            nbf=now - 1000,
            exp=now + 24 * 3600 * 1000,
        ).pack()
        request = AsRequest(
            p=self.principal,
            m=self.realm.keys.fingerprint,
            e=self.ephemeral.public,
            nonce=self.entropy(16),
            now=now,
            life=24 * 3600 * 1000,
            vers=(1,),
            suites=(1, 2, 3),
            csr=self.tls.csr(self.principal),
            endorse=endorsement,
            endorse_sig=self.signer.sign(ENDORSEMENT_LABEL, endorsement),
        )
        return request.model_copy(update=changes)

    async def log_in(self) -> AsReplyCore:
        """Go through the AS exchange; the session is half-open."""
        request = self.login()
        self.send_sealed(request)
        await self.realm.settle()
        [reply] = [m for m in self.read() if isinstance(m, AsReply)]
        return self.open_session(request, reply)

    def open_session(self, request: AsRequest, reply: AsReply) -> AsReplyCore:
        """Derive the keys of a session; the next message is its first."""
        core = unpack(AsReplyCore, reply.core)
        transcript = as_transcript(request.pack(), reply.core)
        keys = as_keys(transcript, self.ephemeral.exchange(core.e))
        assert reply.confirm == as_confirm(keys.confirm_key, transcript)
        self.sid, self.keys, self.seq = core.sid, (keys.up, keys.down), 0
        return core

    def send(self, message: Structure, *, seq: int | None = None) -> Outgoing:
        """Send a message in the session."""
        assert self.sid is not None
        self.seq += 1
        number = self.seq if seq is None else seq
        return self.post(
            message, SessionSeal(self.sid, number, self.keys[0], self.entropy(24))
        )

    def send_sealed(self, message: Structure) -> Outgoing:
        """Send a message sealed to the manager's key."""
        return self.post(message, KemSeal(self.realm.keys.kem.public))

    def post(
        self,
        message: Structure,
        protection: SessionSeal | KemSeal | Clear,
        *,
        sender: str | None = None,
        age_ms: int = 0,
        name: str | None = None,
    ) -> Outgoing:
        """Seal and publish anything."""
        sender = sender or self.me
        job = getattr(message, "job", None)
        kind = name or type_of(message)
        mid = MessageId(self.entropy(16))
        body = seal_payload(
            kind,
            message.pack(),
            Addressing(
                sender, MANAGER, mid, self.realm.clock.ms - age_ms, LIFE_MS, job
            ),
            protection,
            self.signer,
            self.realm.keys.fingerprint,
        )
        self.last = self.outgoing(body, kind, sender, mid)
        self.transport.put([self.last])
        return self.last

    def outgoing(self, body: bytes, kind: str, sender: str, mid: MessageId) -> Outgoing:
        """Return an envelope with the properties that it should have."""
        is_enrolling = self.me.startswith("enrol:")
        return Outgoing(
            exchange=topology.MANAGER_EXCHANGE,
            routing_key=topology.routing_key(kind, sender),
            body=body,
            message_id=mid.hex(),
            type=kind,
            correlation_id=None,
            expiration_ms=None,
            timestamp=0,
            user_id=self.token.user if is_enrolling else self.principal,
            app_id="mpc-participant",
        )

    def read(self) -> list[Message]:
        """Take, prove and return everything in the inbox."""
        messages: list[Message] = []
        while deliveries := self.transport.take(32):
            for delivery in deliveries:
                proven = prove(parse(delivery.body), self, self.realm.keys.fingerprint)
                messages.append(message_of(proven))
            self.transport.done(deliveries)
        return messages

    def errors(self) -> list[str]:
        """Return the codes of the errors in the inbox."""
        return [m.code.value for m in self.read() if isinstance(m, ErrorNotice)]

    def knows(self, header: Header, rule: Rule) -> bool:
        """Say whether the sender is the manager."""
        return header.s == MANAGER and bool(rule)

    def session_key(self, header: Header) -> bytes:
        """Return the key of the down direction."""
        assert header.sid == self.sid
        return self.keys[1]

    def kem_keys(self) -> tuple[KemKey, ...]:
        """Return this party's KEM key."""
        return (self.kem,)

    def verify_key(self, header: Header, _payload: bytes) -> bytes | None:
        """Return the manager's key, which may have been rotated."""
        keys = [pair.signer.public for pair in self.realm.newest.pairs]
        return next((key for key in keys if kid(key) == header.kid), None)

    def job_request(self, servers: int = 2, chosen: bytes = b"i" * 16) -> JobRequest:
        """Return a request for a computation on the dataset ``visits``."""
        now = self.realm.clock.ms
        spec = Spec(
            v=1,
            realm=self.realm.keys.fingerprint,
            consumer=self.principal,
            id=chosen,
            engine="additive",
            protocol="additive",
            program_hash=bytes(32),
            params={"statistic": "mean"},
            threshold=1,
            servers=servers,
            requires=Requirements(),
            datasets=("visits",),
            min_sources=0,
            az=Authorisation(cols=("x",), max_bytes=1 << 20),
            deadline=now + 120_000,
            attempts=1,
            result_exp=now + 3_600_000,
            res=KemKey.from_bytes(bytes([7]) * 32).public,
        ).pack()
        return JobRequest(spec=spec, spec_sig=self.signer.sign(SPEC_LABEL, spec))

    def job(self, chosen: bytes = b"i" * 16) -> JobId:
        """Return the id of this consumer's job."""
        return job_id(self.realm.keys.fingerprint, self.principal, chosen)
