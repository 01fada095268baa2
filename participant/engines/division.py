"""Quotients of secret integers, by one another or by another one's square root.

The divisor is scaled by a power of two so that its highest bit is at a known place,
and cut to so many bits as a result's precision needs. Its reciprocal, or that of its
root, starts as a linear function and is made exact by Newton's iteration. Nothing is
opened on the way.
"""

from dataclasses import dataclass
from typing import Final

from participant.bounds import MANTISSA_BITS
from participant.engines.mpyc_runtime import Arithmetic, Shares

_UNIT: Final = 1 << MANTISSA_BITS
_SPARE_BITS: Final = 8
"""Above what a number in an iteration should have, for rounding and for 1/0."""

# 1/d on [1/2, 1] is 48/17 - 32/17 d, but for a part in 17.
_RECIPROCAL_START: Final = (48 * _UNIT // 17, 32 * _UNIT // 17)
_RECIPROCAL_STEPS: Final = 5
# 1/sqrt(d) on [1/4, 1] is 2.2068 - 4/3 d, but for a part in 7.
_ROOT_START: Final = (22068 * _UNIT // 10000, 4 * _UNIT // 3)
_ROOT_STEPS: Final = 5


@dataclass(frozen=True, slots=True)
class Bits:
    """Public bounds of secret integers, and what is wanted of them.

    Attributes:
        divisor: divisors are below 2**divisor.
        whole: quotients are below 2**whole.
        fraction: bits of the result behind the point.
    """

    divisor: int
    whole: int
    fraction: int


async def quotients(
    runtime: Arithmetic, numerators: Shares, divisors: Shares, bits: Bits
) -> Shares:
    """Return numerators / divisors in units of 2**-fraction, nearly rounded.

    Args:
        runtime: of this server.
        numerators: not negative.
        divisors: positive; one or as many as numerators.
        bits: bounds.
    """
    length = max(bits.divisor, MANTISSA_BITS)
    dropped = length - MANTISSA_BITS
    factors = await _factors(runtime, divisors, length, is_even=False)
    cut = runtime.multiply(divisors, factors)
    scaled = await runtime.multiply(numerators, factors)
    divisor = await cut
    if dropped:
        divisor = await runtime.shortened(divisor, length + 2, dropped)
        scaled = await runtime.shortened(scaled, length + bits.whole + 2, dropped)

    constant, slope = _RECIPROCAL_START
    estimate = await _cut(runtime, divisor * -slope + constant * _UNIT)
    for _ in range(_RECIPROCAL_STEPS):
        near_one = await _product(runtime, divisor, estimate)
        estimate = await _product(runtime, estimate, 2 * _UNIT - near_one)
    return await runtime.shortened(
        await runtime.multiply(scaled, estimate),
        2 * MANTISSA_BITS + bits.whole + _SPARE_BITS,
        2 * MANTISSA_BITS - bits.fraction,
    )


async def root_quotients(
    runtime: Arithmetic, numerators: Shares, radicands: Shares, bits: Bits
) -> Shares:
    """Return numerators / sqrt(radicands) in units of 2**-fraction, nearly rounded.

    Args:
        runtime: of this server.
        numerators: not negative.
        radicands: positive, or 0 where the numerator is, for 0; as many as numerators.
        bits: bounds; ``divisor`` is that of radicands.
    """
    length = max(bits.divisor + bits.divisor % 2, MANTISSA_BITS)
    factors = await _factors(runtime, radicands, length, is_even=True)
    scaled = runtime.multiply(numerators, factors)
    squares = await runtime.multiply(factors, factors)
    radicand = await runtime.multiply(radicands, squares)
    if length > MANTISSA_BITS:
        radicand = await runtime.shortened(radicand, length + 2, length - MANTISSA_BITS)

    constant, slope = _ROOT_START
    estimate = await _cut(runtime, radicand * -slope + constant * _UNIT)
    for _ in range(_ROOT_STEPS):
        square = await _product(runtime, estimate, estimate)
        near_one = await _product(runtime, radicand, square)
        estimate = await _product(runtime, estimate, 3 * _UNIT - near_one, halves=1)
    return await runtime.shortened(
        await runtime.multiply(await scaled, estimate),
        length // 2 + MANTISSA_BITS + bits.whole + _SPARE_BITS,
        length // 2 + MANTISSA_BITS - bits.fraction,
    )


async def _product(
    runtime: Arithmetic, left: Shares, right: Shares, halves: int = 0
) -> Shares:
    """Return the product of numbers in units of 2**-MANTISSA_BITS, halved so often."""
    return await _cut(runtime, await runtime.multiply(left, right), halves)


async def _cut(runtime: Arithmetic, numbers: Shares, halves: int = 0) -> Shares:
    return await runtime.shortened(
        numbers, 2 * MANTISSA_BITS + _SPARE_BITS, MANTISSA_BITS + halves
    )


async def _factors(
    runtime: Arithmetic, numbers: Shares, length: int, *, is_even: bool
) -> Shares:
    """Return powers of two that bring numbers to a length in bits.

    The place of the highest bit is searched by halves: if the upper half of the
    digits is 0 the lower half is looked at next, else the upper one. Numbers that
    are rounded up to a power of two on the way come out one bit short or long.

    Args:
        runtime: of this server.
        numbers: from 0 to 2**length - 1.
        length: what a number times its factor shall have, even if ``is_even``.
        is_even: the length may be one less, factors are squares, and their roots
            are returned.
    """
    factors: Shares = numbers * 0 + 1
    rest, digits, least = numbers, length, 2 if is_even else 1
    while digits > least:
        lower = digits // 2
        if is_even:
            lower -= lower % 2
        is_small = await runtime.is_negative(rest - (1 << lower), digits + 2)
        more = (1 << (lower // 2 if is_even else lower)) - 1
        grown = runtime.multiply(is_small, factors * more)
        upper = await runtime.shortened(rest, digits + 2, lower)
        rest = upper + await runtime.multiply(is_small, rest - upper)
        factors = factors + await grown
        digits -= lower
    return factors
