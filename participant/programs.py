"""What the engine ``mpyc`` can run: programs as they travel, and their bounds.

A program says of which field the shares are, how many values come from each source
and how large they may be, and how many come out. Every party derives it from the spec.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum, unique
from typing import ClassVar, Final, Protocol, TypeAlias

import numpy as np

from participant.bounds import (
    CELL_BITS,
    CENTRED_BITS,
    GROUP_SUM_BITS,
    INFINITY,
    MASK_BITS,
    MAX_GROUPS,
    MAX_PREDICTORS,
    MAX_ROWS,
    MAX_SCALE,
    MAX_SOURCE_BITS,
    MAX_WIDTH,
    ROW_BITS,
    SUM_BITS,
    VALUE_BITS,
    WHOLE_BITS,
    exponent_for,
)
from participant.columns import Values
from shared import codec
from shared.codec import Value
from shared.errors import DecodeError, RefusalCode, RefusedError


@unique
class Figure(StrEnum):
    """What is computed of moments in secret."""

    VARIANCE = "variance"
    DEVIATION = "deviation"
    COVARIANCE = "covariance"
    CORRELATION = "correlation"
    REGRESSION = "regression"


class Program(Protocol):
    """What servers run on shares."""

    kind: ClassVar[str]

    @property
    def exponent(self) -> int:
        """Return the exponent of the field's prime."""
        ...

    @property
    def width(self) -> int | None:
        """Return how many values a source has; None: any number."""
        ...

    @property
    def outputs(self) -> int:
        """Return how many values come out."""
        ...

    def check_value_bounds(self, values: Values) -> None:
        """Check that values are small enough to be computed on.

        Raises:
            RefusedError: one is too large, or there are too many.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sums:
    """Adds the sources' vectors up."""

    kind: ClassVar[str] = "sums"
    width: int

    @property
    def exponent(self) -> int:
        """See ``Program``."""
        return exponent_for(SUM_BITS)

    @property
    def outputs(self) -> int:
        """See ``Program``."""
        return self.width

    def check_value_bounds(self, values: Values) -> None:
        """See ``Program``."""
        _check_below(values, 1 << (SUM_BITS - 1 - MAX_SOURCE_BITS))


@dataclass(frozen=True, slots=True)
class Extreme:
    """Finds the least of the sources' values, or the greatest; column by column."""

    kind: ClassVar[str] = "extreme"
    width: int
    is_greatest: bool

    @property
    def exponent(self) -> int:
        """See ``Program``."""
        return exponent_for(VALUE_BITS + MASK_BITS)

    @property
    def outputs(self) -> int:
        """See ``Program``."""
        return self.width

    def check_value_bounds(self, values: Values) -> None:
        """See ``Program``."""
        _check_below(values, INFINITY)


@dataclass(frozen=True, slots=True)
class LargestGroup:
    """Finds which sum over all sources is the greatest; the first of equal ones."""

    kind: ClassVar[str] = "largest-group"
    width: int

    @property
    def exponent(self) -> int:
        """See ``Program``."""
        return exponent_for(GROUP_SUM_BITS + MASK_BITS)

    @property
    def outputs(self) -> int:
        """See ``Program``."""
        return 1

    def check_value_bounds(self, values: Values) -> None:
        """See ``Program``."""
        _check_below(values, 1 << (GROUP_SUM_BITS - 2 - MAX_SOURCE_BITS))


@dataclass(frozen=True, slots=True)
class Quantile:
    """Finds a quantile of all sources' values; see ``search_tree``."""

    kind: ClassVar[str] = "quantile"
    width: ClassVar[None] = None
    numerator: int
    denominator: int

    @property
    def exponent(self) -> int:
        """See ``Program``."""
        return exponent_for(VALUE_BITS + MASK_BITS)

    @property
    def outputs(self) -> int:
        """See ``Program``."""
        return 1

    def check_value_bounds(self, values: Values) -> None:
        """See ``Program``."""
        if not 0 < len(values) <= MAX_ROWS:
            raise _overflow(
                f"{len(values)} rows, where 1 to {MAX_ROWS} can be searched"
            )
        _check_below(values, INFINITY)


