"""Count, sum and mean."""

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
from participant.statistics.exact import ExactSums, sum_grid_bits
from participant.statistics.params import MAX_COLUMNS, Params


class Count(OfSums):
    """How many rows have a value in every column that is named."""

    name: Final = "count"
    min_columns: Final = 1
    max_columns: Final = MAX_COLUMNS
    learns: Final = "the number of rows of all sources together"

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def width(self, params: Params) -> int:  # noqa: ARG002 - the protocol's shape
        """See ``Statistic``."""
        return HEAD

    def prepare(
        self,
        columns: Columns,
        params: Params,  # noqa: ARG002 - the protocol's shape
    ) -> list[int]:
        """See ``Statistic``."""
        for _ in columns:
            pass
        return head(columns)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        parts = split_totals(totals, self.width(params))
        return {"sources": parts.sources, "n": parts.rows, "count": parts.rows}


class _Sums(OfSums):
    """What the two have in common whose vector is a sum a column."""

    min_columns: Final = 1
    max_columns: Final = MAX_COLUMNS
    learns: Final = (
        "the number of rows and the sum of each column named, over all sources together"
    )

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        return HEAD + len(params.columns)

    def prepare(self, columns: Columns, params: Params) -> list[int]:
        """See ``Statistic``."""
        sums = ExactSums(params.columns)
        for part in columns:
            sums.add([part[name] for name in params.columns])
        return head(columns) + sums.encoded(params.fixp)


class Sum(_Sums):
    """The sum of each column."""

    name: Final = "sum"

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        parts = split_totals(totals, self.width(params))
        unit = 1 << sum_grid_bits(params.fixp)
        return {
            "sources": parts.sources,
            "n": parts.rows,
            "sum": {
                name: float(Fraction(total, unit))
                for name, total in zip(params.columns, parts.body, strict=True)
            },
        }


class Mean(_Sums):
    """The arithmetic mean of each column."""

    name: Final = "mean"

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params)

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        parts = split_totals(totals, self.width(params))
        unit = parts.rows << sum_grid_bits(params.fixp)
        return {
            "sources": parts.sources,
            "n": parts.rows,
            "mean": {
                name: float(Fraction(total, unit))
                for name, total in zip(params.columns, parts.body, strict=True)
            },
        }
