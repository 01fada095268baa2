"""The store: opens the database, hands out transactions.

One transaction at a time writes: SQLite sees to it by itself, in PostgreSQL each
begins by locking the one row of the lease. So a transaction never fails half-way
because another process wrote, and what it reads stays true until its end. One that
only reads sees the store as it was when it began, and keeps nobody waiting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine, insert, inspect
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from manager.store import migrations, postgresql, schema, sqlite
from manager.store.jobs import Jobs
from manager.store.journal import Journal
from manager.store.leases import NO_LEASE, Leases, lock
from manager.store.mail import Mail
from manager.store.orders import Orders
from manager.store.people import People
from manager.store.postgresql import PostgresDatabase
from manager.store.sessions import Sessions
from manager.store.sqlite import READS, Synchronous
from shared.errors import ConfigError, StoreError, StoreUnreachableError

Place: TypeAlias = Path | str | PostgresDatabase
"""Where a store is: a file, ``":memory:"`` for tests, or a database."""

_READING: Final = {
    "sqlite": ("PRAGMA query_only=ON", "PRAGMA query_only=OFF"),
    "postgresql": ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", ""),
}
"""What begins a transaction that reads, and what ends it."""
_VERSION: Final = {
    "sqlite": "PRAGMA data_version",
    "postgresql": (
        "SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT) AS BIGINT)"
    ),
}
_SHORT: Final = 300
"""Most characters of what a database says that we repeat."""


class LeaseLostError(StoreError):
    """Another manager has taken over; nothing of the transaction was done."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One transaction: the tables, grouped."""

    people: People
    sessions: Sessions
    mail: Mail
    jobs: Jobs
    orders: Orders
    journal: Journal
    leases: Leases


class Store:
    """The manager's memory; ``create``, ``open`` and ``fenced`` make one.

    Args:
        place: for messages.
        engine: of the database.
        epoch: the lease under which this store is used, if under any.
    """

    def __init__(self, place: Place, engine: Engine, epoch: int | None = None) -> None:
        self._place = place
        self._engine = engine
        self._reader = engine.execution_options(**{READS: True})
        self._epoch = epoch

    @classmethod
    def create(
        cls, place: Place, synchronous: Synchronous = Synchronous.FULL
    ) -> "Store":
        """Return a new, empty store.

        Raises:
            ConfigError: there is one already.
            StoreError: the database cannot be written.
        """
        if isinstance(place, Path):
            _claim(place)
        store = cls(place, _engine_of(place, synchronous))
        with store._opening(), store._engine.begin() as connection:
            found = inspect(connection).get_table_names()
            if schema.meta.name in found:
                raise ConfigError(
                    f"there is a store at {place} already",
                    "a further manager of its realm takes a copy of manager.key",
                )
            if found:
                raise ConfigError(
                    f"{place} holds the tables of something else",
                    "name an empty database in store_url",
                )
            schema.metadata.create_all(connection)
            Journal(connection).set_version(schema.SCHEMA_VERSION)
            connection.execute(insert(schema.lease), NO_LEASE)
        if isinstance(place, Path):
            place.chmod(0o600)
        return store

    @classmethod
    def open(
        cls,
        place: Place,
        synchronous: Synchronous = Synchronous.FULL,
        *,
        upgrade: bool = False,
    ) -> "Store":
        """Return the store that is there.

        Args:
            place: where it is.
            synchronous: how much a power cut may cost SQLite.
            upgrade: bring one that an earlier release wrote to this release's form;
                a manager that runs on it is out from then on.

        Raises:
            ConfigError: there is none, or it is of another release.
            StoreError: the database cannot be read.
        """
        if isinstance(place, Path) and not place.exists():
            raise _none_at(place)
        store = cls(place, _engine_of(place, synchronous))
        with store._opening():
            with store._reader.begin() as connection:
                version = migrations.version_of(connection)
            if version is None:
                raise _none_at(place)
            if not upgrade or version == schema.SCHEMA_VERSION:
                migrations.check_version(version)
                return store
            with store._engine.begin() as connection:
                if store.is_shared:
                    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                    lock(connection)
                migrations.upgrade(connection)
        return store

    @property
    def place(self) -> Place:
        """Where it is."""
        return self._place

    @property
    def is_shared(self) -> bool:
        """Whether several managers may use this store, one at a time."""
        return isinstance(self._place, PostgresDatabase)

    def fenced(self, epoch: int) -> "Store":
        """Return this store for the holder of the lease in one epoch.

        Once another epoch has begun each of its transactions fails.
        """
        return Store(self._place, self._engine, epoch)

    @contextmanager
    def transaction(self) -> Iterator[Unit]:
        """Run one transaction: commit at its end, or nothing of it at an error.

        Raises:
            LeaseLostError: another manager has taken over.
            StoreError: the store cannot be written.
        """
        with self._errors(), self._engine.begin() as connection:
            if self.is_shared or self._epoch is not None:
                epoch = lock(connection)
                if self._epoch not in {None, epoch}:
                    raise LeaseLostError(
                        f"another manager has taken over, in epoch {epoch}"
                    )
            yield _unit(connection)

    @contextmanager
    def reading(self) -> Iterator[Unit]:
        """Run one transaction that only reads, and keeps nobody waiting.

        Raises:
            StoreError: the store cannot be read, or something was written.
        """
        with self._errors(), self._reader.begin() as connection:
            begin, end = _READING[connection.dialect.name]
            connection.exec_driver_sql(begin)
            try:
                yield _unit(connection)
            finally:
                if end:
                    connection.exec_driver_sql(end)

    def version(self) -> int:
        """Return a number that is another one after every change by somebody else.

        In PostgreSQL also after other transactions that only might have changed it.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._errors(), self._reader.begin() as connection:
            statement = _VERSION[connection.dialect.name]
            found: int = connection.exec_driver_sql(statement).scalar_one()
        return found

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Close what was opened if it cannot be used."""
        try:
            with self._errors():
                yield
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            if self.is_shared:
                raise StoreUnreachableError(
                    f"the database {self._place} does not answer: {_said(error)}",
                    "see that it runs, and that user, password and TLS are right",
                ) from error
            raise StoreError(
                f"the store does not answer: {error.orig}",
                "see whether its disk is full or another program holds the file",
            ) from error
        except DBAPIError as error:
            raise StoreError(f"the store refused a change: {_said(error)}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"the store refused a change: {error}") from error


def _engine_of(place: Place, synchronous: Synchronous) -> Engine:
    if isinstance(place, PostgresDatabase):
        return postgresql.engine_of(place)
    return sqlite.engine_of(place, synchronous)


def _claim(file: Path) -> None:
    """Make a file for its owner alone before anything is written into it."""
    try:
        file.touch(mode=0o600)
        if file.stat().st_size == 0:
            file.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"the store {file} cannot be made: {error.strerror}",
            "see that its folder is there and yours",
        ) from error


def _none_at(place: Place) -> ConfigError:
    return ConfigError(
        f"there is no store at {place}", "make a realm: mpc-manager init"
    )


def _said(error: DBAPIError) -> str:
    """Return the first line of what the database said; the rest quotes values."""
    return str(error.orig).partition("\n")[0][:_SHORT]


def _unit(connection: Connection) -> Unit:
    return Unit(
        People(connection),
        Sessions(connection),
        Mail(connection),
        Jobs(connection),
        Orders(connection),
        Journal(connection),
        Leases(connection),
    )
