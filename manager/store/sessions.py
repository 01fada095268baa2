"""Sessions, presence and the replay cache of the AS exchange."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from manager.protocol.presence import Presence
from manager.store import schema
from manager.store.records import SessionRecord, SessionStanding
from manager.store.statements import put
from manager.store.states import Packer
from shared.names import Principal, SessionId
from shared.protocol.window import WIDTH, Window

_PRESENCES = Packer(Presence)
_WINDOW_BYTES: Final = WIDTH // 8
_CHANGING: Final = (
    "standing",
    "slot",
    "wrapped",
    "ended",
    "out_seq",
    "highest",
    "bits",
    "lost",
)
_SAVE_PRESENCE = put(schema.presences, "principal")
_SPEND = put(schema.replays, "principal", "nonce")
_SAVE = (
    update(schema.sessions)
    .where(schema.sessions.c.sid == bindparam("this"))
    .values({name: bindparam(name) for name in _CHANGING})
)


class Sessions:
    """Who is connected.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, session: SessionRecord) -> None:
        """Keep a new session."""
        self._connection.execute(insert(schema.sessions).values(**_values(session)))

    def save(self, sessions: Iterable[SessionRecord]) -> None:
        """Keep what changes in sessions: standing, numbers, window, wrapping."""
        rows = [{"this": session.sid, **_changing(session)} for session in sessions]
        if rows:
            self._connection.execute(_SAVE, rows)

    def all(self) -> list[SessionRecord]:
        """Return every session that is not erased, oldest first."""
        rows = self._connection.execute(
            select(schema.sessions).order_by(schema.sessions.c.created)
        ).mappings()
        return [
            SessionRecord(
                sid=row["sid"],
                principal=row["principal"],
                standing=SessionStanding(row["standing"]),
                slot=row["slot"],
                wrapped=row["wrapped"],
                created=row["created"],
                exp=row["exp"],
                ended=row["ended"],
                out_seq=row["out_seq"],
                window=Window(row["highest"], int.from_bytes(row["bits"]), row["lost"]),
                endorse=row["endorse"],
                endorse_sig=row["endorse_sig"],
                endorse_exp=row["endorse_exp"],
                spki=row["spki"],
                leaf=row["leaf"],
            )
            for row in rows
        ]

    def erase(self, sids: Iterable[SessionId]) -> None:
        """Erase sessions with their keys."""
        self._connection.execute(
            delete(schema.sessions).where(schema.sessions.c.sid.in_(list(sids)))
        )

    def save_presence(self, presence: Presence) -> None:
        """Keep what is known of a principal's presence."""
        row = {
            "principal": presence.principal,
            "is_online": presence.is_online,
            "seen": presence.seen,
            "blob": _PRESENCES.pack(presence),
        }
        self._connection.execute(_SAVE_PRESENCE.on(self._connection), row)

    def presences(self) -> list[Presence]:
        """Return what is known of everybody's presence."""
        rows = self._connection.execute(select(schema.presences.c.blob))
        return [_PRESENCES.unpack(row[0]) for row in rows]

    def nonce_is_spent(self, principal: Principal, nonce: bytes, now: int) -> bool:
        """Say whether an AS nonce was used and is remembered."""
        table = schema.replays
        found = self._connection.execute(
            select(table.c.until).where(
                table.c.principal == principal, table.c.nonce == nonce
            )
        ).scalar_one_or_none()
        return found is not None and found >= now

    def spend_nonce(self, principal: Principal, nonce: bytes, until: int) -> None:
        """Remember an AS nonce until then (ms)."""
        row = {"principal": principal, "nonce": nonce, "until": until}
        self._connection.execute(_SPEND.on(self._connection), row)

    def forget_nonces(self, now: int) -> None:
        """Forget nonces whose time is over."""
        self._connection.execute(
            delete(schema.replays).where(schema.replays.c.until < now)
        )


def _changing(session: SessionRecord) -> dict[str, object]:
    return {
        "standing": session.standing.value,
        "slot": session.slot,
        "wrapped": session.wrapped,
        "ended": session.ended,
        "out_seq": session.out_seq,
        "highest": session.window.highest,
        "bits": session.window.bits.to_bytes(_WINDOW_BYTES),
        "lost": session.window.lost,
    }


def _values(session: SessionRecord) -> dict[str, object]:
    return {
        **_changing(session),
        "sid": session.sid,
        "principal": session.principal,
        "created": session.created,
        "exp": session.exp,
        "endorse": session.endorse,
        "endorse_sig": session.endorse_sig,
        "endorse_exp": session.endorse_exp,
        "spki": session.spki,
        "leaf": session.leaf,
    }
