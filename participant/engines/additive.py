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

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.engines.base import MAX_SOURCES, Entropy, Plan, Values
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
    version: Final = "1"
    in_worker: Final = False
    preload: Final = ()

    def max_threshold(self, parties: int) -> int:
        """See ``Engine``."""
        return parties - 1

    def max_block_bytes(self, plan: Plan) -> int:
        """See ``Engine``."""
        return _width(plan) * VALUE_BYTES

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
        if _width(plan) < 1:
            raise _unsupported("needs at least one value")
        if plan.program:
            raise _unsupported("adds up and runs no other program")

    def check_values(self, values: Values, plan: Plan) -> None:
        """See ``Engine``."""
        self.check(plan)
        if len(values) != plan.width:
            raise RefusedError(
                f"{len(values)} values where the plan has {plan.width}",
                RefusalCode.INTERNAL,
            )
        if any(abs(int(value)) >= MAX_MAGNITUDE for value in values):
            raise RefusedError(
                "the dataset's numbers are too large to be added up safely",
                RefusalCode.OVERFLOW,
            )

    def share(self, values: Values, plan: Plan, entropy: Entropy) -> list[bytes]:
        """See ``Engine``."""
        self.check_values(values, plan)
        width = _width(plan)
        size = width * VALUE_BYTES
        masks = [entropy(size) for _ in range(plan.parties - 1)]
        if any(len(mask) != size for mask in masks):
            raise RefusedError(
                "the source of randomness gave too few bytes", RefusalCode.INTERNAL
            )
        secret = b"".join(
            int(value).to_bytes(VALUE_BYTES, "little", signed=True) for value in values
        )
        # value - sum == value + ~sum + 1 in two's complement.
        rest = _limbs(secret) + (_sum(iter(masks), width) ^ _LIMB_MASK)
        rest[:, 0] += np.uint64(1)
        return [*masks, _bytes(_carried(rest))]

    def run(
        self,
        plan: Plan,
        blocks: Sequence[bytes],
        peers: Mapping[int, socket.socket],  # noqa: ARG002 - adding up is local
    ) -> bytes:
        """See ``Engine``."""
        width = _width(plan)
        _check_blocks(blocks, plan.sources, width, "source")
        return _bytes(_sum(iter(blocks), width))

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """See ``Engine``."""
        width = _width(plan)
        _check_blocks(shares, plan.parties, width, "server")
        total = _bytes(_sum(iter(shares), width))
        return [
            int.from_bytes(total[start : start + VALUE_BYTES], "little", signed=True)
            for start in range(0, len(total), VALUE_BYTES)
        ]


def _width(plan: Plan) -> int:
    """Return how many values every source has; columns of any length do not add up."""
    if plan.width is None:
        raise _unsupported("needs equally many values of every source")
    return plan.width


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
