"""The store: opens the file, hands out transactions.

SQLite in WAL mode. A transaction that writes begins with ``BEGIN IMMEDIATE``, so that
it never fails half-way because another process wrote; one that reads sees the store
as it was when it began, and keeps nobody waiting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, create_engine, event, insert, inspect, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from manager.store import schema
from manager.store.jobs import Jobs
from manager.store.journal import Journal
from manager.store.mail import Mail
from manager.store.orders import Orders
from manager.store.people import People
from manager.store.sessions import Sessions
from shared.errors import ConfigError, StoreError

IN_MEMORY: Final = ":memory:"
BUSY_TIMEOUT: Final = timedelta(seconds=5)
_VERSION_KEY: Final = "schema_version"
_READS: Final = "mpc_reads"
"""Marks connections whose transactions only read."""
_MILLISECOND: Final = timedelta(milliseconds=1)


@unique
class Synchronous(StrEnum):
    """When SQLite calls the disk: ``normal`` survives kill -9 only."""

    FULL = "full"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Unit:
    """One transaction: the tables, grouped."""

    people: People
    sessions: Sessions
    mail: Mail
    jobs: Jobs
    orders: Orders
    journal: Journal


class Store:
    """The manager's memory.

    Args:
        path: of the file, or ``":memory:"`` for tests.
        synchronous: how much a power cut may cost.
    """

    def __init__(
        self, path: Path | str, synchronous: Synchronous = Synchronous.FULL
    ) -> None:
        self._engine = create_engine(
            f"sqlite:///{path}",
            poolclass=StaticPool,
            connect_args={
                "check_same_thread": False,
                "timeout": BUSY_TIMEOUT.total_seconds(),
            },
        )
        self._reader = self._engine.execution_options(**{_READS: True})
        self._synchronous = synchronous
        event.listen(self._engine, "connect", self._configure)
        event.listen(self._engine, "begin", _begin)

    @classmethod
    def create(
        cls, path: Path | str, synchronous: Synchronous = Synchronous.FULL
    ) -> "Store":
        """Return a new, empty store.

        Raises:
            ConfigError: there is one already.
            StoreError: the file cannot be written.
        """
        store = cls(path, synchronous)
        with _errors(), store._engine.begin() as connection:
            if inspect(connection).get_table_names():
                raise ConfigError(f"there is a store at {path} already")
            schema.metadata.create_all(connection)
            connection.execute(
                insert(schema.meta).values(
                    key=_VERSION_KEY, value=str(schema.SCHEMA_VERSION).encode()
                )
            )
        return store

    @classmethod
    def open(
        cls, path: Path | str, synchronous: Synchronous = Synchronous.FULL
    ) -> "Store":
        """Return the store that a file holds.

        Raises:
            ConfigError: there is none, or it is of another release.
            StoreError: the file cannot be read.
        """
        if path != IN_MEMORY and not Path(path).exists():
            raise ConfigError(
                f"there is no store at {path}", "make a realm: mpc-manager init"
            )
        store = cls(path, synchronous)
        with _errors(), store._reader.begin() as connection:
            found = None
            if inspect(connection).has_table(schema.meta.name):
                found = connection.execute(
                    select(schema.meta.c.value).where(schema.meta.c.key == _VERSION_KEY)
                ).scalar_one_or_none()
        if found != str(schema.SCHEMA_VERSION).encode():
            version = found.decode() if found is not None else "none"
            raise ConfigError(
                f"the store {path} has schema {version}, this release uses"
                f" {schema.SCHEMA_VERSION}",
                "install the release that wrote it, or make a new realm",
            )
        return store

    @contextmanager
    def transaction(self) -> Iterator[Unit]:
        """Run one transaction: commit at its end, or nothing of it at an error.

        Raises:
            StoreError: the store cannot be written.
        """
        with _errors(), self._engine.begin() as connection:
            yield _unit(connection)

    @contextmanager
    def reading(self) -> Iterator[Unit]:
        """Run one transaction that only reads.

        Raises:
            StoreError: the store cannot be read, or something was written.
        """
        with _errors(), self._reader.begin() as connection:
            connection.exec_driver_sql("PRAGMA query_only=ON")
            try:
                yield _unit(connection)
            finally:
                connection.exec_driver_sql("PRAGMA query_only=OFF")

    def version(self) -> int:
        """Return a number that is another one after every change by somebody else.

        Raises:
            StoreError: the store cannot be read.
        """
        with _errors(), self._reader.begin() as connection:
            found: int = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        return found

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def _configure(
        self, connection: DBAPIConnection, _entry: ConnectionPoolEntry
    ) -> None:
        # The driver must not begin transactions by itself: _begin does.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={self._synchronous}")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT // _MILLISECOND}")
        cursor.close()


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise StoreError(
            f"the store does not answer: {error.orig}",
            "see whether its disk is full or another program holds the file",
        ) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the store refused a change: {error}") from error


def _unit(connection: Connection) -> Unit:
    return Unit(
        People(connection),
        Sessions(connection),
        Mail(connection),
        Jobs(connection),
        Orders(connection),
        Journal(connection),
    )
