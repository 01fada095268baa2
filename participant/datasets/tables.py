"""Datasets: named files with numeric columns, gone through once a job.

A file is a table, or names a database where one is.

A refusal's text may reach the consumer. It names columns, lines and rows, and
never a value, the path, or the columns that nobody asked for.
"""

import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import numpy as np

from participant.columns import (
    Columns,
    FloatColumn,
    Missing,
    Part,
    row_after,
    without_gaps,
)
from participant.datasets import csv_table, numpy_table
from shared.errors import RefusalCode, RefusedError

COLUMNS_SECONDS: Final = 10
"""How long the names of a dataset's columns may take."""

_Identity = tuple[int, int, int, int]
"""Device, inode, size and time of the last change."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that its owner offers.

    Attributes:
        name: what a consumer asks for; a label as ``names.is_label`` has it.
        path: the file; its suffix says the format.
    """

    name: str
    path: Path


class Table(Protocol):
    """A dataset's file, open for reading; each method is called once at most."""

    def names(self) -> list[str]:
        """Return the columns' names in the file's order; reads the header only."""
        ...

    def parts(
        self, names: Sequence[str], missing: Missing
    ) -> Iterator[list[FloatColumn]]:
        """Yield the columns, a part of the rows at a time, without gaps.

        Args:
            names: some of ``names()``, which was called before.
            missing: what happens to rows with gaps.
        """
        ...

    def close(self) -> None:
        """Let go of what was opened beside the file."""
        ...


class _InFile:
    """A table of which everything is in its file."""

    def close(self) -> None:
        """See ``Table``."""


class CsvTable(_InFile):
    """A table of comma-separated values."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._names: list[str] = []
        self._header_lines = 0

    def names(self) -> list[str]:
        """See ``Table``."""
        self._names, self._header_lines = csv_table.read_header(self._stream)
        return self._names

    def parts(
        self, names: Sequence[str], missing: Missing
    ) -> Iterator[list[FloatColumn]]:
        """See ``Table``."""
        layout = csv_table.Layout(
            names=tuple(names),
            places=tuple(self._names.index(name) for name in names),
            width=len(self._names),
            missing=missing,
        )
        return csv_table.read_rows(self._stream, layout, self._header_lines)


class NpyTable(_InFile):
    """A structured NumPy array."""

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._dtype: np.dtype[np.void] = np.dtype([])
        self._rows = 0

    def names(self) -> list[str]:
        """See ``Table``."""
        self._dtype, self._rows = numpy_table.read_npy_header(self._stream)
        return list(self._dtype.names or ())

    def parts(
        self, names: Sequence[str], missing: Missing
    ) -> Iterator[list[FloatColumn]]:
        """See ``Table``."""
        before = 0
        for part in numpy_table.read_npy_rows(
            self._stream, self._dtype, self._rows, names
        ):
            yield without_gaps(part, names, missing, row_after(before))
            before += len(part[0])


class NpzTable(_InFile):
    """An archive of NumPy arrays, one a column."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def names(self) -> list[str]:
        """See ``Table``."""
        return numpy_table.read_npz_names(self._stream)

    def parts(
        self, names: Sequence[str], missing: Missing
    ) -> Iterator[list[FloatColumn]]:
        """See ``Table``."""
        columns = numpy_table.read_npz_columns(self._stream, names)
        for before in range(0, len(columns[0]), numpy_table.CHUNK_ROWS):
            part = [
                column[before : before + numpy_table.CHUNK_ROWS] for column in columns
            ]
            yield without_gaps(part, names, missing, row_after(before))


def _parquet(stream: BinaryIO) -> Table:
    try:
        from participant.datasets.parquet_table import (  # noqa: PLC0415 - an extra
            ParquetTable,
        )
    except ImportError as error:
        refused = _unreadable("Parquet needs pyarrow, which is not installed")
        refused.hint = "run: pip install 'mpc-management[parquet]'"
        raise refused from error
    return ParquetTable(stream)


def _sql(stream: BinaryIO) -> Table:
    from participant.datasets.sql_table import SqlTable  # noqa: PLC0415 - loads slowly

    return SqlTable(stream)


_DATABASE: Final = ".toml"
_FORMATS: Final[dict[str, Callable[[BufferedReader], Table]]] = {
    ".csv": CsvTable,
    ".npy": NpyTable,
    ".npz": NpzTable,
    ".parquet": _parquet,
    _DATABASE: _sql,
}


