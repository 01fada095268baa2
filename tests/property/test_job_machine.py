"""The job machine under any order, loss and repetition of events."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from manager.protocol.job import step
from manager.protocol.job_state import STAGES, JobState, reservations
from manager.protocol.model import (
    CancelledByOperator,
    JobEffect,
    JobEvent,
    PartyBack,
    PartyGone,
    PartyRevoked,
    SlotFreed,
    Start,
)
from manager.protocol.tickets import start_messages
from shared import codec
from shared.errors import FailureCode, RefusalCode
from shared.messages import (
    JobCancel,
    JobClosed,
    JobCollect,
    JobPhase,
    JobQuery,
    JobStage,
    read,
    type_of,
)
from shared.names import Principal
from shared.protocol.machine import Send, TimerFired
from tests.job_realm import (
    ANNE,
    BERT,
    CARL,
    CONSUMER,
    FINGERPRINT,
    JOB,
    MANAGER_KEY,
    S1,
    S2,
    S3,
    S4,
    S5,
    SETTINGS,
    accepted,
    context,
    offered_desk,
    pool,
    received,
    refused,
    reported,
    requested,
    server,
    spec,
)

STATES: TypeAdapter[JobState] = TypeAdapter(JobState)
EVERYBODY = [S1, S2, S3, S4, S5, ANNE, BERT, CARL, CONSUMER]
KINDS = [
    "accept",
    "accept",
    "accept all",
    "refuse",
    "refuse start",
    "report",
    "report all",
    "gone",
    "back",
    "slot",
    "timer",
    "operator",
    "revoked",
    "request",
    "cancel",
    "query",
    "collect",
]
TIMERS = ["deadline", "result", "offer.1", "offer.2", "start.1", "start.2", "offer.9"]


@st.composite
def wishes(draw: st.DrawFn) -> tuple[str, Principal, int, JobPhase, str]:
    """Return the outline of an event; it becomes one of the job's present state."""
    return (
        draw(st.sampled_from(KINDS)),
        draw(st.sampled_from(EVERYBODY)),
        draw(st.sampled_from([0, 0, 0, 0, -1, 1])),
        draw(st.sampled_from(list(JobPhase))),
        draw(st.sampled_from(TIMERS)),
    )


def _events(
    state: JobState, wish: tuple[str, Principal, int, JobPhase, str]
) -> list[JobEvent]:
    """Return the events that an outline stands for."""
    kind, who, shift, phase, timer = wish
    epoch = max(1, state.epoch + shift)
    roster = [party.p for party in state.parties]
    simple: dict[str, JobEvent] = {
        "refuse": refused(state, who, code=RefusalCode.BUSY, epoch=epoch),
        "refuse start": refused(state, who, "start", epoch=epoch),
        "report": reported(
            state, who, phase, epoch=epoch, code=FailureCode.ENGINE, peer=S1
        ),
        "gone": PartyGone(who),
        "back": PartyBack(who),
        "slot": SlotFreed(),
        "timer": TimerFired(timer),
        "operator": CancelledByOperator(),
        "revoked": PartyRevoked(who),
        "request": requested(WANTED, mid="again"),
        "cancel": received(who, JobCancel(job=JOB)),
        "query": received(who, JobQuery(job=JOB)),
        "collect": received(who, JobCollect(job=JOB)),
    }
    if kind == "accept":
        return [accepted(state, who, str(shift), epoch=epoch)]
    if kind == "accept all":
        return [accepted(state, name) for name in roster]
    if kind == "report all":
        reached = JobPhase.RUNNING if phase is JobPhase.FAILED else phase
        return [reported(state, name, reached) for name in roster]
    return [simple[kind]]


WANTED = spec(min_sources=1)


