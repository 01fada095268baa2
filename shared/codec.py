"""The one form of msgpack that is signed, hashed and sent.

Source: docs/protocol.md, section "msgpack". Signatures and hashes are over
the bytes received; nothing is encoded again to be checked.
"""

import unicodedata
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgpack

from shared.errors import CodecError

Value: TypeAlias = (
    "bool | int | str | bytes"
    " | list[Value] | tuple[Value, ...] | Mapping[str, Value] | None"
)
"""What may be encoded; a decoded value holds lists and dicts, never tuples."""

MAX_BYTES: Final = 1 << 20
"""The longest object that is decoded unless the caller says otherwise."""
MAX_DEPTH: Final = 8
"""How deep lists and maps may nest; a flat list has depth 1."""
MAX_MAP_ENTRIES: Final = 256
MAX_ARRAY_ITEMS: Final = 4096
MIN_INT: Final = -(1 << 63)
MAX_INT: Final = (1 << 64) - 1
"""The integers that msgpack can say; ``encode`` refuses others."""

# Making one takes as long as packing a small map. It packs plain values in one go.
_PACKER: Final = msgpack.Packer(use_bin_type=True)
_AS_IT_IS: Final = frozenset((bytes, int, bool, type(None)))


def encode(value: Value) -> bytes:
    """Return the canonical bytes of a value.

    Map keys are sorted by code point, lengths and integers take their
    shortest form, and a ``StrEnum`` is its text.

    Raises:
        CodecError: the value holds another type, text that is not NFC, an
            integer outside -2^63..2^64-1, or breaks a limit of ``decode``.
    """
    try:
        packed: bytes = _PACKER.pack(_canonical(value, 1))
    except OverflowError as error:
        raise CodecError("an integer does not fit into 64 bits") from error
    return packed


def decode(data: bytes, *, max_bytes: int = MAX_BYTES) -> Value:
    """Return the one object that the bytes hold.

    Args:
        data: from anywhere; time and memory stay bounded whatever it is.
        max_bytes: refuse anything longer unread.

    Raises:
        CodecError: the bytes are not exactly one object of the allowed types
            within the limits, a key is no text or comes twice, or a text is
            not NFC.
    """
    if len(data) > max_bytes:
        raise CodecError(f"{len(data)} bytes where at most {max_bytes} are allowed")
    try:
        # A list is allocated when its header is read. Skipping first builds
        # nothing, and proves that every announced item is there.
        skipper = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
        skipper.feed(data)
        skipper.skip()
        value: Value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=max_bytes,
            max_bin_len=max_bytes,
            max_array_len=MAX_ARRAY_ITEMS,
            max_map_len=MAX_MAP_ENTRIES,
            max_ext_len=0,
            object_pairs_hook=_unique,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise CodecError("not one msgpack object within the limits") from error
    _check(value, 1)
    return value


def decode_map(data: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, Value]:
    """Return the one map that the bytes hold.

    Args:
        data: as for ``decode``.
        max_bytes: as for ``decode``.

    Raises:
        CodecError: as for ``decode``, or the object is no map.
    """
    value = decode(data, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise CodecError("not a map")
    return value


def _canonical(value: object, depth: int) -> object:
    """Return the value with every map's keys checked and sorted."""
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value)
    if depth > MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, (list, tuple)):
        if len(value) > MAX_ARRAY_ITEMS:
            raise CodecError(f"a list of more than {MAX_ARRAY_ITEMS} items")
        return [_canonical(item, depth + 1) for item in value]
    if isinstance(value, (dict, Mapping)):
        return _canonical_map(value, depth)
    raise CodecError(f"{type(value).__name__} cannot be encoded")


def _canonical_map(value: Mapping[object, object], depth: int) -> dict[str, object]:
    """Return the map with its keys checked and sorted."""
    if len(value) > MAX_MAP_ENTRIES:
        raise CodecError(f"a map of more than {MAX_MAP_ENTRIES} entries")
    entries = {
        key if type(key) is str and key.isascii() else _key(key): item
        for key, item in value.items()
    }
    # Most maps hold nothing but plain values, which need no call each.
    return {
        key: item
        if type(item := entries[key]) in _AS_IT_IS
        else _canonical(item, depth + 1)
        for key in sorted(entries)
    }


def _key(key: object) -> str:
    """Return the plain text of a map's key, if it may be one."""
    if not isinstance(key, str):
        raise CodecError("a map's key is not text")
    return _text(key)


def _text(value: str) -> str:
    """Return the plain text of a str or StrEnum, if it may be encoded."""
    text = value if type(value) is str else str.__str__(value)
    if not text.isascii():
        if not unicodedata.is_normalized("NFC", text):
            raise CodecError("a text is not in Unicode normal form C")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CodecError("a text holds half of a surrogate pair") from error
    return text


def _unique(pairs: list[tuple[object, object]]) -> dict[object, object]:
    """Return a map's pairs as a dict; msgpack would keep the last of two."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise CodecError("a map's key comes twice")
    return entries


def _check(value: object, depth: int) -> None:
    """Refuse what msgpack can express and we do not accept."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, (dict, list)):
        if depth > MAX_DEPTH:
            raise CodecError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict):
            for key in value:
                _check_text(key)
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth + 1)
    elif value is not None and not isinstance(value, (int, bytes)):
        raise CodecError(f"{type(value).__name__} is not accepted")


def _check_text(text: object) -> None:
    """Refuse a key that is no text, and text that has another spelling."""
    if not isinstance(text, str):
        raise CodecError("a map's key is not text")
    if not unicodedata.is_normalized("NFC", text):
        raise CodecError("a text is not in Unicode normal form C")
