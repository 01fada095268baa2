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
from participant.protocol.moves import (
    DEADLINE,
    EXPIRY,
    REPORT,
    Move,
    end,
    fail,
    refuse,
    tell,
)
from shared.errors import FailureCode, RefusalCode, RefusedError
from shared.messages import JobAbort, JobClosed, Outcome
from shared.protocol.machine import Context, TimerFired, Transition


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


def broke(state: PartyJob, event: Broke, context: Context) -> Move:
    """Report that the data process gave up; the manager ends the job for all."""
    is_live = state.stage in IN_DATA_PROCESS or state.stage is Stage.COMPUTED
    if event.epoch != state.epoch or not is_live:
        return Transition(state)
    word = Ending(Outcome.FAILED, event.code, event.peer, event.reason)
    if consumer.may_fetch_again(state, event.code):
        return consumer.fetch_failed(replace(state, ending=word), context)
    return fail(replace(state, ending=word), context)


def data_process_lost(state: PartyJob, context: Context) -> Move:
    """Fail what was in the data process; a sealed share on disk is served again."""
    lost = "the data process of this party ended"
    if state.stage in {Stage.PREPARING, Stage.ACCEPTED}:
        return refuse(state, "offer", RefusedError(lost, RefusalCode.INTERNAL))
    if state.stage is Stage.COMPUTED:
        return Transition(replace(state, is_recovered=True))
    if state.stage not in IN_DATA_PROCESS:
        return Transition(state)
    word = Ending(Outcome.FAILED, FailureCode.INTERNAL, None, lost)
    if consumer.may_fetch_again(state, FailureCode.PARTY_LOST):
        return consumer.fetch_failed(replace(state, ending=word), context)
    return fail(replace(state, ending=word), context)


def timer_fired(state: PartyJob, event: TimerFired, context: Context) -> Move:
    """End what nobody else ended in time."""
    if state.stage in OVER:
        return Transition(state)
    if event.name == REPORT:
        return tell(state)
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