@dataclass(frozen=True, slots=True)
class Figures:
    """Computes figures of sums and sums of products, which stay secret.

    Attributes:
        figure: what is computed.
        columns: number of columns; of a regression the target is the last.
        grid_bits: fractional bits of the cells.
    """

    kind: ClassVar[str] = "figures"
    figure: Figure
    columns: int
    grid_bits: int

    @property
    def pairs(self) -> int:
        """Return of how many pairs of columns products are summed up."""
        if self.figure in {Figure.VARIANCE, Figure.DEVIATION}:
            return self.columns
        return self.columns * (self.columns + 1) // 2

    @property
    def width(self) -> int:
        """See ``Program``: rows, sums, sums of products."""
        return 1 + self.columns + self.pairs

    @property
    def determinant_bits(self) -> int:
        """Return the bits of a regression's determinants, with the sign.

        Hadamard's bound, with the logarithm of the size rounded up.
        """
        predictors = self.columns - 1
        return predictors * (CENTRED_BITS + 2) + 1

    @property
    def exponent(self) -> int:
        """See ``Program``."""
        longest = {
            Figure.VARIANCE: 2 * CENTRED_BITS,
            Figure.DEVIATION: 2 * CENTRED_BITS,
            Figure.COVARIANCE: 2 * CENTRED_BITS,
            Figure.CORRELATION: 2 * CENTRED_BITS + 4,
            Figure.REGRESSION: self.determinant_bits + CENTRED_BITS + WHOLE_BITS + 4,
        }[self.figure]
        return exponent_for(longest + MASK_BITS)

    @property
    def flags(self) -> int:
        """Return how many of the values that come out say what is undefined."""
        return {
            Figure.VARIANCE: 1,
            Figure.DEVIATION: 1,
            Figure.COVARIANCE: 1,
            Figure.CORRELATION: self.columns,
            Figure.REGRESSION: self.columns + 1,
        }[self.figure]

    @property
    def outputs(self) -> int:
        """See ``Program``: flags, then figures."""
        return (
            self.flags
            + {
                Figure.VARIANCE: self.columns,
                Figure.DEVIATION: self.columns,
                Figure.COVARIANCE: self.pairs,
                Figure.CORRELATION: self.columns * (self.columns - 1) // 2,
                Figure.REGRESSION: self.columns + 1,
            }[self.figure]
        )

    def check_value_bounds(self, values: Values) -> None:
        """See ``Program``."""
        if not 0 < values[0] < 1 << ROW_BITS:
            raise _overflow(f"more rows than the {(1 << ROW_BITS) - 1} that are served")
        sums = values[1 : 1 + self.columns]
        _check_below(sums, 1 << (ROW_BITS + CELL_BITS))
        _check_below(values[1 + self.columns :], 1 << (ROW_BITS + 2 * CELL_BITS))


AnyProgram: TypeAlias = Sums | Extreme | LargestGroup | Quantile | Figures

_KINDS: Final[Mapping[str, type[AnyProgram]]] = {
    kind.kind: kind for kind in (Sums, Extreme, LargestGroup, Quantile, Figures)
}


def pack_program(program: AnyProgram) -> bytes:
    """Return a program as it stands in a plan."""
    fields: dict[str, Value] = asdict(program)
    return codec.encode({"kind": program.kind, **fields})


def read_program(data: bytes, width: int | None) -> AnyProgram:
    """Return the program of a plan.

    Args:
        data: of the plan; if empty, the sources' vectors are added up.
        width: of the plan.

    Raises:
        RefusedError: there is no such program, or its bounds are broken.
    """
    if not data:
        program: AnyProgram = Sums(width or 0)
    else:
        program = _read(data)
    if program.width != width or not _is_within_bounds(program):
        raise _unsupported("this release knows no such program")
    return program


def _read(data: bytes) -> AnyProgram:
    try:
        fields = codec.decode_map(data)
        kind = _KINDS[str(fields.pop("kind", ""))]
        program = kind(**fields)  # type: ignore[arg-type] # types are checked next
        if isinstance(program, Figures):
            program = Figures(
                Figure(program.figure), program.columns, program.grid_bits
            )
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise _unsupported("this release knows no such program") from error
    return program


def _is_within_bounds(program: AnyProgram) -> bool:
    numbers = [
        value for value in asdict(program).values() if not isinstance(value, str)
    ]
    if not all(isinstance(number, int) for number in numbers):
        return False
    match program:
        case Quantile():
            return 0 <= program.numerator <= program.denominator <= MAX_SCALE and (
                program.denominator > 0
            )
        case Figures():
            most = MAX_PREDICTORS + 1 if program.figure is Figure.REGRESSION else 32
            return 1 <= program.columns <= most and 0 <= program.grid_bits <= CELL_BITS
        case LargestGroup():
            return 1 <= program.width <= MAX_GROUPS
        case _:
            return 1 <= program.width <= MAX_WIDTH


def _check_below(values: Values, bound: int) -> None:
    if isinstance(values, np.ndarray):
        least, most = int(values.min(initial=0)), int(values.max(initial=0))
    else:
        least, most = min(values, default=0), max(values, default=0)
    if least <= -bound or most >= bound:
        raise _overflow("the dataset's numbers are too large to be computed on")


def _overflow(what: str) -> RefusedError:
    return RefusedError(what, RefusalCode.OVERFLOW)


def _unsupported(what: str) -> RefusedError:
    return RefusedError(f"engine 'mpyc': {what}", RefusalCode.UNSUPPORTED)
