"""Exact sums and sums of products of float64 columns, rounded once at the end.

A float64 is an integer times a power of two. A column is cut into slices, each
an array of small integers with one common exponent (Rump, Ogita and Oishi,
Accurate floating-point summation, 2008; for products Ozaki and others, 2012).
Slices are so narrow that float64 adds and multiplies them without rounding, in
any order, so that NumPy and BLAS do the work and nothing is lost. Python's
integers add up the parts. No cell is rounded and no cancellation hurts.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.columns import FloatColumn
from shared.errors import RefusalCode, RefusedError

GUARD_BITS: Final = 64
"""Bits below the fractional bits that a request names."""
MAX_CELL_BITS: Final = 160
"""A cell's magnitude is at most 2 to this power (1.46e48), or it is refused."""
MIN_CELL_BITS: Final = -400
"""A cell closer to zero than 2 to this power counts as zero.

All of a job's cells of that kind move a sum of products by less than 2**-190,
far below the grid, which is 2**-128 at its finest.
"""

_MANTISSA_BITS: Final = 53
_LOWEST_BIT: Final = MIN_CELL_BITS - _MANTISSA_BITS
_SUM_ROWS: Final = 1 << 15
_SUM_SLICE_BITS: Final = 37  # 15 + 37 < 53
_PRODUCT_ROWS: Final = 1 << 13
_PRODUCT_SLICE_BITS: Final = 20  # 13 + 2 * 20 = 53
_CHUNKS_IN_INT64: Final = 512  # of at most 2**53 each

Integers = NDArray[np.int64]


def sum_grid_bits(fixp: int) -> int:
    """Return the fractional bits of an encoded sum."""
    return fixp + GUARD_BITS


def product_grid_bits(fixp: int) -> int:
    """Return the fractional bits of an encoded sum of products."""
    return 2 * fixp + GUARD_BITS


def check_size(name: str, column: FloatColumn) -> float:
    """Return the largest magnitude in a column, which has cells.

    Raises:
        RefusedError: a cell is too large.
    """
    size = float(max(column.max(), -column.min()))
    if size > 2.0**MAX_CELL_BITS:
        raise RefusedError(
            f"column {name!r} holds a number beyond 2**{MAX_CELL_BITS};"
            " choose a larger unit for it",
            RefusalCode.OVERFLOW,
        )
    return size


def in_range(name: str, column: FloatColumn) -> FloatColumn:
    """Return the column with the cells next to zero set to zero.

    Raises:
        RefusedError: a cell is too large.
    """
    check_size(name, column)
    magnitude = np.abs(column)
    if np.count_nonzero(magnitude < 2.0**MIN_CELL_BITS) == np.count_nonzero(
        magnitude == 0.0
    ):
        return column
    return np.where(magnitude < 2.0**MIN_CELL_BITS, 0.0, column)


