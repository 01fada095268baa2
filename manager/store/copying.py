"""Copying a store while the manager runs, without what only a running one needs."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from manager.store import schema
from shared.errors import StoreError

FORGOTTEN: Final = (
    schema.sessions,
    schema.presences,
    schema.ticket_keys,
    schema.inbox,
    schema.outbox,
    schema.commands,
)
"""What is about sessions: their keys, and which of their envelopes were handled. An
old copy of it would let a repeated envelope in."""


def copy_store(source: Path, target: Path) -> None:
    """Copy a store as it is at one moment, without its sessions.

    Args:
        source: of the live store; the manager goes on.
        target: the file to make, for its owner only; it is one file, without a log.

    Raises:
        StoreError: the store cannot be read, or the copy cannot be written.
    """
    target.touch(mode=0o600)
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            for table in FORGOTTEN:
                copy.execute(f"DELETE FROM {table.name}")  # noqa: S608 - our own names
            copy.commit()
            copy.execute("VACUUM")  # what was deleted is not in the file any more
    except sqlite3.Error as error:
        raise StoreError(
            f"the store {source} cannot be copied: {error}",
            "see whether it is whole and the disk has room for the copy",
        ) from error
