"""Figures of secret sums: what is opened to the consumer is the figures alone.

Cells are integers on a grid. With n rows, sums S and sums of products P,
n * P - S * S is n times the centred sum of products, exactly. Every figure is a
fraction of such integers, or its square root. What is undefined is told by secret
flags, which come out before the figures, and then the figure is 0.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.bounds import (
    CELL_BITS,
    CENTRED_BITS,
    COLLINEAR_BITS,
    CORRELATION_BITS,
    DEVIATION_BITS,
    REGRESSION_BITS,
    TOTAL_ROW_BITS,
    WHOLE_BITS,
)
from participant.engines.division import Bits, quotients, root_quotients
from participant.engines.mpyc_runtime import Arithmetic, Shares, summed
from participant.programs import Figure, Figures

_SPREAD_BITS: Final = 2 * CELL_BITS + 2
"""Of a variance or covariance on the cells' grid, with n - 1 for n."""


async def figures(runtime: Arithmetic, totals: Shares, program: Figures) -> Shares:
    """Return flags of what is undefined, then the figures.

    Args:
        runtime: of this server.
        totals: rows, the sum of each column, then sums of products.
        program: says which figures, and of which columns.
    """
    rows, count = totals[:1], program.columns
    sums, products = totals[1 : 1 + count], totals[1 + count :]
    if len(products) == count:
        left = right = np.arange(count)
    else:
        left, right = np.triu_indices(count)
    same = np.zeros(len(products), int)
    scaled = runtime.multiply(products, rows[same])
    centred = await scaled - await runtime.multiply(sums[left], sums[right])
    match program.figure:
        case Figure.VARIANCE | Figure.DEVIATION | Figure.COVARIANCE:
            return await _spreads(runtime, rows, centred, program.figure)
        case Figure.CORRELATION:
            return await _correlations(runtime, centred, left, right)
        case Figure.REGRESSION:
            places = np.zeros((count, count), int)
            places[left, right] = places[right, left] = np.arange(len(left))
            return await _regression(runtime, rows, sums, centred[places], program)


async def _spreads(
    runtime: Arithmetic, rows: Shares, centred: Shares, figure: Figure
) -> Shares:
    """Return whether there is but one row, then the figures.

    A variance's or covariance's unit is the square of the grid's, a deviation's
    is the grid's over 2**DEVIATION_BITS.
    """
    is_alone = await runtime.is_negative(rows - 2, TOTAL_ROW_BITS + 2)
    denominator = await runtime.multiply(rows, rows - 1) + is_alone
    signs, sizes = (centred * 0 + 1, centred)
    if figure is Figure.COVARIANCE:
        signs, sizes = await _signs_and_sizes(runtime, centred, CENTRED_BITS)
    if figure is Figure.DEVIATION:
        found = await root_quotients(
            runtime,
            sizes,
            await runtime.multiply(sizes, denominator),
            Bits(CENTRED_BITS + 2 * TOTAL_ROW_BITS, CELL_BITS + 1, DEVIATION_BITS),
        )
    else:
        found = await quotients(
            runtime, sizes, denominator, Bits(2 * TOTAL_ROW_BITS, _SPREAD_BITS, 0)
        )
    if figure is Figure.COVARIANCE:
        found = await runtime.multiply(signs, found)
    return np.concatenate((is_alone, found))


async def _correlations(
    runtime: Arithmetic,
    centred: Shares,
    left: NDArray[np.intp],
    right: NDArray[np.intp],
) -> Shares:
    """Return which columns are constant, then each two columns' correlation."""
    diagonal = centred[left == right]
    is_constant = await runtime.is_negative(diagonal - 1, CENTRED_BITS)
    spreads = diagonal + is_constant
    is_pair = left != right
    first, second = left[is_pair], right[is_pair]
    signs, sizes = await _signs_and_sizes(runtime, centred[is_pair], CENTRED_BITS)
    found = await root_quotients(
        runtime,
        sizes,
        await runtime.multiply(spreads[first], spreads[second]),
        Bits(2 * CENTRED_BITS, 1, CORRELATION_BITS),
    )
    return np.concatenate((is_constant, await runtime.multiply(signs, found)))


