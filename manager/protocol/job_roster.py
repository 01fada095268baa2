"""Who is asked to take part in a job: a first roster, and the next ones.

Source: docs/protocol.md, "Job": each new roster has a new epoch, and all its
parties are offered the job at once.
"""

from dataclasses import dataclass, replace
from operator import attrgetter

from manager.protocol import job_notices, selection
from manager.protocol.job_ending import (
    Step,
    Surroundings,
    fail,
    moment,
    offer_timer,
    start_timer,
)
from manager.protocol.job_state import (
    JobParty,
    JobState,
    Moment,
    spec_of,
)
from manager.protocol.model import JobEffect, Member
from shared.errors import FailureCode
from shared.messages import JobStage
from shared.messages.wire import MAX_PARTIES
from shared.names import Duty, Principal, Role
from shared.protocol.machine import CancelTimer, SetTimer, Transition


def first_offer(state: JobState, around: Surroundings) -> Step:
    """Ask a first roster, wait for a free MPC server, or end the job at once."""
    plan = _plan(state, around)
    if isinstance(plan, tuple):
        return ask(replace(state, parties=plan), around)
    if plan.code is not None:
        return fail(state, around.context, plan.code, plan.reason)
    return Transition(replace(state, reason=job_notices.bounded(plan.reason)))


def try_again(state: JobState, around: Surroundings) -> Step:
    """Ask a first roster if there is one now; a waiting job waits on otherwise."""
    plan = _plan(state, around)
    if isinstance(plan, tuple):
        return ask(replace(state, parties=plan), around)
    return Transition(replace(state, reason=job_notices.bounded(plan.reason)))


def replace_servers(
    state: JobState,
    lost: tuple[JobParty, ...],
    code: FailureCode,
    reason: str,
    around: Surroundings,
) -> Step:
    """Ask a new roster in which other MPC servers have the lost ones' indexes."""
    spec = spec_of(state)
    kept = [around.pool.member(party.p) for party in state.servers]
    choice = selection.choose(
        around.pool.servers(),
        spec.requires,
        len(lost),
        state.deadline,
        excluded={*state.refused, *(party.p for party in state.servers)},
        kept=[member for member in kept if member is not None],
    )
    if isinstance(choice, selection.Shortage):
        reason += f"; to replace it: {choice.reason}"
        return fail(state, around.context, code, reason, lost[0].p)
    new = (
        replace(_server(member, 0), party=party.party)
        for member, party in zip(choice.servers, lost, strict=True)
    )
    servers = sorted((*state.servers, *new), key=attrgetter("party"))
    clients = tuple(party for party in state.parties if not party.is_server)
    return ask(replace(state, parties=(*servers, *clients)), around)


@dataclass(frozen=True, slots=True)
class _NoPlan:
    """Why nobody can be asked. ``code``: how the job ends; none if it may wait."""

    reason: str
    code: FailureCode | None


def _plan(state: JobState, around: Surroundings) -> tuple[JobParty, ...] | _NoPlan:
    """Return a first roster: MPC servers by index, then sources, then the consumer."""
    spec = spec_of(state)
    sources = selection.find_sources(around.pool, spec)
    if isinstance(sources, str):
        return _NoPlan(sources, FailureCode.NO_SOURCES)
    clients: dict[Principal, tuple[Duty, ...]] = {
        source.principal: (Duty.INPUT,) for source in sources
    }
    clients[state.consumer] = (*clients.get(state.consumer, ()), Duty.OUTPUT)
    if spec.servers + len(clients) > MAX_PARTIES:
        return _NoPlan(
            f"{spec.servers + len(clients)} parties, at most {MAX_PARTIES} can be in"
            " a job",
            FailureCode.PARAMETERS,
        )
    choice = selection.choose(
        around.pool.servers(), spec.requires, spec.servers, state.deadline
    )
    if isinstance(choice, selection.Shortage):
        return _NoPlan(choice.reason, None if choice.waits else FailureCode.NO_QUORUM)
    servers = (_server(member, i) for i, member in enumerate(choice.servers))
    asked = (JobParty(p, Role.CLIENT, duties) for p, duties in clients.items())
    return (*servers, *asked)


def _server(member: Member, index: int) -> JobParty:
    return JobParty(member.principal, Role.MPCS, (Duty.COMPUTE,), index)


def ask(state: JobState, around: Surroundings) -> Step:
    """Offer the job to everybody in a new roster, at once."""
    parties = tuple(party.asked_again() for party in state.parties)
    new = tuple(party.p for party in parties if party.p not in state.offered)
    asked = replace(
        state,
        stage=JobStage.OFFERED,
        epoch=state.epoch + 1,
        parties=parties,
        offered=(*state.offered, *new),
        reason=None,
    ).at(Moment.OFFERED, around.context.now_ms)
    start_due = around.context.now + around.settings.start_timeout
    effects: tuple[JobEffect, ...] = (
        CancelTimer(offer_timer(state.epoch)),
        CancelTimer(start_timer(state.epoch)),
        server_timer(asked, around),
        SetTimer(start_timer(asked.epoch), min(start_due, moment(state.deadline))),
        *(job_notices.offer(asked, party) for party in parties),
    )
    return Transition(asked, effects)


def server_timer(state: JobState, around: Surroundings) -> SetTimer:
    """Return the timer within which MPC servers answer the current offer."""
    due = around.context.now + around.settings.offer_timeout
    return SetTimer(offer_timer(state.epoch), due)
