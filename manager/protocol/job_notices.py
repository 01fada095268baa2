"""The messages that the job machine sends, each made from the job's state alone."""

import unicodedata

from manager.protocol.job_state import JobParty, JobState, summary
from shared.errors import ErrorCode, FailureCode
from shared.messages import (
    ErrorNotice,
    JobAbort,
    JobClosed,
    JobOffer,
    Outcome,
    RosterEntry,
    SignedCertificate,
)
from shared.messages import JobState as JobStateNotice
from shared.messages.wire import MAX_TEXT
from shared.names import MessageId, Principal
from shared.protocol.machine import Received, Send


def bounded(text: str) -> str:
    """Return text that may stand in a message: printable, NFC, not too long."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    normal = unicodedata.normalize("NFC", shown)
    return normal if len(normal) <= MAX_TEXT else normal[: MAX_TEXT - 1] + "…"


def offer(state: JobState, party: JobParty) -> Send:
    """Return the current offer to one party of the roster."""
    roster = tuple(
        RosterEntry(p=each.p, role=each.role, duties=each.duties)
        for each in state.parties
    )
    message = JobOffer(
        job=state.job,
        number=state.number,
        epoch=state.epoch,
        spec=state.spec,
        spec_sig=state.spec_sig,
        consumer_cert=SignedCertificate(
            c=state.consumer_cert, sig=state.consumer_cert_sig
        ),
        duties=party.duties,
        party=party.party,
        roster=roster,
        deadline=state.deadline,
    )
    return Send(party.p, message, state.mid if party.p == state.consumer else None)


def abort(state: JobState, recipient: Principal) -> Send:
    """Return the order to stop, of a job that is closed without a result."""
    outcome, code = _ending(state)
    message = JobAbort(
        job=state.job,
        epoch=state.epoch,
        outcome=outcome,
        code=code,
        party=state.party,
        reason=state.reason,
    )
    return Send(recipient, message)


def closed(state: JobState, recipient: Principal, re: MessageId | None = None) -> Send:
    """Return how the job ended; to its consumer as the answer to its request."""
    outcome, code = _ending(state)
    message = JobClosed(
        job=state.job,
        epoch=state.epoch,
        number=state.number,
        outcome=outcome,
        code=code,
        party=state.party,
        reason=state.reason,
    )
    if re is None and recipient == state.consumer:
        re = state.mid
    return Send(recipient, message, re)


def not_needed(state: JobState, received: Received) -> Send:
    """Return the answer to an accept that came after its sender was replaced."""
    message = JobClosed(
        job=state.job,
        epoch=state.epoch,
        number=state.number,
        outcome=Outcome.CANCELLED,
        code=FailureCode.CANCELLED,
        reason=f"{received.sender} is not needed any more: the roster has changed",
    )
    return Send(received.sender, message, received.mid)


def standing(state: JobState, re: MessageId) -> Send:
    """Return where the job stands, to its consumer."""
    return Send(state.consumer, JobStateNotice(jobs=(summary(state),)), re)


def error(received: Received, code: ErrorCode) -> Send:
    """Return the error that ends a request and changes nothing else."""
    return Send(received.sender, ErrorNotice(code=code, re=received.mid), received.mid)


def forbidden(received: Received) -> Send:
    """Return the one answer to whoever is not in the job, and of unknown jobs.

    It is the same in both cases, so it reveals nothing about the job.
    """
    return error(received, ErrorCode.FORBIDDEN)


def _ending(state: JobState) -> tuple[Outcome, FailureCode]:
    """Return how a closed job ended."""
    return state.outcome or Outcome.FAILED, state.code or FailureCode.INTERNAL
