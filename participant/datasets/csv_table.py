"""CSV tables as RFC 4180 has them: a header line, commas, quotes where needed.

Text is UTF-8 with or without a byte-order mark, lines end in LF or CRLF. Blank
lines are skipped; in a table of one column they are missing values, unless
they end the file. The file is read in chunks, so that memory is bounded by the
columns in use and not by the file.
"""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from participant.columns import FloatColumn, Missing, without_gaps
from participant.datasets.cells import Bytes, parse_cell, parse_cells
from shared.errors import RefusalCode, RefusedError

CHUNK_BYTES: Final = 1 << 17
"""Text at a time: so little that a core's own cache holds what is made of it."""
MAX_LINE_BYTES: Final = 1 << 24
"""A line (a record, where quotes hold line ends) longer than this is refused."""
_BATCH_ROWS: Final = 1 << 14
_COMMA: Final = ord(",")
_NEWLINE: Final = ord("\n")
_RETURN: Final = ord("\r")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the wanted columns are.

    Attributes:
        names: the wanted columns.
        places: the position of each in a row.
        width: how many cells a row has.
        missing: what happens to rows with gaps.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    width: int
    missing: Missing


def read_header(stream: BinaryIO) -> tuple[list[str], int]:
    """Return the columns' names and the number of lines that they took.

    Raises:
        RefusedError: there is no header, or it is not UTF-8 or not CSV.
    """
    text = ""
    count = 0
    while not text or text.count('"') % 2:
        line = stream.readline(MAX_LINE_BYTES - len(text))
        if not line:
            break
        count += 1
        text += _decoded(line, count)
        if count == 1:
            text = text.removeprefix("\ufeff")
        if len(text) >= MAX_LINE_BYTES:
            raise _unreadable(f"line {count} is too long")
    rows = list(_records(iter(text.splitlines(keepends=True)), 0))
    if not rows or not any(rows[0][1]):
        raise _unreadable("line 1 is not a header with the columns' names")
    return [name.strip() for name in rows[0][1]], count


def read_rows(
    stream: BinaryIO, layout: Layout, header_lines: int
) -> Iterator[list[FloatColumn]]:
    """Yield the wanted columns, a part of the rows at a time.

    Args:
        stream: the file, just behind the header.
        layout: what is wanted.
        header_lines: how many lines were read already, to count from.

    Raises:
        RefusedError: a cell is no number, is missing and may not be, or the
            table is ragged, not UTF-8 or not CSV.
    """
    line = header_lines + 1
    carry = b""
    while True:
        block = stream.read(CHUNK_BYTES)
        body, carry = _split(carry + block, is_last=not block)
        if b'"' in body or b'"' in carry:
            # A quoted cell may hold line ends: from here on, record by record.
            head = body + carry + stream.readline(MAX_LINE_BYTES)
            tail = iter(lambda: stream.readline(MAX_LINE_BYTES), b"")
            lines = itertools.chain(io.BytesIO(head), tail)
            yield from _careful(lines, layout, line)
            return
        if body:
            yield from _chunk(body, layout, line)
            # NumPy counts what is frequent faster than bytes do.
            line += int(np.count_nonzero(np.frombuffer(body, np.uint8) == _NEWLINE))
        if not block:
            return


def _split(buffer: bytes, *, is_last: bool) -> tuple[bytes, bytes]:
    """Return the whole lines, and what has to wait for the next block.

    Blank lines at the end wait too: they count only if something follows.
    """
    kept = len(buffer.rstrip(b"\r\n"))
    if is_last:
        return (buffer[:kept] + b"\n" if kept else b""), b""
    cut = buffer.rfind(b"\n") + 1
    if kept < cut:
        cut = buffer.find(b"\n", kept) + 1 if kept else 0
    if len(buffer) - cut > MAX_LINE_BYTES:
        raise _unreadable(f"a line is longer than {MAX_LINE_BYTES} bytes")
    return buffer[:cut], buffer[cut:]


def _chunk(body: bytes, layout: Layout, line: int) -> Iterator[list[FloatColumn]]:
    """Yield the columns of whole lines without quotes; all at once if regular."""
    if not body.isascii():
        _check_text(body, line)
    data: Bytes = np.frombuffer(body, np.uint8)
    is_newline = data == _NEWLINE
    ends = np.flatnonzero(
        is_newline if layout.width == 1 else is_newline | (data == _COMMA)
    )
    rows, rest = divmod(len(ends), layout.width)
    is_regular = (
        rest == 0
        and np.count_nonzero(is_newline) == rows
        and bool(is_newline[ends[layout.width - 1 :: layout.width]].all())
        and (layout.width > 1 or b"," not in body)
    )
    if not is_regular:
        yield from _careful(io.BytesIO(body), layout, line)
        return
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    columns = []
    for name, place in zip(layout.names, layout.places, strict=True):
        first = starts[place :: layout.width]
        last = ends[place :: layout.width]
        if place == layout.width - 1:
            last = last - ((data[last - 1] == _RETURN) & (last > first))
        values, bad = parse_cells(data, first, last)
        if bad is not None:
            raise _not_numeric(name, line + bad)
        columns.append(values)
    yield without_gaps(
        columns, layout.names, layout.missing, lambda index: f"line {line + index}"
    )


def _careful(
    lines: Iterable[bytes], layout: Layout, line: int
) -> Iterator[list[FloatColumn]]:
    """Yield the columns, read record by record."""
    text = (_decoded(raw, line + index) for index, raw in enumerate(lines))
    records = _complete(_records(text, line - 1), layout.width)
    while batch := list(itertools.islice(records, _BATCH_ROWS)):
        columns = []
        for name, place in zip(layout.names, layout.places, strict=True):
            values = np.empty(len(batch))
            for index, (number, row) in enumerate(batch):
                value = parse_cell(row[place])
                if value is None:
                    raise _not_numeric(name, number)
                values[index] = value
            columns.append(values)
        places = [f"line {number}" for number, _ in batch]
        yield without_gaps(columns, layout.names, layout.missing, places.__getitem__)


def _records(lines: Iterator[str], before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the number of its last line."""
    reader = csv.reader(lines, strict=True)
    try:
        for row in reader:
            yield before + reader.line_num, row
    except csv.Error as error:
        raise _unreadable(
            f"line {before + reader.line_num} is not CSV: {error}"
        ) from error


def _complete(
    records: Iterator[tuple[int, list[str]]], width: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are rows; see the module on blank lines."""
    blank: list[int] = []
    for number, row in records:
        if not row:
            if width == 1:
                blank.append(number)
            continue
        if len(row) != width:
            raise _unreadable(
                f"line {number} has {len(row)} cells where the header has {width}"
            )
        yield from ((earlier, [""]) for earlier in blank)
        blank.clear()
        yield number, row


def _decoded(raw: bytes, line: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(f"line {line} is not UTF-8 text") from error


def _check_text(body: bytes, line: int) -> None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        place = line + body.count(b"\n", 0, error.start)
        raise _unreadable(f"line {place} is not UTF-8 text") from error


def _not_numeric(name: str, line: int) -> RefusedError:
    return RefusedError(
        f"column {name!r} is not a finite number in line {line}",
        RefusalCode.NOT_NUMERIC,
    )


def _unreadable(message: str) -> RefusedError:
    return RefusedError(message, RefusalCode.DATASET_UNREADABLE)
