"""A job before its start: who is asked, who answers, who is replaced."""

from dataclasses import replace
from datetime import timedelta

from manager.protocol import job_notices, job_roster, tickets
from manager.protocol.job_ending import (
    Step,
    Surroundings,
    fail,
    offer_timer,
    start_timer,
    with_error,
)
from manager.protocol.job_state import (
    Answer,
    JobParty,
    JobState,
    Moment,
    spec_of,
)
from manager.protocol.model import JobEffect, MarkOffline, Member, Start
from shared.crypto.derivation import equal, spec_hash
from shared.errors import ErrorCode, FailureCode
from shared.messages import JobAccept, JobRefuse, JobStage
from shared.names import Duty, Principal
from shared.protocol.machine import CancelTimer, Received, Transition


def accept(
    state: JobState, received: Received, message: JobAccept, around: Surroundings
) -> Step:
    """Note that a party takes part; start the job when nobody is missing."""
    party = state.find(received.sender)
    if party is None and received.sender in state.offered:
        return Transition(state, (job_notices.not_needed(state, received),))
    if party is None or message.epoch > state.epoch:
        return with_error(state, received, ErrorCode.JOB_STATE)
    if message.epoch < state.epoch:
        return Transition(state)  # the newer offer to it is under way
    if not equal(message.spec_hash, spec_hash(state.spec)):
        return with_error(state, received, ErrorCode.BAD_REQUEST)
    if party.nonce == message.nonce:
        again = (Start(state.job, (party.p,)),) if state.is_running else ()
        return Transition(state, again)
    if state.is_running:
        return with_error(state, received, ErrorCode.JOB_STATE)
    member = around.pool.member(party.p)
    if member is None:
        return with_error(state, received, ErrorCode.UNKNOWN_SESSION)
    unfit = _unfit(state, member)
    if unfit is not None:
        return _lose(state, (party,), FailureCode.REFUSED, unfit, around)
    changed = replace(
        party,
        answer=Answer.ACCEPTED,
        nonce=message.nonce,
        rows=message.rows,
        size=message.bytes,
        cert=member.cert.c,
        cert_sig=member.cert.sig,
        endorse=member.endorse,
        endorse_sig=member.endorse_sig,
        spki=member.spki,
    )
    return _start_if_complete(state.with_party(changed), around)


def refuse(
    state: JobState, received: Received, message: JobRefuse, around: Surroundings
) -> Step:
    """Replace an MPC server that refuses; without a source go on if enough are left."""
    party = state.find(received.sender)
    if party is None or message.epoch > state.epoch:
        return with_error(state, received, ErrorCode.JOB_STATE)
    if message.epoch < state.epoch:
        return Transition(state)  # the newer offer to it is under way
    reason = f"{party.p} refused: {message.code}"
    if message.reason is not None:
        reason += f": {message.reason}"
    return _lose(state, (party,), FailureCode.REFUSED, reason, around)


def gone(state: JobState, principal: Principal, around: Surroundings) -> Step:
    """Do without a party that nothing reaches; a consumer may come back in time."""
    party = state.find(principal)
    if party is None:
        return Transition(state)
    if Duty.OUTPUT in party.duties:
        return Transition(state.with_party(party.asked_again()))
    reason = f"{principal} is not connected any more"
    return _lose(
        state,
        (party,),
        FailureCode.NO_ANSWER,
        reason,
        around,
        (MarkOffline(principal),),
    )


def back(state: JobState, principal: Principal, around: Surroundings) -> Step:
    """Ask a party anew: its new session has another TLS key than it accepted with."""
    party = state.find(principal)
    if party is None:
        return Transition(state)
    asked = state.with_party(party.asked_again())
    offered = job_notices.offer(asked, party)
    if not party.is_server:
        return Transition(asked, (offered,))
    return Transition(asked, (job_roster.server_timer(asked, around), offered))


def servers_silent(state: JobState, around: Surroundings) -> Step:
    """Replace the MPC servers that did not answer the offer in time."""
    silent = tuple(p for p in state.servers if not p.has_accepted)
    return _silent(state, silent, around.settings.offer_timeout, around)


def parties_silent(state: JobState, around: Surroundings) -> Step:
    """Do without everybody who has not answered until the job should start."""
    silent = tuple(p for p in state.parties if not p.has_accepted)
    return _silent(state, silent, around.settings.start_timeout, around)


def _silent(
    state: JobState,
    silent: tuple[JobParty, ...],
    timeout: timedelta,
    around: Surroundings,
) -> Step:
    if not silent:
        return Transition(state)
    names = ", ".join(party.p for party in silent)
    reason = f"no answer to the offer within {timeout.total_seconds():g} s: {names}"
    offline = tuple(MarkOffline(party.p) for party in silent if party.is_server)
    return _lose(state, silent, FailureCode.NO_ANSWER, reason, around, offline)


def _unfit(state: JobState, member: Member) -> str | None:
    """Say why a party's session cannot serve this job, if it cannot."""
    if member.endorse_exp < state.deadline:
        return f"{member.principal} has a session that ends before the job's deadline"
    for other in state.parties:
        if other.spki == member.spki and other.p != member.principal:
            return f"{member.principal} has the same TLS key as {other.p}"
    return None


def _lose(
    state: JobState,
    lost: tuple[JobParty, ...],
    code: FailureCode,
    reason: str,
    around: Surroundings,
    first: tuple[JobEffect, ...] = (),
) -> Step:
    """Go on without these parties if that can be done, else end the job."""
    step = _without(state, lost, code, reason, around)
    return Transition(step.state, (*first, *step.effects))


def _without(
    state: JobState,
    lost: tuple[JobParty, ...],
    code: FailureCode,
    reason: str,
    around: Surroundings,
) -> Step:
    for party in lost:
        if Duty.OUTPUT in party.duties:
            return fail(state, around.context, code, reason, party.p)
    spec = spec_of(state)
    left = state.without(frozenset(party.p for party in lost))
    for party in lost:
        if Duty.INPUT not in party.duties:
            continue
        if spec.min_sources == 0:
            return fail(left, around.context, code, reason, party.p)
        if len(left.sources) < spec.min_sources:
            reason += f"; {len(left.sources)} of {spec.min_sources} needed sources left"
            return fail(left, around.context, code, reason, party.p)
    servers = tuple(party for party in lost if party.is_server)
    if not servers:
        return _start_if_complete(left, around)
    return job_roster.replace_servers(left, servers, code, reason, around)


def _start_if_complete(state: JobState, around: Surroundings) -> Step:
    """Start the job if everybody in the roster has accepted."""
    if not all(party.has_accepted for party in state.parties):
        return Transition(state)
    now_ms = around.context.now_ms
    manifest = tickets.make_manifest(state, around.settings.fingerprint, now_ms)
    if not tickets.fits(manifest, spec_of(state)):
        return fail(
            state,
            around.context,
            FailureCode.PARAMETERS,
            f"the manifest of {len(state.parties)} parties does not fit into a message",
        )
    started = (
        replace(state, stage=JobStage.STARTED, manifest=manifest)
        .at(Moment.ACCEPTED, now_ms)
        .at(Moment.STARTED, now_ms)
    )
    return Transition(
        started,
        (
            CancelTimer(offer_timer(state.epoch)),
            CancelTimer(start_timer(state.epoch)),
            Start(state.job, tuple(party.p for party in state.parties)),
        ),
    )
