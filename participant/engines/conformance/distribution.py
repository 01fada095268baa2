"""Whether the shares that may be pooled look the same for different secrets."""

import math
import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.engines.base import Plan
from participant.engines.conformance.subject import NotConformingError, Subject

SHARINGS: Final = 600
"""How often each secret is shared."""
CHANCE: Final = 1e-10
"""How likely, at most, a perfect engine is to fail; all bits looked at together."""
_WORD_BYTES: Final = 8


def check_distribution(subject: Subject) -> None:
    """What ``max_threshold`` servers see does not say which of two secrets it is of.

    Each bit of each server's block, of the blocks' exclusive or, and of their sum word
    by word, is 1 about as often for one secret as for the other. By Hoeffding's
    inequality two frequencies of one bit over k sharings differ by more than e with a
    chance below 2 exp(-k e^2). This finds blunders, such as a value that is sent in
    clear or a threshold that is too high by one; it proves nothing.
    """
    plan = subject.plan(subject.parties[-1])
    seen = subject.engine.max_threshold(plan.parties)
    width = subject.width or 3
    for first in (0, plan.parties - seen):
        one, other = (
            _frequencies(subject, plan, [value] * width, range(first, first + seen))
            for value in (subject.least, subject.most)
        )
        if len(one) != len(other):
            raise NotConformingError("a block's length depends on the values")
        bound = math.sqrt(math.log(4 * len(one) / CHANCE) / SHARINGS)
        if bool((np.abs(one - other) > bound).any()):
            raise NotConformingError(
                f"{seen} of {plan.parties} servers see shares that differ with the"
                " values"
            )


def _frequencies(
    subject: Subject, plan: Plan, values: Sequence[int], seen: range
) -> NDArray[np.float64]:
    """Return how often each bit is 1 that these servers can see or make."""
    total: NDArray[np.int64] | None = None
    for _ in range(SHARINGS):
        blocks = subject.engine.share(values, plan, secrets.token_bytes)
        bits = _bits([blocks[server] for server in seen])
        if total is not None and len(total) != len(bits):
            raise NotConformingError("a block's length depends on chance")
        total = bits if total is None else total + bits
    return np.asarray(total, np.float64) / SHARINGS


def _bits(blocks: Sequence[bytes]) -> NDArray[np.int64]:
    longest = max(map(len, blocks))
    rows = np.array(
        [
            np.frombuffer(block.ljust(longest + -longest % _WORD_BYTES, b"\0"), "u1")
            for block in blocks
        ]
    )
    mixed = np.bitwise_xor.reduce(rows, axis=0)
    summed = np.add.reduce(rows.view("<u8"), axis=0).view("u1")
    return np.unpackbits(np.concatenate([*rows, mixed, summed])).astype(np.int64)
