"""Statements that are built once: building one costs more than running it."""

from sqlalchemy import Insert, Table
from sqlalchemy.dialects.sqlite import insert


def put(table: Table, *key: str) -> Insert:
    """Return the insertion of a whole row, in place of the one with the same key.

    Args:
        table: every column of it has to be given when the statement runs.
        key: the columns that must be unique.
    """
    statement = insert(table)
    rest = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if column.name not in key
    }
    return statement.on_conflict_do_update(index_elements=list(key), set_=rest)
