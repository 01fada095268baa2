"""The statistics that there are, by name."""

from typing import Final

from participant.statistics.association import Correlation, Covariance
from participant.statistics.base import Statistic
from participant.statistics.histogram import Histogram
from participant.statistics.params import Params, refused
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
    )
}


def names() -> tuple[str, ...]:
    """Return the names of the statistics, the simplest first."""
    return tuple(_STATISTICS)


def statistic(name: str) -> Statistic:
    """Return the statistic of that name.

    Raises:
        RefusedError: there is none.
    """
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
    found = statistic(params.statistic)
    found.check(params)
    return found
