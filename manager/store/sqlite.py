"""The store in a file: SQLite in WAL mode."""

from datetime import timedelta
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

IN_MEMORY: Final = ":memory:"
BUSY_TIMEOUT: Final = timedelta(seconds=5)
READS: Final = "mpc_reads"
"""The option of connections whose transactions only read."""
_MILLISECOND: Final = timedelta(milliseconds=1)


@unique
class Synchronous(StrEnum):
    """When SQLite calls the disk: ``normal`` survives kill -9 only."""

    FULL = "full"
    NORMAL = "normal"


def engine_of(path: Path | str, synchronous: Synchronous) -> Engine:
    """Return the engine of a file, or of ``":memory:"``.

    A transaction that writes begins with ``BEGIN IMMEDIATE``, so that it never fails
    half-way because another process wrote.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={
            "check_same_thread": False,
            "timeout": BUSY_TIMEOUT.total_seconds(),
        },
    )

    def configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions by itself: _begin does.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT // _MILLISECOND}")
        cursor.close()

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
