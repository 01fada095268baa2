"""The lease of the active manager, and the clock by which it runs."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from sqlalchemy import Connection, TextClause, select, text, update

from manager.protocol.lease import Lease
from manager.store import schema

_ROW: Final = select(
    schema.lease.c.epoch,
    schema.lease.c.holder,
    schema.lease.c.since,
    schema.lease.c.expires,
)
NO_LEASE: Final = {"id": 1, **asdict(Lease())}
"""The row of a lease that nobody ever held."""
_LOCK: Final = select(schema.lease.c.epoch).with_for_update()
# Not ``now()``, which stands still in a transaction, however long that waited.
_CLOCK: Final[Mapping[str, TextClause]] = {
    "postgresql": text(
        "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
    ),
    "sqlite": text("SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"),
}


class Leases:
    """The one lease.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def now_ms(self) -> int:
        """Return the database's time."""
        clock = _CLOCK[self._connection.dialect.name]
        found: int = self._connection.execute(clock).scalar_one()
        return found

    def get(self) -> Lease:
        """Return the lease."""
        return Lease(*self._connection.execute(_ROW).one())

    def put(self, lease: Lease) -> None:
        """Change the lease."""
        self._connection.execute(update(schema.lease).values(**asdict(lease)))


def lock(connection: Connection) -> int:
    """Wait until no other transaction writes; return the epoch."""
    epoch: int = connection.execute(_LOCK).scalar_one()
    return epoch
