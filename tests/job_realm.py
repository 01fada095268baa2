"""A realm with real keys for the tests of jobs: members, specs, events.

Nothing here is random and no clock is read, so a failing test fails again.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from manager.protocol.job import step
from manager.protocol.job_request import request
from manager.protocol.job_state import JobSettings, JobState
from manager.protocol.model import JobEffect, JobEvent, Member
from shared.crypto.derivation import job_id, sha256, spec_hash
from shared.crypto.keys import KemKey, SigningKey
from shared.errors import RefusalCode
from shared.messages import (
    Attributes,
    Authorisation,
    CertificateBody,
    DatasetNotice,
    Endorsement,
    JobAccept,
    JobPhase,
    JobRefuse,
    JobReport,
    JobRequest,
    JobStage,
    Message,
    Requirements,
    SignedCertificate,
    Spec,
)
from shared.names import (
    Fingerprint,
    Io,
    MessageId,
    Principal,
    Realm,
    Role,
    SessionId,
)
from shared.protocol.machine import EPOCH_START, Context, Received, Send
from shared.protocol.manifest import (
    CERTIFICATE_LABEL,
    ENDORSEMENT_LABEL,
    SPEC_LABEL,
)

NOW = 1_800_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR
DEADLINE = NOW + 10 * 60_000
RESULT_EXP = NOW + DAY
FINGERPRINT = Fingerprint(bytes([0xF0]) * 32)
MANAGER_KEY = SigningKey.from_seed(bytes([0xAA]) * 32)
SETTINGS = JobSettings(FINGERPRINT, Realm("test"))
DATASET = "survey"

S1, S2, S3, S4, S5 = (Principal(f"MPC_server_00{i}") for i in range(1, 6))
ANNE, BERT, CARL, DORA = (
    Principal(f"{name}001") for name in ("Anne", "Bert", "Carl", "Dora")
)
CONSUMER = Principal("Consumer001")

_E = TypeVar("_E")


def octets(label: str, length: int) -> bytes:
    """Return bytes that depend on the label alone."""
    return hashlib.shake_256(label.encode()).digest(length)


def identity(principal: Principal) -> SigningKey:
    """Return a principal's identity key."""
    return SigningKey.from_seed(octets(f"identity {principal}", 32))


def certificate(
    principal: Principal, role: Role, io: Io | None = None, **changes: object
) -> SignedCertificate:
    """Return a certificate by the manager; ``changes`` replace fields."""
    body = CertificateBody.model_validate(
        {
            "v": 1,
            "realm": FINGERPRINT,
            "serial": 1,
            "principal": principal,
            "role": role,
            "io": io,
            "sig_pk": identity(principal).public,
            "kem_pk": KemKey.from_bytes(octets(f"kem {principal}", 32)).public,
            "nbf": NOW - DAY,
            "exp": NOW + 300 * DAY,
            "iss": MANAGER_KEY.kid,
        }
        | changes
    )
    return signed_certificate(body.pack())


def signed_certificate(body: bytes) -> SignedCertificate:
    """Return any bytes as the manager would sign a certificate."""
    return SignedCertificate(c=body, sig=MANAGER_KEY.sign(CERTIFICATE_LABEL, body))


def endorsement(principal: Principal, role: Role, **changes: object) -> bytes:
    """Return a principal's endorsement of its TLS key; ``changes`` replace fields."""
    return Endorsement.model_validate(
        {
            "v": 1,
            "realm": FINGERPRINT,
            "p": principal,
            "role": role,
            "spki": sha256(principal.encode()),
            "addrs": ("127.0.0.1:1270",) if role is Role.MPCS else (),
            "nbf": NOW - HOUR,
            "exp": NOW + 8 * HOUR,
        }
        | changes
    ).pack()


