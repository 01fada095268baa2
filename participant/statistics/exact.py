"""Exact sums and sums of products of float64 columns, rounded once at the end.

A float64 is an integer times a power of two. A column is cut into slices, each
an array of small integers with one common exponent (Rump, Ogita and Oishi,
Accurate floating-point summation, 2008; for products Ozaki and others, 2012).
Slices are so narrow that float64 adds and multiplies them without rounding, in
any order, so that NumPy and BLAS do the work and nothing is lost. Python's
integers add up the parts. No cell is rounded and no cancellation hurts.
"""

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


def in_range(name: str, column: FloatColumn) -> FloatColumn:
    """Return the column with the cells next to zero set to zero.

    Raises:
        RefusedError: a cell is too large.
    """
    has_tiny = False
    for start in range(0, len(column), _SUM_ROWS):
        magnitude = np.abs(column[start : start + _SUM_ROWS])
        if magnitude.max() > 2.0**MAX_CELL_BITS:
            raise RefusedError(
                f"column {name!r} holds a number beyond 2**{MAX_CELL_BITS};"
                " choose a larger unit for it",
                RefusalCode.OVERFLOW,
            )
        tiny = np.count_nonzero(magnitude < 2.0**MIN_CELL_BITS)
        zeros = len(magnitude) - np.count_nonzero(magnitude)
        has_tiny = has_tiny or bool(tiny > zeros)
    if not has_tiny:
        return column
    return np.where(np.abs(column) < 2.0**MIN_CELL_BITS, 0.0, column)


def encoded_sum(column: FloatColumn, fixp: int) -> int:
    """Return the sum of a column that is in range, on the grid for sums."""
    total = 0
    for start in range(0, len(column), _SUM_ROWS):
        part = column[start : start + _SUM_ROWS]
        top = _top(part)
        for level, piece in enumerate(_slices(part, top, _SUM_SLICE_BITS)):
            lowest = top - _SUM_SLICE_BITS * (level + 1)
            total += int(piece.sum()) << (lowest - _lowest_of(1))
    return _rounded(total, -_lowest_of(1) - sum_grid_bits(fixp))


def encoded_products(columns: Sequence[FloatColumn], fixp: int) -> list[list[int]]:
    """Return the sums of products of columns, on the grid for products.

    Args:
        columns: in range and of one length.
        fixp: fractional bits of the request.

    Returns:
        A symmetric matrix, one row and one column a column.
    """
    tops = [_top(column) for column in columns]
    levels = 2 + max((top - _LOWEST_BIT) // _PRODUCT_SLICE_BITS for top in tops)
    size = len(columns) * levels
    exponents = [
        top - _PRODUCT_SLICE_BITS * (level + 1)
        for top in tops
        for level in range(levels)
    ]
    totals = [[0] * len(columns) for _ in columns]
    sums: Integers = np.zeros((size, size), np.int64)
    rows = len(columns[0])
    for number, start in enumerate(range(0, rows, _PRODUCT_ROWS), 1):
        places = []
        pieces = []
        for index, (column, top) in enumerate(zip(columns, tops, strict=True)):
            part = column[start : start + _PRODUCT_ROWS]
            for level, piece in enumerate(_slices(part, top, _PRODUCT_SLICE_BITS)):
                places.append(index * levels + level)
                pieces.append(piece)
        stacked = np.array(pieces)
        sums[np.ix_(places, places)] += (stacked @ stacked.T).astype(np.int64)
        if number % _CHUNKS_IN_INT64 == 0:
            _flush(sums, exponents, levels, totals)
    _flush(sums, exponents, levels, totals)
    shift = -_lowest_of(2) - product_grid_bits(fixp)
    return [[_rounded(total, shift) for total in row] for row in totals]


def _flush(
    sums: Integers, exponents: list[int], levels: int, totals: list[list[int]]
) -> None:
    """Move the sums of slices to the totals in Python's integers."""
    for left, right in np.argwhere(sums).tolist():
        lowest = exponents[left] + exponents[right]
        totals[left // levels][right // levels] += int(sums[left, right]) << (
            lowest - _lowest_of(2)
        )
    sums[:] = 0


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


def _top(column: FloatColumn) -> int:
    """Return the least e with all magnitudes below 2**e; 0 without any."""
    _, exponent = np.frexp(np.abs(column).max(initial=0.0))
    return int(exponent)


def _lowest_of(factors: int) -> int:
    """Return the exponent of the unit in which exact totals are counted.

    The last slice that is not zero holds the lowest bit of a cell, and reaches
    less than a slice's width below it.
    """
    return factors * (_LOWEST_BIT - _SUM_SLICE_BITS)


def _rounded(value: int, bits: int) -> int:
    """Return the value divided by 2**bits, to the nearest, halves upwards."""
    return (value + (1 << (bits - 1))) >> bits
