"""NumPy tables: a structured ``.npy``, or an ``.npz`` with one array a column.

Nothing is unpickled, and nothing is mapped into memory: a mapped file that
somebody truncates would end the process.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from participant.columns import FloatColumn
from shared.errors import RefusalCode, RefusedError

CHUNK_ROWS: Final = 1 << 16
_SUFFIX: Final = ".npy"
_NUMERIC_KINDS: Final = "biuf"


def read_npy_header(stream: BinaryIO) -> tuple[np.dtype[np.void], int]:
    """Return the row type of a structured array and the number of rows.

    Raises:
        RefusedError: it is no NumPy file, or its columns have no names.
    """
    dtype, shape = _header(stream)
    if dtype.names is None or len(shape) != 1:
        raise _unreadable(
            "the array's columns have no names; save a structured array with one"
            " field a column, or an .npz with one array a column"
        )
    if dtype.hasobject:
        raise _unreadable("the array holds Python objects, which are never loaded")
    return dtype, shape[0]


def read_npy_rows(
    stream: BinaryIO, dtype: np.dtype[np.void], rows: int, names: Sequence[str]
) -> Iterator[list[FloatColumn]]:
    """Yield the named columns, a part of the rows at a time; NaN stays.

    Raises:
        RefusedError: a column is not numeric, or the file ends early.
    """
    before = 0
    while before < rows:
        wanted = min(CHUNK_ROWS, rows - before)
        raw = stream.read(wanted * dtype.itemsize)
        if len(raw) != wanted * dtype.itemsize:
            raise _unreadable("the file ends before its last row")
        table = np.frombuffer(raw, dtype)
        yield [as_numbers(table[name], name, before) for name in names]
        before += wanted


def read_npz_names(stream: BinaryIO) -> list[str]:
    """Return the names of the arrays in an ``.npz``.

    Raises:
        RefusedError: it is no ``.npz``.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _unreadable("the file is not a NumPy .npz archive") from error
    return [name.removesuffix(_SUFFIX) for name in members if name.endswith(_SUFFIX)]


def read_npz_columns(stream: BinaryIO, names: Sequence[str]) -> list[FloatColumn]:
    """Return the named columns; NaN stays.

    Raises:
        RefusedError: a column is not numeric, damaged, or not as long as another.
    """
    columns = []
    try:
        with zipfile.ZipFile(stream) as archive:
            for name in names:
                with archive.open(name + _SUFFIX) as member:
                    array = npy.read_array(member, allow_pickle=False)
                if array.ndim != 1:
                    raise _unreadable(f"column {name!r} is not one-dimensional")
                columns.append(as_numbers(array, name, 0))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError) as error:
        raise _unreadable("a column of the .npz archive is damaged") from error
    if len({len(column) for column in columns}) > 1:
        raise _unreadable("the columns are not of one length")
    return columns


def as_numbers(array: NDArray[np.generic], name: str, before: int) -> FloatColumn:
    """Return the values as float64; NaN stays, as a gap.

    Args:
        array: one number a row.
        name: of the column.
        before: how many rows of the column came before.

    Raises:
        RefusedError: it holds something else, or infinity.
    """
    if array.dtype.kind not in _NUMERIC_KINDS or array.ndim != 1:
        raise RefusedError(
            f"column {name!r} does not hold one number a row", RefusalCode.NOT_NUMERIC
        )
    with np.errstate(over="ignore"):
        column = array.astype(np.float64)
    infinite = np.isinf(column)
    if infinite.any():
        raise RefusedError(
            f"column {name!r} is not a finite number in row"
            f" {before + int(infinite.argmax()) + 1}",
            RefusalCode.NOT_NUMERIC,
        )
    return column


def _header(stream: BinaryIO) -> tuple[np.dtype[np.void], tuple[int, ...]]:
    """Return type and shape, whatever the type is."""
    try:
        version = npy.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = npy.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = npy.read_array_header_2_0(stream)
        else:
            raise _unreadable(f"NumPy file version {version} is not supported")
    except (ValueError, EOFError) as error:
        raise _unreadable("the file is not a NumPy .npy array") from error
    return dtype, shape


def _unreadable(message: str) -> RefusedError:
    return RefusedError(message, RefusalCode.DATASET_UNREADABLE)
