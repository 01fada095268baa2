"""Sealed texts open for whom they are meant, and not when altered."""

import pytest

from shared.crypto.keys import KemKey
from shared.crypto.sealing import (
    HPKE_OVERHEAD_BYTES,
    aead_open,
    aead_seal,
    hpke_open,
    hpke_seal,
    open_with_nonce,
    seal_with_nonce,
)
from shared.errors import CryptoError, UnsealError

KEY = bytes(range(0x80, 0xA0))
NONCE = bytes(range(0x40, 0x58))
AAD = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")


def test_hpke_opens_with_the_key_and_info_it_was_sealed_for() -> None:
    """The header is the info: a body under another header does not open."""
    kem = KemKey.generate()
    sealed = hpke_seal(kem.public, b"info", b"text")

    assert hpke_open(kem, b"info", sealed) == b"text"
    assert len(b"text") + HPKE_OVERHEAD_BYTES == len(sealed)
    with pytest.raises(UnsealError):
        hpke_open(kem, b"other", sealed)
    with pytest.raises(UnsealError):
        hpke_open(KemKey.generate(), b"info", sealed)


def test_hpke_refuses_every_altered_byte_and_every_length() -> None:
    """A forger learns nothing but that it failed."""
    kem = KemKey.generate()
    sealed = hpke_seal(kem.public, b"info", b"text")
    altered = [sealed[:length] for length in range(len(sealed))]
    altered += [sealed + b"\0", bytes(32) + sealed[32:]]
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        altered.append(bytes(changed))
    for data in altered:
        with pytest.raises(UnsealError):
            hpke_open(kem, b"info", data)


@pytest.mark.parametrize("public", [bytes(32), bytes(31), b""])
def test_hpke_does_not_seal_to_a_key_that_is_none(public: bytes) -> None:
    """Sealing to a low-order key would seal to everybody."""
    with pytest.raises(CryptoError):
        hpke_seal(public, b"info", b"text")


def test_aead_is_xchacha20_poly1305_of_the_draft() -> None:
    """draft-irtf-cfrg-xchacha-03, A.3.1."""
    plaintext = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you "
        b"only one tip for the future, sunscreen would be it."
    )
    sealed = aead_seal(KEY, NONCE, AAD, plaintext)

    assert bytes.fromhex("bd6d179d3e83d43b9576579493c0e939") == sealed[:16]
    assert bytes.fromhex("c0875924c1c7987947deafd8780acf49") == sealed[-16:]
    assert plaintext == aead_open(KEY, NONCE, AAD, sealed)


def test_aead_refuses_what_was_altered() -> None:
    """Key, nonce, aad and every byte of the ciphertext count."""
    sealed = aead_seal(KEY, NONCE, AAD, b"text")
    wrong = [
        (KEY[::-1], NONCE, AAD, sealed),
        (KEY, NONCE[::-1], AAD, sealed),
        (KEY, NONCE, b"", sealed),
        (KEY, NONCE, AAD, sealed + b"\0"),
        *[(KEY, NONCE, AAD, sealed[:length]) for length in range(len(sealed))],
    ]
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 0x80
        wrong.append((KEY, NONCE, AAD, bytes(changed)))
    for key, nonce, aad, data in wrong:
        with pytest.raises(UnsealError):
            aead_open(key, nonce, aad, data)


@pytest.mark.parametrize(
    ("key", "nonce"), [(KEY[1:], NONCE), (KEY, NONCE[1:]), (b"", b"")]
)
def test_aead_refuses_wrong_lengths_of_key_and_nonce(key: bytes, nonce: bytes) -> None:
    """One error, whatever the library says."""
    with pytest.raises(CryptoError):
        aead_seal(key, nonce, AAD, b"text")
    with pytest.raises(CryptoError):
        aead_open(key, nonce, AAD, bytes(16))


def test_a_text_with_its_nonce_before_it_opens() -> None:
    """Rows, tickets and session bodies carry their nonce."""
    data = seal_with_nonce(KEY, AAD, b"", NONCE)

    assert NONCE + aead_seal(KEY, NONCE, AAD, b"") == data
    assert open_with_nonce(KEY, AAD, data) == b""
    for altered in (data[:-1], data[1:], b"", data + b"\0"):
        with pytest.raises(UnsealError):
            open_with_nonce(KEY, AAD, altered)
