"""A realm in memory for the participant's machines: a manager's keys and parties.

``World`` makes what an honest manager would make; tests alter it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from participant.columns import Missing
from participant.protocol.consent import Policy, Rules
from participant.protocol.identity import BrokerLogin, Identity
from participant.protocol.job import step
from participant.protocol.model import JobEffect, JobEvent, Party, PartyJob, Revocations
from participant.protocol.trust import RealmView, check_descriptor
from participant.service.question import Question, check_spec, make_request
from participant.statistics.params import Params
from shared.crypto.certificates import TlsKey
from shared.crypto.derivation import fingerprint
from shared.crypto.keys import KemKey, SigningKey, kid
from shared.messages import (
    CertificateBody,
    Endorsement,
    JobAccept,
    JobOffer,
    JobStart,
    KeyUse,
    Manifest,
    ManifestParty,
    Message,
    RealmDescription,
    RealmKey,
    RosterEntry,
    ServerTicket,
    SignedCertificate,
    SignedRealm,
    Structure,
)
from shared.names import MANAGER, Duty, Io, KeyId, MessageId, Principal, Realm, Role
from shared.protocol.machine import EPOCH_START, Context, Received, Send
from shared.protocol.manifest import (
    CERTIFICATE_LABEL,
    ENDORSEMENT_LABEL,
    MANIFEST_LABEL,
)

NOW_MS = 1_900_000_000_000
YEAR_MS = 365 * 24 * 3_600_000
REALM = Realm("demo")


def stream(seed: str) -> Callable[[int], bytes]:
    """Return entropy that is the same in every run."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed} {count}".encode()).digest(size)

    return draw


@dataclass
class Member:
    """A participant with its keys, certificate and session's endorsement."""

    identity: Identity
    tls: TlsKey
    endorse: bytes = b""
    endorse_sig: bytes = b""

    @property
    def name(self) -> Principal:
        """The principal."""
        return self.identity.principal


@dataclass
class World:
    """The realm. ``members``: everybody by name."""

    seed: str = "world"
    now_ms: int = NOW_MS
    members: dict[str, Member] = field(default_factory=dict)

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        self.entropy = stream(self.seed)
        self.root = SigningKey.from_seed(self.entropy(32))
        self.manager = SigningKey.from_seed(self.entropy(32))
        self.manager_kem = KemKey.from_bytes(self.entropy(32))
        self.fingerprint = fingerprint(REALM, self.root.public)
        self.serial = 0

    def context(self, **later: int) -> Context:
        """Return now, or so much later."""
        now = EPOCH_START + timedelta(milliseconds=self.now_ms)
        return Context(now + timedelta(**later), self.entropy)

    def descriptor(
        self, epoch: int = 1, root: SigningKey | None = None, **changes: object
    ) -> SignedRealm:
        """Return a signed realm descriptor."""
        root = root or self.root
        keys = (
            self.key(KeyUse.SIG, self.manager.public),
            self.key(KeyUse.KEM, self.manager_kem.public),
        )
        description = RealmDescription(
            v=1,
            realm=REALM,
            epoch=epoch,
            root=root.public,
            keys=keys,
            suites=(1, 2, 3),
            min_ver=1,
        ).model_copy(update=changes)
        body = description.pack()
        return SignedRealm(rd=body, sig=root.sign(b"MPX1-realm\0", body))

    def key(self, use: KeyUse, public: bytes) -> RealmKey:
        """Return a key of the manager that is in time."""
        return RealmKey(
            kid=KeyId(kid(public)),
            use=use,
            pk=public,
            nbf=NOW_MS - YEAR_MS,
            exp=NOW_MS + YEAR_MS,
        )

    def realm(self) -> RealmView:
        """Return the realm as its members know it."""
        return check_descriptor(self.descriptor(), self.fingerprint, 1)

    def certify(
        self,
        name: str,
        role: Role,
        io: Io | None,
        signing: SigningKey,
        kem: KemKey,
        **changes: object,
    ) -> SignedCertificate:
        """Return a certificate by the manager."""
        self.serial += 1
        body = (
            CertificateBody(
                v=1,
                realm=self.fingerprint,
                serial=self.serial,
                principal=Principal(name),
                role=role,
                io=io,
                sig_pk=signing.public,
                kem_pk=kem.public,
                nbf=NOW_MS - 1000,
                exp=NOW_MS + YEAR_MS,
                iss=self.manager.kid,
            )
            .model_copy(update=changes)
            .pack()
        )
        return SignedCertificate(c=body, sig=self.manager.sign(CERTIFICATE_LABEL, body))

    def join(self, name: str, role: Role, io: Io | None = None) -> Member:
        """Return a new member; one of the same name is replaced in the world."""
        signing = SigningKey.from_seed(self.entropy(32))
        kem = KemKey.from_bytes(self.entropy(32))
        identity = Identity(
            signing=signing,
            kem=kem,
            principal=Principal(name),
            role=role,
            io=io,
            cert=self.certify(name, role, io, signing, kem),
            realm=self.realm(),
            broker=BrokerLogin("amqp://localhost", "demo", name, f"{role}.{name}", "p"),
            journal_key=self.entropy(32),
        )
        member = self.endorsed(Member(identity, TlsKey.generate()))
        self.members[name] = member
        return member

    def endorsed(self, member: Member, tls: TlsKey | None = None) -> Member:
        """Return a member with an endorsement of its TLS key."""
        tls = tls or member.tls
        identity = member.identity
        is_server = identity.role is Role.MPCS
        endorse = Endorsement(
            v=1,
            realm=self.fingerprint,
            p=identity.principal,
            role=identity.role,
            spki=tls.spki_hash,
            addrs=("127.0.0.1:1270",) if is_server else (),
            nbf=NOW_MS - 1000,
            exp=NOW_MS + YEAR_MS,
        ).pack()
        signature = identity.signing.sign(ENDORSEMENT_LABEL, endorse)
        return Member(identity, tls, endorse, signature)


