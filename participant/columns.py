"""Numeric columns in memory, and what is done about their gaps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusalCode, RefusedError

FloatColumn = NDArray[np.float64]
"""One row an element; finite, unless a reader marks a gap with NaN."""
Values = Sequence[int] | NDArray[np.int64]
"""A source's values as an engine shares them; a long column may be an array."""


@unique
class Missing(StrEnum):
    """What happens to a row that lacks a value in a column in use."""

    DROP = "drop"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns that a statistic uses, all finite and of one length.

    Attributes:
        values: one column a name.
        rows: their length; at least 1.
        bytes: size of the file that was read; of a query the columns' size.
    """

    values: dict[str, FloatColumn]
    rows: int
    bytes: int


def without_gaps(
    columns: list[FloatColumn],
    names: Sequence[str],
    missing: Missing,
    place: Callable[[int], str],
) -> list[FloatColumn]:
    """Return the columns with every row dropped that lacks a value.

    Args:
        columns: of one length, NaN where a value is missing.
        names: one a column.
        missing: drop such rows or refuse the dataset.
        place: says where the row at an index is, such as ``line 7``.

    Raises:
        RefusedError: a value is missing and ``missing`` is ``REFUSE``.
    """
    gaps = [np.isnan(column) for column in columns]
    if not any(gap.any() for gap in gaps):
        return columns
    if missing is Missing.REFUSE:
        name, gap = next(
            (name, gap) for name, gap in zip(names, gaps, strict=True) if gap.any()
        )
        raise RefusedError(
            f"column {name!r} has no value in {place(int(gap.argmax()))};"
            " ask with missing = drop to leave such rows out",
            RefusalCode.MISSING_VALUES,
        )
    kept = ~np.logical_or.reduce(gaps)
    return [column[kept] for column in columns]


def row_after(before: int) -> Callable[[int], str]:
    """Return what says where a row is, of those after the first ones."""
    return lambda index: f"row {before + index + 1}"
