"""``--reveal final``: figures whose sums nobody sees, not even the consumer.

The statistics are those of ``spread``, ``association`` and ``regression``; here the
servers compute the figures in secret. Cells are rounded to a grid at the source, and
everything after that is exact until the figures' own last bits.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from participant.bounds import (
    CORRELATION_BITS,
    DEVIATION_BITS,
    MAX_PREDICTORS,
    REGRESSION_BITS,
)
from participant.columns import Columns, Values
from participant.programs import Figure, Figures, pack_program
from participant.statistics.base import (
    SECRET,
    Result,
    check_outputs,
    check_shape,
)
from participant.statistics.exact import (
    ExactProducts,
    ExactSums,
    product_grid_bits,
    sum_grid_bits,
)
from participant.statistics.grid import on_grid
from participant.statistics.moments import pairs
from participant.statistics.params import MAX_COLUMNS, Params

CELL_GUARD_BITS: Final = 16
"""Bits of a cell below the fractional bits that a request names."""

_PAIR: Final = 2
_FEW_ROWS: Final = "fewer than 2 rows: nothing is defined"


class _Final:
    """What they have in common: a source sends rows, sums, sums of products."""

    engines: Final = SECRET
    min_columns = 1
    max_columns = MAX_COLUMNS
    name: str
    learns: str
    figure: Figure

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(
            self,
            params,
            has_target=self.figure is Figure.REGRESSION,
            reveals_final=True,
        )

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        return self._figures(params).width

    def program(self, params: Params) -> bytes:
        """See ``Statistic``."""
        return pack_program(self._figures(params))

    def prepare(self, columns: Columns, params: Params) -> Values:
        """See ``Statistic``."""
        bits = _grid_bits(params)
        names = params.used()
        is_alone = self._figures(params).pairs == len(names)
        sums = ExactSums(names)
        products = [
            ExactProducts(len(own))
            for own in ([(name,) for name in names] if is_alone else [names])
        ]
        for part in columns:
            cells = [on_grid(name, part[name], bits) for name in names]
            sums.add(cells)
            for index, own in enumerate(products):
                own.add(cells[index : index + 1] if is_alone else cells)
        matrices = [own.encoded(params.fixp) for own in products]
        # Integers, so that what is cut off behind the point is 0.
        shift = product_grid_bits(params.fixp)
        return [
            columns.rows,
            *(own >> sum_grid_bits(params.fixp) for own in sums.encoded(params.fixp)),
            *(
                matrix[left][right] >> shift
                for matrix in matrices
                for left, right in pairs(len(matrix))
            ),
        ]

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        raise NotImplementedError

    def _figures(self, params: Params) -> Figures:
        return Figures(self.figure, len(params.used()), _grid_bits(params))

    def _parts(
        self, totals: Sequence[int], params: Params
    ) -> tuple[list[bool], list[int]]:
        """Return flags of what is undefined, and the figures."""
        figures = self._figures(params)
        check_outputs(totals, figures.outputs)
        flags = [bool(flag) for flag in totals[: figures.flags]]
        return flags, list(totals[figures.flags :])


class _Spread(_Final):
    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        (is_alone,), figures = self._parts(totals, params)
        unit = self._unit(params)
        result: Result = {
            self.name: {
                name: None if is_alone else float(Fraction(figure, unit))
                for name, figure in zip(params.columns, figures, strict=True)
            }
        }
        if is_alone:
            result["note"] = _FEW_ROWS
        return result

    def _unit(self, params: Params) -> int:
        raise NotImplementedError


class FinalVariance(_Spread):
    """The sample variance (n - 1) of each column."""

    name = "variance"
    learns = "the variance of each column named, over all sources together"
    figure = Figure.VARIANCE

    def _unit(self, params: Params) -> int:
        return 1 << 2 * _grid_bits(params)


class FinalDeviation(_Spread):
    """The sample standard deviation (n - 1) of each column."""

    name = "stddev"
    learns = "the standard deviation of each column named, over all sources together"
    figure = Figure.DEVIATION

    def _unit(self, params: Params) -> int:
        return 1 << (_grid_bits(params) + DEVIATION_BITS)


class _Association(_Final):
    min_columns = 2

    def _result(
        self, params: Params, matrix: list[list[float | None]], note: str | None
    ) -> Result:
        result: Result = {"columns": list(params.columns), "matrix": matrix}
        if len(params.columns) == _PAIR:
            result[self.name] = matrix[0][1]
        if note:
            result["note"] = note
        return result


class FinalCovariance(_Association):
    """The sample covariance (n - 1) of every two columns."""

    name = "covariance"
    learns = (
        "the covariance of every two columns named and the variance of each, over all"
        " sources together"
    )
    figure = Figure.COVARIANCE

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        (is_alone,), figures = self._parts(totals, params)
        count = len(params.columns)
        matrix: list[list[float | None]] = [[None] * count for _ in range(count)]
        unit = 1 << 2 * _grid_bits(params)
        for (left, right), figure in zip(pairs(count), figures, strict=True):
            value = None if is_alone else float(Fraction(figure, unit))
            matrix[left][right] = matrix[right][left] = value
        return self._result(params, matrix, _FEW_ROWS if is_alone else None)


class FinalCorrelation(_Association):
    """Pearson's correlation of every two columns."""

    name = "correlation"
    learns = (
        "the correlation of every two columns named and which of them are constant,"
        " over all sources together"
    )
    figure = Figure.CORRELATION

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        flags, figures = self._parts(totals, params)
        count = len(params.columns)
        matrix: list[list[float | None]] = [
            [None if flags[column] or row != column else 1.0 for column in range(count)]
            for row in range(count)
        ]
        places = [(left, right) for left, right in pairs(count) if left != right]
        for (left, right), figure in zip(places, figures, strict=True):
            if not flags[left] and not flags[right]:
                size = max(
                    -1.0, min(1.0, float(Fraction(figure, 1 << CORRELATION_BITS)))
                )
                matrix[left][right] = matrix[right][left] = size
        constant = [
            name for name, flag in zip(params.columns, flags, strict=True) if flag
        ]
        note = (
            f"constant, so that no correlation is defined: {', '.join(constant)}"
            if constant
            else None
        )
        return self._result(params, matrix, note)


class FinalRegression(_Final):
    """The linear function of the columns that fits the target best."""

    name = "linear-regression"
    max_columns = MAX_PREDICTORS
    learns = (
        "the coefficient of each predictor, the intercept and r2, over all sources"
        " together"
    )
    figure = Figure.REGRESSION

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        flags, figures = self._parts(totals, params)
        values = [
            None if flag else float(Fraction(figure, 1 << REGRESSION_BITS))
            for flag, figure in zip(flags, figures, strict=True)
        ]
        count = len(params.columns)
        result: Result = {
            "intercept": values[count],
            "coefficients": dict(zip(params.columns, values[:count], strict=True)),
            "r2": values[count + 1],
        }
        if all(flags):
            result["note"] = (
                "the predictors depend on each other, or one is constant, or rows are"
                " too few"
            )
        elif any(flags[: count + 1]):
            result["note"] = "what is not defined is too large; choose other units"
        elif flags[count + 1]:
            result["note"] = "the target is constant: r2 is undefined"
        return result


def _grid_bits(params: Params) -> int:
    return params.fixp + CELL_GUARD_BITS
