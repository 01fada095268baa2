"""The job machine at the manager: from a request to an end that everybody hears.

Source: docs/protocol.md, "Job". Handlers are idempotent: a message that comes twice,
late or in the wrong order changes nothing or is refused.
"""

from datetime import timedelta
from typing import assert_never

from manager.protocol import job_notices, job_offers, job_progress, job_roster
from manager.protocol.job_ending import (
    DEADLINE_TIMER,
    REPORTS_TIMER,
    RESULT_TIMER,
    Step,
    Surroundings,
    close,
    fail,
    moment,
    offer_timer,
    start_timer,
    with_error,
)
from manager.protocol.job_state import JobSettings, JobState, Moment
from manager.protocol.model import (
    CancelledByOperator,
    Collect,
    JobEffect,
    JobEvent,
    PartyBack,
    PartyGone,
    PartyRevoked,
    Pool,
    SlotFreed,
)
from shared.errors import ErrorCode, FailureCode
from shared.messages import (
    JobAccept,
    JobCancel,
    JobCollect,
    JobQuery,
    JobRefuse,
    JobReport,
    JobRequest,
    JobStage,
    Outcome,
)
from shared.names import Principal
from shared.protocol.machine import (
    Context,
    Received,
    Send,
    TimerFired,
    Transition,
)

CLOSED_REPEATED = timedelta(hours=1)
"""How long after its end a job is told again to a party with a new session."""


def forbidden(received: Received) -> Send:
    """Return the answer to a message about a job that does not exist."""
    return job_notices.forbidden(received)


def step(
    state: JobState,
    event: JobEvent,
    context: Context,
    pool: Pool,
    settings: JobSettings,
) -> Step:
    """Return the job after an event, and what the shell shall do.

    Args:
        state: the job that the event is about; see ``request`` and ``forbidden``
            for messages about a job that does not exist.
        event: what happened.
        context: of this step.
        pool: who is online.
        settings: of the realm.
    """
    around = Surroundings(context, pool, settings)
    match event:
        case Received():
            return _received(state, event, around)
        case TimerFired():
            return _timer_fired(state, event.name, around)
        case PartyGone():
            return _gone(state, event, around)
        case PartyBack():
            return _back(state, event, around)
        case SlotFreed():
            if state.stage is JobStage.REQUESTED:
                return job_roster.try_again(state, around)
            return Transition(state)
        case PartyRevoked(principal=principal):
            return _revoked(state, principal, around)
        case CancelledByOperator():
            if state.is_closed:
                return Transition(state)
            return _cancel(state, "the operator cancelled the job", around)
        case _:
            assert_never(event)


def _received(state: JobState, received: Received, around: Surroundings) -> Step:
    """Handle a message; who is not in the job learns nothing of it."""
    message = received.message
    if not state.knows(received.sender):
        return Transition(state, (forbidden(received),))
    match message:
        case JobAccept() | JobRefuse() | JobReport():
            return _from_party(state, received, message, around)
        case JobRequest() | JobCancel() | JobQuery() | JobCollect():
            if received.sender != state.consumer:
                return Transition(state, (forbidden(received),))
            return _from_consumer(state, received, message, around)
        case _:
            return Transition(state, (forbidden(received),))


def _from_party(
    state: JobState,
    received: Received,
    message: JobAccept | JobRefuse | JobReport,
    around: Surroundings,
) -> Step:
    if state.is_closed and isinstance(message, JobAccept):
        again = job_notices.closed(state, received.sender, received.mid)
        return Transition(state, (again,))
    match message:
        case JobAccept() if not state.is_closed:
            return job_offers.accept(state, received, message, around)
        case JobRefuse(stage="offer") if state.stage is JobStage.OFFERED:
            return job_offers.refuse(state, received, message, around)
        case JobRefuse(stage="start") if state.is_running:
            return job_progress.refuse(state, received, message, around)
        case JobReport() if state.is_running:
            return job_progress.report(state, received, message, around)
        case _:
            return with_error(state, received, ErrorCode.JOB_STATE)


