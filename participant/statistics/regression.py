"""Linear regression by least squares, with an intercept."""

import math
from collections.abc import Sequence
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
from participant.statistics.elimination import Eliminated, Row, eliminate
from participant.statistics.exact import sum_grid_bits
from participant.statistics.moments import (
    LocalMoments,
    Moments,
    decoded_moments,
    pairs,
)
from participant.statistics.params import MAX_COLUMNS, Params

COLLINEAR_BITS: Final = 100
"""A predictor depends on others if what they leave of it is this small.

That is the square of 2**-50, relative to the predictors' mean square: eight
times the rounding of their cells to float64.
"""


class LinearRegression(OfSums):
    """The linear function of the columns that fits the target best."""

    name: Final = "linear-regression"
    min_columns: Final = 1
    max_columns: Final = MAX_COLUMNS
    learns: Final = (
        "the number of rows, the sum of the target and of each predictor, and the"
        " sum of products of every two of them (squares included), over all"
        " sources together"
    )

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params, has_target=True)

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        count = len(params.used())
        return HEAD + count + len(pairs(count))

    def prepare(self, columns: Columns, params: Params) -> list[int]:
        """See ``Statistic``."""
        moments = LocalMoments(params.used())
        for part in columns:
            moments.add(part)
        return head(columns) + moments.encoded(params.fixp)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        parts = split_totals(totals, self.width(params))
        target = len(params.columns)
        moments = decoded_moments(parts, target + 1, params.fixp)
        freedom = parts.rows - target - 1
        if freedom < 0:
            return _undefined(
                moments,
                params,
                f"{parts.rows} rows are too few for {target} predictors and an"
                " intercept",
            )
        system = eliminate(
            [
                [moments.centred(row, column) for column in range(target)]
                for row in range(target)
            ],
            [moments.centred(row, target) for row in range(target)],
            lambda pivot, weights: _is_collinear(moments, pivot, weights),
        )
        if isinstance(system, int):
            return _undefined(
                moments,
                params,
                f"predictor {params.columns[system]!r} is constant or a linear"
                " combination of those named before it; leave it out",
            )
        return _fit(moments, params, system, freedom)


def _is_collinear(moments: Moments, pivot: int, weights: Row) -> bool:
    """Say whether what is left of a predictor may be nothing but rounding.

    Args:
        moments: of all columns.
        pivot: n times the sum of squares that is left, times a scale squared.
        weights: the predictors' weights in what is left, times that scale.
    """
    sizes = [abs(weight) for weight in weights]
    if pivot <= moments.doubt(range(len(sizes)), sizes):
        return True
    reach = sum(
        size * math.isqrt(moments.raw(column)) for column, size in enumerate(sizes)
    )
    return pivot << COLLINEAR_BITS <= reach * reach


def _fit(moments: Moments, params: Params, system: Eliminated, freedom: int) -> Result:
    """Return the result of a system that has one solution.

    Args:
        moments: of the predictors and, last, the target.
        params: of the request.
        system: the eliminated normal equations about the means.
        freedom: rows that are left over, n - predictors - 1.
    """
    target = len(params.columns)
    numerators, determinant = system.solution()
    explained = sum(
        numerator * moments.centred(row, target)
        for row, numerator in enumerate(numerators)
    )
    total = moments.spread(target) * determinant
    left = max(0, total - explained)
    if (
        left
        <= moments.doubt(
            range(target + 1), [*(abs(number) for number in numerators), determinant]
        )
        // determinant
    ):
        left = 0
    scale = moments.rows * moments.unit()
    predicted = sum(
        numerator * moments.sums[row] for row, numerator in enumerate(numerators)
    )
    result: Result = {
        "sources": moments.sources,
        "n": moments.rows,
        "intercept": float(
            Fraction(
                moments.sums[target] * determinant - predicted,
                moments.rows * determinant << sum_grid_bits(params.fixp),
            )
        ),
        "coefficients": {
            name: float(Fraction(numerator, determinant))
            for name, numerator in zip(params.columns, numerators, strict=True)
        },
        "r2": (total - left) / total if total else None,
        "degrees_of_freedom": freedom,
        "residual_standard_error": None,
        "intercept_standard_error": None,
        "standard_errors": dict.fromkeys(params.columns),
    }
    notes = [] if total else ["the target is constant: r2 is undefined"]
    if freedom:
        variance = float(Fraction(left, determinant * scale * freedom))
        result["residual_standard_error"] = math.sqrt(variance)
        result["intercept_standard_error"] = math.sqrt(
            variance * (1 + system.inverse_form(moments.sums[:target])) / moments.rows
        )
        result["standard_errors"] = {
            name: math.sqrt(variance * entry)
            for name, entry in zip(
                params.columns, system.inverse_diagonal(scale), strict=True
            )
        }
    else:
        notes.append("as many coefficients as rows: no standard errors")
    if notes:
        result["note"] = "; ".join(notes)
    return result


def _undefined(moments: Moments, params: Params, note: str) -> Result:
    """Return the result of a system that has no single solution."""
    return {
        "sources": moments.sources,
        "n": moments.rows,
        "intercept": None,
        "coefficients": dict.fromkeys(params.columns),
        "r2": None,
        "degrees_of_freedom": None,
        "residual_standard_error": None,
        "intercept_standard_error": None,
        "standard_errors": dict.fromkeys(params.columns),
        "note": note,
    }
