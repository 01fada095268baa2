"""Parquet tables, read a part of a row group at a time; pyarrow is an extra.

Columns of whole numbers, floats, decimals and truth values are numeric; nested
ones, texts and times are not.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet, types

from participant.columns import FloatColumn, Missing, row_after, without_gaps
from participant.datasets.numpy_table import as_numbers
from shared.errors import RefusalCode, RefusedError

BATCH_ROWS: Final = 1 << 15


class ParquetTable:
    """A Parquet file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._file: parquet.ParquetFile | None = None

    def names(self) -> list[str]:
        """See ``Table``."""
        try:
            self._file = parquet.ParquetFile(self._stream)
            return list(self._file.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable("the file is not a Parquet table") from error

    def parts(
        self, names: Sequence[str], missing: Missing
    ) -> Iterator[list[FloatColumn]]:
        """See ``Table``."""
        before = 0
        try:
            for batch in self._batches(names):
                columns = [_numbers(batch.column(name), name) for name in names]
                yield without_gaps(columns, names, missing, row_after(before))
                before += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _unreadable("a column of the Parquet table is damaged") from error

    def close(self) -> None:
        """See ``Table``."""
        if self._file is not None:
            self._file.close()

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if self._file is None:
            return
        schema = self._file.schema_arrow
        for name in names:
            if not _is_numeric(schema.field(name).type):
                raise _not_numeric(name)
        yield from self._file.iter_batches(
            BATCH_ROWS, columns=list(names), use_threads=False
        )


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


def _numbers(column: pa.Array, name: str) -> FloatColumn:
    """Return the values as float64, correctly rounded; NaN for null."""
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    nothing = False if types.is_boolean(column.type) else 0
    filled = column.fill_null(nothing) if column.null_count else column
    values = filled.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "O":  # decimals
        values = values.astype(np.float64)
    numbers = as_numbers(values, name)
    return np.where(is_null, np.nan, numbers) if column.null_count else numbers


def _not_numeric(name: str) -> RefusedError:
    return RefusedError(
        f"column {name!r} does not hold one number a row", RefusalCode.NOT_NUMERIC
    )


def _unreadable(message: str) -> RefusedError:
    return RefusedError(message, RefusalCode.DATASET_UNREADABLE)