def member(
    principal: Principal,
    role: Role,
    io: Io | None = None,
    *,
    slots_free: int = 2,
    load: int = 0,
    endorse_exp: int = NOW + 8 * HOUR,
    spki: bytes | None = None,
    datasets: Sequence[str] = (),
    attributes: Attributes | None = None,
) -> Member:
    """Return a principal with a live session."""
    spki = spki or sha256(principal.encode())
    endorse = endorsement(principal, role, spki=spki, exp=endorse_exp)
    return Member(
        principal=principal,
        role=role,
        io=io,
        attributes=attributes or Attributes(),
        cert=certificate(principal, role, io),
        sid=SessionId(octets(f"sid {principal}", 16)),
        endorse=endorse,
        endorse_sig=identity(principal).sign(ENDORSEMENT_LABEL, endorse),
        endorse_exp=endorse_exp,
        spki=spki,
        slots=4,
        slots_free=slots_free,
        load=load,
        datasets=tuple(DatasetNotice(name=name, cols=("age",)) for name in datasets),
    )


def server(
    principal: Principal,
    slots_free: int = 2,
    load: int = 0,
    location: str | None = None,
    csp: str | None = None,
    cpus: int | None = None,
    ram: int | None = None,
    operator: str | None = None,
) -> Member:
    """Return an online MPC server."""
    attributes = Attributes(
        location=location, csp=csp, cpus=cpus, ram=ram, operator=operator
    )
    return member(
        principal, Role.MPCS, slots_free=slots_free, load=load, attributes=attributes
    )


def source(principal: Principal, io: Io = Io.INPUT) -> Member:
    """Return an online source that offers the dataset."""
    return member(principal, Role.CLIENT, io, datasets=(DATASET,))


def consumer(io: Io = Io.OUTPUT, datasets: Sequence[str] = ()) -> Member:
    """Return the online consumer."""
    return member(CONSUMER, Role.CLIENT, io, datasets=datasets)


@dataclass(frozen=True, slots=True)
class Listed:
    """A pool that is a list of who is online."""

    members: tuple[Member, ...]

    def servers(self) -> Sequence[Member]:
        """Return the online MPC servers."""
        return [m for m in self.members if m.role is Role.MPCS]

    def sources(self, dataset: str) -> Sequence[Member]:
        """Return the online clients that offer this dataset."""
        return [m for m in self.members if dataset in {d.name for d in m.datasets}]

    def member(self, principal: Principal) -> Member | None:
        """Return one online principal, or none."""
        return next((m for m in self.members if m.principal == principal), None)

    def without(self, *principals: Principal) -> "Listed":
        """Return the pool after these went offline."""
        return Listed(tuple(m for m in self.members if m.principal not in principals))

    def changed(self, *changed: Member) -> "Listed":
        """Return the pool after these came online or changed."""
        rest = self.without(*(m.principal for m in changed))
        return Listed((*rest.members, *changed))


def pool(*members: Member) -> Listed:
    """Return a pool of three servers, two sources and the consumer, and more."""
    usual = (server(S1), server(S2), server(S3), source(ANNE), source(BERT), consumer())
    return Listed(usual).changed(*members)


