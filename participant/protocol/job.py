"""The job machine of a participant: source, MPC server or consumer.

Source: docs/protocol.md, section "Job". Every handler may meet a message twice, late
or out of order: it is idempotent by job, epoch, type and nonce, or it does nothing.
"""

from dataclasses import replace
from typing import assert_never

from participant.protocol import consumer, ending
from participant.protocol.consent import check_offer
from participant.protocol.model import (
    IN_DATA_PROCESS,
    OVER,
    Asked,
    Broke,
    Cancelled,
    DataEvent,
    DataProcessLost,
    DataReady,
    DataRefused,
    JobEffect,
    JobEvent,
    Party,
    PartyJob,
    Prepare,
    Reached,
    Recovered,
    RequestRefused,
    SessionBegan,
    Stage,
    Stop,
)
from participant.protocol.moves import (
    REPORT,
    REPORT_PAUSE_MS,
    Move,
    deadline_timer,
    expiry_timer,
    moved,
    refusal_of,
    refuse,
    timer,
)
from participant.protocol.plan import serve_plan, start_plan
from shared.crypto.derivation import equal, spec_hash
from shared.errors import DecodeError, FailureCode, RefusalCode, RefusedError
from shared.messages import (
    JobAbort,
    JobAccept,
    JobClosed,
    JobOffer,
    JobPhase,
    JobReport,
    JobStart,
    JobState,
    JobTickets,
    PhaseTime,
    read_spec,
)
from shared.names import MANAGER, Duty
from shared.protocol.machine import (
    CancelTimer,
    Context,
    Received,
    Send,
    TimerFired,
    Transition,
)

NONCE_BYTES = 16

_PHASES = {
    Stage.LINKED: JobPhase.LINKED,
    Stage.RUNNING: JobPhase.RUNNING,
    Stage.COMPUTED: JobPhase.COMPUTED,
    Stage.DELIVERED: JobPhase.DELIVERED,
}
_REPORTED_AT_ONCE = frozenset({Stage.COMPUTED, Stage.DELIVERED})
"""Phases that something waits for: a free slot, the end of the job."""
_ORDER = (
    Stage.STARTED,
    Stage.LINKED,
    Stage.RUNNING,
    Stage.COMPUTED,
    Stage.DELIVERED,
)


def step(
    state: PartyJob | None, event: JobEvent, context: Context, party: Party
) -> Transition[PartyJob | None, JobEffect]:
    """Return the job after an event, and what the shell shall do.

    Args:
        state: the job, or ``None`` where this participant knows none of that id.
        event: what happened.
        context: time and entropy.
        party: this participant, its rules and its session.
    """
    if isinstance(event, Received):
        return _received(state, event, context, party)
    if isinstance(event, Asked):
        return consumer.ask(state, event, context)
    if state is None:
        return Transition(None)
    if isinstance(event, DataEvent):
        return _data_process_said(state, event, context, party)
    match event:
        case Cancelled():
            return consumer.cancel(state)
        case RequestRefused():
            return consumer.request_refused(state, event, context)
        case SessionBegan():
            return _session_began(state, context, party)
        case Recovered():
            return _recovered(state)
        case TimerFired():
            return ending.timer_fired(state, event, context)
        case _:
            assert_never(event)


def _data_process_said(
    state: PartyJob, event: DataEvent, context: Context, party: Party
) -> Move:
    match event:
        case DataReady():
            return _data_ready(state, event, context, party)
        case DataRefused():
            return _data_refused(state, event)
        case Reached():
            return _reached(state, event)
        case Broke():
            return ending.broke(state, event, context)
        case DataProcessLost():
            return ending.data_process_lost(state, context)
        case _:
            assert_never(event)


def _received(
    state: PartyJob | None, event: Received, context: Context, party: Party
) -> Move:
    message = event.message
    match message:
        case JobOffer():
            return _offer(state, message, context, party)
        case JobStart():
            return _start(state, message, context, party)
        case JobAbort() | JobClosed():
            return ending.closed(state, message, context)
        case JobState():
            return consumer.told(state, message, context)
        case JobTickets():
            return consumer.tickets(state, message, context, party)
        case _:
            return Transition(state)


