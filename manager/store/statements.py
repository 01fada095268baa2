"""Statements that are built once: building one costs more than running it.

An insertion that gives way to a row which is there is not standard SQL, so each
exists once a dialect.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite

Upsert: TypeAlias = sqlite.Insert | postgresql.Insert
"""What both dialects add to an insertion, under the same names."""

_INSERTS: Final[Mapping[str, Callable[[Table], Upsert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class PerDialect:
    """One statement in every dialect.

    Args:
        build: makes it of a dialect's own insertion.
        table: where it inserts.
    """

    def __init__(self, build: Callable[[Upsert], Insert], table: Table) -> None:
        self._statements = {
            dialect: build(begin(table)) for dialect, begin in _INSERTS.items()
        }

    def on(self, connection: Connection) -> Insert:
        """Return the statement as a connection's database understands it."""
        return self._statements[connection.dialect.name]


def put(table: Table, *key: str) -> PerDialect:
    """Return the insertion of a whole row, in place of the one with the same key.

    Args:
        table: every column of it has to be given when the statement runs.
        key: the columns that must be unique.
    """

    def build(statement: Upsert) -> Insert:
        rest = {
            column.name: statement.excluded[column.name]
            for column in table.columns
            if column.name not in key
        }
        return statement.on_conflict_do_update(index_elements=list(key), set_=rest)

    return PerDialect(build, table)


def add_up(table: Table, key: str, total: str) -> PerDialect:
    """Return the insertion of a number, added to the one with the same key.

    Args:
        table: of two columns.
        key: the column that must be unique.
        total: the column of the number.
    """

    def build(statement: Upsert) -> Insert:
        added = {total: table.c[total] + statement.excluded[total]}
        return statement.on_conflict_do_update(index_elements=[key], set_=added)

    return PerDialect(build, table)
