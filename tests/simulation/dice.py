"""Decisions that a seed makes: the same seed, the same history."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Dice:
    """A stream of decisions.

    Args:
        seed: names the stream; another name, other decisions.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def draw(self, size: int) -> bytes:
        """Return so many bytes."""
        self._count += 1
        name = f"{self._seed} {self._count}".encode()
        return hashlib.shake_256(name).digest(size)

    def of(self, name: str) -> "Dice":
        """Return a stream of its own for somebody."""
        return Dice(f"{self._seed} of {name}")

    def below(self, limit: int) -> int:
        """Return a number from 0 up to but not including ``limit``."""
        return int.from_bytes(self.draw(8)) % limit

    def happens(self, percent: float) -> bool:
        """Return True so often."""
        return self.below(10_000) < percent * 100

    def pick(self, things: Sequence[_T]) -> _T:
        """Return one of several."""
        return things[self.below(len(things))]

    def weighted(self, weights: dict[str, int]) -> str:
        """Return one of the keys, as often as its weight says."""
        left = self.below(sum(weights.values()))
        for name, weight in weights.items():
            left -= weight
            if left < 0:
                return name
        raise AssertionError("the weights add up to more than they do")
