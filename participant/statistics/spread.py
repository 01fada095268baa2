"""Variance and standard deviation, column by column."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from participant.columns import Columns
from participant.statistics.base import (
    HEAD,
    OfSums,
    Result,
    Totals,
    check_shape,
    head,
    split_totals,
)
from participant.statistics.moments import LocalMoments, decoded_moments
from participant.statistics.params import MAX_COLUMNS, Params

_MIN_ROWS: Final = 2
_FEW_ROWS: Final = "fewer than 2 rows: the spread is undefined"


class _Spreads(OfSums):
    """What the two have in common; a vector has two numbers a column."""

    min_columns: Final = 1
    max_columns: Final = MAX_COLUMNS
    learns: Final = (
        "the number of rows, and the sum and the sum of squares of each column"
        " named, over all sources together"
    )

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        return HEAD + 2 * len(params.columns)

    def prepare(self, columns: Columns, params: Params) -> list[int]:
        """See ``Statistic``."""
        moments = [LocalMoments((name,)) for name in params.columns]
        for part in columns:
            for own in moments:
                own.add(part)
        vector = head(columns)
        for own in moments:
            vector += own.encoded(params.fixp)
        return vector

    def _variances(
        self, totals: Sequence[int], params: Params
    ) -> tuple[Totals, dict[str, Fraction | None]]:
        """Return each column's sample variance, None below two rows."""
        parts = split_totals(totals, self.width(params))
        variances: dict[str, Fraction | None] = {}
        for index, name in enumerate(params.columns):
            own = Totals(
                sources=parts.sources,
                rows=parts.rows,
                body=parts.body[2 * index : 2 * index + 2],
            )
            moments = decoded_moments(own, 1, params.fixp)
            variances[name] = (
                Fraction(
                    moments.spread(0), parts.rows * (parts.rows - 1) * moments.unit()
                )
                if parts.rows >= _MIN_ROWS
                else None
            )
        return parts, variances


class Variance(_Spreads):
    """The sample variance (n - 1) of each column."""

    name: Final = "variance"

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        parts, variances = self._variances(totals, params)
        result: Result = {
            "sources": parts.sources,
            "n": parts.rows,
            "variance": {
                name: None if value is None else float(value)
                for name, value in variances.items()
            },
        }
        if parts.rows < _MIN_ROWS:
            result["note"] = _FEW_ROWS
        return result


class StandardDeviation(_Spreads):
    """The sample standard deviation (n - 1) of each column."""

    name: Final = "stddev"

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        parts, variances = self._variances(totals, params)
        result: Result = {
            "sources": parts.sources,
            "n": parts.rows,
            "stddev": {
                name: None if value is None else math.sqrt(value)
                for name, value in variances.items()
            },
        }
        if parts.rows < _MIN_ROWS:
            result["note"] = _FEW_ROWS
        return result