@dataclass
class Side:
    """One member's job machine, driven by hand."""

    world: World
    member: Member
    policy: Policy = field(default_factory=Policy)
    datasets: frozenset[str] = frozenset({"visits"})
    slots_free: int = 1
    state: PartyJob | None = None
    revocations: Revocations = field(default_factory=Revocations)

    def party(self) -> Party:
        """Return this side as the machine sees it."""
        member = self.member
        return Party(
            rules=Rules(member.identity, self.policy, check_spec, self.datasets),
            spkis=frozenset({member.tls.spki_hash}),
            slots_free=self.slots_free,
            spki=member.tls.spki_hash,
            endorse=member.endorse,
            endorse_sig=member.endorse_sig,
            revocations=self.revocations,
        )

    def feed(self, event: JobEvent, **later: int) -> tuple[JobEffect, ...]:
        """Let the machine know of an event; return what it wishes."""
        transition = step(self.state, event, self.world.context(**later), self.party())
        self.state = transition.state
        return transition.effects

    def hear(self, message: Message, **later: int) -> tuple[JobEffect, ...]:
        """Let the machine know of a message by the manager."""
        mid = MessageId(self.world.entropy(16))
        return self.feed(Received(MANAGER, message, mid, b""), **later)

    @property
    def job(self) -> PartyJob:
        """The job; there is one."""
        assert self.state is not None
        return self.state


