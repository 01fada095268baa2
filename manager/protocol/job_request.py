"""How a job begins: a request is checked, then offered, made to wait or refused.

Source: docs/protocol.md, "Job".
"""

from datetime import timedelta

from manager.protocol import job_notices, job_roster, tickets
from manager.protocol.job_ending import (
    DEADLINE_TIMER,
    Surroundings,
    fail,
    moment,
)
from manager.protocol.job_state import JobSettings, JobState, Moment
from manager.protocol.model import (
    JobEffect,
    Member,
    Pool,
)
from shared.crypto.derivation import job_id
from shared.errors import DecodeError, ErrorCode, FailureCode, RefusedError
from shared.messages import (
    CertificateBody,
    JobAccept,
    JobCancel,
    JobCollect,
    JobQuery,
    JobRefuse,
    JobReport,
    JobRequest,
    JobStage,
    Spec,
    read_spec,
    unpack,
)
from shared.names import Fingerprint, JobId
from shared.protocol.machine import (
    Context,
    Received,
    SetTimer,
    Transition,
)
from shared.protocol.manifest import CLOCK_SKEW_MS, check_spec

MAX_DEADLINE = timedelta(hours=24)
MAX_RESULT_LIFE = timedelta(days=7)
MAX_OPEN_JOBS = 100
"""Of one consumer: more would fill the manager's memory until their deadlines."""

Requested = Transition[JobState | None, JobEffect]


def job_of(received: Received, fingerprint: Fingerprint) -> JobId | None:
    """Return which job a message is about: none if it names none or is malformed.

    A request is about the sender's own job of that id, whatever its spec says.
    """
    message = received.message
    match message:
        case JobRequest():
            try:
                chosen = read_spec(message.spec).id
            except DecodeError:
                return None
            return job_id(fingerprint, received.sender, chosen)
        case JobQuery() | JobAccept() | JobRefuse() | JobReport():
            return message.job
        case JobCancel() | JobCollect():
            return message.job
        case _:
            return None


def request(
    received: Received,
    number: int,
    context: Context,
    pool: Pool,
    settings: JobSettings,
    open_jobs: int = 0,
) -> Requested:
    """Begin the job that a ``job.request`` asks for.

    Args:
        received: the request; ``job_of`` names no job that exists.
        number: the job's display number, new in this realm.
        context: of this step.
        pool: who is online.
        settings: of the realm.
        open_jobs: how many jobs of this consumer are not closed.

    Returns:
        The job, perhaps closed at once; no state where the request is no
        consumer's own signed spec for this realm and is answered by an error.
    """
    message = received.message
    if not isinstance(message, JobRequest):
        return _refused(received, ErrorCode.FORBIDDEN)
    consumer = pool.member(received.sender)
    if consumer is None:
        return _refused(received, ErrorCode.UNKNOWN_SESSION)
    try:
        spec = read_spec(message.spec)
        if spec.consumer != received.sender:
            return _refused(received, ErrorCode.FORBIDDEN)
        cert = unpack(CertificateBody, consumer.cert.c)
        check_spec(message.spec, message.spec_sig, cert)
    except (DecodeError, RefusedError):
        return _refused(received, ErrorCode.BAD_REQUEST)
    if open_jobs >= MAX_OPEN_JOBS:
        return _refused(received, ErrorCode.BUSY)
    state = _new(received, message, spec, number, consumer, settings).at(
        Moment.REQUESTED, context.now_ms
    )
    wrong = _wrong_parameter(spec, context.now_ms)
    if wrong is not None:
        closed = fail(state, context, FailureCode.PARAMETERS, wrong)
        return Transition(closed.state, closed.effects)
    step = job_roster.first_offer(state, Surroundings(context, pool, settings))
    effects = step.effects
    if not step.state.is_closed:
        effects = (SetTimer(DEADLINE_TIMER, moment(state.deadline)), *effects)
    if step.state.stage is JobStage.REQUESTED:
        effects = (*effects, job_notices.standing(step.state, received.mid))
    return Transition(step.state, effects)


def _new(
    received: Received,
    message: JobRequest,
    spec: Spec,
    number: int,
    consumer: Member,
    settings: JobSettings,
) -> JobState:
    """Return a job as it is before anything was done for it."""
    return JobState(
        job=job_id(settings.fingerprint, received.sender, spec.id),
        number=number,
        stage=JobStage.REQUESTED,
        epoch=0,
        consumer=received.sender,
        consumer_cert=consumer.cert.c,
        consumer_cert_sig=consumer.cert.sig,
        mid=received.mid,
        spec=message.spec,
        spec_sig=message.spec_sig,
        deadline=spec.deadline,
        result_exp=spec.result_exp,
    )


def _wrong_parameter(spec: Spec, now_ms: int) -> str | None:
    """Say which parameter of a spec cannot be served, if one cannot."""
    if spec.attempts > 1:
        return "attempts above 1 are not available"
    if spec.deadline <= now_ms:
        return "the deadline has passed already"
    if spec.deadline > _latest(now_ms, MAX_DEADLINE):
        return f"the deadline is more than {_hours(MAX_DEADLINE)} hours ahead"
    if spec.result_exp < spec.deadline:
        return "the result would expire before the job's deadline"
    if spec.result_exp > _latest(now_ms, MAX_RESULT_LIFE):
        return f"the result would be kept more than {MAX_RESULT_LIFE.days} days"
    if tickets.column_bytes(spec) > tickets.MAX_COLUMN_BYTES:
        return f"the columns' names take more than {tickets.MAX_COLUMN_BYTES} bytes"
    return None


def _latest(now_ms: int, life: timedelta) -> int:
    """Return the latest time (ms) that a consumer with a fast clock may name."""
    return now_ms + life // timedelta(milliseconds=1) + CLOCK_SKEW_MS


def _hours(life: timedelta) -> int:
    return life // timedelta(hours=1)


def _refused(received: Received, code: ErrorCode) -> Requested:
    """Return the answer to a request that begins no job."""
    return Transition(None, (job_notices.error(received, code),))