def _check_step(
    before: JobState, after: JobState, effects: tuple[JobEffect, ...]
) -> None:
    """Check what must hold of every step."""
    assert STAGES.index(before.stage) <= STAGES.index(after.stage)
    assert before.epoch <= after.epoch <= before.epoch + 1
    assert set(before.offered) <= set(after.offered)
    assert set(before.refused) <= set(after.refused)
    assert not set(after.refused) & {p.p for p in after.parties}
    if before.is_closed:
        assert after == before
    if before.manifest is not None:
        assert after.manifest == before.manifest
        assert after.epoch == before.epoch
    if after.is_running:
        assert after.manifest is not None
        assert all(party.has_accepted for party in after.parties)
    if after.is_closed:
        assert not reservations([after])
    if after.is_closed and not before.is_closed:
        told = [
            e.recipient
            for e in effects
            if isinstance(e, Send) and isinstance(e.message, JobClosed)
        ]
        assert sorted(told) == sorted({CONSUMER, *after.offered})
    assert after.reason is None or len(after.reason) <= 200
    packed = codec.encode(STATES.dump_python(after))
    assert STATES.validate_python(codec.decode(packed)) == after


def _check_effects(after: JobState, effects: tuple[JobEffect, ...]) -> set[bytes]:
    """Check that everything can be sent; return the manifests that go out."""
    manifests: set[bytes] = set()
    for effect in effects:
        if isinstance(effect, Send):
            payload = effect.message.pack()
            assert read(type_of(effect.message), payload) == effect.message
        if isinstance(effect, Start):
            keys = {party.p: bytes(32) for party in after.servers}
            issued = start_messages(
                after, effect.recipients, MANAGER_KEY, FINGERPRINT, context(), 0, keys
            )
            assert len(issued.sends) == len(effect.recipients)
            manifests.add(issued.manifest)
    return manifests


@settings(deadline=None, max_examples=300)
@given(
    st.lists(wishes(), max_size=25),
    st.lists(st.integers(min_value=0, max_value=24), max_size=6),
    st.sampled_from(["waiting", "offered", "started", "running", "computed"]),
)
def test_any_order_and_repetition_of_events_ends_well(
    outlines: list[tuple[str, Principal, int, JobPhase, str]],
    repeated: list[int],
    begun: str,
) -> None:
    """It never crashes; closed is final; a job has one manifest; all hear the end."""
    spare = (server(S4, slots_free=1), server(S5, slots_free=1))
    busy = (server(S1, slots_free=0), *(replace(s, slots_free=0) for s in spare))
    desk = offered_desk(*(busy if begun == "waiting" else spare), wanted=WANTED)
    if begun in {"started", "running", "computed"}:
        desk.accept_all()
    if begun in {"running", "computed"}:
        desk.report_all(JobPhase.RUNNING)
    if begun == "computed":
        desk.report_all(JobPhase.COMPUTED, S1, S2, S3)
    state = desk.job
    seen: list[JobEvent] = []
    manifests: set[bytes] = set()
    for number, outline in enumerate(outlines):
        new = _events(state, outline)
        seen += new
        if number in repeated:
            new += seen[:: max(1, number)]
        if outline[0] == "slot":
            desk.pool = pool(*spare)
        if outline[0] == "gone" and outline[2] < 0:
            desk.pool = desk.pool.without(outline[1])
        for event in new:
            done = step(state, event, context(number), desk.pool, SETTINGS)
            _check_step(state, done.state, done.effects)
            manifests |= _check_effects(done.state, done.effects)
            state = done.state

    made = {state.manifest} - {None}
    assert manifests <= made
    assert state.stage in JobStage


@settings(deadline=None, max_examples=50)
@given(st.permutations([S1, S2, S3, ANNE, BERT, CONSUMER]), st.data())
def test_accepts_in_any_order_start_the_job_once(
    order: list[Principal], data: st.DataObject
) -> None:
    """Repeated ones send the same start again, and only to their sender."""
    desk = offered_desk()
    starts: list[Start] = []
    for name in order:
        event = accepted(desk.job, name)
        times = data.draw(st.integers(min_value=1, max_value=3))
        desk.handle(*[event] * times)
        starts += desk.of(Start)

    assert desk.stage() is JobStage.STARTED
    assert set(starts[0].recipients) == set(order)
    assert {start.recipients for start in starts[1:]} <= {(order[-1],)}
