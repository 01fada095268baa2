"""Jobs and the wrapped keys of their tickets."""

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, delete, select, update

from manager.protocol.job_state import JobState, Moment
from manager.store import schema
from manager.store.records import TicketKey
from manager.store.statements import put
from manager.store.states import Packer
from shared.names import JobId, Principal

_JOBS = Packer(JobState)

_SAVE = put(schema.jobs, "job")
_SAVE_TICKET_KEY = put(schema.ticket_keys, "job", "epoch", "server")
_TICKET_KEYS = select(schema.ticket_keys).where(
    schema.ticket_keys.c.job == bindparam("job"),
    schema.ticket_keys.c.epoch == bindparam("epoch"),
)


class Jobs:
    """Every job that was ever requested.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(self, state: JobState) -> None:
        """Keep a job, new or changed."""
        row = {
            "job": state.job,
            "number": state.number,
            "consumer": state.consumer,
            "stage": state.stage.value,
            "is_open": not state.is_closed,
            "closed": state.time(Moment.CLOSED),
            "blob": _JOBS.pack(state),
        }
        self._connection.execute(_SAVE.on(self._connection), row)

    def get(self, job: JobId) -> JobState | None:
        """Return a job."""
        found = self._connection.execute(
            select(schema.jobs.c.blob).where(schema.jobs.c.job == job)
        ).scalar_one_or_none()
        return None if found is None else _JOBS.unpack(found)

    def numbered(self, number: int) -> JobState | None:
        """Return the job with this display number."""
        found = self._connection.execute(
            select(schema.jobs.c.blob).where(schema.jobs.c.number == number)
        ).scalar_one_or_none()
        return None if found is None else _JOBS.unpack(found)

    def open(self) -> list[JobState]:
        """Return the jobs that are not closed, in the order of request."""
        rows = self._connection.execute(
            select(schema.jobs.c.blob)
            .where(schema.jobs.c.is_open.is_(True))
            .order_by(schema.jobs.c.number)
        )
        return [_JOBS.unpack(row[0]) for row in rows]

    def closed_since(self, moment: int, limit: int) -> list[JobState]:
        """Return the newest jobs that ended at this time (ms) or later."""
        rows = self._connection.execute(
            select(schema.jobs.c.blob)
            .where(schema.jobs.c.closed >= moment)
            .order_by(schema.jobs.c.number.desc())
            .limit(limit)
        )
        return [_JOBS.unpack(row[0]) for row in rows]

    def latest(self, limit: int, consumer: Principal | None = None) -> list[JobState]:
        """Return the newest jobs, newest first, of one consumer or of all."""
        statement = select(schema.jobs.c.blob).order_by(schema.jobs.c.number.desc())
        if consumer is not None:
            statement = statement.where(schema.jobs.c.consumer == consumer)
        rows = self._connection.execute(statement.limit(limit))
        return [_JOBS.unpack(row[0]) for row in rows]

    def save_ticket_keys(self, keys: Iterable[TicketKey]) -> None:
        """Keep the wrapped ticket keys of a start, or their new wrapping."""
        rows = [asdict(key) for key in keys]
        if rows:
            self._connection.execute(_SAVE_TICKET_KEY.on(self._connection), rows)

    def ticket_keys(self, job: JobId, epoch: int) -> list[TicketKey]:
        """Return the wrapped ticket keys of a job's epoch."""
        rows = self._connection.execute(
            _TICKET_KEYS, {"job": job, "epoch": epoch}
        ).mappings()
        return [TicketKey(**row) for row in rows]

    def ticket_keys_not_in(self, slot: int) -> list[TicketKey]:
        """Return the ticket keys that are wrapped under another slot's key."""
        table = schema.ticket_keys
        rows = self._connection.execute(
            select(table).where(table.c.slot != slot)
        ).mappings()
        return [TicketKey(**row) for row in rows]

    def forget_ticket_keys(self, now: int) -> None:
        """Erase ticket keys whose results can no longer be fetched."""
        self._connection.execute(
            delete(schema.ticket_keys).where(schema.ticket_keys.c.expires < now)
        )

    def close_ticket_keys(self, job: JobId, expires: int) -> None:
        """Set when a job's ticket keys are erased (ms)."""
        self._connection.execute(
            update(schema.ticket_keys)
            .where(schema.ticket_keys.c.job == job)
            .values(expires=expires)
        )