def _from_consumer(
    state: JobState,
    received: Received,
    message: JobRequest | JobCancel | JobQuery | JobCollect,
    around: Surroundings,
) -> Step:
    match message:
        case JobQuery():
            return Transition(state, (job_notices.standing(state, received.mid),))
        case JobRequest():
            return _requested_again(state, received, message)
        case _ if state.is_closed:
            again = job_notices.closed(state, received.sender, received.mid)
            return Transition(state, (again,))
        case JobCancel():
            return _cancel(state, "the consumer cancelled the job", around)
        case JobCollect():
            if state.stage is JobStage.COMPUTED:
                return Transition(state, (Collect(state.job, received),))
            return with_error(state, received, ErrorCode.JOB_STATE)
        case _:
            assert_never(message)


def _requested_again(state: JobState, received: Received, message: JobRequest) -> Step:
    """Answer a repeated request by where the job stands; nothing begins anew."""
    if message.spec != state.spec:
        return with_error(state, received, ErrorCode.JOB_STATE)
    if state.is_closed:
        again = job_notices.closed(state, received.sender, received.mid)
        return Transition(state, (again,))
    effects: tuple[JobEffect, ...] = (job_notices.standing(state, received.mid),)
    party = state.find(state.consumer)
    if party is not None and state.stage is JobStage.OFFERED and not party.has_accepted:
        effects = (*effects, job_notices.offer(state, party))
    return Transition(state, effects)


def _timer_fired(state: JobState, name: str, around: Surroundings) -> Step:
    """Act on a timer that still means something in this stage."""
    is_offered = state.stage is JobStage.OFFERED
    if name == offer_timer(state.epoch) and is_offered:
        return job_offers.servers_silent(state, around)
    if name == start_timer(state.epoch) and is_offered:
        return job_offers.parties_silent(state, around)
    if name == DEADLINE_TIMER and not state.is_past(JobStage.COMPUTED):
        return job_progress.overdue(state, around)
    if name == RESULT_TIMER and state.stage is JobStage.COMPUTED:
        return job_progress.not_fetched(state, around)
    if name == REPORTS_TIMER and state.stage is JobStage.DELIVERED:
        return job_progress.delivered(state, around)
    return Transition(state)


def _gone(state: JobState, event: PartyGone, around: Surroundings) -> Step:
    if state.stage is JobStage.OFFERED:
        return job_offers.gone(state, event.principal, around)
    if state.is_running:
        return job_progress.gone(state, event.principal, around)
    return Transition(state)


def _back(state: JobState, event: PartyBack, around: Surroundings) -> Step:
    """Send again what is open for a party that has a new session."""
    if state.stage is JobStage.OFFERED:
        return job_offers.back(state, event.principal, around)
    if state.is_running:
        return job_progress.back(state, event.principal)
    ended = state.time(Moment.CLOSED)
    if ended is None or not state.knows(event.principal):
        return Transition(state)
    if around.context.now > moment(ended) + CLOSED_REPEATED:
        return Transition(state)
    return Transition(state, (job_notices.closed(state, event.principal),))


def _revoked(state: JobState, party: Principal, around: Surroundings) -> Step:
    """End a job in which a revoked party has a part; a delivered one is done."""
    if state.is_closed:
        return Transition(state)
    if state.stage is JobStage.DELIVERED:
        return job_progress.delivered(state, around)
    reason = f"the operator revoked {party}"
    return fail(state, around.context, FailureCode.REVOKED, reason, party)


def _cancel(state: JobState, reason: str, around: Surroundings) -> Step:
    """End a job before its time; one whose result is delivered is simply done."""
    if state.stage is JobStage.DELIVERED:
        return job_progress.delivered(state, around)
    outcome, code = Outcome.CANCELLED, FailureCode.CANCELLED
    return close(state, around.context, outcome, code, reason)