def _offer(
    state: PartyJob | None, offer: JobOffer, context: Context, party: Party
) -> Move:
    """Answer an offer: accept, refuse, or look at the data first."""
    if state is not None and offer.epoch == state.epoch:
        return Transition(state, _same_answer(state, party))
    if state is not None and (
        offer.epoch < state.epoch
        or state.stage in OVER
        or state.stage in {*IN_DATA_PROCESS, Stage.COMPUTED, Stage.FAILED}
    ):
        return Transition(state)
    try:
        _check_possible(state, offer, party)
        spec = check_offer(offer, party.rules, context.now_ms)
    except RefusedError as error:
        return refuse(_offered(state, offer), "offer", error)
    job = _offered(state, offer)
    timer = deadline_timer(job)
    if Duty.INPUT in offer.duties:
        preparing = replace(job, stage=Stage.PREPARING)
        dataset = spec.datasets[0]
        wish = Prepare(job.job, job.epoch, job.spec, dataset)
        return Transition(preparing, (timer, wish))
    accepted = moved(
        replace(job, nonce=context.entropy(NONCE_BYTES)), Stage.ACCEPTED, context
    )
    return Transition(accepted, (timer, _accept(accepted, party)))


def _check_possible(state: PartyJob | None, offer: JobOffer, party: Party) -> None:
    """Refuse what this party did not ask for or has no room for."""
    if Duty.OUTPUT in offer.duties and (
        state is None or state.result_key is None or state.spec != offer.spec
    ):
        raise RefusedError(
            "this party did not ask for this job", RefusalCode.SPEC_INVALID
        )
    held = state is not None and state.takes_slot
    if Duty.COMPUTE in offer.duties and party.slots_free + held < 1:
        raise RefusedError("no slot is free", RefusalCode.BUSY)


def _offered(state: PartyJob | None, offer: JobOffer) -> PartyJob:
    """Return the job as offered; what the consumer knows of its own stays."""
    if state is None:
        try:
            result_exp = read_spec(offer.spec).result_exp
        except DecodeError:
            result_exp = offer.deadline
        state = PartyJob(
            job=offer.job,
            spec=offer.spec,
            spec_sig=offer.spec_sig,
            stage=Stage.PREPARING,
            deadline=offer.deadline,
            result_exp=result_exp,
        )
    return replace(
        state,
        number=offer.number,
        epoch=offer.epoch,
        duties=offer.duties,
        party=offer.party,
        rows=None,
        size=None,
        refusal=None,
    )


def _accept(state: PartyJob, party: Party) -> Send:
    slots = None
    if Duty.COMPUTE in state.duties:
        slots = max(0, party.slots_free)
    return Send(
        MANAGER,
        JobAccept(
            job=state.job,
            epoch=state.epoch,
            spec_hash=spec_hash(state.spec),
            nonce=state.nonce,
            rows=state.rows,
            bytes=state.size,
            slots=slots,
        ),
    )


def _same_answer(state: PartyJob, party: Party) -> tuple[JobEffect, ...]:
    """Return the answer that was given to this very offer before."""
    if state.stage is Stage.ACCEPTED:
        return (_accept(state, party),)
    if state.stage is Stage.REFUSED and state.refusal is not None:
        code, reason = state.refusal
        return refuse(state, "offer", RefusedError(reason, code)).effects
    return ()


def _data_ready(
    state: PartyJob, event: DataReady, context: Context, party: Party
) -> Move:
    if state.stage is not Stage.PREPARING or event.epoch != state.epoch:
        return Transition(state)
    ready = replace(
        state,
        rows=event.rows,
        size=event.size,
        nonce=context.entropy(NONCE_BYTES),
    )
    accepted = moved(ready, Stage.ACCEPTED, context)
    return Transition(accepted, (_accept(accepted, party),))


