"""What the manager remembers of a job, and what can be read from it.

A ``JobState`` holds plain values only, so that the store can keep it as msgpack:
integers, texts, bytes, tuples, enumerations and dataclasses of these.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum, unique

from shared.errors import FailureCode
from shared.messages import JobPhase, JobStage, JobSummary, Outcome, Spec, read_spec
from shared.names import Duty, Fingerprint, JobId, MessageId, Principal, Realm, Role

DEFAULT_OFFER_TIMEOUT = timedelta(seconds=5)
DEFAULT_START_TIMEOUT = timedelta(seconds=60)

STAGES = tuple(JobStage)
"""In the order in which a job goes through them."""
PHASES = (
    JobPhase.LINKED,
    JobPhase.RUNNING,
    JobPhase.COMPUTED,
    JobPhase.DELIVERED,
)
"""In the order in which a party goes through them."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How jobs are run in this realm.

    ``offer_timeout``: how long an MPC server may take to answer an offer.
    ``start_timeout``: how long a client may. ``fingerprint``: the realm's.
    """

    fingerprint: Fingerprint
    realm: Realm
    offer_timeout: timedelta = DEFAULT_OFFER_TIMEOUT
    start_timeout: timedelta = DEFAULT_START_TIMEOUT


@unique
class Answer(StrEnum):
    """What a party of the current roster said to the offer."""

    ASKED = "asked"
    ACCEPTED = "accepted"


@unique
class Moment(StrEnum):
    """What the manager keeps the time of."""

    REQUESTED = "requested"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    STARTED = "started"
    READY = "ready"
    RUNNING = "running"
    COMPUTED = "computed"
    DONE = "done"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class JobParty:
    """A principal of the current roster.

    ``party``: index of an MPC server. What its accept said: ``nonce``, ``rows``,
    ``size`` in bytes. Taken from its session at that moment: ``cert``,
    ``cert_sig``, ``endorse``, ``endorse_sig``, ``spki``. ``phase``: the furthest
    that it reported, ``times`` when it reached each by its own clock (ms), kept
    between the job's start and the report's arrival.
    """

    p: Principal
    role: Role
    duties: tuple[Duty, ...]
    party: int | None = None
    answer: Answer = Answer.ASKED
    nonce: bytes | None = None
    rows: int | None = None
    size: int | None = None
    cert: bytes = b""
    cert_sig: bytes = b""
    endorse: bytes = b""
    endorse_sig: bytes = b""
    spki: bytes = b""
    phase: JobPhase | None = None
    times: tuple[tuple[JobPhase, int], ...] = ()

    @property
    def is_server(self) -> bool:
        """Say whether it computes."""
        return self.role is Role.MPCS

    @property
    def has_accepted(self) -> bool:
        """Say whether it accepted the current offer."""
        return self.answer is Answer.ACCEPTED

    def has_reached(self, phase: JobPhase) -> bool:
        """Say whether it reported this phase or a later one."""
        return self.phase is not None and PHASES.index(self.phase) >= PHASES.index(
            phase
        )

    def reached_at(self, phase: JobPhase) -> int:
        """Return when it reached this phase (ms), or a later one if that is known.

        Raises:
            ValueError: it has not reached it.
        """
        rank = PHASES.index(phase)
        return min(at for each, at in self.times if PHASES.index(each) >= rank)

    def asked_again(self) -> "JobParty":
        """Return the party as it is before it answers an offer."""
        return JobParty(self.p, self.role, self.duties, self.party)


@dataclass(frozen=True, slots=True)
class JobState:
    """One job at the manager.

    ``epoch``: number of the roster, 0 before the first offer. ``mid``: of the
    request. ``offered``: everybody who was ever offered the job; ``refused``: who
    is not asked again. ``times``: ms since the Unix epoch. ``manifest``: made when
    the job starts, the same bytes ever after. ``reason``: why the job waits or how
    it ended, at most 200 printable characters.
    """

    job: JobId
    number: int
    stage: JobStage
    epoch: int
    consumer: Principal
    consumer_cert: bytes
    consumer_cert_sig: bytes
    mid: MessageId
    spec: bytes
    spec_sig: bytes
    deadline: int
    result_exp: int
    parties: tuple[JobParty, ...] = ()
    offered: tuple[Principal, ...] = ()
    refused: tuple[Principal, ...] = ()
    times: tuple[tuple[Moment, int], ...] = ()
    manifest: bytes | None = None
    outcome: Outcome | None = None
    code: FailureCode | None = None
    party: Principal | None = None
    reason: str | None = None

    @property
    def is_closed(self) -> bool:
        """Say whether the job is over."""
        return self.stage is JobStage.CLOSED

    @property
    def servers(self) -> tuple[JobParty, ...]:
        """The MPC servers of the roster, by party index."""
        return tuple(party for party in self.parties if party.is_server)

    @property
    def sources(self) -> tuple[JobParty, ...]:
        """The parties of the roster that give input."""
        return tuple(party for party in self.parties if Duty.INPUT in party.duties)

    def is_past(self, stage: JobStage) -> bool:
        """Say whether the job has reached this stage or a later one."""
        return STAGES.index(self.stage) >= STAGES.index(stage)

    @property
    def is_running(self) -> bool:
        """Say whether parties were told to start and the job is not over."""
        return self.is_past(JobStage.STARTED) and not self.is_closed

    def find(self, principal: Principal) -> JobParty | None:
        """Return a principal's entry in the current roster, or none."""
        for party in self.parties:
            if party.p == principal:
                return party
        return None

    def knows(self, principal: Principal) -> bool:
        """Say whether this principal may know that the job exists."""
        return principal == self.consumer or principal in self.offered

    def time(self, moment: Moment) -> int | None:
        """Return when something happened (ms), if it did."""
        return dict(self.times).get(moment)

    def at(self, moment: Moment, now_ms: int) -> "JobState":
        """Return the state with a time noted; a later one replaces an earlier."""
        kept = tuple(entry for entry in self.times if entry[0] is not moment)
        return replace(self, times=(*kept, (moment, now_ms)))

    def with_party(self, changed: JobParty) -> "JobState":
        """Return the state with this principal's entry replaced."""
        parties = tuple(changed if p.p == changed.p else p for p in self.parties)
        return replace(self, parties=parties)

    def without(self, principals: frozenset[Principal]) -> "JobState":
        """Return the state without these in the roster; they are not asked again."""
        return replace(
            self,
            parties=tuple(p for p in self.parties if p.p not in principals),
            refused=(*self.refused, *sorted(principals.difference(self.refused))),
        )


def spec_of(state: JobState) -> Spec:
    """Return what the job's consumer asked for."""
    return read_spec(state.spec)


def summary(state: JobState) -> JobSummary:
    """Return what the job's consumer may be told of it."""
    return JobSummary(
        job=state.job,
        number=state.number,
        state=state.stage,
        outcome=state.outcome,
        code=state.code,
        party=state.party,
        reason=state.reason,
        times={str(moment): when for moment, when in state.times},
    )


def reservations(states: Iterable[JobState]) -> Counter[Principal]:
    """Return how many slots of each MPC server jobs hold or are offered.

    A slot is held from the offer until that server has computed or the job ends.
    """
    return Counter(
        server.p
        for state in states
        if not state.is_closed
        for server in state.servers
        if not server.has_reached(JobPhase.COMPUTED)
    )
