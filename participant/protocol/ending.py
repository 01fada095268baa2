"""How jobs end at a participant: closed, aborted, broken, out of time."""

from dataclasses import replace

from participant.protocol import consumer
from participant.protocol.model import (
    IN_DATA_PROCESS,
    OVER,
    Broke,
    Ending,
    PartyJob,
    Stage,
)
from participant.protocol.moves import DEADLINE, EXPIRY, Move, end, moved, refuse
from shared.errors import FailureCode, RefusalCode, RefusedError
from shared.messages import JobAbort, JobClosed, JobPhase, JobReport, Outcome
from shared.names import MANAGER, Principal
from shared.protocol.machine import Context, Send, TimerFired, Transition


def closed(
    state: PartyJob | None, message: JobAbort | JobClosed, context: Context
) -> Move:
    """End the job as the manager says; a word about an older epoch is not ours."""
    if state is None or 0 < message.epoch < state.epoch:
        return Transition(state)
    number = message.number if isinstance(message, JobClosed) else state.number
    if state.stage in OVER:
        # The consumer has its result; what the manager adds is the number.
        return Transition(replace(state, number=number or state.number))
    if message.outcome is Outcome.DONE and state.result_key is not None:
        # Delivered, says the manager, and the result is not here: another process
        # of this identity acknowledged it, or this one ended in between.
        return end(
            state,
            Ending(
                Outcome.EXPIRED,
                FailureCode.RESULT_EXPIRED,
                reason="the result was acknowledged and is not in this home",
            ),
            context,
        )
    word = Ending(message.outcome, message.code, message.party, message.reason)
    return end(replace(state, number=number or state.number), word, context)


def failed_report(
    state: PartyJob,
    code: FailureCode,
    at: int,
    peer: Principal | None = None,
) -> Send:
    """Return the report that this party's part failed."""
    return Send(
        MANAGER,
        JobReport(
            job=state.job,
            epoch=state.epoch,
            phase=JobPhase.FAILED,
            at=at,
            peer=peer,
            code=code,
        ),
    )


def broke(state: PartyJob, event: Broke, context: Context) -> Move:
    """Report that the data process gave up; the manager ends the job for all."""
    is_live = state.stage in IN_DATA_PROCESS or state.stage is Stage.COMPUTED
    if event.epoch != state.epoch or not is_live:
        return Transition(state)
    if state.is_recovered and state.is_consumer:
        return consumer.fetch_failed(state, event, context)
    failed = replace(
        moved(state, Stage.FAILED, context),
        ending=Ending(Outcome.FAILED, event.code, event.peer, event.reason),
    )
    return Transition(failed, (failed_report(state, event.code, event.at, event.peer),))


def data_process_lost(state: PartyJob, context: Context) -> Move:
    """Fail what was in the data process; a sealed share on disk is served again."""
    lost = "the data process of this party ended"
    if state.stage in {Stage.PREPARING, Stage.ACCEPTED}:
        return refuse(state, "offer", RefusedError(lost, RefusalCode.INTERNAL))
    if state.stage is Stage.COMPUTED:
        return Transition(replace(state, is_recovered=True))
    if state.stage not in IN_DATA_PROCESS:
        return Transition(state)
    if state.is_recovered and state.is_consumer:
        return Transition(state)
    failed = replace(
        moved(state, Stage.FAILED, context),
        ending=Ending(Outcome.FAILED, FailureCode.INTERNAL, None, lost),
    )
    return Transition(
        failed, (failed_report(state, FailureCode.INTERNAL, context.now_ms),)
    )


def timer_fired(state: PartyJob, event: TimerFired, context: Context) -> Move:
    """End what nobody else ended in time."""
    if state.stage in OVER:
        return Transition(state)
    if event.name == EXPIRY:
        word = Ending(
            Outcome.EXPIRED,
            FailureCode.RESULT_EXPIRED,
            reason="nobody fetched the result in time",
        )
        return end(state, word, context)
    if event.name == consumer.POLL:
        return consumer.poll(state, context)
    if event.name == DEADLINE and state.is_consumer:
        return consumer.deadline_passed(state, context)
    if event.name == DEADLINE and state.stage is not Stage.COMPUTED:
        word = Ending(
            Outcome.FAILED,
            FailureCode.DEADLINE,
            reason="the deadline passed and the manager did not say more",
        )
        return end(state, word, context)
    return Transition(state)
