"""How much one sender may cost: token buckets, by broker user.

They stand before any public-key work. The broker vouches for the user's name, so
nobody can spend another's budget.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_SENDERS: Final = 10_000
"""Buckets kept; the longest unused go first."""
BURST_SECONDS: Final = 4
AS_PER_MINUTE: Final = 60
AS_BURST: Final = 20


@dataclass(slots=True)
class _Level:
    """What is left, and when that was (ms)."""

    left: float
    at: int


class Bucket:
    """Token buckets of one kind.

    Args:
        per_second: how fast each fills.
        capacity: how much one holds; what may be spent at once.
    """

    def __init__(self, per_second: float, capacity: float) -> None:
        self._per_ms = per_second / 1000
        self._capacity = capacity
        self._levels: OrderedDict[str, _Level] = OrderedDict()

    def take(self, sender: str, amount: float, now_ms: int) -> bool:
        """Spend an amount if there is as much; say whether there was."""
        level = self._levels.get(sender)
        if level is None:
            level = self._levels[sender] = _Level(self._capacity, now_ms)
            if len(self._levels) > MAX_SENDERS:
                self._levels.popitem(last=False)
        else:
            self._levels.move_to_end(sender)
        passed = max(0, now_ms - level.at)
        level.left = min(self._capacity, level.left + passed * self._per_ms)
        level.at = now_ms
        if level.left < amount:
            return False
        level.left -= amount
        return True


class Budget:
    """What each sender may send.

    Args:
        envelopes_per_second: four times as many may come at once.
        bytes_per_second: likewise.
    """

    def __init__(
        self, envelopes_per_second: int = 50, bytes_per_second: int = 1 << 20
    ) -> None:
        self._envelopes = Bucket(
            envelopes_per_second, envelopes_per_second * BURST_SECONDS
        )
        self._bytes = Bucket(bytes_per_second, bytes_per_second * BURST_SECONDS)
        self._logins = Bucket(AS_PER_MINUTE / 60, AS_BURST)

    def allows(self, sender: str, size: int, now_ms: int) -> bool:
        """Spend one envelope of so many bytes; say whether it may be opened."""
        return self._envelopes.take(sender, 1, now_ms) and self._bytes.take(
            sender, size, now_ms
        )

    def allows_login(self, sender: str, now_ms: int) -> bool:
        """Spend one as.req; say whether it may be opened."""
        return self._logins.take(sender, 1, now_ms)
