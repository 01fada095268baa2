"""What the operator's commands print for machines."""

from manager.protocol.job_state import JobParty, JobState, Moment, spec_of
from manager.protocol.lease import Lease
from manager.protocol.presence import Presence
from manager.protocol.registration import TokenStage, TokenState
from manager.store.records import PrincipalRecord, Standing
from manager.store.schema import SCHEMA_VERSION
from shared.clock import from_ms
from shared.errors import FailureCode
from shared.messages import JobPhase, JobStage, Outcome
from shared.names import Duty, Io, Role, display_number
from shared.output import Output, Time, moment


class RealmMade(Output):
    """A new realm.

    Attributes:
        realm: its name.
        fingerprint: by which participants know it.
        home: the manager's folder.
    """

    realm: str
    fingerprint: str
    home: str


class Turn(Output):
    """Which manager is active.

    Attributes:
        store: where it is.
        store_schema: the version of its tables.
        active: whether a manager is.
        holder: of the lease, host and process; none where managers share no store.
        since: when it took over.
        epoch: counts the turns that managers took.
    """

    store: str
    store_schema: int
    active: bool
    holder: str | None
    since: Time | None
    epoch: int | None


class NewToken(Output):
    """An enrolment token; its text is a secret.

    Attributes:
        token: its id, by which ``token list`` shows it.
        text: what its holder registers with.
        role: of whoever registers with it.
        io: of a client.
        expires: when it can no longer be used.
    """

    token: str
    text: str
    role: Role
    io: Io | None
    expires: Time


class Token(Output):
    """What became of an enrolment token.

    Attributes:
        token: its id.
        role: of whoever registers with it.
        io: of a client.
        prefix: of a client's name.
        state: how far it is.
        principal: who registered with it.
        created: when it was made.
        expires: when it can no longer be used.
    """

    token: str
    role: Role
    io: Io | None
    prefix: str | None
    state: TokenStage
    principal: str | None
    created: Time
    expires: Time


class Dataset(Output):
    """A dataset that a source offers.

    Attributes:
        name: by which consumers ask for it.
        columns: their names.
    """

    name: str
    columns: tuple[str, ...]


class Attributes(Output):
    """What a participant said of itself when it registered.

    Attributes:
        location: where its machine stands.
        cpus: logical processors.
        ram: GiB.
        csp: its cloud service provider.
        operator: who runs it.
    """

    location: str | None
    cpus: int | None
    ram: int | None
    csp: str | None
    operator: str | None


class Participant(Output):
    """A registered participant.

    Attributes:
        principal: its name.
        role: what it is.
        io: what a client may do.
        standing: whether its registration is complete.
        online: whether the manager takes it for connected.
        seen: when it was last heard.
        slots: jobs that it computes at a time.
        slots_free: of these, as it last said.
        load: of its machine, in percent of a processor.
        datasets: what it offers.
        attributes: what it said of itself.
        registered: when.
        serial: of its certificate.
        certificate_ends: when its certificate does.
    """

    principal: str
    role: Role
    io: Io | None
    standing: Standing
    online: bool
    seen: Time | None
    slots: int
    slots_free: int
    load: int
    datasets: tuple[Dataset, ...]
    attributes: Attributes
    registered: Time
    serial: int
    certificate_ends: Time


class Party(Output):
    """A party of a job.

    Attributes:
        principal: its name.
        role: what it is.
        duties: what it does in this job.
        party: number of an MPC server in the job.
        answer: what it said to the offer.
        phase: the furthest that it reported.
        rows: in a source's input.
        bytes: of a source's input.
        times: when it reached each phase, by its own clock.
    """

    principal: str
    role: Role
    duties: tuple[Duty, ...]
    party: int | None
    answer: str
    phase: JobPhase | None
    rows: int | None
    bytes: int | None
    times: dict[JobPhase, Time]