class ExactSums:
    """The exact sum of each of some columns.

    Args:
        names: of the columns, for refusals.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._totals = [0] * len(names)
        self._piece = np.empty(_SUM_ROWS)
        self._rest = np.empty(_SUM_ROWS)

    def add(self, columns: Sequence[FloatColumn]) -> None:
        """Add some rows of each column, as many as there are; finite.

        Raises:
            RefusedError: a cell is too large.
        """
        for index, (name, column) in enumerate(zip(self._names, columns, strict=True)):
            for start in range(0, len(column), _SUM_ROWS):
                part = column[start : start + _SUM_ROWS]
                self._totals[index] += self._sum(part, check_size(name, part))

    def encoded(self, fixp: int) -> list[int]:
        """Return the sums, on the grid for sums."""
        bits = -_lowest_of(1) - sum_grid_bits(fixp)
        return [_rounded(total, bits) for total in self._totals]

    def _sum(self, part: FloatColumn, size: float) -> int:
        """Return the sum of a few cells, in units of the least bit.

        Adding and subtracting a number whose last bit is a slice's lowest one rounds
        to the slice. Arrays are used again, for new memory costs more than adding.
        """
        if size < 2.0**MIN_CELL_BITS:
            return 0
        count = len(part)
        piece, spare = self._piece[:count], self._rest[:count]
        rest, total = part, 0
        lowest = _top(size) - _SUM_SLICE_BITS
        while True:
            if lowest <= MIN_CELL_BITS:  # slices before this one were too coarse
                rest = np.where(np.abs(part) < 2.0**MIN_CELL_BITS, 0.0, rest)
            rounder = 1.5 * 2.0 ** (lowest + _MANTISSA_BITS - 1)
            np.add(rest, rounder, out=piece)
            np.subtract(piece, rounder, out=piece)
            units = float(piece.sum()) * 2.0**-lowest
            total += int(units) << (lowest - _lowest_of(1))
            if not np.not_equal(rest, piece).any():
                return total
            rest = np.subtract(rest, piece, out=spare)
            lowest -= _SUM_SLICE_BITS


class ExactProducts:
    """The exact sums of products of columns.

    Args:
        columns: how many.
    """

    def __init__(self, columns: int) -> None:
        self._tops = [_LOWEST_BIT] * columns
        self._totals = [[0] * columns for _ in range(columns)]
        self._sums: Integers = np.zeros((0, 0), np.int64)
        self._chunks = 0

    def add(self, columns: Sequence[FloatColumn]) -> None:
        """Add some rows of all columns, in range and of one length."""
        for start in range(0, len(columns[0]), _PRODUCT_ROWS):
            self._add([column[start : start + _PRODUCT_ROWS] for column in columns])

    def encoded(self, fixp: int) -> list[list[int]]:
        """Return the sums on the grid for products.

        It is a symmetric matrix, one row and one column a column.
        """
        self._flush()
        shift = -_lowest_of(2) - product_grid_bits(fixp)
        return [[_rounded(total, shift) for total in row] for row in self._totals]

    def _add(self, parts: Sequence[FloatColumn]) -> None:
        tops = [
            max(top, _top(float(np.abs(part).max())))
            for top, part in zip(self._tops, parts, strict=True)
        ]
        if tops != self._tops or self._chunks == _CHUNKS_IN_INT64:
            self._flush()
            self._tops = tops
            size = len(parts) * self._levels()
            self._sums = np.zeros((size, size), np.int64)
        levels = self._levels()
        places = []
        pieces = []
        for index, (part, top) in enumerate(zip(parts, tops, strict=True)):
            for level, piece in enumerate(_slices(part, top, _PRODUCT_SLICE_BITS)):
                places.append(index * levels + level)
                pieces.append(piece)
        stacked = np.array(pieces)
        self._sums[np.ix_(places, places)] += (stacked @ stacked.T).astype(np.int64)
        self._chunks += 1

    def _levels(self) -> int:
        """Return how many slices a column has at most."""
        return 2 + (max(self._tops) - _LOWEST_BIT) // _PRODUCT_SLICE_BITS

    def _flush(self) -> None:
        """Move the sums of slices to the totals in Python's integers."""
        levels = self._levels()
        exponents = [
            top - _PRODUCT_SLICE_BITS * (level + 1)
            for top in self._tops
            for level in range(levels)
        ]
        for left, right in np.argwhere(self._sums).tolist():
            lowest = exponents[left] + exponents[right]
            self._totals[left // levels][right // levels] += int(
                self._sums[left, right]
            ) << (lowest - _lowest_of(2))
        self._sums[:] = 0
        self._chunks = 0


def _slices(column: FloatColumn, top: int, bits: int) -> Iterator[FloatColumn]:
    """Yield integers of at most 2**bits, until nothing of the column is left.

    The slice number ``i`` counts units of ``2**(top - bits * (i + 1))``.
    Scaling by a power of two and subtracting the nearest integer are exact.
    """
    rest = column * 2.0 ** (bits - top)
    while True:
        piece = np.rint(rest)
        yield piece
        rest = rest - piece
        if not rest.any():
            return
        rest *= 2.0**bits


def _top(size: float) -> int:
    """Return the least e with a magnitude below 2**e; 0 for 0."""
    return math.frexp(size)[1]


def _lowest_of(factors: int) -> int:
    """Return the exponent of the unit in which exact totals are counted.

    The last slice that is not zero holds the lowest bit of a cell, and reaches
    less than a slice's width below it.
    """
    return factors * (_LOWEST_BIT - _SUM_SLICE_BITS)


def _rounded(value: int, bits: int) -> int:
    """Return the value divided by 2**bits, to the nearest, halves upwards."""
    return (value + (1 << (bits - 1))) >> bits
