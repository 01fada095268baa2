"""Sealing and signing under texts and damage that nobody thought of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crypto.keyfile import open_key_file, seal_key_file
from shared.crypto.keys import KemKey, SigningKey, verify
from shared.crypto.sealing import (
    hpke_open,
    hpke_seal,
    open_with_nonce,
    seal_with_nonce,
)
from shared.errors import BadSignatureError, FrameworkError, UnsealError

KEYS = st.binary(min_size=32, max_size=32)
NONCES = st.binary(min_size=24, max_size=24)
KEM = KemKey.generate()
SIGNING = SigningKey.generate()


@given(KEYS, NONCES, st.binary(max_size=64), st.binary(max_size=256), st.data())
def test_what_is_sealed_opens_and_any_flipped_bit_does_not(
    key: bytes, nonce: bytes, aad: bytes, plaintext: bytes, data: st.DataObject
) -> None:
    """Confidentiality comes with integrity, always."""
    sealed = seal_with_nonce(key, aad, plaintext, nonce)

    assert plaintext == open_with_nonce(key, aad, sealed)
    with pytest.raises(UnsealError):
        open_with_nonce(key, aad, flip(sealed, data))


@given(st.binary(max_size=64), st.binary(max_size=256), st.data())
def test_what_is_sealed_to_a_key_opens_and_any_flipped_bit_does_not(
    info: bytes, plaintext: bytes, data: st.DataObject
) -> None:
    """The same for HPKE; the unused top bit of ``enc`` counts too."""
    sealed = hpke_seal(KEM.public, info, plaintext)

    assert plaintext == hpke_open(KEM, info, sealed)
    with pytest.raises(UnsealError):
        hpke_open(KEM, info, flip(sealed, data))


@given(st.binary(max_size=256), st.data())
def test_a_signature_holds_for_these_bytes_alone(
    message: bytes, data: st.DataObject
) -> None:
    """Any flipped bit of signature and message is found."""
    signature = SIGNING.sign(b"MPX1-test\0", message)
    verify(SIGNING.public, b"MPX1-test\0", message, signature)
    altered = flip(signature + message, data)
    with pytest.raises(BadSignatureError):
        verify(SIGNING.public, b"MPX1-test\0", altered[64:], altered[:64])


@given(
    st.binary(max_size=256),
    st.binary(min_size=16, max_size=16),
    NONCES,
    st.data(),
)
def test_a_key_file_without_a_password_finds_any_flipped_bit(
    payload: bytes, salt: bytes, nonce: bytes, data: st.DataObject
) -> None:
    """Whichever bit it is, the user gets an error with a hint."""
    sealed = seal_key_file(payload, None, salt, nonce)

    assert payload == open_key_file(sealed, None)
    with pytest.raises(FrameworkError) as refused:
        open_key_file(flip(sealed, data), None)

    assert refused.value.hint


def flip(sealed: bytes, data: st.DataObject) -> bytes:
    """Return the bytes with one bit flipped."""
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    altered = bytearray(sealed)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)
