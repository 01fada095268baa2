"""The consumer's half of the job machine: asking, waiting, fetching later."""

from dataclasses import replace

from participant.protocol.model import (
    OVER,
    Asked,
    Ending,
    Party,
    PartyJob,
    RequestRefused,
    Stage,
)
from participant.protocol.moves import (
    DEADLINE,
    GRACE_MS,
    Move,
    end,
    expiry_timer,
    fail,
    timer,
)
from participant.protocol.plan import fetch_plan
from shared.errors import ErrorCode, FailureCode, RefusedError
from shared.messages import (
    JobCancel,
    JobCollect,
    JobQuery,
    JobRequest,
    JobStage,
    JobState,
    JobSummary,
    JobTickets,
    Outcome,
)
from shared.names import MANAGER, Duty
from shared.protocol.machine import Context, Send, Transition

POLL = "poll"
POLL_MS = 2_000
MAX_TRIES = 5
"""How often a result is fetched in vain before the job counts as failed."""
MAX_WAIT_MS = 2 * GRACE_MS
UNHEARD_GRACE_MS = 2_000
"""The same for a request that nobody answered."""

_LINK_CODES = frozenset(
    {FailureCode.LINK_FAILED, FailureCode.PARTY_LOST, FailureCode.TRUNCATED}
)
_LATER = frozenset(
    {ErrorCode.BUSY, ErrorCode.EXPIRED, ErrorCode.SUPERSEDED, ErrorCode.UNKNOWN_SESSION}
)
"""Errors that say nothing against the request itself."""


def ask(state: PartyJob | None, event: Asked, context: Context) -> Move:
    """Ask for a job; asking for it again changes nothing."""
    if state is not None:
        return Transition(state)
    job = PartyJob(
        job=event.job,
        spec=event.spec,
        spec_sig=event.spec_sig,
        stage=Stage.ASKED,
        deadline=event.deadline,
        result_exp=event.result_exp,
        result_key=event.result_key,
        times=(("requested", context.now_ms),),
    )
    due = timer(DEADLINE, job.deadline + UNHEARD_GRACE_MS)
    return Transition(job, (due, _request(job)))


def session_began(state: PartyJob, context: Context) -> Move:
    """Ask again for what a lost message or an ended process left open."""
    if state.result_key is None or state.stage in OVER:
        return Transition(state)
    if state.stage is Stage.ASKED:
        return Transition(state, (_request(state),))
    if state.is_recovered:
        return poll(state, context)
    return Transition(state)


def cancel(state: PartyJob) -> Move:
    """Tell the manager that nobody wants the result; it closes the job for all."""
    if state.stage in OVER:
        return Transition(state)
    return Transition(state, (Send(MANAGER, JobCancel(job=state.job)),))


def request_refused(state: PartyJob, event: RequestRefused, context: Context) -> Move:
    """End a job that the manager does not take."""
    is_asked = state.stage is Stage.ASKED
    if state.stage in OVER or not (is_asked or state.is_recovered):
        return Transition(state)
    if event.code in _LATER or (event.code is ErrorCode.JOB_STATE and not is_asked):
        return Transition(state, (timer(POLL, context.now_ms + POLL_MS),))
    word = Ending(
        Outcome.FAILED,
        FailureCode.REFUSED,
        MANAGER,
        f"the manager refused the request: {event.code}",
    )
    return end(state, word, context)


def poll(state: PartyJob, context: Context) -> Move:
    """Ask the manager where the job stands."""
    if state.stage is Stage.ASKED:
        return Transition(state, (_request(state),))
    if state.stage is Stage.FAILED:
        return Transition(state)
    if state.ending is not None:
        if state.tries + 1 >= MAX_TRIES:
            return fail(state, context)
        state = replace(state, tries=state.tries + 1)
    query = Send(MANAGER, JobQuery(job=state.job))
    return Transition(state, (query, timer(POLL, context.now_ms + POLL_MS)))


