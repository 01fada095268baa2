"""What came, what goes out, and timers."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from sqlalchemy import (
    Connection,
    RowMapping,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from manager.store import schema
from manager.store.records import InboxRecord, Letter, TimerRecord
from manager.store.statements import put
from shared.names import MessageId
from shared.topology import MANAGER_USER
from shared.transport.base import Outgoing

APP_ID = "mpc-manager"

_RECEIVED = select(schema.inbox).where(
    schema.inbox.c.sender == bindparam("sender"),
    schema.inbox.c.mid == bindparam("mid"),
)
_ADD_RECEIVED = insert(schema.inbox)
_LAST_LETTER = select(func.max(schema.outbox.c.id))
_ADD_LETTERS = insert(schema.outbox)
_MARK_PUBLISHED = (
    update(schema.outbox)
    .where(schema.outbox.c.id == bindparam("this"))
    .values(is_published=True)
)
_SET_TIMER = put(schema.timers, "machine", "key", "name")
_CANCEL_TIMER = delete(schema.timers).where(
    *(schema.timers.c[name] == bindparam(name) for name in ("machine", "key", "name"))
)
_DUE_TIMERS = (
    select(schema.timers)
    .where(schema.timers.c.due <= bindparam("now"))
    .order_by(schema.timers.c.due)
    .limit(bindparam("limit"))
)


class Mail:
    """Inbox, outbox and timers.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._received: dict[tuple[str, MessageId], InboxRecord] = {}

    def received(self, sender: str, mid: MessageId) -> InboxRecord | None:
        """Return the envelope of this sender and mid that was handled, if any."""
        waiting = self._received.get((sender, mid))
        if waiting is not None:
            return waiting
        row = (
            self._connection.execute(_RECEIVED, {"sender": sender, "mid": mid})
            .mappings()
            .one_or_none()
        )
        return None if row is None else InboxRecord(**row)

    def add_received(self, record: InboxRecord) -> None:
        """Note that an envelope was handled; ``write`` puts it into the store."""
        self._received[record.sender, record.mid] = record

    def write(self) -> None:
        """Write the envelopes that were noted, all at once."""
        if self._received:
            rows = [asdict(record) for record in self._received.values()]
            self._connection.execute(_ADD_RECEIVED, rows)
            self._received.clear()

    def add_letters(self, letters: Sequence[Letter]) -> list[Letter]:
        """Keep what is to be published; return it with its ids."""
        if not letters:
            return []
        last = self._connection.execute(_LAST_LETTER).scalar_one_or_none() or 0
        kept = [
            replace(letter, id=number)
            for number, letter in enumerate(letters, start=last + 1)
        ]
        self._connection.execute(
            _ADD_LETTERS, [_letter_values(letter) for letter in kept]
        )
        return kept

    def open_letters(self, after: int = 0) -> list[Letter]:
        """Return what is not known to be published, oldest first.

        Args:
            after: only those with a higher id.
        """
        table = schema.outbox
        rows = self._connection.execute(
            select(table)
            .where(table.c.is_published.is_(False), table.c.id > after)
            .order_by(table.c.id)
        ).mappings()
        return [_letter(row) for row in rows]

    def answers_to(self, sender: str, mid: MessageId) -> list[Letter]:
        """Return what was sent in answer to an envelope and has not expired."""
        table = schema.outbox
        rows = self._connection.execute(
            select(table)
            .where(table.c.answers_sender == sender, table.c.answers_mid == mid)
            .order_by(table.c.id)
        ).mappings()
        return [_letter(row) for row in rows]

    def mark_published(self, ids: Iterable[int]) -> None:
        """Note that the broker has these."""
        rows = [{"this": number} for number in ids]
        if rows:
            self._connection.execute(_MARK_PUBLISHED, rows)

    def set_timer(self, timer: TimerRecord) -> None:
        """Keep a timer; the same machine, key and name replaces an earlier one."""
        self._connection.execute(_SET_TIMER.on(self._connection), asdict(timer))

    def cancel_timer(self, machine: str, key: bytes, name: str) -> None:
        """Forget a timer; harmless where there is none."""
        self._connection.execute(
            _CANCEL_TIMER, {"machine": machine, "key": key, "name": name}
        )

    def cancel_timers(self, machine: str, key: bytes) -> None:
        """Forget every timer of one machine."""
        table = schema.timers
        self._connection.execute(
            delete(table).where(table.c.machine == machine, table.c.key == key)
        )

    def due_timers(self, now: int, limit: int) -> list[TimerRecord]:
        """Return timers that are due, the longest overdue first."""
        rows = self._connection.execute(
            _DUE_TIMERS, {"now": now, "limit": limit}
        ).mappings()
        return [TimerRecord(**row) for row in rows]

    def forget(self, now: int) -> None:
        """Forget envelopes whose time is over, in both directions."""
        self._connection.execute(
            delete(schema.inbox).where(schema.inbox.c.expires < now)
        )
        self._connection.execute(
            delete(schema.outbox).where(schema.outbox.c.expires < now)
        )


def _letter_values(letter: Letter) -> dict[str, object]:
    outgoing = letter.outgoing
    return {
        "id": letter.id,
        "answers_sender": letter.answers[0] if letter.answers else None,
        "answers_mid": letter.answers[1] if letter.answers else None,
        "recipient": letter.recipient,
        "after_task": letter.after_task,
        "is_published": letter.is_published,
        "expires": letter.expires,
        "exchange": outgoing.exchange,
        "routing_key": outgoing.routing_key,
        "body": outgoing.body,
        "message_id": outgoing.message_id,
        "type": outgoing.type,
        "correlation_id": outgoing.correlation_id,
        "expiration_ms": outgoing.expiration_ms,
        "timestamp": outgoing.timestamp,
    }


def _letter(row: RowMapping) -> Letter:
    answers = None
    if row["answers_sender"] is not None:
        answers = (row["answers_sender"], MessageId(row["answers_mid"]))
    return Letter(
        Outgoing(
            exchange=row["exchange"],
            routing_key=row["routing_key"],
            body=row["body"],
            message_id=row["message_id"],
            type=row["type"],
            correlation_id=row["correlation_id"],
            expiration_ms=row["expiration_ms"],
            timestamp=row["timestamp"],
            user_id=MANAGER_USER,
            app_id=APP_ID,
        ),
        row["expires"],
        answers,
        row["recipient"],
        row["after_task"],
        row["id"],
        row["is_published"],
    )
