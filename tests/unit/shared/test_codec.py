"""What the codec writes, and everything that it must not read."""

import time
import tracemalloc
from collections.abc import Callable
from types import MappingProxyType

import pytest

from shared import codec
from shared.errors import CodecError, DecodeError
from shared.names import JobId, Role

DECOMPOSED = "e\u0301"


def nested(depth: int) -> bytes:
    """Return this many lists, each in the last one."""
    return b"\x91" * (depth - 1) + b"\x90"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"\xc0"),
        (True, b"\xc3"),
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\xcc\x80"),
        (-(1 << 63), b"\xd3\x80" + bytes(7)),
        ((1 << 64) - 1, b"\xcf" + b"\xff" * 8),
        ("é", b"\xa2\xc3\xa9"),
        (b"ab", b"\xc4\x02ab"),
        ([1, (2,)], b"\x92\x01\x91\x02"),
        (Role.MPCS, b"\xa4mpcs"),
        (JobId(b"j"), b"\xc4\x01j"),
        ({"b": 1, "a": 2}, b"\x82\xa1a\x02\xa1b\x01"),
        (MappingProxyType({Role.CLIENT: Role.MPCS}), b"\x81\xa6client\xa4mpcs"),
        (
            {"\U00010000": 1, "\uffff": 2},
            b"\x82\xa3\xef\xbf\xbf\x02\xa4\xf0\x90\x80\x80\x01",
        ),
    ],
)
def test_encode_has_one_form_for_each_value(
    value: codec.Value, expected: bytes
) -> None:
    """Both sides hash the same bytes only if there is one encoding."""
    encoded = codec.encode(value)

    assert expected == encoded


def test_a_value_that_cannot_be_encoded_leaves_nothing_behind() -> None:
    """What was packed of it would come before the next value."""
    with pytest.raises(CodecError, match="64 bits"):
        codec.encode([1, 2, {"a": 1 << 64}])

    assert codec.encode([3]) == b"\x91\x03"


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        1 << 64,
        -(1 << 63) - 1,
        DECOMPOSED,
        {DECOMPOSED: 1},
        "\ud800",
        {1: 1},
        {b"a": 1},
        {"a": object()},
        bytearray(b"a"),
        {"a"},
        [0] * 4097,
        {str(key): 0 for key in range(257)},
    ],
)
def test_encode_refuses_what_decode_would_refuse(value: object) -> None:
    """We never send what a peer must drop."""
    with pytest.raises(CodecError):
        codec.encode(value)  # type: ignore[arg-type]  # wrong on purpose


def test_encode_refuses_a_value_that_contains_itself() -> None:
    """The depth limit ends what would never end."""
    endless: list[codec.Value] = []
    endless.append(endless)

    with pytest.raises(CodecError):
        codec.encode(endless)


def test_decode_gives_back_what_was_encoded() -> None:
    """Tuples come back as lists, everything else as it was."""
    value: codec.Value = {"a": [1, (b"x", None)], "ü": {"t": True, "n": -5}}

    decoded = codec.decode(codec.encode(value))

    assert decoded == {"a": [1, [b"x", None]], "ü": {"t": True, "n": -5}}


def test_eight_levels_are_the_last_that_pass() -> None:
    """The depth limit is the same in both directions."""
    deepest = codec.decode(nested(8))
    encoded = codec.encode(deepest)

    assert nested(8) == encoded
    with pytest.raises(CodecError):
        codec.decode(nested(9))
    with pytest.raises(CodecError):
        codec.encode([deepest])


def test_the_largest_list_and_map_pass() -> None:
    """The limits themselves are allowed."""
    items: list[codec.Value] = [0] * 4096
    entries: dict[str, codec.Value] = {str(key): 0 for key in range(256)}

    assert items == codec.decode(codec.encode(items))
    assert entries == codec.decode(codec.encode(entries))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="reserved"),
        pytest.param(b"\xc0\xc0", id="trailing"),
        pytest.param(b"\x92\x00", id="truncated"),
        pytest.param(b"\xcb\x7f\xf8" + bytes(6), id="nan"),
        pytest.param(b"\xca" + bytes(4), id="float"),
        pytest.param(b"\xd4\x05a", id="ext"),
        pytest.param(b"\xc7\x00\x05", id="empty ext"),
        pytest.param(b"\xd6\xff" + bytes(4), id="timestamp"),
        pytest.param(b"\xa2\xff\xfe", id="bad utf-8"),
        pytest.param(b"\xa3\xed\xa0\x80", id="surrogate"),
        pytest.param(b"\xa3e\xcc\x81", id="not nfc"),
        pytest.param(b"\x81\xa3e\xcc\x81\x00", id="key not nfc"),
        pytest.param(b"\x82\xa1a\x01\xa1a\x02", id="duplicate key"),
        pytest.param(b"\x81\x01\x01", id="integer key"),
        pytest.param(b"\x81\xc4\x01a\x01", id="bytes key"),
        pytest.param(b"\x81\x90\x01", id="list key"),
        pytest.param(b"\x81\xa1a\xcb" + bytes(8), id="float inside"),
        pytest.param(b"\xdc\x10\x01" + bytes(4097), id="long list"),
        pytest.param(
            b"\xde\x01\x01"
            + b"".join(b"\xcd" + bytes([1, k % 256]) + b"\x00" for k in range(257)),
            id="large map",
        ),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="bytes of 4 GiB"),
    ],
)
def test_decode_refuses(data: bytes) -> None:
    """Whatever the library says, the caller meets one error."""
    with pytest.raises(CodecError):
        codec.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(nested(1000), id="depth 1000"),
        pytest.param(nested(100_000), id="depth 100,000"),
        pytest.param(b"\x81\xa1a" * 1000 + b"\xc0", id="maps, depth 1000"),
        pytest.param(b"\xdf\x80\x00\x00\x00", id="map header 2^31"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="list header 2^32-1"),
        pytest.param(b"\xdc\x10\x00" * 1000, id="1000 unfinished lists of 4096"),
        pytest.param(b"\xde\x01\x00" * 1000, id="1000 unfinished maps of 256"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="text of 4 GiB"),
    ],
)
def test_a_hostile_header_costs_neither_time_nor_memory(data: bytes) -> None:
    """Anyone may send these before any signature is checked."""

    def refuse() -> None:
        with pytest.raises(CodecError):
            codec.decode(data)

    elapsed = min(_seconds(refuse) for _ in range(5))
    tracemalloc.start()
    refuse()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert elapsed < 0.005
    assert peak < 1 << 20


def _seconds(action: Callable[[], None]) -> float:
    """Return how long an action took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def test_decode_refuses_more_than_the_caller_allows() -> None:
    """The size is checked before anything is read."""
    assert codec.decode(b"\xc4\x03abc", max_bytes=5) == b"abc"
    with pytest.raises(CodecError):
        codec.decode(b"\xc4\x03abc", max_bytes=4)
    with pytest.raises(DecodeError):
        codec.decode(b"\xc6\x00\x10\x00\x00" + bytes(1 << 20))


def test_decode_map_gives_a_map_and_nothing_else() -> None:
    """Every payload is a map; a caller need not ask."""
    assert codec.decode_map(b"\x81\xa1a\x01") == {"a": 1}
    with pytest.raises(CodecError):
        codec.decode_map(b"\x90")
    with pytest.raises(CodecError):
        codec.decode_map(b"\x81\xa1a\x01", max_bytes=3)