def deadline_passed(state: PartyJob, context: Context) -> Move:
    """Ask once more how the job ended; then say that nobody knows."""
    is_heard = state.stage is not Stage.ASKED
    if is_heard and context.now_ms < state.deadline + MAX_WAIT_MS:
        due = timer(DEADLINE, state.deadline + MAX_WAIT_MS)
        return Transition(state, (Send(MANAGER, JobQuery(job=state.job)), due))
    if state.is_recovered and is_heard:
        # The servers may have computed: the result can be fetched until it expires.
        return Transition(state, (expiry_timer(state),))
    word = Ending(
        Outcome.FAILED,
        FailureCode.DEADLINE,
        MANAGER,
        "the deadline passed and the manager did not answer; see whether it runs",
    )
    return end(state, word, context)


def told(state: PartyJob | None, message: JobState, context: Context) -> Move:
    """Go by what the manager says of this job."""
    if state is None or state.stage in OVER:
        return Transition(state)
    found = next((entry for entry in message.jobs if entry.job == state.job), None)
    if found is None:
        if state.stage is Stage.ASKED:
            return Transition(state)
        word = Ending(
            Outcome.FAILED,
            FailureCode.INTERNAL,
            MANAGER,
            "the manager does not know the job",
        )
        return end(state, word, context)
    noted = replace(state, number=found.number, note=found.reason)
    return _told(noted, found, context)


def _told(state: PartyJob, found: JobSummary, context: Context) -> Move:
    if found.state is JobStage.CLOSED:
        outcome = found.outcome or Outcome.FAILED
        code = found.code or FailureCode.INTERNAL
        reason = found.reason
        if outcome is Outcome.DONE:
            outcome, code = Outcome.EXPIRED, FailureCode.RESULT_EXPIRED
            reason = "the result was acknowledged and is not in this home"
        return end(state, Ending(outcome, code, found.party, reason), context)
    is_ready = found.state in {JobStage.COMPUTED, JobStage.DELIVERED}
    if state.is_recovered and is_ready and state.manifest:
        return Transition(state, (Send(MANAGER, JobCollect(job=state.job)),))
    has_begun = is_ready or found.state is JobStage.STARTED
    if has_begun and not state.manifest and context.now_ms >= state.deadline:
        word = Ending(
            Outcome.FAILED,
            FailureCode.DEADLINE,
            MANAGER,
            "the job began without this party: the manager's start did not arrive",
        )
        return end(state, word, context)
    return Transition(state)


def tickets(
    state: PartyJob | None, message: JobTickets, context: Context, party: Party
) -> Move:
    """Fetch a result that was computed while this party was away."""
    if state is None or not state.is_recovered or state.result_key is None:
        return Transition(state)
    try:
        run = fetch_plan(state, message, party, context.now_ms)
    except RefusedError as error:
        word = Ending(Outcome.FAILED, FailureCode.INTERNAL, None, str(error))
        return end(state, word, context)
    started = replace(state, stage=Stage.STARTED)
    # While the data process fetches, the manager need not be asked.
    patience = timer(POLL, context.now_ms + 10 * POLL_MS)
    return Transition(started, (patience, replace(run, state=started)))


def may_fetch_again(state: PartyJob, code: FailureCode) -> bool:
    """Say whether the MPC servers may have computed although this party failed.

    One that gives input too may have failed before its shares were out.
    """
    if not state.is_consumer:
        return False
    if state.is_recovered:
        return True
    return Duty.INPUT not in state.duties and code in _LINK_CODES


def fetch_failed(state: PartyJob, context: Context) -> Move:
    """Ask for fresh tickets in a moment; after some tries report the failure.

    A server that restarted after it computed has a new TLS key, for instance.
    """
    if state.tries + 1 >= MAX_TRIES:
        return fail(state, context)
    again = replace(state, tries=state.tries + 1, is_recovered=True)
    return Transition(again, (timer(POLL, context.now_ms + POLL_MS),))


def _request(state: PartyJob) -> Send:
    return Send(MANAGER, JobRequest(spec=state.spec, spec_sig=state.spec_sig))
