"""A job: its spec and manifest, and the messages of its four hops.

The TGS exchange rides in ``job.accept`` and ``job.start``.
"""

from enum import StrEnum, unique
from functools import lru_cache
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, Len
from pydantic import Strict

from shared.errors import FailureCode, RefusalCode
from shared.messages.realm import SignedCertificate
from shared.messages.wire import (
    MAX_COLUMNS,
    MAX_PARTIES,
    Blob,
    Bytes32,
    Column,
    Count,
    Duties,
    Epoch,
    Job,
    Label,
    Name,
    Nonce16,
    Signature64,
    SmallBlob,
    SmallCount,
    Structure,
    Text,
    TimeMs,
    WireRole,
    unpack,
)

REMEMBERED_SPECS: Final = 64
MAX_EARLIER: Final = 4
"""Phases that one report may bring along."""

Party = Annotated[int, Ge(0), Le(MAX_PARTIES - 1)]
Ticket = Annotated[bytes, Len(1, 4096)]
SpecBytes = Annotated[bytes, Len(1, 32768)]
Code = Annotated[FailureCode, Strict(strict=False)]
Parameter = str | int | list[str]


@unique
class JobPhase(StrEnum):
    """What a party reports of its part of a job."""

    LINKED = "linked"
    RUNNING = "running"
    COMPUTED = "computed"
    DELIVERED = "delivered"
    FAILED = "failed"


@unique
class JobStage(StrEnum):
    """Where a job stands at the manager."""

    REQUESTED = "requested"
    OFFERED = "offered"
    STARTED = "started"
    LINKED = "linked"
    RUNNING = "running"
    COMPUTED = "computed"
    DELIVERED = "delivered"
    CLOSED = "closed"


@unique
class Outcome(StrEnum):
    """How a closed job ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Requirements(Structure):
    """What each MPC server must have; absent means any. ``ram`` in GiB."""

    location: Text | None = None
    csp: Text | None = None
    cpus: SmallCount | None = None
    ram: SmallCount | None = None


class Authorisation(Structure):
    """What a source may be asked to send at most."""

    cols: Annotated[tuple[Column, ...], Strict(strict=False), Len(0, MAX_COLUMNS)]
    max_bytes: Count


class Spec(Structure):
    """What the consumer asks for, signed by its identity key.

    ``id``: 16 bytes of the consumer's choice. ``program_hash``: which statistic, in
    which version. ``min_sources``: 0 means every source that is asked must accept.
    ``deadline`` and ``result_exp`` are absolute. ``res``: X25519 key to which output
    shares are sealed.
    """

    v: Literal[1]
    realm: Bytes32
    consumer: Name
    id: Nonce16
    engine: Label
    protocol: Label
    program_hash: Bytes32
    params: Annotated[dict[Label, Parameter], Len(0, 32)]
    threshold: Annotated[int, Ge(0), Le(MAX_PARTIES)]
    servers: Annotated[int, Ge(2), Le(64)]
    requires: Requirements
    datasets: Annotated[tuple[Label, ...], Strict(strict=False), Len(1, 8)]
    min_sources: Annotated[int, Ge(0), Le(MAX_PARTIES)]
    az: Authorisation
    purpose: Text | None = None
    deadline: TimeMs
    attempts: Annotated[int, Ge(1), Le(10)]
    result_exp: TimeMs
    res: Bytes32


@lru_cache(maxsize=REMEMBERED_SPECS)
def read_spec(data: bytes) -> Spec:
    """Return the spec that its bytes hold; it is read at every step of a job.

    Raises:
        DecodeError: they hold something else.
    """
    return unpack(Spec, data)


class JobRequest(Structure):
    """``job.request``: consumer to manager."""

    type: Literal["job.request"] = "job.request"
    spec: SpecBytes
    spec_sig: Signature64


class RosterEntry(Structure):
    """A party that is asked; nothing is certain before the manifest."""

    p: Name
    role: WireRole
    duties: Duties


class JobOffer(Structure):
    """``job.offer``: manager to every party, the consumer included."""

    type: Literal["job.offer"] = "job.offer"
    job: Job
    number: SmallCount
    epoch: Epoch
    spec: SpecBytes
    spec_sig: Signature64
    consumer_cert: SignedCertificate
    duties: Duties
    party: Party | None = None
    roster: Annotated[
        tuple[RosterEntry, ...], Strict(strict=False), Len(1, MAX_PARTIES)
    ]
    deadline: TimeMs


class JobAccept(Structure):
    """``job.accept``: party to manager; the TGS request. Sources say their size."""

    type: Literal["job.accept"] = "job.accept"
    job: Job
    epoch: Epoch
    spec_hash: Bytes32
    nonce: Nonce16
    rows: Count | None = None
    bytes: Count | None = None
    slots: SmallCount | None = None


class JobRefuse(Structure):
    """``job.refuse``: party to manager. ``reason`` holds no cell value."""

    type: Literal["job.refuse"] = "job.refuse"
    job: Job
    epoch: Epoch
    stage: Literal["offer", "start"]
    code: Annotated[RefusalCode, Strict(strict=False)]
    reason: Text | None = None


class ManifestParty(Structure):
    """One principal of a job. ``party``: index of an MPC server, else absent."""

    p: Name
    role: WireRole
    duties: Duties
    party: Party | None = None
    cert: SignedCertificate
    endorse: SmallBlob
    endorse_sig: Signature64


class Manifest(Structure):
    """Who does what in a job, signed by the manager."""

    v: Literal[1]
    realm: Bytes32
    job: Job
    number: SmallCount
    epoch: Epoch
    spec: SpecBytes
    spec_sig: Signature64
    parties: Annotated[
        tuple[ManifestParty, ...], Strict(strict=False), Len(1, MAX_PARTIES)
    ]
    nbf: TimeMs
    exp: TimeMs


class ServerTicket(Structure):
    """A client's ticket for one MPC server ``s`` and the key that goes with it."""

    s: Name
    k_cs: Bytes32
    ticket: Ticket


