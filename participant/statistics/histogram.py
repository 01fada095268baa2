"""How many values of a column fall between public edges."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.columns import Columns, FloatColumn
from participant.statistics.base import (
    HEAD,
    OfSums,
    Result,
    check_shape,
    head,
    split_totals,
)
from participant.statistics.params import MAX_COLUMNS, Params, edge_values, refused

MIN_EDGES: Final = 2
MAX_COUNTS: Final = 16384
"""Counts of all columns together, those outside the edges included."""


class Histogram(OfSums):
    """Counts between edges, and below the first and above the last.

    A bin holds its lower edge and not its upper one; the last holds both, as
    NumPy has it.
    """

    name: Final = "histogram"
    min_columns: Final = 1
    max_columns: Final = MAX_COLUMNS
    learns: Final = (
        "the number of rows, and for each column named how many values of all"
        " sources together lie between the edges asked for, below and above them"
    )

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params, has_edges=True)
        if len(params.edges) < MIN_EDGES:
            raise refused(f"a histogram needs at least {MIN_EDGES} edges")
        edge_values(params)
        counts = len(params.columns) * _places(params)
        if counts > MAX_COUNTS:
            raise refused(
                f"{counts} counts, with those outside the edges; a histogram has"
                f" at most {MAX_COUNTS}"
            )

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        return HEAD + len(params.columns) * _places(params)

    def prepare(self, columns: Columns, params: Params) -> list[int]:
        """See ``Statistic``."""
        edges = np.array(edge_values(params))
        counts = np.zeros((len(params.columns), _places(params)), np.int64)
        for part in columns:
            for index, name in enumerate(params.columns):
                counts[index] += _counts(part[name], edges)
        return head(columns) + [int(count) for count in counts.flat]

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        parts = split_totals(totals, self.width(params))
        places = _places(params)
        histogram = {}
        for index, name in enumerate(params.columns):
            counts = parts.body[index * places : (index + 1) * places]
            histogram[name] = {
                "below": counts[0],
                "counts": list(counts[1:-1]),
                "above": counts[-1],
            }
        return {
            "sources": parts.sources,
            "n": parts.rows,
            "edges": list(params.edges),
            "histogram": histogram,
        }


def _places(params: Params) -> int:
    """Return the counts a column: the bins, below and above."""
    return len(params.edges) + 1


def _counts(column: FloatColumn, edges: FloatColumn) -> NDArray[np.int64]:
    places = np.searchsorted(edges, column, side="right")
    counts = np.bincount(places, minlength=len(edges) + 1)
    on_last_edge = int(np.count_nonzero(column == edges[-1]))
    counts[-1] -= on_last_edge
    counts[-2] += on_last_edge
    return counts
