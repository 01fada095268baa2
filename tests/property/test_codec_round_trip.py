"""The codec under values and bytes that nobody thought of."""

import contextlib
import unicodedata

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import codec
from shared.errors import CodecError

TEXT = st.text(max_size=20).map(lambda text: unicodedata.normalize("NFC", text))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(codec.MIN_INT, codec.MAX_INT),
    TEXT,
    st.binary(max_size=40),
)


def depth(value: codec.Value) -> int:
    """Return how deep lists and maps nest in a value."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


VALUES: st.SearchStrategy[codec.Value] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=6,
).filter(lambda value: depth(value) <= codec.MAX_DEPTH)


@given(VALUES)
def test_what_is_encoded_comes_back(value: codec.Value) -> None:
    """A value survives the wire and keeps its bytes."""
    encoded = codec.encode(value)

    assert value == codec.decode(encoded)
    assert encoded == codec.encode(codec.decode(encoded))


@given(st.dictionaries(TEXT, SCALARS, max_size=8), st.data())
def test_the_order_of_keys_does_not_show(
    entries: dict[str, codec.Value], data: st.DataObject
) -> None:
    """Two maps that are equal have equal bytes."""
    keys = data.draw(st.permutations(list(entries)))
    shuffled = {key: entries[key] for key in keys}

    assert codec.encode(entries) == codec.encode(shuffled)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_the_one_error(data: bytes) -> None:
    """No other exception escapes, and what is accepted can be encoded."""
    with contextlib.suppress(CodecError):
        value = codec.decode(data)

        assert value == codec.decode(codec.encode(value))


@given(VALUES, st.data())
def test_every_truncation_and_every_appended_byte_is_refused(
    value: codec.Value, data: st.DataObject
) -> None:
    """One object is all of it, and nothing more."""
    encoded = msgpack.packb(value)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    for altered in (cut, encoded + data.draw(st.binary(min_size=1, max_size=3))):
        with pytest.raises(CodecError):
            codec.decode(altered)
