"""Which of secret numbers is the greatest: in rounds, each halves their number."""

import numpy as np

from participant.engines.mpyc_runtime import Arithmetic, Shares


async def greatest(runtime: Arithmetic, numbers: Shares, bits: int) -> Shares:
    """Return the greatest along the first axis.

    Args:
        runtime: of this server.
        numbers: any two differ by less than 2**(bits - 1).
        bits: of a difference, with the sign.
    """
    while len(numbers) > 1:
        first, second, rest = _neighbours(numbers)
        numbers = _joined(await _greater(runtime, first, second, bits), rest)
    result: Shares = numbers[0]
    return result


async def greatest_place(runtime: Arithmetic, numbers: Shares, bits: int) -> Shares:
    """Return where the greatest of a row is, from 0, as one element.

    Of equal ones it is the first. Arguments are those of ``greatest``.
    """
    places = runtime.shares(range(len(numbers)))
    while len(numbers) > 1:
        first, second, rest = _neighbours(numbers)
        first_place, second_place, rest_place = _neighbours(places)
        is_less = await runtime.is_negative(first - second, bits)
        moves = runtime.multiply(is_less, second_place - first_place)
        gains = await runtime.multiply(is_less, second - first)
        numbers = _joined(first + gains, rest)
        places = _joined(first_place + await moves, rest_place)
    return places


async def _greater(
    runtime: Arithmetic, first: Shares, second: Shares, bits: int
) -> Shares:
    difference = second - first
    is_less = await runtime.is_negative(first - second, bits)
    gains = await runtime.multiply(is_less, difference)
    result: Shares = first + gains
    return result


def _neighbours(row: Shares) -> tuple[Shares, Shares, Shares]:
    """Return the first and the second of every two, and what is left over."""
    even = len(row) // 2 * 2
    return row[0:even:2], row[1:even:2], row[even:]


def _joined(row: Shares, rest: Shares) -> Shares:
    return np.concatenate((row, rest)) if len(rest) else row
