"""Cells as integers on a grid, for what is computed value by value in secret."""

from typing import Final

import numpy as np

from participant.columns import FloatColumn
from shared.errors import RefusalCode, RefusedError

MAX_BITS: Final = 62
"""A cell on its grid is below 2 to this power in magnitude."""


def on_grid(name: str, column: FloatColumn, bits: int) -> FloatColumn:
    """Return a column times 2**bits, each cell rounded to the nearest integer.

    Args:
        name: of the column, for the refusal.
        column: finite.
        bits: fractional bits of the grid.

    Returns:
        Integers as float64 has them, all below 2**``MAX_BITS`` in magnitude.

    Raises:
        RefusedError: a cell is too large.
    """
    room = MAX_BITS - bits
    if max(column.max(), -column.min()) >= 2.0**room:
        raise RefusedError(
            f"column {name!r} holds a number of 2**{room} or more; choose a larger"
            " unit for it, or ask with a smaller fixp",
            RefusalCode.OVERFLOW,
        )
    return np.rint(column * 2.0**bits)
