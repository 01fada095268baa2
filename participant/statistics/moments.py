"""Sums of squares and products about the mean, exact, with their uncertainty.

With sums S in units of 2**-(f + g) and sums of products P in units of
2**-(2f + g), where f is the request's fractional bits and g the guard bits,
``n * P * 2**g - S * S`` is n times the centred sum of products in units of
2**-(2f + 2g): an integer, without rounding or cancellation. What is left of
uncertainty are the roundings to the grid, at most one half a total and source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from participant.columns import Part
from participant.statistics.base import Totals, senseless
from participant.statistics.exact import (
    GUARD_BITS,
    ExactProducts,
    ExactSums,
    in_range,
)


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over all sources of columns and of their products.

    Attributes:
        sources: number of sources.
        rows: number of rows, n.
        fixp: fractional bits of the request.
        sums: the sum S of each column.
        products: the sums P of products, one row and one column a column.
    """

    sources: int
    rows: int
    fixp: int
    sums: tuple[int, ...]
    products: tuple[tuple[int, ...], ...]

    def centred(self, left: int, right: int) -> int:
        """Return n times the centred sum of products, in units of ``unit``."""
        return (self.rows * self.products[left][right] << GUARD_BITS) - self.sums[
            left
        ] * self.sums[right]

    def spread(self, column: int) -> int:
        """Return ``centred`` of a column with itself; 0 if it may be 0."""
        value = self.centred(column, column)
        return 0 if value <= self.doubt((column,), (1,)) else value

    def raw(self, column: int) -> int:
        """Return n times the sum of squares, in the units of ``centred``."""
        return self.rows * self.products[column][column] << GUARD_BITS

    def unit(self) -> int:
        """Return what ``centred`` is to be divided by, but for n."""
        return 1 << 2 * (self.fixp + GUARD_BITS)

    def doubt(self, columns: Sequence[int], weights: Sequence[int]) -> int:
        """Return how far rounding may have moved a weighted sum's ``centred``.

        Args:
            columns: the columns that are combined.
            weights: the magnitude of each one's weight.
        """
        # One unit a source: twice what rounding to the nearest can do.
        total = sum(weights)
        size = self.sources * total
        offset = sum(
            weight * abs(self.sums[column])
            for column, weight in zip(columns, weights, strict=True)
        )
        per_product = self.rows * total * size << GUARD_BITS
        return per_product + 2 * size * offset + size * size


def pairs(columns: int) -> list[tuple[int, int]]:
    """Return the pairs of columns of which products are sent, in order."""
    return [(left, right) for left in range(columns) for right in range(left, columns)]


class LocalMoments:
    """A source's sums of columns and of their products, exact.

    Args:
        names: of the columns.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sums = ExactSums(names)
        self._products = ExactProducts(len(names))

    def add(self, part: Part) -> None:
        """Add some rows.

        Raises:
            RefusedError: a cell is too large.
        """
        cells = [in_range(name, part[name]) for name in self._names]
        self._sums.add(cells)
        self._products.add(cells)

    def encoded(self, fixp: int) -> list[int]:
        """Return the sums of the columns, then of their products, pair by pair."""
        products = self._products.encoded(fixp)
        return self._sums.encoded(fixp) + [
            products[left][right] for left, right in pairs(len(self._names))
        ]


def decoded_moments(parts: Totals, columns: int, fixp: int) -> Moments:
    """Return the moments from totals of such vectors.

    Raises:
        JobAbortedError: a sum of squares is negative.
    """
    products = [[0] * columns for _ in range(columns)]
    for (left, right), total in zip(pairs(columns), parts.body[columns:], strict=True):
        if left == right and total < 0:
            raise senseless()
        products[left][right] = products[right][left] = total
    return Moments(
        sources=parts.sources,
        rows=parts.rows,
        fixp=fixp,
        sums=parts.body[:columns],
        products=tuple(tuple(row) for row in products),
    )
