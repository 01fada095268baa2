"""What a computation found, as Python and NumPy values."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

Figure = float | int | None
"""``None`` is what is not defined; the result's ``note`` says why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What every result has; its class depends on the statistic.

    Attributes:
        job: the job's number, such as ``J001``.
        id: the job's id, hexadecimal.
        statistic: its name.
        dataset: of every source.
        columns: in the order in which they were asked for.
        sources: how many there were.
        servers: how many MPC servers computed.
        rows: of all sources together; ``None`` where the result does not reveal it.
        note: what is to be known about figures that are not defined.
        times_ms: milliseconds from the request to each phase and in ``total``.
        figures: everything as ``--json`` prints it.
    """

    job: str
    id: str
    statistic: str
    dataset: str
    columns: tuple[str, ...]
    sources: int
    servers: int
    rows: int | None
    note: str | None
    times_ms: Mapping[str, int]
    figures: Mapping[str, object]

    def to_frame(self) -> "pd.DataFrame":
        """Return the figures as a pandas data frame.

        Raises:
            ConfigError: pandas is not installed.
        """
        raise NotImplementedError

    def to_json(self) -> str:
        """Return the figures as JSON."""
        return json.dumps(self.figures, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Count(Result):
    """A number of rows: ``count``."""

    count: int

    def to_frame(self) -> "pd.DataFrame":
        """Return one row with ``count``."""
        return _pandas().DataFrame({"count": [self.count]})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerColumn(Result):
    """A figure a column: sum, mean, variance, stddev, min, max, median, quantile.

    ``values``: by column.
    """

    values: Mapping[str, Figure]

    def __getitem__(self, column: str) -> Figure:
        """Return a column's figure."""
        return self.values[column]

    def to_frame(self) -> "pd.DataFrame":
        """Return a row a column, with the statistic's name over it."""
        return _pandas().DataFrame(
            {self.statistic: list(self.values.values())},
            index=list(self.values),
            dtype=float,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrix(Result):
    """A figure for every two columns: covariance, correlation.

    ``matrix``: a row and a column for each of ``columns``; NaN is not defined.
    """

    matrix: NDArray[np.float64]

    def __getitem__(self, pair: tuple[str, str]) -> float:
        """Return the figure of two columns."""
        row, column = (self.columns.index(name) for name in pair)
        return float(self.matrix[row, column])

    def to_frame(self) -> "pd.DataFrame":
        """Return the matrix with the columns' names on both sides."""
        names = list(self.columns)
        return _pandas().DataFrame(self.matrix, index=names, columns=names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram(Result):
    """Counts between edges; the last bin holds its upper edge too.

    Attributes:
        edges: increasing.
        counts: by column, one a bin.
        below: by column, rows below the first edge.
        above: by column, rows above the last edge.
    """

    edges: NDArray[np.float64]
    counts: Mapping[str, NDArray[np.int64]]
    below: Mapping[str, int]
    above: Mapping[str, int]

    def to_frame(self) -> "pd.DataFrame":
        """Return a row a bin, those below and above too, and a column a column."""
        pandas = _pandas()
        edges = [-np.inf, *self.edges.tolist(), np.inf]
        return pandas.DataFrame(
            {
                name: [self.below[name], *counts.tolist(), self.above[name]]
                for name, counts in self.counts.items()
            },
            index=pandas.IntervalIndex.from_breaks(edges, closed="left"),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regression(Result):
    """A least squares fit: linear-regression.

    Standard errors and degrees of freedom are ``None`` with ``reveal="final"``.

    Attributes:
        intercept: of the fit.
        coefficients: by predictor.
        r2: the share of the target's variance that is explained.
        intercept_standard_error: of the intercept.
        standard_errors: by predictor.
        residual_standard_error: of the fit.
        degrees_of_freedom: rows less figures that were fitted.
    """

    intercept: Figure
    coefficients: Mapping[str, Figure]
    r2: Figure
    intercept_standard_error: Figure
    standard_errors: Mapping[str, Figure]
    residual_standard_error: Figure
    degrees_of_freedom: int | None

    def to_frame(self) -> "pd.DataFrame":
        """Return a row for the intercept and each predictor, with standard errors."""
        errors = [self.standard_errors.get(name) for name in self.coefficients]
        return _pandas().DataFrame(
            {
                "coefficient": [self.intercept, *self.coefficients.values()],
                "standard error": [self.intercept_standard_error, *errors],
            },
            index=["intercept", *self.coefficients],
            dtype=float,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LargestGroup(Result):
    """Which group has the largest sum: argmax.

    ``by``: the column that says a row's group. ``groups``: by column, the group.
    """

    by: str
    groups: Mapping[str, float]

    def __getitem__(self, column: str) -> float:
        """Return the group whose sum of a column is the largest."""
        return self.groups[column]

    def to_frame(self) -> "pd.DataFrame":
        """Return a row a column, with the group under the name of ``by``."""
        return _pandas().DataFrame(
            {self.by: list(self.groups.values())}, index=list(self.groups)
        )


def _pandas() -> ModuleType:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise ConfigError(
            "data frames need pandas, which is not installed",
            "run: pip install 'mpc-management[pandas]'",
        ) from error