def context(seconds: float = 0) -> Context:
    """Return the surroundings of a step, so long after ``NOW``."""
    drawn = 0

    def entropy(length: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return octets(f"entropy {seconds} {drawn}", length)

    now = EPOCH_START + timedelta(milliseconds=NOW) + timedelta(seconds=seconds)
    return Context(now, entropy)


def spec(**changes: object) -> Spec:
    """Return what the consumer asks for; ``changes`` replace fields."""
    return Spec.model_validate(
        {
            "v": 1,
            "realm": FINGERPRINT,
            "consumer": CONSUMER,
            "id": octets("id", 16),
            "engine": "additive",
            "protocol": "sum",
            "program_hash": octets("program", 32),
            "params": {"column": "age"},
            "threshold": 2,
            "servers": 3,
            "requires": Requirements(),
            "datasets": (DATASET,),
            "min_sources": 0,
            "az": Authorisation(cols=("age",), max_bytes=1 << 20),
            "deadline": DEADLINE,
            "attempts": 1,
            "result_exp": RESULT_EXP,
            "res": octets("res", 32),
        }
        | changes
    )


JOB = job_id(FINGERPRINT, CONSUMER, octets("id", 16))


def received(sender: Principal, message: Message, mid: str = "") -> Received:
    """Return a message as the envelope pipeline hands it on."""
    name = mid or f"{sender} {message!r}"
    return Received(sender, message, MessageId(octets(name, 16)), b"payload")


def requested(
    wanted: Spec | None = None, sender: Principal = CONSUMER, mid: str = "request"
) -> Received:
    """Return a ``job.request`` signed by its sender."""
    packed = (wanted or spec()).pack()
    signature = identity(sender).sign(SPEC_LABEL, packed)
    return received(sender, JobRequest(spec=packed, spec_sig=signature), mid)


def accepted(
    state: JobState, sender: Principal, nonce: str = "", **changes: object
) -> Received:
    """Return a party's ``job.accept`` of the current offer."""
    message = {
        "job": state.job,
        "epoch": state.epoch,
        "spec_hash": spec_hash(state.spec),
        "nonce": octets(f"nonce {sender} {state.epoch} {nonce}", 16),
    }
    return received(sender, JobAccept.model_validate(message | changes))


def refused(
    state: JobState,
    sender: Principal,
    stage: str = "offer",
    code: RefusalCode = RefusalCode.POLICY,
    reason: str | None = None,
    epoch: int | None = None,
) -> Received:
    """Return a party's ``job.refuse``."""
    message = {
        "job": state.job,
        "epoch": state.epoch if epoch is None else epoch,
        "stage": stage,
        "code": code,
        "reason": reason,
    }
    return received(sender, JobRefuse.model_validate(message))


def reported(
    state: JobState, sender: Principal, phase: JobPhase, **changes: object
) -> Received:
    """Return a party's ``job.report``."""
    message = {"job": state.job, "epoch": state.epoch, "phase": phase, "at": NOW}
    return received(sender, JobReport.model_validate(message | changes))


@dataclass(slots=True)
class Desk:
    """The manager's side of one job: its state, and the effects so far."""

    pool: Listed = field(default_factory=pool)
    state: JobState | None = None
    effects: tuple[JobEffect, ...] = ()

    @property
    def job(self) -> JobState:
        """The job, which exists."""
        assert self.state is not None
        return self.state

    def stage(self) -> JobStage:
        """Return the job's stage."""
        return self.job.stage

    def request(self, event: Received | None = None) -> "Desk":
        """Ask for a job."""
        done = request(event or requested(), 7, context(), self.pool, SETTINGS)
        self.state, self.effects = done.state, done.effects
        return self

    def handle(self, *events: JobEvent, seconds: float = 0) -> "Desk":
        """Let the job see events; keep the effects of them all."""
        effects: list[JobEffect] = []
        for event in events:
            done = step(self.job, event, context(seconds), self.pool, SETTINGS)
            self.state = done.state
            effects += done.effects
        self.effects = tuple(effects)
        return self

    def accept_all(self, but: Iterable[Principal] = ()) -> "Desk":
        """Let everybody in the roster accept."""
        names = [p.p for p in self.job.parties if p.p not in set(but)]
        return self.handle(*(accepted(self.job, name) for name in names), seconds=1)

    def report_all(self, phase: JobPhase, *who: Principal) -> "Desk":
        """Let these parties report a phase, all where none is named."""
        names = who or tuple(p.p for p in self.job.parties)
        return self.handle(*(reported(self.job, n, phase) for n in names), seconds=2)

    def sent(self, kind: type[_E], *to: Principal) -> list[_E]:
        """Return the messages of a kind among the last effects, to these or all."""
        return [
            effect.message
            for effect in self.effects
            if isinstance(effect, Send)
            and isinstance(effect.message, kind)
            and (not to or effect.recipient in to)
        ]

    def recipients(self, kind: type[Message]) -> list[Principal]:
        """Return who got a message of a kind among the last effects."""
        return [
            effect.recipient
            for effect in self.effects
            if isinstance(effect, Send) and isinstance(effect.message, kind)
        ]

    def of(self, kind: type[_E]) -> list[_E]:
        """Return the last effects of a kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]


def offered_desk(*members: Member, wanted: Spec | None = None) -> Desk:
    """Return a job that was offered."""
    return Desk(pool(*members)).request(requested(wanted))


def started_desk(*members: Member, wanted: Spec | None = None) -> Desk:
    """Return a job that was started."""
    return offered_desk(*members, wanted=wanted).accept_all()


def computed_desk(*members: Member, wanted: Spec | None = None) -> Desk:
    """Return a job that is computed and not fetched."""
    desk = started_desk(*members, wanted=wanted).report_all(JobPhase.LINKED)
    return desk.report_all(JobPhase.COMPUTED, S1, S2, S3)
