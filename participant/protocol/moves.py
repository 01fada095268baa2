"""Moves that the parts of the job machine share: refusals, stages, timers."""

import unicodedata
from dataclasses import replace
from datetime import timedelta
from typing import Literal, TypeAlias

from participant.protocol.model import Ending, JobEffect, PartyJob, Stage, Stop
from shared.errors import FailureCode, RefusedError
from shared.messages import JobPhase, JobRefuse, JobReport
from shared.messages.wire import MAX_TEXT
from shared.names import MANAGER, JobId, Principal
from shared.protocol.machine import (
    EPOCH_START,
    CancelTimer,
    Context,
    Send,
    SetTimer,
    Transition,
)

Move: TypeAlias = Transition[PartyJob | None, JobEffect]

DEADLINE = "deadline"
EXPIRY = "expiry"
REPORT = "report"
REPORT_PAUSE_MS = 100
"""How long the report of a phase waits for the next one, to go with it: a short job
costs each party one or two reports instead of four."""
GRACE_MS = 10_000
"""How long after the deadline the manager's word for the end is waited for."""


def moved(state: PartyJob, stage: Stage, context: Context) -> PartyJob:
    """Return the job in another stage, with the time taken down."""
    times = (*state.times, (stage.value, context.now_ms))
    return replace(state, stage=stage, times=times)


def timer(name: str, due_ms: int) -> SetTimer:
    """Return a timer that is due at this many milliseconds since 1970."""
    return SetTimer(name, EPOCH_START + timedelta(milliseconds=due_ms))


def deadline_timer(state: PartyJob) -> SetTimer:
    """Return the timer that ends the job if nobody else does."""
    return timer(DEADLINE, state.deadline + GRACE_MS)


def expiry_timer(state: PartyJob) -> SetTimer:
    """Return the timer that discards a result that nobody fetched."""
    return timer(EXPIRY, state.result_exp)


def refusal_of(
    job: JobId, epoch: int, stage: Literal["offer", "start"], error: RefusedError
) -> Send:
    """Return the message that tells the manager why not."""
    shown = "".join(c if c.isprintable() else "?" for c in str(error))
    reason = unicodedata.normalize("NFC", shown)[:MAX_TEXT]
    return Send(
        MANAGER,
        JobRefuse(
            job=job, epoch=epoch, stage=stage, code=error.code, reason=reason or None
        ),
    )


def refuse(
    state: PartyJob, stage: Literal["offer", "start"], error: RefusedError
) -> Move:
    """Refuse a job; a later offer may still be accepted."""
    refused = replace(
        state, stage=Stage.REFUSED, nonce=b"", refusal=(error.code, str(error))
    )
    effects: list[JobEffect] = [refusal_of(state.job, state.epoch, stage, error)]
    if state.stage in {Stage.PREPARING, Stage.ACCEPTED, Stage.STARTED}:
        effects.append(Stop(state.job, FailureCode.REFUSED, discards=True))
    return Transition(refused, tuple(effects))


def end(state: PartyJob, ending: Ending, context: Context) -> Move:
    """Close the job here and forget what the data process has of it."""
    over = replace(
        moved(state, Stage.CLOSED, context),
        ending=ending,
        result_key=None,
        k_tkt=None,
    )
    effects: list[JobEffect] = [CancelTimer(DEADLINE), CancelTimer(EXPIRY)]
    if state.stage not in {Stage.ASKED, Stage.REFUSED}:
        effects.append(Stop(state.job, ending.code, discards=True))
    return Transition(over, tuple(effects))


def tell(state: PartyJob) -> Move:
    """Report the phases that were reached since the last report."""
    if not state.untold:
        return Transition(state)
    *earlier, last = state.untold
    report = JobReport(
        job=state.job,
        epoch=state.epoch,
        phase=last.phase,
        at=last.at,
        earlier=tuple(earlier) or None,
    )
    return Transition(replace(state, untold=()), (Send(MANAGER, report),))


def fail(state: PartyJob, context: Context) -> Move:
    """Report that this party's part failed, as ``state.ending`` says."""
    word = state.ending
    report = JobReport(
        job=state.job,
        epoch=state.epoch,
        phase=JobPhase.FAILED,
        at=context.now_ms,
        earlier=state.untold or None,
        peer=Principal(word.party) if word and word.party else None,
        code=word.code if word else FailureCode.INTERNAL,
    )
    failed = replace(moved(state, Stage.FAILED, context), untold=())
    return Transition(failed, (Send(MANAGER, report),))
