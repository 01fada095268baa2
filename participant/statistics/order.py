"""Minimum, maximum, median and quantiles: found in secret, nothing else comes out."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np

from participant.columns import Columns, Values
from participant.programs import Extreme, Quantile, pack_program
from participant.statistics.base import (
    SECRET,
    Result,
    check_outputs,
    check_shape,
)
from participant.statistics.grid import on_grid
from participant.statistics.params import MAX_COLUMNS, Params, quantile_fraction

_HALF: Final = (1, 2)


class _Extreme:
    """What the two have in common: a source sends shares of its own extreme alone."""

    engines: Final = SECRET
    min_columns: Final = 1
    max_columns: Final = MAX_COLUMNS
    name: str
    learns: str
    is_greatest: bool

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        return len(params.columns)

    def program(self, params: Params) -> bytes:
        """See ``Statistic``."""
        return pack_program(Extreme(len(params.columns), self.is_greatest))

    def prepare(self, columns: Columns, params: Params) -> Values:
        """See ``Statistic``."""
        choose = np.max if self.is_greatest else np.min
        extremes = [
            [choose(on_grid(name, part[name], params.fixp)) for name in params.columns]
            for part in columns
        ]
        return [int(choose(own)) for own in zip(*extremes, strict=True)]

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        check_outputs(totals, len(params.columns))
        return {
            self.name: {
                name: float(Fraction(value, 1 << params.fixp))
                for name, value in zip(params.columns, totals, strict=True)
            }
        }


class Minimum(_Extreme):
    """The smallest value of each column."""

    name = "min"
    learns = "the smallest value of each column named, of all sources together"
    is_greatest = False


class Maximum(_Extreme):
    """The greatest value of each column."""

    name = "max"
    learns = "the greatest value of each column named, of all sources together"
    is_greatest = True


class _Quantile:
    """What the two have in common: a source sends shares of all its rows."""

    engines: Final = SECRET
    min_columns: Final = 1
    max_columns: Final = 1
    name: str
    learns: str

    def _quantile(self, params: Params) -> tuple[int, int]:
        """Return numerator and denominator of the quantile that is asked for."""
        raise NotImplementedError

    def width(self, params: Params) -> None:
        """See ``Statistic``."""

    def program(self, params: Params) -> bytes:
        """See ``Statistic``."""
        return pack_program(Quantile(*self._quantile(params)))

    def prepare(self, columns: Columns, params: Params) -> Values:
        """See ``Statistic``."""
        (name,) = params.columns
        return np.concatenate(
            [
                on_grid(name, part[name], params.fixp).astype(np.int64)
                for part in columns
            ]
        )

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        check_outputs(totals, 1)
        _, denominator = self._quantile(params)
        value = float(Fraction(totals[0], denominator << params.fixp))
        return {self.name: {params.columns[0]: value}}


class Median(_Quantile):
    """The median: of an even number of rows the mean of the two in the middle."""

    name = "median"
    learns = (
        "the median of the column named, of all sources together, and possibly the two"
        " values that it lies between; the servers learn each source's number of rows"
    )

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def _quantile(self, params: Params) -> tuple[int, int]:  # noqa: ARG002
        return _HALF


class QuantileOf(_Quantile):
    """Any quantile, interpolated as NumPy does where it is not told otherwise."""

    name = "quantile"
    learns = (
        "the quantile asked for of the column named, of all sources together, and"
        " possibly the two values that it lies between; the servers learn each source's"
        " number of rows"
    )

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params, has_quantile=True)
        quantile_fraction(params)

    def _quantile(self, params: Params) -> tuple[int, int]:
        return quantile_fraction(params)