class Job(Output):
    """A job as the manager knows it.

    Attributes:
        job: its id.
        number: as people say it.
        consumer: who asked.
        statistic: what was asked for.
        datasets: over which.
        columns: of these.
        engine: how it is computed.
        epoch: number of its roster, 0 before the first offer.
        state: how far it is.
        outcome: how it ended.
        code: why, as a code.
        party: at whom it failed.
        reason: why it waits or how it ended, in words.
        deadline: when it ends at the latest.
        result_expires: until when the result can be fetched.
        times: when it got how far.
        parties: its roster.
    """

    job: str
    number: str
    consumer: str
    statistic: str
    datasets: tuple[str, ...]
    columns: tuple[str, ...]
    engine: str
    epoch: int
    state: JobStage
    outcome: Outcome | None
    code: FailureCode | None
    party: str | None
    reason: str | None
    deadline: Time
    result_expires: Time
    times: dict[Moment, Time]
    parties: tuple[Party, ...]


class Snapshot(Output):
    """The realm at one moment.

    Attributes:
        realm: its name.
        at: when it was looked at.
        participants: who is online.
        registered: how many participants there are.
        running: jobs that are not over, the oldest first.
        ended: the jobs that ended last, the newest first.
        is_stale: whether somebody counts as online who was silent for so long that
            the manager seems not to run.
    """

    realm: str
    at: Time
    participants: tuple[Participant, ...]
    registered: int
    running: tuple[Job, ...]
    ended: tuple[Job, ...]
    is_stale: bool


def token_output(state: TokenState, created: int, now_ms: int) -> Token:
    """Return a token; ``created`` in ms."""
    is_over = state.stage is TokenStage.NEW and state.expires <= now_ms
    return Token(
        token=state.token_id.hex(),
        role=state.role,
        io=state.io,
        prefix=state.prefix,
        state=TokenStage.EXPIRED if is_over else state.stage,
        principal=state.claim.principal if state.claim else None,
        created=from_ms(created),
        expires=from_ms(state.expires),
    )


def participant_output(
    record: PrincipalRecord, presence: Presence | None
) -> Participant:
    """Return a participant; without presence it was never there."""
    known = presence or Presence(record.principal)
    return Participant(
        principal=record.principal,
        role=record.role,
        io=record.io,
        standing=record.standing,
        online=known.is_online,
        seen=moment(known.seen),
        slots=known.slots,
        slots_free=known.slots_free,
        load=known.load,
        datasets=tuple(
            Dataset(name=notice.name, columns=notice.cols) for notice in known.datasets
        ),
        attributes=Attributes(**record.attributes.model_dump()),
        registered=from_ms(record.created),
        serial=record.serial,
        certificate_ends=from_ms(record.cert_ends),
    )


def job_output(state: JobState) -> Job:
    """Return a job."""
    spec = spec_of(state)
    return Job(
        job=state.job.hex(),
        number=display_number(state.number),
        consumer=state.consumer,
        statistic=str(spec.params.get("statistic")),
        datasets=spec.datasets,
        columns=spec.az.cols,
        engine=spec.engine,
        epoch=state.epoch,
        state=state.stage,
        outcome=state.outcome,
        code=state.code,
        party=state.party,
        reason=state.reason,
        deadline=from_ms(state.deadline),
        result_expires=from_ms(state.result_exp),
        times={name: from_ms(when) for name, when in state.times},
        parties=tuple(map(_party, state.parties)),
    )


def _party(party: JobParty) -> Party:
    return Party(
        principal=party.p,
        role=party.role,
        duties=party.duties,
        party=party.party,
        answer=party.answer,
        phase=party.phase,
        rows=party.rows,
        bytes=party.size,
        times={phase: from_ms(when) for phase, when in party.times},
    )


def turn_output(store: str, lease: Lease, active: bool) -> Turn:
    """Return who is active, for machines."""
    return Turn(
        store=store,
        store_schema=SCHEMA_VERSION,
        active=active,
        holder=lease.holder or None,
        since=moment(lease.since),
        epoch=lease.epoch or None,
    )
