"""Numeric columns, a part of the rows at a time, and what is done about gaps."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusalCode, RefusedError

FloatColumn = NDArray[np.float64]
"""One row an element; finite, unless a reader marks a gap with NaN."""
Part = Mapping[str, FloatColumn]
"""Some rows: one column a name, all finite and of one length, at least 1.

A reader may use its memory again for the next part.
"""
Values = Sequence[int] | NDArray[np.int64]
"""A source's values as an engine shares them; a long column may be an array."""


@unique
class Missing(StrEnum):
    """What happens to a row that lacks a value in a column in use."""

    DROP = "drop"
    REFUSE = "refuse"


@dataclass(slots=True, eq=False)
class Columns:
    """The columns that a statistic uses; they are gone through once.

    Attributes:
        parts: their rows, in order.
        rows: how many were gone through; in the end at least 1.
    """

    parts: Iterable[Part]
    rows: int = 0

    def __iter__(self) -> Iterator[Part]:
        """Go through the rows, a part at a time."""
        for part in self.parts:
            self.rows += len(next(iter(part.values())))
            yield part


def without_gaps(
    columns: list[FloatColumn],
    names: Sequence[str],
    missing: Missing,
    place: Callable[[int], str],
) -> list[FloatColumn]:
    """Return the columns, all finite, with every row dropped that lacks a value.

    Args:
        columns: of one length, NaN where a value is missing.
        names: one a column.
        missing: drop such rows or refuse the dataset.
        place: says where the row at an index is, such as ``line 7``.

    Raises:
        RefusedError: a value is infinite, or missing and ``missing`` is ``REFUSE``.
    """
    if all(np.isfinite(column).all() for column in columns):
        return columns
    for name, column in zip(names, columns, strict=True):
        infinite = np.isinf(column)
        if infinite.any():
            raise RefusedError(
                f"column {name!r} is not a finite number in"
                f" {place(int(infinite.argmax()))}",
                RefusalCode.NOT_NUMERIC,
            )
    gaps = [np.isnan(column) for column in columns]
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
