"""A job after its start: what parties report, who is lost, what is overdue."""

from dataclasses import replace
from datetime import timedelta

from manager.protocol import job_notices
from manager.protocol.job_ending import (
    DEADLINE_TIMER,
    REPORTS_TIMER,
    RESULT_TIMER,
    Step,
    Surroundings,
    close,
    fail,
    moment,
    with_error,
)
from manager.protocol.job_state import PHASES, STAGES, JobParty, JobState, Moment
from manager.protocol.model import JobEffect, MarkOffline, Start
from shared.errors import ErrorCode, FailureCode
from shared.messages import JobPhase, JobRefuse, JobReport, JobStage, Outcome
from shared.names import Duty, Principal
from shared.protocol.machine import CancelTimer, Received, SetTimer, Transition

REPORTS_GRACE = timedelta(seconds=2)
"""How long a job whose result is delivered waits for the reports still under way."""


def report(
    state: JobState, received: Received, message: JobReport, around: Surroundings
) -> Step:
    """Note how far a party is; end the job when it failed or has its result."""
    party = state.find(received.sender)
    if party is None or _is_others(party, message.phase):
        return Transition(state, (job_notices.forbidden(received),))
    if message.epoch != state.epoch:
        return with_error(state, received, ErrorCode.JOB_STATE)
    reached = [(each.phase, each.at) for each in message.earlier or ()]
    if message.phase is not JobPhase.FAILED:
        reached.append((message.phase, message.at))
    changed = party
    # By the party's clock, as far as that can be true.
    started = state.time(Moment.STARTED) or 0
    for phase, said in reached:
        if phase not in PHASES or _is_others(party, phase):
            return Transition(state, (job_notices.forbidden(received),))
        if not changed.has_reached(phase):
            at = max(started, min(said, around.context.now_ms))
            changed = replace(changed, phase=phase, times=(*changed.times, (phase, at)))
    if message.phase is JobPhase.FAILED:
        return _failed(state.with_party(changed), changed, message, around)
    if changed == party:
        return Transition(state)
    return _advance(state.with_party(changed), around)


def refuse(
    state: JobState, received: Received, message: JobRefuse, around: Surroundings
) -> Step:
    """End a job that a party refuses when it sees the manifest."""
    party = state.find(received.sender)
    is_over = state.stage is JobStage.DELIVERED or message.epoch != state.epoch
    if party is None or is_over or _is_through(state, party):
        return with_error(state, received, ErrorCode.JOB_STATE)
    reason = f"{party.p} refused at the start: {message.code}"
    if message.reason is not None:
        reason += f": {message.reason}"
    return fail(state, around.context, FailureCode.REFUSED, reason, party.p)


def gone(state: JobState, principal: Principal, around: Surroundings) -> Step:
    """End a job that has lost a party which it still needs."""
    party = state.find(principal)
    if party is None or state.is_past(JobStage.COMPUTED) or _is_through(state, party):
        return Transition(state)
    reason = f"{principal} is not connected any more and the job still needs it"
    step = fail(state, around.context, FailureCode.PARTY_LOST, reason, principal)
    return Transition(step.state, (MarkOffline(principal), *step.effects))


def back(state: JobState, principal: Principal) -> Step:
    """Send the start again to a party whose part is not done.

    One that knows it ignores it; one that has lost its keys refuses it, so that
    nobody waits for it. A consumer that has linked asks for its result itself.
    """
    party = state.find(principal)
    if party is None or _is_through(state, party):
        return Transition(state)
    if state.stage is JobStage.COMPUTED and party.phase is not None:
        return Transition(state)
    return Transition(state, (Start(state.job, (principal,)),))


def overdue(state: JobState, around: Surroundings) -> Step:
    """End a job that has not computed by its deadline; say who is waited for."""
    party, wanted = _waited_for(state)
    reason = f"the deadline has passed: {wanted}"
    return fail(state, around.context, FailureCode.DEADLINE, reason, party)


def not_fetched(state: JobState, around: Surroundings) -> Step:
    """End a job whose result nobody fetched in time."""
    return close(
        state,
        around.context,
        Outcome.EXPIRED,
        FailureCode.RESULT_EXPIRED,
        f"{state.consumer} did not fetch the result before it expired",
        state.consumer,
    )


