"""Shamir's secret sharing over the integers modulo a Mersenne prime.

A value is the constant term of a polynomial of degree t whose other coefficients
are uniform; server i holds the polynomial at i + 1. Any t shares are uniform and
independent of the value, any t + 1 give it (Shamir, How to share a secret, 1979).

Modulo 2**e - 1 a negative number is the complement of the positive one, and what
overflows bit e comes back at bit 0: NumPy shares a million elements in a second.
A coefficient is e uniform bits, of which the one pattern that is no residue counts
as 0: 2**-e from uniform.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.columns import Values
from participant.engines.base import Entropy
from shared.errors import (
    FailureCode,
    JobAbortedError,
    RefusalCode,
    RefusedError,
)

_LIMB_BITS: Final = 32
_LIMB_BYTES: Final = 4
_LIMB_MASK: Final = np.uint64((1 << _LIMB_BITS) - 1)
_SHIFT: Final = np.uint64(_LIMB_BITS)
_CHUNK: Final = 1 << 16

Limbs = NDArray[np.uint64]
"""One row an element, one column a limb of 32 bits, the lowest first."""


class Field:
    """The integers modulo 2**exponent - 1, and how they are written.

    Args:
        exponent: of a Mersenne prime, one of ``programs.EXPONENTS``.
    """

    def __init__(self, exponent: int) -> None:
        self.exponent: Final = exponent
        self.modulus: Final = (1 << exponent) - 1
        self.limbs: Final = -(-exponent // _LIMB_BITS)
        self.element_bytes: Final = self.limbs * _LIMB_BYTES
        """Width of an element in a block; little-endian."""
        self._top_bits = np.uint64(exponent - (self.limbs - 1) * _LIMB_BITS)
        self._top_mask = np.uint64((1 << int(self._top_bits)) - 1)

    def share(
        self, values: Values, parties: int, threshold: int, entropy: Entropy
    ) -> list[bytearray]:
        """Return the shares of values, one block a server.

        Args:
            values: each of a magnitude below half the modulus.
            parties: number of servers.
            threshold: degree of the polynomials.
            entropy: where the coefficients come from.

        Raises:
            RefusedError: the entropy is too short.
        """
        blocks = [bytearray() for _ in range(parties)]
        for start in range(0, len(values), _CHUNK):
            secret = self._of_values(values[start : start + _CHUNK])
            coefficients = [
                self._random(len(secret), entropy) for _ in range(threshold)
            ]
            for party, block in enumerate(blocks):
                block.extend(self._at(party + 1, [secret, *coefficients]))
        return blocks

    def read(self, block: bytes | memoryview) -> list[int]:
        """Return the elements in a block.

        Raises:
            JobAbortedError: it does not hold a whole number of residues.
        """
        width = self.element_bytes
        elements = [
            int.from_bytes(block[start : start + width], "little")
            for start in range(0, len(block), width)
        ]
        if len(block) % width or any(element >= self.modulus for element in elements):
            raise JobAbortedError(
                "a block of shares is no sequence of residues", FailureCode.ENGINE
            )
        return elements

    def write(self, elements: Sequence[int]) -> bytes:
        """Return elements as a block."""
        return b"".join(
            int(element).to_bytes(self.element_bytes, "little") for element in elements
        )

    def signed(self, element: int) -> int:
        """Return the integer of least magnitude that an element stands for."""
        return element - self.modulus if element > self.modulus >> 1 else element

    def recombine(self, rows: Sequence[Sequence[int]], threshold: int) -> list[int]:
        """Return the values of which each server's row holds a share.

        Args:
            rows: one a server, all servers, in the order of their numbers.
            threshold: degree of the polynomials.

        Raises:
            JobAbortedError: the shares do not lie on such polynomials.
        """
        known = tuple(range(1, threshold + 2))
        for place in range(threshold + 2, len(rows) + 1):
            if self._at_place(rows, known, place) != list(rows[place - 1]):
                raise JobAbortedError(
                    "the servers' output shares do not fit together: one of them"
                    " computed something else than what was asked",
                    FailureCode.ENGINE,
                )
        return [self.signed(value) for value in self._at_place(rows, known, 0)]

    def _at_place(
        self, rows: Sequence[Sequence[int]], known: tuple[int, ...], place: int
    ) -> list[int]:
        weights = _weights(self.modulus, known, place)
        return [
            sum(weight * share for weight, share in zip(weights, shares, strict=True))
            % self.modulus
            for shares in zip(*(rows[point - 1] for point in known), strict=True)
        ]

    def _of_values(self, values: Values) -> Limbs:
        """Return values as residues."""
        if isinstance(values, np.ndarray):
            return self._of_int64(values)
        data = b"".join(
            (value % self.modulus).to_bytes(self.element_bytes, "little")
            for value in values
        )
        return self._of_bytes(data)

    def _of_int64(self, values: NDArray[np.int64]) -> Limbs:
        magnitude = np.abs(values).astype(np.uint64)
        limbs = np.zeros((len(values), self.limbs), np.uint64)
        limbs[:, 0] = magnitude & _LIMB_MASK
        limbs[:, 1] = magnitude >> _SHIFT
        # Every bit of the modulus is set, so modulus - m is m with all bits flipped.
        flips = np.full(self.limbs, _LIMB_MASK)
        flips[-1] = self._top_mask
        limbs[values < 0] ^= flips
        return limbs

    def _of_bytes(self, data: bytes) -> Limbs:
        return np.frombuffer(data, "<u4").reshape(-1, self.limbs).astype(np.uint64)

    def _random(self, count: int, entropy: Entropy) -> Limbs:
        size = count * self.element_bytes
        data = entropy(size)
        if len(data) != size:
            raise RefusedError(
                "the source of randomness gave too few bytes", RefusalCode.INTERNAL
            )
        limbs = self._of_bytes(data)
        limbs[:, -1] &= self._top_mask
        return limbs

    def _at(self, point: int, coefficients: Sequence[Limbs]) -> bytes:
        """Return polynomials at a small point, the constant terms first."""
        total = coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            total = self._carried(total * np.uint64(point) + coefficient)
        total = self._carried(total)
        is_modulus = (total[:, :-1] == _LIMB_MASK).all(1)
        total[is_modulus & (total[:, -1] == self._top_mask)] = 0
        return total.astype("<u4").tobytes()

    def _carried(self, limbs: Limbs) -> Limbs:
        """Bring every limb back to its bits; what leaves the highest returns below."""
        for _ in range(2):  # the second time the carry is at most 1 and goes nowhere
            carry = np.zeros(len(limbs), np.uint64)
            for index in range(self.limbs - 1):
                column = limbs[:, index] + carry
                limbs[:, index] = column & _LIMB_MASK
                carry = column >> _SHIFT
            column = limbs[:, -1] + carry
            limbs[:, -1] = column & self._top_mask
            limbs[:, 0] += column >> self._top_bits
        return limbs


@cache
def field_of(exponent: int) -> Field:
    """Return the field of a Mersenne prime's exponent."""
    return Field(exponent)


@cache
def _weights(modulus: int, known: tuple[int, ...], place: int) -> tuple[int, ...]:
    """Return Lagrange's weights of known points for another one."""
    weights = []
    for point in known:
        above = below = 1
        for other in known:
            if other != point:
                above = above * (place - other) % modulus
                below = below * (point - other) % modulus
        weights.append(above * pow(below, -1, modulus) % modulus)
    return tuple(weights)
