"""What a statistic is: prepared at the source, finished at the consumer.

Most statistics are functions of sums over all rows. A source computes its
local sums exactly and rounds each once to the grid (see ``exact``); the engine
adds the sources' vectors; the consumer computes with exact integers and
fractions and makes floats only at the end.

The vector of such a statistic starts with two numbers: 1, so that the total is the
number of sources, and the source's number of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from participant.columns import Columns, Values
from participant.statistics.params import Params, Reveal, refused
from shared.errors import FailureCode, JobAbortedError

Result = dict[str, object]
"""What JSON can hold: numbers are int or finite float, what is undefined is None
and then ``note`` says why."""

HEAD: Final = 2
"""Numbers at the start of every vector: sources and rows."""
ADDITIVE: Final = frozenset({"additive"})
SECRET: Final = frozenset({"mpyc"})
"""Engines for what is computed in secret beyond sums."""


class Statistic(Protocol):
    """Something that can be asked; without state."""

    @property
    def name(self) -> str:
        """Return the word for it in a request."""
        ...

    @property
    def engines(self) -> frozenset[str]:
        """Return the names of the engines that can serve it."""
        ...

    @property
    def min_columns(self) -> int:
        """Return how many columns it needs, a target not counted."""
        ...

    @property
    def max_columns(self) -> int:
        """Return how many columns it takes at most."""
        ...

    @property
    def learns(self) -> str:
        """Return a sentence on what the consumer will learn."""
        ...

    def check(self, params: Params) -> None:
        """Check that it can be asked so; every party does, before anything else.

        Raises:
            RefusedError: it cannot, with the bounds.
        """
        ...

    def width(self, params: Params) -> int | None:
        """Return how many values every source's vector has; None: as its data need."""
        ...

    def program(self, params: Params) -> bytes:
        """Return what the engine runs for it at the servers; see ``Plan.program``."""
        ...

    def prepare(self, columns: Columns, params: Params) -> Values:
        """Go through a source's rows; return its local sums, encoded, or its rows.

        Raises:
            RefusedError: a cell is too large.
        """
        ...

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """Return the result from the sums of all sources' vectors.

        Raises:
            JobAbortedError: the totals are not those of such vectors.
        """
        ...


class OfSums:
    """What the statistics have in common that are functions of sums over all rows."""

    engines: Final = ADDITIVE

    def program(self, params: Params) -> bytes:  # noqa: ARG002 - the protocol's shape
        """See ``Statistic``."""
        return b""


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of all sources' vectors, taken apart.

    Attributes:
        sources: how many sources there were.
        rows: how many rows they had together.
        body: what the statistic put behind these.
    """

    sources: int
    rows: int
    body: tuple[int, ...]


def split_totals(totals: Sequence[int], width: int) -> Totals:
    """Take the sums of all sources' vectors apart.

    Raises:
        JobAbortedError: they cannot be such sums.
    """
    if len(totals) != width or totals[0] < 1 or totals[1] < totals[0]:
        raise senseless()
    return Totals(sources=totals[0], rows=totals[1], body=tuple(totals[HEAD:]))


def senseless() -> JobAbortedError:
    """Return the error of totals that no honest parties can have made."""
    return JobAbortedError(
        "the reconstructed totals make no sense: a party computed something else"
        " than what was asked",
        FailureCode.ENGINE,
    )


def head(columns: Columns) -> list[int]:
    """Return the start of a source's vector, when all rows were gone through."""
    return [1, columns.rows]


def check_shape(
    statistic: Statistic,
    params: Params,
    *,
    has_target: bool = False,
    has_edges: bool = False,
    has_quantile: bool = False,
    has_groups: bool = False,
    reveals_final: bool = False,
) -> None:
    """Check the number of columns, and that nothing is given in vain.

    Raises:
        RefusedError: with the bounds.
    """
    name = statistic.name
    if params.statistic != name:
        raise refused(f"the parameters are those of {params.statistic!r}")
    count = len(params.columns)
    if not statistic.min_columns <= count <= statistic.max_columns:
        bounds = f"{statistic.min_columns} to {statistic.max_columns} columns"
        if statistic.max_columns == 1:
            bounds = "1 column"
        raise refused(f"{name} takes {bounds}, not {count}")
    if has_target != (params.target is not None):
        raise refused(f"{name} {'needs a' if has_target else 'takes no'} target column")
    if has_edges != bool(params.edges):
        raise refused(f"{name} {'needs' if has_edges else 'takes no'} edges")
    if has_quantile != (params.q is not None):
        raise refused(f"{name} {'needs a' if has_quantile else 'takes no'} q")
    if has_groups != (params.by is not None) or has_groups != bool(params.groups):
        raise refused(
            f"{name} {'needs a' if has_groups else 'takes no'} column to group by and"
            f" {'the' if has_groups else 'no'} groups"
        )
    if reveals_final != (params.reveal is Reveal.FINAL):
        raise refused(f"{name} takes no reveal: what comes out is always the same")


def check_outputs(outputs: Sequence[int], count: int) -> None:
    """Check that as many numbers came out as are due.

    Raises:
        JobAbortedError: they do not.
    """
    if len(outputs) != count:
        raise senseless()
