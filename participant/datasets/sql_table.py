"""Tables in databases: a TOML file names the database and a query, whose rows they are.

The file has ``url``, as SQLAlchemy writes it, and ``query``. The URL may hold a
password, so others must not be able to read the file. Rows are fetched a batch at a
time, and nothing is ever committed. What the driver says may hold values; it stays in
the error's hint, which the owner alone sees.
"""

import os
import stat
import tomllib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

import numpy as np
from sqlalchemy import URL, Connection, CursorResult, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from participant.columns import FloatColumn, Missing, row_after, without_gaps
from shared.errors import RefusalCode, RefusedError

BATCH_ROWS: Final = 1 << 14
MAX_FILE_BYTES: Final = 1 << 16
MAX_SAID: Final = 300
"""Characters of what a driver says that its owner is shown."""

_KEYS: Final = frozenset({"url", "query"})
_NUMERIC: Final = frozenset({int, float, bool, Decimal, type(None)})
_EXAMPLE: Final = (
    'url = "postgresql+psycopg://user:password@host/db", query = "SELECT …"'
)

_DRIVERS_ERRORS: Final = (SQLAlchemyError, TypeError, ValueError, OSError)
"""Drivers say of a parameter that they do not know what Python says of one."""


class SqlTable:
    """The rows of a query."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._connection: Connection | None = None
        self._result: CursorResult[tuple[object, ...]] | None = None

    def names(self) -> list[str]:
        """See ``Table``."""
        text, query = _read(self._stream)
        try:
            url = make_url(text)
        except (ArgumentError, ValueError) as error:
            raise _unreadable("the database's URL is malformed", _EXAMPLE) from error
        if url.get_backend_name() == "sqlite":
            url = _existing(url)
        try:
            self._connection = create_engine(url, poolclass=NullPool).connect()
            # As it is written: no colon or percent sign means a parameter.
            self._result = self._connection.execution_options(
                yield_per=BATCH_ROWS, no_parameters=True
            ).exec_driver_sql(query)
        except (NoSuchModuleError, ImportError) as error:
            raise _unreadable(
                f"no driver for {url.drivername} is installed",
                f"install the driver for {url.drivername} beside this program",
            ) from error
        except _DRIVERS_ERRORS as error:
            raise _failed(error, url) from error
        if not self._result.returns_rows:
            raise _unreadable("the query returns no rows", "write one that selects")
        return list(self._result.keys())

    def parts(
        self, names: Sequence[str], missing: Missing
    ) -> Iterator[list[FloatColumn]]:
        """See ``Table``."""
        if self._result is None or self._connection is None:
            return
        there = list(self._result.keys())
        places = [there.index(name) for name in names]
        before = 0
        try:
            for rows in self._result.partitions(BATCH_ROWS):
                columns = [
                    _numbers([row[place] for row in rows], name, before)
                    for name, place in zip(names, places, strict=True)
                ]
                yield without_gaps(columns, names, missing, row_after(before))
                before += len(rows)
        except _DRIVERS_ERRORS as error:
            raise _failed(error, self._connection.engine.url) from error

    def close(self) -> None:
        """See ``Table``."""
        if self._connection is not None:
            self._connection.close()


def _read(stream: BinaryIO) -> tuple[str, str]:
    """Return URL and query that a file names."""
    if os.fstat(stream.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unreadable(
            "others can read the file that names the database", "run: chmod 600 FILE"
        )
    try:
        read = tomllib.loads(stream.read(MAX_FILE_BYTES).decode())
    except ValueError as error:
        raise _unreadable(
            "the file that names the database is not TOML", _EXAMPLE
        ) from (error)
    url, query = read.get("url"), read.get("query")
    if set(read) != _KEYS or not isinstance(url, str) or not isinstance(query, str):
        raise _unreadable(
            "the file that names the database has to have a url and a query, and"
            " nothing else",
            _EXAMPLE,
        )
    return url, query


def _existing(url: URL) -> URL:
    """Return the URL of an SQLite file that is there, to be read only.

    SQLite makes a new file where there is none, and a relative path depends on
    where a program was started.
    """
    path = Path(url.database or "")
    if not path.is_absolute() or not path.is_file():
        raise _unreadable(
            "the SQLite file does not exist, or its path is not absolute",
            "write four slashes: sqlite:////folder/file.db",
        )
    return url.set(
        database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"}
    )


def _numbers(cells: list[object], name: str, before: int) -> FloatColumn:
    """Return the values as float64, correctly rounded; NaN for NULL."""
    if set(map(type, cells)) <= _NUMERIC:
        try:
            return np.array(cells, np.float64)
        except (OverflowError, ValueError):
            pass  # a number beyond float64, or a decimal that signals
    index = next(index for index, cell in enumerate(cells) if not _is_number(cell))
    raise RefusedError(
        f"column {name!r} is not a finite number in row {before + index + 1}",
        RefusalCode.NOT_NUMERIC,
    )


def _is_number(cell: object) -> bool:
    if type(cell) not in _NUMERIC:
        return False
    try:
        np.float64(cell)  # type: ignore[arg-type]  # a number, or None: NaN
    except (OverflowError, ValueError):
        return False
    return True


def _failed(error: Exception, url: URL) -> RefusedError:
    """Return the refusal of a database that cannot be reached or does not comply."""
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if url.password:
        for secret in (str(url.password), quote(str(url.password), safe="")):
            said = said.replace(secret, "***")
    line = " ".join(said.split())[:MAX_SAID]
    return _unreadable(
        "the database cannot be reached, or does not answer the query",
        f"its driver says: {line}",
    )


def _unreadable(message: str, hint: str) -> RefusedError:
    refused = RefusedError(message, RefusalCode.DATASET_UNREADABLE)
    refused.hint = hint
    return refused