def _data_refused(state: PartyJob, event: DataRefused) -> Move:
    if state.stage is not Stage.PREPARING or event.epoch != state.epoch:
        return Transition(state)
    return refuse(state, "offer", RefusedError(event.reason, event.code))


def _start(
    state: PartyJob | None, start: JobStart, context: Context, party: Party
) -> Move:
    """Do this party's part if everything about the manifest holds."""
    if state is None:
        unknown = RefusedError(
            "this party does not know the job; it was restarted", RefusalCode.INTERNAL
        )
        return Transition(None, (refusal_of(start.job, start.epoch, "start", unknown),))
    if state.stage is not Stage.ACCEPTED:
        is_mine = start.epoch == state.epoch and equal(start.nonce, state.nonce)
        if is_mine or state.stage in OVER | {Stage.FAILED}:
            return Transition(state)
        wrong = RefusedError(
            "the start does not answer this party's accept",
            RefusalCode.MANIFEST_INVALID,
        )
        return Transition(state, (refusal_of(start.job, start.epoch, "start", wrong),))
    started = moved(
        replace(
            state,
            manifest=start.manifest,
            manifest_sig=start.manifest_sig,
            k_tkt=start.k_tkt,
        ),
        Stage.STARTED,
        context,
    )
    try:
        pins, run = start_plan(started, start, party, context.now_ms)
    except RefusedError as error:
        if (start.epoch, start.nonce) != (state.epoch, state.nonce):
            # A start that is not for us ends nothing that was agreed.
            return Transition(
                state, (refusal_of(start.job, start.epoch, "start", error),)
            )
        return refuse(state, "start", error)
    effects: tuple[JobEffect, ...] = (pins, run) if pins.pins else (run,)
    return Transition(started, effects)


def _reached(state: PartyJob, event: Reached) -> Move:
    """Take down and report a phase that the data process reached."""
    if event.epoch != state.epoch or state.stage not in _ORDER:
        return Transition(state)
    if _ORDER.index(event.stage) <= _ORDER.index(state.stage):
        return Transition(state)
    times = (*state.times, (event.stage.value, event.at))
    reached = replace(state, stage=event.stage, times=times)
    if event.stage is Stage.DELIVERED and state.is_consumer:
        reached = replace(reached, result=event.result, result_key=None, ending=None)
    if event.stage not in _REPORTED_AT_ONCE:
        phase = PhaseTime(phase=_PHASES[event.stage], at=event.at)
        later = timer(REPORT, event.at + REPORT_PAUSE_MS)
        waiting = replace(reached, untold=(*state.untold, phase))
        return Transition(waiting, () if state.untold else (later,))
    report = JobReport(
        job=state.job,
        epoch=state.epoch,
        phase=_PHASES[event.stage],
        at=event.at,
        bytes_in=event.bytes_in,
        bytes_out=event.bytes_out,
        ms=event.elapsed_ms,
        earlier=state.untold or None,
    )
    effects: tuple[JobEffect, ...] = (CancelTimer(REPORT), Send(MANAGER, report))
    if event.stage is Stage.COMPUTED:
        effects = (*effects, expiry_timer(state))
    return Transition(replace(reached, untold=()), effects)


def _session_began(state: PartyJob, context: Context, party: Party) -> Move:
    if state.is_recovered and state.stage is Stage.COMPUTED and not state.is_consumer:
        served = replace(state, is_recovered=False)
        try:
            return Transition(served, (serve_plan(served, party),))
        except RefusedError:
            stop = Stop(state.job, FailureCode.INTERNAL, discards=True)
            return Transition(replace(served, stage=Stage.FAILED), (stop,))
    if state.is_recovered and not state.is_consumer:
        return ending.data_process_lost(replace(state, is_recovered=False), context)
    return consumer.session_began(state, context)


def _recovered(state: PartyJob) -> Move:
    """Begin again with a job that an earlier process kept."""
    recovered = replace(state, is_recovered=True)
    if state.stage in OVER:
        return Transition(state)
    if state.stage is Stage.COMPUTED:
        return Transition(recovered, (expiry_timer(state),))
    return Transition(recovered, (deadline_timer(state),))
