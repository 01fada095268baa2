"""Jobs as the operator's commands show them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from manager.cli.outputs import Job, Party
from manager.protocol.job_state import Moment
from shared.errors import FailureCode
from shared.messages import JobPhase, JobStage, Outcome
from shared.names import Duty, Role

START = datetime(2030, 1, 1, 6, tzinfo=UTC)

DONE = {
    Moment.REQUESTED: 0,
    Moment.OFFERED: 1,
    Moment.ACCEPTED: 100,
    Moment.STARTED: 110,
    Moment.READY: 200,
    Moment.RUNNING: 210,
    Moment.COMPUTED: 400,
    Moment.DONE: 450,
    Moment.CLOSED: 500,
}
SERVER = {
    JobPhase.LINKED: 190,
    JobPhase.RUNNING: 210,
    JobPhase.COMPUTED: 390,
    JobPhase.DELIVERED: 440,
}
SOURCE = {JobPhase.LINKED: 180, JobPhase.RUNNING: 185, JobPhase.DELIVERED: 205}
CONSUMER = {JobPhase.LINKED: 195, JobPhase.DELIVERED: 450}


def at(milliseconds: int) -> datetime:
    """Return a time so long after the request."""
    return START + timedelta(milliseconds=milliseconds)


def party(
    name: str, duty: Duty, phases: Mapping[JobPhase, int], number: int | None = None
) -> Party:
    """Return a party that has reached these phases, ms after the request."""
    return Party(
        principal=name,
        role=Role.MPCS if duty is Duty.COMPUTE else Role.CLIENT,
        duties=(duty,),
        party=number,
        answer="accepted",
        phase=list(phases)[-1] if phases else None,
        rows=None,
        bytes=None,
        times={phase: at(when) for phase, when in phases.items()},
    )


PARTIES = (
    party("Liberty001", Duty.INPUT, SOURCE),
    party("MPC_server_002", Duty.COMPUTE, SERVER, 1),
    party("MPC_server_001", Duty.COMPUTE, SERVER, 0),
    party("Analytics001", Duty.OUTPUT, CONSUMER),
)


def job(
    times: Mapping[Moment, int] = DONE,
    parties: tuple[Party, ...] = PARTIES,
    outcome: Outcome | None = Outcome.DONE,
    number: str = "J001",
    party: str | None = None,
    reason: str | None = None,
) -> Job:
    """Return a job with these times, ms after its request."""
    return Job(
        job="00" * 16,
        number=number,
        consumer="Analytics001",
        statistic="mean",
        datasets=("visits",),
        columns=("mdvis",),
        engine="additive",
        epoch=1,
        state=JobStage.STARTED if outcome is None else JobStage.CLOSED,
        outcome=outcome,
        code=FailureCode.LINK_FAILED if outcome is Outcome.FAILED else None,
        party=party,
        reason=reason,
        deadline=at(60_000),
        result_expires=at(120_000),
        times={moment: at(when) for moment, when in times.items()},
        parties=parties,
    )
