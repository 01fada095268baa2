"""The one reader of wall time.

Times on the wire are integers: milliseconds since the Unix epoch, UTC.
"""

from datetime import UTC, datetime, timedelta
from typing import Protocol

MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """Where a shell gets the time from."""

    def now(self) -> datetime:
        """Return the aware time in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the aware time in UTC."""
        return datetime.now(UTC)


def to_ms(moment: datetime) -> int:
    """Return an aware time as milliseconds since the Unix epoch."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Return milliseconds since the Unix epoch as an aware time in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + milliseconds * MILLISECOND
