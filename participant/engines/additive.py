"""Additive secret sharing, all of n: the sources' vectors are summed up.

A value is split into n numbers that are uniform in the ring of integers modulo
2**512 but for their sum, which is the value. Whatever n - 1 servers see is
uniform and independent of it; the servers need not talk with each other, for
adding up shares is local. Any n from 2 on will do.

Why 512 bits: statistics encode reals as integers, products with up to 128
fractional bits of numbers up to 2**160 (448 bits), over up to 2**47 rows
(495 bits), at up to 2**16 sources (511 bits), and one bit is the sign. So no
real sum can overflow, and a source knows from its own values alone that the
total cannot: a value that leaves fewer than 16 bits of room is refused.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.engines.base import MAX_SOURCES, Entropy, Plan
from shared.errors import (
    FailureCode,
    JobAbortedError,
    RefusalCode,
    RefusedError,
)

RING_BITS: Final = 512
VALUE_BYTES: Final = RING_BITS // 8
"""Width of one value in a block; little-endian, two's complement."""
MAX_MAGNITUDE: Final = (1 << (RING_BITS - 1)) // MAX_SOURCES
"""A source's value is below this, so that all sources' sum keeps its sign."""
MIN_PARTIES: Final = 2

_LIMB_BITS: Final = 32
_LIMBS: Final = RING_BITS // _LIMB_BITS
_LIMB_MASK: Final = np.uint64((1 << _LIMB_BITS) - 1)
_SHIFT: Final = np.uint64(_LIMB_BITS)

Limbs = NDArray[np.uint64]
"""One row a value, one column a limb of 32 bits, the lowest first."""


class Additive:
    """The engine ``additive``; see the module."""

    name: Final = "additive"

    def check(self, plan: Plan) -> None:
        """See ``Engine``."""
        if plan.parties < MIN_PARTIES:
            raise _unsupported(f"needs at least {MIN_PARTIES} servers")
        if not 0 < plan.threshold < plan.parties:
            raise _unsupported(
                f"withstands 1 to {plan.parties - 1} of {plan.parties} servers"
                f" together, not {plan.threshold}"
            )
        if not 0 < plan.sources <= MAX_SOURCES:
            raise _unsupported(f"serves 1 to {MAX_SOURCES} sources")
        if plan.width < 1:
            raise _unsupported("needs at least one value")

    def share(self, values: Sequence[int], plan: Plan, entropy: Entropy) -> list[bytes]:
        """See ``Engine``."""
        self.check(plan)
        if len(values) != plan.width:
            raise RefusedError(
                f"{len(values)} values where the plan has {plan.width}",
                RefusalCode.INTERNAL,
            )
        if any(abs(value) >= MAX_MAGNITUDE for value in values):
            raise RefusedError(
                "the dataset's numbers are too large to be added up safely",
                RefusalCode.OVERFLOW,
            )
        size = plan.width * VALUE_BYTES
        masks = [entropy(size) for _ in range(plan.parties - 1)]
        if any(len(mask) != size for mask in masks):
            raise RefusedError(
                "the source of randomness gave too few bytes", RefusalCode.INTERNAL
            )
        secret = b"".join(
            value.to_bytes(VALUE_BYTES, "little", signed=True) for value in values
        )
        # value - sum == value + ~sum + 1 in two's complement.
        rest = _limbs(secret) + (_sum(iter(masks), plan.width) ^ _LIMB_MASK)
        rest[:, 0] += np.uint64(1)
        return [*masks, _bytes(_carried(rest))]

    def run(self, plan: Plan, blocks: Sequence[bytes]) -> bytes:
        """See ``Engine``."""
        _check_blocks(blocks, plan.sources, plan.width, "source")
        return _bytes(_sum(iter(blocks), plan.width))

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """See ``Engine``."""
        _check_blocks(shares, plan.parties, plan.width, "server")
        total = _bytes(_sum(iter(shares), plan.width))
        return [
            int.from_bytes(total[start : start + VALUE_BYTES], "little", signed=True)
            for start in range(0, len(total), VALUE_BYTES)
        ]


def _check_blocks(blocks: Sequence[bytes], count: int, width: int, who: str) -> None:
    if len(blocks) != count:
        raise JobAbortedError(
            f"{len(blocks)} blocks of shares came where {count} were due, one a {who}",
            FailureCode.ENGINE,
        )
    size = width * VALUE_BYTES
    for index, block in enumerate(blocks):
        if len(block) != size:
            raise JobAbortedError(
                f"block {index + 1} of {count} has {len(block)} bytes where {size}"
                f" were due; the {who} follows another plan",
                FailureCode.ENGINE,
            )


def _sum(blocks: Iterator[bytes], width: int) -> Limbs:
    """Return the sum of at most 2**16 blocks, carried."""
    total = np.zeros((width, _LIMBS), np.uint64)
    for block in blocks:
        total += _limbs(block)
    return _carried(total)


def _limbs(block: bytes) -> Limbs:
    return np.frombuffer(block, "<u4").reshape(-1, _LIMBS).astype(np.uint64)


def _carried(limbs: Limbs) -> Limbs:
    """Bring every limb back to 32 bits; what leaves the highest is dropped."""
    carry = np.zeros(len(limbs), np.uint64)
    for index in range(_LIMBS):
        column = limbs[:, index] + carry
        limbs[:, index] = column & _LIMB_MASK
        carry = column >> _SHIFT
    return limbs


def _bytes(limbs: Limbs) -> bytes:
    return limbs.astype("<u4").tobytes()


def _unsupported(what: str) -> RefusedError:
    return RefusedError(f"engine 'additive' {what}", RefusalCode.UNSUPPORTED)
