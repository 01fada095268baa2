"""How a job ends: everybody hears why, and nothing is left waiting."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from manager.protocol import job_notices
from manager.protocol.job_state import JobSettings, JobState, Moment
from manager.protocol.model import JobEffect, Pool
from shared.errors import ErrorCode, FailureCode
from shared.messages import JobStage, Outcome
from shared.names import Principal
from shared.protocol.machine import (
    EPOCH_START,
    CancelTimer,
    Context,
    Received,
    Transition,
)

DEADLINE_TIMER = "deadline"
RESULT_TIMER = "result"
REPORTS_TIMER = "reports"

Step = Transition[JobState, JobEffect]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step may look at besides the job and the event."""

    context: Context
    pool: Pool
    settings: JobSettings


def offer_timer(epoch: int) -> str:
    """Return the name of the timer within which MPC servers answer an offer."""
    return f"offer.{epoch}"


def start_timer(epoch: int) -> str:
    """Return the name of the timer within which everybody answers an offer."""
    return f"start.{epoch}"


def moment(milliseconds: int) -> datetime:
    """Return milliseconds since the Unix epoch as an aware time in UTC."""
    return EPOCH_START + timedelta(milliseconds=milliseconds)


def with_error(state: JobState, received: Received, code: ErrorCode) -> Step:
    """Refuse a message and leave the job as it is."""
    return Transition(state, (job_notices.error(received, code),))


def close(
    state: JobState,
    context: Context,
    outcome: Outcome,
    code: FailureCode,
    reason: str,
    party: Principal | None = None,
) -> Step:
    """End the job: stop who was started, tell everybody who was ever offered it.

    Args:
        state: not closed.
        context: of this step.
        outcome: how it ends.
        code: why.
        reason: the same for a person; it is made printable and cut.
        party: whose doing or loss it is, if anybody's.
    """
    ended = replace(
        state,
        stage=JobStage.CLOSED,
        outcome=outcome,
        code=code,
        party=party,
        reason=job_notices.bounded(reason),
    ).at(Moment.CLOSED, context.now_ms)
    is_stopped = state.is_running and outcome is not Outcome.DONE
    stopped = state.parties if is_stopped else ()
    others = tuple(p for p in state.offered if p != state.consumer)
    return Transition(
        ended,
        (
            CancelTimer(DEADLINE_TIMER),
            CancelTimer(RESULT_TIMER),
            CancelTimer(REPORTS_TIMER),
            CancelTimer(offer_timer(state.epoch)),
            CancelTimer(start_timer(state.epoch)),
            *(job_notices.abort(ended, each.p) for each in stopped),
            *(job_notices.closed(ended, each) for each in (state.consumer, *others)),
        ),
    )


def fail(
    state: JobState,
    context: Context,
    code: FailureCode,
    reason: str,
    party: Principal | None = None,
) -> Step:
    """End the job without a result; arguments as for ``close``."""
    return close(state, context, Outcome.FAILED, code, reason, party)
