"""Text cells to float64, many at a time.

Three ways, the fastest first: digits by arithmetic on whole columns, NumPy's
text parser, and Python for the cells that are odd. All are correctly rounded,
so a cell's value does not depend on which one read it.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.columns import FloatColumn

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]

_COMMA: Final = ord(",")
_DOT: Final = ord(".")
_PLUS: Final = ord("+")
_MINUS: Final = ord("-")
_ZERO: Final = ord("0")
_MAX_DIGITS: Final = 18  # ten to this power fits int64
_MAX_ARITHMETIC_BYTES: Final = 20
_TYPICAL_ARITHMETIC_BYTES: Final = 16  # longer cells have over 2**53 in digits
_POWERS: Final = 10.0 ** np.arange(_MAX_DIGITS + 1)
_IN_NUMBERS: Final = np.isin(
    np.arange(256), np.frombuffer(b"0123456789+-.eE", np.uint8)
)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MISSING: Final = frozenset({"", "na", "nan"})


def parse_cell(text: str) -> float | None:
    """Return the cell's value, NaN if it is missing, None if it is no number.

    Missing are the empty cell, NA and NaN in any case. Infinity, numbers
    beyond float64 and digits of other scripts are no numbers.
    """
    text = text.strip()
    if text.lower() in _MISSING:
        return float("nan")
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) < float("inf") else None


def parse_cells(
    data: Bytes, starts: Positions, ends: Positions
) -> tuple[FloatColumn, int | None]:
    """Return the values of the cells ``data[start:end]``.

    Args:
        data: text in an ASCII superset; not empty.
        starts: first byte of each cell.
        ends: byte after each cell.

    Returns:
        One value a cell, NaN where it is missing, and the index of the first
        cell that is no number (the values after it are not to be used).
    """
    lengths = ends - starts
    values = np.full(len(starts), np.nan)
    rest = np.arange(len(starts))
    if len(rest) and lengths.mean() <= _TYPICAL_ARITHMETIC_BYTES:
        known = _by_arithmetic(data, starts, ends, values)
        rest = np.flatnonzero(~known)
    if len(rest):
        known = _by_numpy(data, starts[rest], lengths[rest], values, rest)
        rest = rest[~known]
    for index in rest.tolist():
        cell = data[starts[index] : ends[index]].tobytes()
        value = parse_cell(cell.decode("utf-8", "replace"))
        if value is None:
            return values, index
        values[index] = value
    return values, None


def _by_arithmetic(
    data: Bytes, starts: Positions, ends: Positions, values: FloatColumn
) -> NDArray[np.bool_]:
    """Fill in plain decimals below 2**53 in digits; say which they were.

    Such a number is an exact integer over an exact power of ten, so that one
    division rounds it correctly (Clinger, 1990).
    """
    count = len(starts)
    lengths = ends - starts
    width = min(int(lengths.max()), _MAX_ARITHMETIC_BYTES)
    digits_value = np.zeros(count, np.int64)
    digits = np.zeros(count, np.int8)
    dots = np.zeros(count, np.int8)
    decimals = np.zeros(count, np.int8)
    first = data[np.minimum(starts, len(data) - 1)]
    negative = (first == _MINUS) & (lengths > 0)
    signs = negative | ((first == _PLUS) & (lengths > 0))
    for offset in range(width):
        position = starts + offset
        active = position < ends
        byte = data[np.minimum(position, len(data) - 1)]
        digit = byte - np.uint8(_ZERO)  # wraps: what is no digit is 10 or more
        is_digit = (digit < 10) & active  # noqa: PLR2004 - ten digits
        np.copyto(digits_value, digits_value * 10 + digit, where=is_digit)
        digits += is_digit
        decimals += is_digit & (dots > 0)
        dots += (byte == _DOT) & active
    known: NDArray[np.bool_] = (
        (digits > 0)
        & (digits <= _MAX_DIGITS)
        & (dots <= 1)
        & (digits + dots + signs == lengths)
        & (digits_value <= 1 << 53)
    )
    scale = _POWERS[np.where(known, decimals, 0)]
    result = digits_value / scale
    np.negative(result, out=result, where=negative)
    np.copyto(values, result, where=known)
    return known


def _by_numpy(
    data: Bytes,
    starts: Positions,
    lengths: Positions,
    values: FloatColumn,
    targets: Positions,
) -> NDArray[np.bool_]:
    """Fill in what NumPy's parser reads; say of which cells it did.

    The parser takes forms that we do not (hexadecimal, infinity) and misreads
    blanks, hence only cells of digits, signs, dots and exponents go there.
    """
    plain = lengths > 0
    text, bounds = _joined(data, starts, lengths)
    odd = np.flatnonzero(~_IN_NUMBERS[text])
    odd = odd[~np.isin(odd, bounds - 1, assume_unique=True)]
    plain[np.searchsorted(bounds, odd, side="right")] = False
    if not plain.any():
        return plain
    if not plain.all():
        text, _ = _joined(data, starts[plain], lengths[plain])
    count = int(plain.sum())
    try:
        # A last cell of our own: an odd one before it cannot be read in part.
        parsed = np.fromstring(text.tobytes() + b"0", dtype=np.float64, sep=",")
    except ValueError:
        return np.zeros_like(plain)
    if len(parsed) != count + 1 or not np.isfinite(parsed).all():
        return np.zeros_like(plain)
    values[targets[plain]] = parsed[:-1]
    return plain


def _joined(
    data: Bytes, starts: Positions, lengths: Positions
) -> tuple[Bytes, Positions]:
    """Return the cells one behind the other, a comma after each, and their ends."""
    sizes = lengths + 1
    bounds = np.cumsum(sizes)
    if starts[-1] - starts[0] + sizes[-1] == bounds[-1] and bounds[-1] <= len(data):
        # A table of one column: the cells lie one behind the other already.
        text = data[starts[0] : starts[0] + bounds[-1]].copy()
        text[bounds - 1] = _COMMA
        return text, bounds
    source = np.arange(bounds[-1]) + np.repeat(starts - (bounds - sizes), sizes)
    text = data[np.minimum(source, len(data) - 1)]
    text[bounds - 1] = _COMMA
    return text, bounds
