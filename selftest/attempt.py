"""One thing that a realm has to refuse: what was tried, expected and seen."""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Verdict(StrEnum):
    """What came of an attempt."""

    HELD = "held"
    SURPRISE = "surprise"
    NOT_TRIED = "not tried"
    """It could not be: ``seen`` says why."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was made. ``at``: at whom."""

    at: str
    tried: str
    expected: str
    seen: str
    verdict: Verdict


def judged(at: str, tried: str, expected: str, seen: str) -> Attempt:
    """Return an attempt, held if what was seen is what was expected."""
    verdict = Verdict.HELD if seen == expected else Verdict.SURPRISE
    return Attempt(at, tried, expected, seen, verdict)


def not_tried(at: str, tried: str, why: str) -> Attempt:
    """Return an attempt that could not be made."""
    return Attempt(at, tried, "", why, Verdict.NOT_TRIED)
