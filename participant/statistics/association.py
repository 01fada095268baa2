"""Covariance and Pearson's correlation of two columns or more."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final

from participant.columns import Columns
from participant.statistics.base import (
    HEAD,
    OfSums,
    Result,
    check_shape,
    head,
    split_totals,
)
from participant.statistics.moments import (
    LocalMoments,
    Moments,
    decoded_moments,
    pairs,
)
from participant.statistics.params import MAX_COLUMNS, Params

_MIN_ROWS: Final = 2
_PAIR: Final = 2
_FEW_ROWS: Final = "fewer than 2 rows: the association is undefined"


class _Associations(OfSums):
    """What the two have in common; a vector has all sums and products."""

    min_columns: Final = 2
    max_columns: Final = MAX_COLUMNS
    learns: Final = (
        "the number of rows, the sum of each column named and the sum of products"
        " of every two of them (squares included), over all sources together"
    )

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        count = len(params.columns)
        return HEAD + count + len(pairs(count))

    def prepare(self, columns: Columns, params: Params) -> list[int]:
        """See ``Statistic``."""
        moments = LocalMoments(params.columns)
        for part in columns:
            moments.add(part)
        return head(columns) + moments.encoded(params.fixp)

    def _result(
        self,
        totals: Sequence[int],
        params: Params,
        name: str,
        entry: Callable[[Moments, int, int], float | None],
    ) -> tuple[Result, Moments]:
        """Return the result with one entry of the matrix a pair of columns."""
        parts = split_totals(totals, self.width(params))
        count = len(params.columns)
        moments = decoded_moments(parts, count, params.fixp)
        has_rows = parts.rows >= _MIN_ROWS
        matrix = [
            [
                entry(moments, left, right) if has_rows else None
                for right in range(count)
            ]
            for left in range(count)
        ]
        result: Result = {
            "sources": parts.sources,
            "n": parts.rows,
            "columns": list(params.columns),
            "matrix": matrix,
        }
        if count == _PAIR:
            result[name] = matrix[0][1]
        if not has_rows:
            result["note"] = _FEW_ROWS
        return result, moments


class Covariance(_Associations):
    """The sample covariance (n - 1) of every two columns."""

    name: Final = "covariance"

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        result, _ = self._result(totals, params, self.name, _covariance)
        return result


class Correlation(_Associations):
    """Pearson's correlation of every two columns."""

    name: Final = "correlation"

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        result, moments = self._result(totals, params, self.name, _correlation)
        constant = [
            name
            for index, name in enumerate(params.columns)
            if moments.spread(index) == 0
        ]
        if constant and "note" not in result:
            result["note"] = (
                f"constant, so that no correlation is defined: {', '.join(constant)}"
            )
        return result


def _covariance(moments: Moments, left: int, right: int) -> float:
    value = moments.spread(left) if left == right else moments.centred(left, right)
    return float(Fraction(value, moments.rows * (moments.rows - 1) * moments.unit()))


def _correlation(moments: Moments, left: int, right: int) -> float | None:
    first, second = moments.spread(left), moments.spread(right)
    if first == 0 or second == 0:
        return None
    if left == right:
        return 1.0
    shared = moments.centred(left, right)
    # Rounding to the grid may carry a perfect correlation beyond 1.
    size = min(1.0, math.sqrt(Fraction(shared * shared, first * second)))
    return -size if shared < 0 else size