class Case:
    """A job among three servers, two sources and a consumer."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.servers = [
            self.world.join(f"MPC_server_00{n}", Role.MPCS) for n in (1, 2, 3)
        ]
        self.sources = [
            self.world.join(name, Role.CLIENT, Io.INPUT)
            for name in ("Liberty001", "Atlantic001")
        ]
        self.consumer = self.world.join("Analytics001", Role.CLIENT, Io.OUTPUT)
        question = Question(
            Params("mean", ("mdvis",), missing=Missing.REFUSE), dataset="visits"
        )
        self.asked = make_request(
            question, self.consumer.identity, self.world.context()
        )
        self.spec, self.spec_sig = self.asked.spec, self.asked.spec_sig
        self.epoch = 1

    def side(self, member: Member, **how: object) -> Side:
        """Return a member's machine."""
        return Side(self.world, member, **how)  # type: ignore[arg-type]  # Side's fields

    def duties(self, member: Member) -> tuple[Duty, ...]:
        """Return what a member does in the job."""
        if member.identity.role is Role.MPCS:
            return (Duty.COMPUTE,)
        is_consumer = member.name == self.consumer.name
        return (Duty.OUTPUT,) if is_consumer else (Duty.INPUT,)

    def index(self, member: Member) -> int | None:
        """Return an MPC server's party index."""
        names = [server.name for server in self.servers]
        return names.index(member.name) if member.name in names else None

    @property
    def parties(self) -> list[Member]:
        """Everybody in the job."""
        return [*self.servers, *self.sources, self.consumer]

    def offer(self, member: Member, **changes: object) -> JobOffer:
        """Return the offer to a member."""
        roster = tuple(
            RosterEntry(p=m.name, role=m.identity.role, duties=self.duties(m))
            for m in self.parties
        )
        return JobOffer(
            job=self.asked.job,
            number=1,
            epoch=self.epoch,
            spec=self.spec,
            spec_sig=self.spec_sig,
            consumer_cert=self.consumer.identity.cert,
            duties=self.duties(member),
            party=self.index(member),
            roster=roster,
            deadline=self.asked.deadline,
        ).model_copy(update=changes)

    def entry(self, member: Member) -> ManifestParty:
        """Return a member's entry in the manifest."""
        return ManifestParty(
            p=member.name,
            role=member.identity.role,
            duties=self.duties(member),
            party=self.index(member),
            cert=member.identity.cert,
            endorse=member.endorse,
            endorse_sig=member.endorse_sig,
        )

    def manifest(self, **changes: object) -> Manifest:
        """Return the manifest."""
        return Manifest(
            v=1,
            realm=self.world.fingerprint,
            job=self.asked.job,
            number=1,
            epoch=self.epoch,
            spec=self.spec,
            spec_sig=self.spec_sig,
            parties=tuple(self.entry(member) for member in self.parties),
            nbf=NOW_MS - 1000,
            exp=self.asked.deadline,
        ).model_copy(update=changes)

    def start(
        self, side: Side, manifest: Manifest | None = None, **changes: object
    ) -> JobStart:
        """Return the start that answers a side's accept."""
        body = (manifest or self.manifest()).pack()
        is_server = side.member.identity.role is Role.MPCS
        tickets = tuple(
            ServerTicket(s=s.name, k_cs=bytes(32), ticket=b"ticket")
            for s in self.servers
        )
        return JobStart(
            job=self.asked.job,
            epoch=self.epoch,
            nonce=side.job.nonce,
            manifest=body,
            manifest_sig=self.world.manager.sign(MANIFEST_LABEL, body),
            k_tkt=bytes(32) if is_server else None,
            t=None if is_server else tickets,
            revocations=0,
        ).model_copy(update=changes)


_M = TypeVar("_M", bound=Structure)
_E = TypeVar("_E")


def sent(effects: tuple[JobEffect, ...], kind: type[_M]) -> list[_M]:
    """Return the messages of one kind among effects."""
    messages = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message for message in messages if isinstance(message, kind)]


def wished(effects: tuple[JobEffect, ...], kind: type[_E]) -> list[_E]:
    """Return the effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def accept_of(effects: tuple[JobEffect, ...]) -> JobAccept:
    """Return the one accept among effects."""
    [message] = sent(effects, JobAccept)
    return message


def with_pin_of(member: Member, other: Member) -> Member:
    """Return a member that has pinned another's key."""
    from participant.protocol.identity import (  # noqa: PLC0415 - only here
        Pin,
        key_hash,
    )

    pin = Pin(other.name, key_hash(other.identity.signing.public))
    identity = replace(member.identity, pins=(*member.identity.pins, pin))
    return replace(member, identity=identity)
