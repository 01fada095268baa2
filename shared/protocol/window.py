"""The replay window of one direction of a session.

The sender numbers from 1 and never uses a number twice; the receiver remembers
the highest number and which of the last 4096 it has seen. Source:
docs/protocol.md, "Duplicates are normal"; the bitmap follows RFC 6479.
"""

from dataclasses import dataclass
from enum import StrEnum, unique

WIDTH = 4096
"""How many numbers below the highest can still come."""


@unique
class Verdict(StrEnum):
    """What to do with an authenticated delivery."""

    HANDLE = "handle"
    DUPLICATE = "dup"
    EQUIVOCATION = "equivocation"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Window:
    """``bits``: bit i set means that number ``highest - i`` was seen."""

    highest: int = 0
    bits: int = 0
    lost: int = 0
    """Numbers that were skipped over: evidence of loss, later arrivals included."""

    def seen(self, number: int) -> bool:
        """Say whether a number inside the window was seen."""
        distance = self.highest - number
        return 0 <= distance < WIDTH and bool(self.bits >> distance & 1)

    def is_stale(self, number: int) -> bool:
        """Say whether a number lies left of the window."""
        return number < 1 or self.highest - number >= WIDTH

    def with_seen(self, number: int) -> "Window":
        """Return the window after a number that is new in it."""
        if number > self.highest:
            jump = number - self.highest
            bits = (self.bits << min(jump, WIDTH) | 1) & ((1 << WIDTH) - 1)
            return Window(number, bits, self.lost + jump - 1)
        return Window(self.highest, self.bits | 1 << (self.highest - number), self.lost)


def judge(
    window: Window,
    number: int,
    digest: bytes,
    digest_by_mid: bytes | None,
    digest_by_number: bytes | None,
) -> Verdict:
    """Decide on a delivery whose signature and encryption are proven.

    Args:
        window: of the (session, direction).
        number: the header's ``seq``.
        digest: SHA-256 of the envelope.
        digest_by_mid: that of the handled envelope with this (sender, mid), if any.
        digest_by_number: that of the handled envelope with this number, if kept.
    """
    if digest_by_mid is not None:
        return Verdict.DUPLICATE if digest_by_mid == digest else Verdict.EQUIVOCATION
    if window.is_stale(number):
        return Verdict.STALE
    if digest_by_number is not None or window.seen(number):
        return Verdict.EQUIVOCATION
    return Verdict.HANDLE
