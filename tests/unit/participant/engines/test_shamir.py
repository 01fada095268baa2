"""Shamir's shares: any t say nothing, any t + 1 everything, and a lie is noticed."""

import secrets

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from participant.bounds import EXPONENTS
from participant.engines.shamir import Field, field_of
from shared.errors import FailureCode, JobAbortedError, RefusedError

SMALL = field_of(127)


def _rows(
    field: Field, values: object, parties: int, threshold: int
) -> list[list[int]]:
    blocks = field.share(values, parties, threshold, secrets.token_bytes)  # type: ignore[arg-type] # lists and arrays
    return [field.read(bytes(block)) for block in blocks]


def _is_prime(exponent: int) -> bool:
    """Say whether 2**exponent - 1 is prime (Lucas and Lehmer)."""
    modulus = (1 << exponent) - 1
    rest = 4
    for _ in range(exponent - 2):
        rest = (rest * rest - 2) % modulus
    return rest == 0


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_moduli_are_prime(exponent: int) -> None:
    """Else some elements have no inverse, and some shares say too much."""
    assert _is_prime(exponent)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize(("parties", "threshold"), [(3, 1), (5, 2), (7, 3), (64, 31)])
def test_values_come_back_with_their_sign(
    exponent: int, parties: int, threshold: int
) -> None:
    """At the ends of the range too."""
    field = field_of(exponent)
    half = field.modulus >> 1
    values = [0, 1, -1, half, -half, secrets.randbelow(half)]

    assert (
        field.recombine(_rows(field, values, parties, threshold), threshold) == values
    )


@given(st.lists(st.integers(-(2**62), 2**62), max_size=20))
def test_arrays_are_shared_as_lists_are(values: list[int]) -> None:
    """The fast way for long columns gives what the plain one does."""
    for given_values in (values, np.array(values, np.int64)):
        assert SMALL.recombine(_rows(SMALL, given_values, 3, 1), 1) == values


@given(st.binary(min_size=64, max_size=64), st.integers(-(2**100), 2**100))
def test_shares_are_the_polynomial_that_was_drawn(data: bytes, value: int) -> None:
    """Of degree t, with the drawn bits for coefficients."""
    drawn = iter([data[:16], data[16:32]])
    blocks = SMALL.share([value], 5, 2, lambda _: next(drawn))
    mask = (1 << 127) - 1
    first, second = (
        int.from_bytes(part, "little") & mask for part in (data[:16], data[16:32])
    )

    assert [SMALL.read(bytes(block))[0] for block in blocks] == [
        (value + first * x + second * x * x) % SMALL.modulus for x in range(1, 6)
    ]


@pytest.mark.parametrize("value", [0, -(2**126) + 1])
def test_any_t_shares_are_uniform(value: int) -> None:
    """Chi-squared of both shares' top bits: 255 degrees of freedom, below 400."""
    count = 20_000
    blocks = SMALL.share([value] * count, 5, 2, secrets.token_bytes)
    tops = [
        [element >> 123 for element in SMALL.read(bytes(block))] for block in blocks[:2]
    ]
    seen = np.bincount(np.array(tops[0]) * 16 + np.array(tops[1]), minlength=256)

    assert ((seen - count / 256) ** 2 / (count / 256)).sum() < 400


def test_a_share_that_does_not_fit_is_noticed() -> None:
    """With one server more than are needed, a wrong share cannot pass."""
    rows = _rows(SMALL, [5, 6], 3, 1)
    rows[2][1] = (rows[2][1] + 1) % SMALL.modulus

    with pytest.raises(JobAbortedError, match="do not fit together") as caught:
        SMALL.recombine(rows, 1)
    assert caught.value.code is FailureCode.ENGINE


@pytest.mark.parametrize("block", [bytes(15), b"\xff" * 15 + b"\x7f", b"\xff" * 16])
def test_what_is_no_residue_is_refused(block: bytes) -> None:
    """Lengths, the modulus itself, and bits above it."""
    with pytest.raises(JobAbortedError, match="no sequence of residues"):
        SMALL.read(block)


def test_too_little_randomness_is_refused() -> None:
    """Shares that are not masked would be the values."""
    with pytest.raises(RefusedError, match="too few bytes"):
        SMALL.share([1], 3, 1, lambda size: bytes(size - 1))
