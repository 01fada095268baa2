"""The statistics that there are, by name."""

from typing import Final

from participant.statistics.association import Correlation, Covariance
from participant.statistics.base import Statistic
from participant.statistics.final import (
    FinalCorrelation,
    FinalCovariance,
    FinalDeviation,
    FinalRegression,
    FinalVariance,
)
from participant.statistics.histogram import Histogram
from participant.statistics.largest_group import ArgMax
from participant.statistics.order import Maximum, Median, Minimum, QuantileOf
from participant.statistics.params import Params, Reveal, refused
from participant.statistics.regression import LinearRegression
from participant.statistics.spread import StandardDeviation, Variance
from participant.statistics.sums import Count, Mean, Sum

_STATISTICS: Final[dict[str, Statistic]] = {
    known.name: known
    for known in (
        Count(),
        Sum(),
        Mean(),
        Variance(),
        StandardDeviation(),
        Covariance(),
        Correlation(),
        Histogram(),
        LinearRegression(),
        Minimum(),
        Maximum(),
        Median(),
        QuantileOf(),
        ArgMax(),
    )
}
_FINAL: Final[dict[str, Statistic]] = {
    known.name: known
    for known in (
        FinalVariance(),
        FinalDeviation(),
        FinalCovariance(),
        FinalCorrelation(),
        FinalRegression(),
    )
}
"""How a statistic is computed of which the final figures alone are revealed."""


def names() -> tuple[str, ...]:
    """Return the names of the statistics, the simplest first."""
    return tuple(_STATISTICS)


def statistic(name: str, reveal: Reveal = Reveal.SUMS) -> Statistic:
    """Return the statistic of that name.

    Args:
        name: of the statistic.
        reveal: what the consumer gets to see; where ``FINAL`` needs another
            computation, that one is returned.

    Raises:
        RefusedError: there is none.
    """
    if reveal is Reveal.FINAL and name in _FINAL:
        return _FINAL[name]
    try:
        return _STATISTICS[name]
    except KeyError:
        raise refused(
            f"no statistic {name!r}; there are {', '.join(names())}"
        ) from None


def checked(params: Params) -> Statistic:
    """Return the statistic that is asked for, after its check of the parameters.

    Raises:
        RefusedError: there is none, or it cannot be asked so.
    """
    found = statistic(params.statistic, params.reveal)
    found.check(params)
    return found