def _has_result(party: JobParty) -> bool:
    return Duty.OUTPUT in party.duties and party.has_reached(JobPhase.DELIVERED)


def _is_others(party: JobParty, phase: JobPhase) -> bool:
    """Say whether a phase is one that only another kind of party reports."""
    return phase is JobPhase.COMPUTED and not party.is_server


def _is_through(state: JobState, party: JobParty) -> bool:
    """Say whether a job can go on without this party from now on."""
    if Duty.OUTPUT in party.duties:
        return False
    if party.is_server:
        return party.has_reached(JobPhase.COMPUTED)
    # A server runs once all its inputs are there.
    return party.has_reached(JobPhase.DELIVERED) or all(
        server.has_reached(JobPhase.RUNNING) for server in state.servers
    )


def _failed(
    state: JobState, party: JobParty, message: JobReport, around: Surroundings
) -> Step:
    """End a job that failed at a party, unless that one's part was done."""
    if state.stage is JobStage.DELIVERED or _is_through(state, party):
        return Transition(state)
    code = message.code or FailureCode.INTERNAL
    if code is FailureCode.DONE:
        code = FailureCode.INTERNAL
    reason = f"{party.p} reports: {code}"
    culprit = party.p
    if message.peer is not None and state.find(message.peer) is not None:
        culprit = message.peer
        reason += f", with {culprit}"
    return fail(state, around.context, code, reason, culprit)


def _advance(state: JobState, around: Surroundings) -> Step:
    """Move the job on to what its parties' reports add up to."""
    servers = state.servers
    reached = (
        (JobStage.LINKED, Moment.READY, JobPhase.LINKED, state.parties),
        (JobStage.RUNNING, Moment.RUNNING, JobPhase.RUNNING, servers),
        (JobStage.COMPUTED, Moment.COMPUTED, JobPhase.COMPUTED, servers),
    )
    effects: tuple[JobEffect, ...] = ()
    for stage, when, phase, parties in reached:
        if state.time(when) is None and all(p.has_reached(phase) for p in parties):
            last = max(party.reached_at(phase) for party in parties)
            state = replace(state, stage=max(state.stage, stage, key=STAGES.index)).at(
                when, last
            )
            if stage is JobStage.COMPUTED:
                effects = (
                    CancelTimer(DEADLINE_TIMER),
                    SetTimer(RESULT_TIMER, moment(state.result_exp)),
                )
    receivers = [party for party in state.parties if _has_result(party)]
    if not receivers:
        return Transition(state, effects)
    if state.time(Moment.DONE) is None:
        state = state.at(Moment.DONE, receivers[0].reached_at(JobPhase.DELIVERED))
    if all(state.time(when) is not None for _, when, *_ in reached):
        return delivered(state, around)
    if state.stage is JobStage.DELIVERED:
        return Transition(state)
    # The consumer's report has overtaken others: the time-line waits for them.
    late = SetTimer(REPORTS_TIMER, around.context.now + REPORTS_GRACE)
    state = replace(state, stage=JobStage.DELIVERED)
    return Transition(state, (*effects, CancelTimer(DEADLINE_TIMER), late))


def delivered(state: JobState, around: Surroundings) -> Step:
    """Close a job whose consumer has the result."""
    return close(
        state,
        around.context,
        Outcome.DONE,
        FailureCode.DONE,
        f"{state.consumer} has the result",
    )


def _waited_for(state: JobState) -> tuple[Principal | None, str]:
    """Return who has not done what the job waits for, and what that is."""
    if state.stage is JobStage.REQUESTED:
        return None, state.reason or "waiting for a free MPC server"
    unanswered = [party.p for party in state.parties if not party.has_accepted]
    if unanswered:
        return unanswered[0], f"{unanswered[0]} has not answered the offer"
    unlinked = [p.p for p in state.parties if not p.has_reached(JobPhase.LINKED)]
    if unlinked:
        return unlinked[0], f"{unlinked[0]} has not reported all its links"
    unfinished = [s for s in state.servers if not s.has_reached(JobPhase.COMPUTED)]
    server = unfinished[0]
    if server.has_reached(JobPhase.RUNNING):
        return server.p, f"{server.p} has not finished computing"
    return server.p, f"{server.p} has not got all inputs"