@contextmanager
def open_dataset(path: Path) -> Iterator[Table]:
    """Open a dataset's file, and check at the end that it is still the same.

    Raises:
        RefusedError: no such file, no permission, not a regular file, a format
            that is not supported; or it was changed meanwhile, which takes
            precedence over what was found in it.
    """
    with _opened(path) as (table, before):
        try:
            yield table
        except RefusedError:
            _check_unchanged(before, path)
            raise
        _check_unchanged(before, path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Table, _Identity]]:
    """Open a dataset's file; return with it what the file was before that."""
    make = _FORMATS.get(path.suffix.lower())
    if make is None:
        raise _unreadable(
            f"files of type {path.suffix or 'without a suffix'!r} are not supported;"
            f" use one of {', '.join(sorted(_FORMATS))}"
        )
    try:
        before = _identity(path)
        with path.open("rb") as stream, closing(make(stream)) as table:
            yield table, before
    except FileNotFoundError as error:
        raise _unreadable("the dataset's file does not exist") from error
    except PermissionError as error:
        raise _unreadable("the dataset's file may not be read") from error
    except OSError as error:
        raise _unreadable(
            f"the dataset's file cannot be read ({error.strerror})"
        ) from error


def columns(path: Path) -> list[str]:
    """Return the names of a dataset's columns, in order; reads the header only.

    A file to which rows are added meanwhile has its columns all the same. A database
    or network drive that does not answer keeps nobody waiting.

    Raises:
        RefusedError: the file cannot be read.
    """
    try:
        return ask_columns(path).result(COLUMNS_SECONDS)
    except TimeoutError as error:
        raise no_answer() from error


def ask_columns(path: Path) -> Future[list[str]]:
    """Begin to read the names of a dataset's columns; see ``columns``.

    A thread does it that may take for ever, and keeps no process alive.
    """
    found: Future[list[str]] = Future()

    def read() -> None:
        try:
            with _opened(path) as (table, _):
                found.set_result(table.names())
        except BaseException as error:  # noqa: BLE001 - the waiting side raises it
            found.set_exception(error)

    threading.Thread(target=read, name="mpc-columns", daemon=True).start()
    return found


def no_answer() -> RefusedError:
    """Return the refusal of a dataset that has not named its columns in time."""
    return _unreadable(f"the dataset does not answer within {COLUMNS_SECONDS} s")


@contextmanager
def open_columns(
    path: Path, names: Sequence[str], missing: Missing
) -> Iterator[Columns]:
    """Open columns of a dataset; what they hold is complete and finite.

    Args:
        path: the dataset's file.
        names: the columns, at least one, each once.
        missing: what happens to a row that lacks a value in one of them.

    Raises:
        RefusedError: no such column; the file cannot be read or was changed while it
            was read. While its rows are gone through: a cell is no number or
            missing, or no row is left.
    """
    with open_dataset(path) as table:
        there = table.names()
        for name in names:
            if name not in there:
                raise RefusedError(f"no column {name!r}", RefusalCode.UNKNOWN_COLUMN)
            if there.count(name) > 1:
                raise RefusedError(
                    f"more than one column is called {name!r}",
                    RefusalCode.UNKNOWN_COLUMN,
                )
        yield Columns(_some_rows(table, names, missing))


def size_bytes(path: Path, columns: int, rows: int) -> int:
    """Return how large a dataset is: its file, or what a database gave for it.

    Args:
        path: the dataset's file.
        columns: how many were gone through.
        rows: how many each had.
    """
    if path.suffix.lower() == _DATABASE:
        return rows * columns * np.dtype(np.float64).itemsize
    return path.stat().st_size


def _some_rows(table: Table, names: Sequence[str], missing: Missing) -> Iterator[Part]:
    """Yield the parts that have rows; there has to be one."""
    is_empty = True
    for columns in table.parts(names, missing):
        if len(columns[0]):
            is_empty = False
            yield dict(zip(names, columns, strict=True))
    if is_empty:
        raise RefusedError(
            "the dataset has no row with a value in every column in use",
            RefusalCode.EMPTY_DATASET,
        )


def _identity(path: Path) -> _Identity:
    """Return what changes when a file is written or replaced."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable("the dataset is not a regular file")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_unchanged(before: _Identity, path: Path) -> None:
    try:
        after = _identity(path)
    except (FileNotFoundError, RefusedError):
        after = None
    if after != before:
        raise RefusedError(
            "the dataset was changed while it was read; ask again when its owner"
            " has finished writing it",
            RefusalCode.DATASET_CHANGED,
        )


def _unreadable(message: str) -> RefusedError:
    return RefusedError(message, RefusalCode.DATASET_UNREADABLE)
