"""NumPy tables: a structured ``.npy``, or an ``.npz`` with one array a column.

Nothing is unpickled, and nothing is mapped into memory: a mapped file that
somebody truncates would end the process.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import BinaryIO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from participant.columns import FloatColumn
from shared.errors import RefusalCode, RefusedError

CHUNK_ROWS: Final = 1 << 15
"""Rows at a time: so few that a core's own cache holds them in many tables."""
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
    stream: BufferedReader, dtype: np.dtype[np.void], rows: int, names: Sequence[str]
) -> Iterator[list[FloatColumn]]:
    """Yield the named columns, a part of the rows at a time; NaN and infinity stay.

    The memory of one part is that of the next.

    Raises:
        RefusedError: a column is not numeric, or the file ends early.
    """
    before = 0
    memory = memoryview(bytearray(min(CHUNK_ROWS, rows) * dtype.itemsize))
    while before < rows:
        wanted = min(CHUNK_ROWS, rows - before)
        raw = memory[: wanted * dtype.itemsize]
        if stream.readinto(raw) != len(raw):
            raise _unreadable("the file ends before its last row")
        table = np.frombuffer(raw, dtype)
        yield [as_numbers(table[name], name) for name in names]
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
    """Return the named columns; NaN and infinity stay.

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
                columns.append(as_numbers(array, name))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError) as error:
        raise _unreadable("a column of the .npz archive is damaged") from error
    if len({len(column) for column in columns}) > 1:
        raise _unreadable("the columns are not of one length")
    return columns


def as_numbers(array: NDArray[np.generic], name: str) -> FloatColumn:
    """Return the values as float64; NaN stays, and what is beyond becomes infinite.

    Args:
        array: one number a row.
        name: of the column.

    Raises:
        RefusedError: it holds something else.
    """
    if array.dtype.kind not in _NUMERIC_KINDS or array.ndim != 1:
        raise RefusedError(
            f"column {name!r} does not hold one number a row", RefusalCode.NOT_NUMERIC
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float64)


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
