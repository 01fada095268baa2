"""The realm's own facts, the audit trail and the counters."""

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import Connection, insert, select

from manager.store import schema
from manager.store.records import AuditRecord
from manager.store.statements import add_up, put

_ADD_AUDIT = insert(schema.audit)
_SET_FACT = put(schema.meta, "key")
_COUNT = add_up(schema.counters, "name", "value")


class Journal:
    """What the realm is, and what happened in it.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def set_fact(self, key: str, value: bytes) -> None:
        """Keep a fact about the realm, in place of an earlier value."""
        row = {"key": key, "value": value}
        self._connection.execute(_SET_FACT.on(self._connection), row)

    def fact(self, key: str) -> bytes | None:
        """Return a fact about the realm."""
        found: bytes | None = self._connection.execute(
            select(schema.meta.c.value).where(schema.meta.c.key == key)
        ).scalar_one_or_none()
        return found

    def version(self) -> int | None:
        """Return which schema the store has, ``None`` if it does not say."""
        found = self.fact(schema.VERSION_KEY)
        return int(found) if found is not None and found.isdigit() else None

    def set_version(self, version: int) -> None:
        """Note which schema the store has."""
        self.set_fact(schema.VERSION_KEY, str(version).encode())

    def add_audit(self, record: AuditRecord) -> None:
        """Add a line to the audit trail."""
        self._connection.execute(_ADD_AUDIT, asdict(record))

    def audit(self, limit: int) -> list[AuditRecord]:
        """Return the newest lines of the audit trail, newest first."""
        table = schema.audit
        rows = self._connection.execute(
            select(table.c.at, table.c.event, table.c.subject, table.c.detail)
            .order_by(table.c.id.desc())
            .limit(limit)
        )
        return [AuditRecord(*row) for row in rows]

    def count(self, additions: Mapping[str, int]) -> None:
        """Add to counters; one that is not there begins at 0."""
        rows = [{"name": name, "value": value} for name, value in additions.items()]
        if rows:
            self._connection.execute(_COUNT.on(self._connection), rows)

    def counters(self) -> dict[str, int]:
        """Return every counter."""
        table = schema.counters
        rows = self._connection.execute(
            select(table.c.name, table.c.value).order_by(table.c.name)
        )
        return {row[0]: row[1] for row in rows}
