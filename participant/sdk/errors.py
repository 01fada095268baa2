"""How a job can end without a result, as exceptions."""

from participant.service.job_list import name_of, phase_in
from participant.service.local import Answer
from participant.service.summary import PHASE_WORDS, Phase
from shared.errors import FailureCode, FrameworkError, JobAbortedError
from shared.messages import Outcome


class JobFailedError(JobAbortedError):
    """A job ended without a result.

    Args:
        message: for people.
        code: why.
        party: whose fault or loss it was, if known.
        phase: how far the job was.
        job: its number, such as ``J001``, else the start of its id.
    """

    def __init__(
        self,
        message: str,
        code: FailureCode,
        party: str | None,
        phase: Phase,
        job: str,
    ) -> None:
        super().__init__(message, code, party)
        self.phase = phase
        self.job = job


class JobRefusedError(JobFailedError):
    """A party did not consent; ``party`` names it."""


class JobCancelledError(JobFailedError):
    """The job was given up, here or by the realm's operator."""


class ResultTimeoutError(FrameworkError, TimeoutError):
    """The result is not there yet; the job goes on."""


def failure_of(answer: Answer) -> JobFailedError:
    """Return the error of a job that is over and has no result."""
    party = str(answer.get("party") or "")
    reason = str(answer.get("reason") or "no reason was given")
    code = FailureCode(str(answer.get("code") or FailureCode.INTERNAL))
    state = str(answer.get("state"))
    kind = JobFailedError
    if state == Outcome.CANCELLED:
        kind = JobCancelledError
    elif code is FailureCode.REFUSED:
        kind = JobRefusedError
    phase = phase_in(answer)
    where = f" at {party}" if party else ""
    if phase in PHASE_WORDS:
        where += f" while {PHASE_WORDS[phase]}"
    return kind(
        f"{name_of(answer)} {state} ({code}){where}: {reason}",
        code,
        party or None,
        phase,
        name_of(answer),
    )
