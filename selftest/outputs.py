"""What ``selftest --json`` prints."""

from typing import Literal, Self

from selftest.attempt import Attempt
from shared.output import Output


class AttemptOutput(Output):
    """Something that the realm has to refuse.

    Attributes:
        at: the broker, the manager or an MPC server.
        tried: what.
        expected: how it should be taken: for the manager, why it drops it.
        seen: how it was taken, or why it could not be tried.
        verdict: whether that is the same.
    """

    at: str
    tried: str
    expected: str
    seen: str
    verdict: Literal["held", "surprise", "not tried"]

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Return an attempt as it is printed."""
        return cls(
            at=attempt.at,
            tried=attempt.tried,
            expected=attempt.expected,
            seen=attempt.seen,
            verdict=attempt.verdict.value,
        )