async def _regression(
    runtime: Arithmetic,
    rows: Shares,
    sums: Shares,
    matrix: Shares,
    program: Figures,
) -> Shares:
    """Return flags, then the coefficients, the intercept and r2.

    By Cramer's rule the coefficients are integers over the determinant D of the
    predictors' centred sums of products.
    """
    count = program.columns - 1
    bits = program.determinant_bits
    target = matrix[:count, count]
    spread = matrix[count:, count]
    determinant, adjugate = await _cramer(runtime, matrix[:count, :count])
    numerators = await runtime.matrix_product(adjugate, target.reshape(-1, 1))
    numerators = numerators.reshape(-1)
    is_singular = await _is_singular(
        runtime, determinant, np.diagonal(matrix[:count, :count]), bits
    )
    is_constant = await runtime.is_negative(spread - 1, CENTRED_BITS)

    explained = runtime.matrix_product(
        np.stack((target, sums[:count])), numerators.reshape(-1, 1)
    )
    scaled = runtime.multiply(
        np.concatenate((rows * (1 << program.grid_bits), sums[count:], spread)),
        determinant[np.zeros(3, int)],
    )
    products = await scaled
    targets, means = (await explained).reshape(-1, 1)
    all_numerators = np.concatenate((numerators, products[1:2] - means, targets))
    denominators = np.concatenate(
        (determinant[np.zeros(count, int)], products[:1], products[2:])
    )
    longest = bits + CENTRED_BITS
    signs, sizes = await _signs_and_sizes(runtime, all_numerators, longest + 3)
    room = denominators * (1 << WHOLE_BITS) - sizes
    is_large = await runtime.is_negative(room - 1, longest + WHOLE_BITS + 3)
    undefined = np.concatenate((is_singular[np.zeros(count + 1, int)], is_constant))
    for flag in (is_large, is_singular[np.zeros(count + 2, int)]):
        undefined = undefined + flag - await runtime.multiply(undefined, flag)
    cleared = runtime.multiply(undefined, sizes)
    denominators = denominators + await runtime.multiply(undefined, 1 - denominators)
    found = await quotients(
        runtime,
        sizes - await cleared,
        denominators,
        Bits(longest, WHOLE_BITS, REGRESSION_BITS),
    )
    return np.concatenate((undefined, await runtime.multiply(signs, found)))


async def _signs_and_sizes(
    runtime: Arithmetic, numbers: Shares, bits: int
) -> tuple[Shares, Shares]:
    """Return 1 or -1 for each number, and its magnitude."""
    signs = 1 - 2 * await runtime.is_negative(numbers, bits + 1)
    return signs, await runtime.multiply(signs, numbers)


async def _cramer(runtime: Arithmetic, matrix: Shares) -> tuple[Shares, Shares]:
    """Return a matrix's determinant as one element, and its adjugate.

    By Faddeev and LeVerrier's recursion, which divides by small public numbers only:
    nothing is opened, whether the matrix is singular or not.
    """
    size = len(matrix)
    identity = np.eye(size, dtype=int).astype(object)
    adjugate = runtime.shares(identity)
    product = matrix
    for step in range(1, size + 1):
        if step > 1:
            product = await runtime.matrix_product(matrix, adjugate)
        coefficient = -summed(np.diagonal(product)) / step
        if step < size:
            adjugate = product + coefficient * identity
    sign = -1 if size % 2 else 1
    return coefficient * sign, adjugate * -sign


async def _is_singular(
    runtime: Arithmetic, determinant: Shares, diagonal: Shares, bits: int
) -> Shares:
    """Say whether columns depend on each other but for the rounding of cells."""
    volume = await runtime.product(diagonal.reshape(-1, 1))
    is_regular = await runtime.is_negative(
        volume - determinant * (1 << COLLINEAR_BITS), bits + COLLINEAR_BITS + 1
    )
    is_singular: Shares = 1 - is_regular
    return is_singular
