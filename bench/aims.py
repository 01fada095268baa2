"""What the figures should be, so that a report says itself where they are not."""

import re
from dataclasses import dataclass
from typing import Final

from bench import enrolment, envelopes, memory, questions, setup, transfer
from bench.measured import Better, Figure


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound for the figures of a part whose whole name a pattern fits.

    Attributes:
        part: of the bench.
        pattern: of the names.
        bound: what the figure should reach, or not pass.
        is_ratio: of the multiple of the floor; else of the median, in its unit.
    """

    part: str
    pattern: str
    bound: float
    is_ratio: bool = True

    def fits(self, figure: Figure) -> bool:
        """Whether it is about this figure."""
        return figure.part == self.part and bool(
            re.fullmatch(self.pattern, figure.name)
        )

    def is_met(self, figure: Figure) -> bool:
        """Whether the figure is as good as it should be."""
        value = figure.ratio if self.is_ratio else figure.measured.median
        if value is None:
            return False
        if figure.better is Better.MORE:
            return value >= self.bound
        return value <= self.bound


AIMS: Final = (
    Aim(setup.PART, ".* warm", 1.5),
    Aim(setup.PART, ".* cold", 2.0),
    Aim(envelopes.PART, ".*", 0.7),
    Aim(transfer.PART, ".*", 0.8),
    Aim(questions.PART, r"mean of 10,000,000 rows, \.npy", 1.3),
    Aim(questions.PART, r"median of 1,000,000 rows, \.npy", 30_000, is_ratio=False),
    Aim(enrolment.PART, "registration", 70, is_ratio=False),
    Aim(enrolment.PART, "authentication", 15, is_ratio=False),
    Aim(memory.PART, "manager, idle, RSS", 90, is_ratio=False),
)


def said(figure: Figure) -> str:
    """Return the aim of a figure, and whether it is met; empty without one."""
    for aim in AIMS:
        if aim.fits(figure):
            sign = "≥" if figure.better is Better.MORE else "≤"
            bound = f"{aim.bound:.2f}" if aim.is_ratio else f"{aim.bound:,.0f}"
            unit = "" if aim.is_ratio else f" {figure.unit}"
            return f"{sign} {bound}{unit}: {'yes' if aim.is_met(figure) else 'no'}"
    return ""
