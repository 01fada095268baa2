"""The power of growth that fits measured points best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression


@dataclass(frozen=True, slots=True)
class Power:
    """``factor * n ** exponent``."""

    factor: float
    exponent: float

    def at(self, count: float) -> float:
        """Return the value at ``n``."""
        return float(self.factor * count**self.exponent)


def fit(points: Sequence[tuple[float, float]]) -> Power:
    """Return the power with the least squares between the logarithms.

    Args:
        points: at least two, at different places; all numbers positive.
    """
    slope, intercept = linear_regression(
        [math.log(count) for count, _ in points],
        [math.log(value) for _, value in points],
    )
    return Power(math.exp(intercept), slope)
