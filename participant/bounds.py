"""Bounds of what the engine ``mpyc`` computes, in bits, and what follows from them.

Statistics check them at the source, where a refusal can say what to do; the engine
chooses its fields by them.
"""

from typing import Final

from shared.errors import RefusalCode, RefusedError

EXPONENTS: Final = (127, 521, 607, 1279, 2203, 3217, 4423)
"""Fields are the integers modulo a Mersenne prime, 2 to one of these, less 1."""
STATISTICAL_BITS: Final = 60
"""What is opened under a mask differs from random by less than 2 to minus this, times
(threshold + 1): masks of so many servers are added up, each shorter by as much. With 64
servers that is 2 to minus 55."""
MASK_BITS: Final = STATISTICAL_BITS + 3
"""Bits that a field has more than the numbers that are compared in it."""
MAX_SOURCE_BITS: Final = 8
MAX_SOURCES: Final = 1 << MAX_SOURCE_BITS

INFINITY: Final = 1 << 62
"""A value that is searched among others is below it in magnitude."""
MAX_HEIGHT: Final = 20
MAX_ROWS: Final = (1 << MAX_HEIGHT) - 1
"""Rows of one source that can be searched, at most."""
VALUE_BITS: Final = 64
"""Of the difference of two values, one of which may be infinite."""
GROUP_SUM_BITS: Final = 128
MAX_GROUPS: Final = 1024
MAX_WIDTH: Final = 16384
MAX_SCALE: Final = 10**6
"""Of a quantile's denominator."""
SUM_BITS: Final = 512

ROW_BITS: Final = 26
"""Rows of a source of which moments are shared: below 2 to this power."""
CELL_BITS: Final = 62
"""A cell of which moments are shared is below 2 to this power on its grid."""
TOTAL_ROW_BITS: Final = ROW_BITS + MAX_SOURCE_BITS
SUM_OF_CELLS_BITS: Final = TOTAL_ROW_BITS + CELL_BITS
CENTRED_BITS: Final = 2 * SUM_OF_CELLS_BITS + 1
"""Of n times a sum of products less a product of sums, with the sign."""
MANTISSA_BITS: Final = 80
"""Of a divisor so many bits are divided by: results are exact to 15 digits."""
WHOLE_BITS: Final = 40
"""A regression's figures are below 2 to this power, or they are undefined."""
REGRESSION_BITS: Final = 56
CORRELATION_BITS: Final = 56
DEVIATION_BITS: Final = 24
"""Bits of figures behind the point; a deviation's behind its cells' grid."""
COLLINEAR_BITS: Final = 48
"""Predictors depend on each other if what they leave of their spreads' product is
at most 2 to minus this."""
MAX_PREDICTORS: Final = 8


def exponent_for(bits: int) -> int:
    """Return the least exponent of a field that is at least so many bits.

    Raises:
        RefusedError: none is.
    """
    for exponent in EXPONENTS:
        if exponent >= bits:
            return exponent
    raise RefusedError(
        "the computation's numbers are too large to be computed on in secret;"
        " name fewer columns",
        RefusalCode.PARAMETERS,
    )


def position(rows: int, quantile: tuple[int, int]) -> tuple[int, int]:
    """Return where a quantile lies: a rank from 1, and a weight.

    With q = numerator / denominator the quantile of n rows is at (n - 1) * q from the
    smallest value, at 0; between two values it is interpolated. So it is the value of
    that rank times denominator - weight, plus the next one times weight, all over
    denominator (Hyndman and Fan, Sample quantiles, 1996, definition 7).

    Args:
        rows: n.
        quantile: numerator and denominator.
    """
    numerator, denominator = quantile
    whole, weight = divmod((rows - 1) * numerator, denominator)
    return whole + 1, weight