class JobStart(Structure):
    """``job.start``: manager to party; the TGS reply.

    ``k_tkt``: to a server, the key that opens this job's tickets. ``t``: to a
    client, its ticket for every server. ``revocations``: as in ``revoked``; a party
    that was told of fewer did not get a notice.
    """

    type: Literal["job.start"] = "job.start"
    job: Job
    epoch: Epoch
    nonce: Nonce16
    manifest: Blob
    manifest_sig: Signature64
    k_tkt: Bytes32 | None = None
    t: Annotated[tuple[ServerTicket, ...], Strict(strict=False), Len(1, 64)] | None = (
        None
    )
    revocations: SmallCount


class PhaseTime(Structure):
    """A phase that a party reached before the one that its report is about."""

    phase: Annotated[JobPhase, Strict(strict=False)]
    at: TimeMs


class JobReport(Structure):
    """``job.report``: party to manager, off the critical path; never a value.

    ``at``: when, by the party's clock. ``earlier``: phases that were not reported
    on their own, in order. ``ms``: how long it took from the start to this phase.
    """

    type: Literal["job.report"] = "job.report"
    job: Job
    epoch: Epoch
    phase: Annotated[JobPhase, Strict(strict=False)]
    at: TimeMs
    peer: Name | None = None
    code: Code | None = None
    bytes_in: Count | None = None
    bytes_out: Count | None = None
    ms: Count | None = None
    earlier: (
        Annotated[tuple[PhaseTime, ...], Strict(strict=False), Len(1, MAX_EARLIER)]
        | None
    ) = None


class JobAbort(Structure):
    """``job.abort``: manager to party: stop now."""

    type: Literal["job.abort"] = "job.abort"
    job: Job
    epoch: Epoch
    outcome: Annotated[Outcome, Strict(strict=False)]
    code: Code
    party: Name | None = None
    reason: Text | None = None


class JobClosed(Structure):
    """``job.closed``: manager to everybody who was ever offered the job.

    ``epoch`` is 0 where the job was refused before any offer.
    """

    type: Literal["job.closed"] = "job.closed"
    job: Job
    epoch: SmallCount
    number: SmallCount
    outcome: Annotated[Outcome, Strict(strict=False)]
    code: Code
    party: Name | None = None
    reason: Text | None = None


class JobCancel(Structure):
    """``job.cancel``: consumer to manager."""

    type: Literal["job.cancel"] = "job.cancel"
    job: Job


class JobCollect(Structure):
    """``job.collect``: a consumer asks for fresh tickets to fetch its result."""

    type: Literal["job.collect"] = "job.collect"
    job: Job


class CollectTicket(Structure):
    """A fresh ticket and the server's current endorsement."""

    s: Name
    k_cs: Bytes32
    ticket: Ticket
    endorse: SmallBlob
    endorse_sig: Signature64


class JobTickets(Structure):
    """``job.tickets``: manager to consumer, the answer to ``job.collect``."""

    type: Literal["job.tickets"] = "job.tickets"
    job: Job
    epoch: Epoch
    t: Annotated[tuple[CollectTicket, ...], Strict(strict=False), Len(1, 64)]


class JobQuery(Structure):
    """``job.query``: a consumer asks about one of its jobs, or all."""

    type: Literal["job.query"] = "job.query"
    job: Job | None = None


class JobSummary(Structure):
    """One job of the asking consumer. ``times``: phase to milliseconds (epoch)."""

    job: Job
    number: SmallCount
    state: Annotated[JobStage, Strict(strict=False)]
    outcome: Annotated[Outcome, Strict(strict=False)] | None = None
    code: Code | None = None
    party: Name | None = None
    reason: Text | None = None
    times: Annotated[dict[Label, TimeMs], Len(0, 16)]


class JobState(Structure):
    """``job.state``: manager to consumer, newest job first."""

    type: Literal["job.state"] = "job.state"
    jobs: Annotated[tuple[JobSummary, ...], Strict(strict=False), Len(0, 256)]
