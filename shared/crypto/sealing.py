"""Encryption to a public key (HPKE) and under a shared key (XChaCha20-Poly1305).

Source: docs/protocol.md, sections "Envelope" and "Tickets".
"""

from typing import Final

import nacl.exceptions
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nacl import bindings

from shared.crypto.keys import KEY_BYTES, KemKey
from shared.errors import CryptoError, UnsealError

NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
HPKE_OVERHEAD_BYTES: Final = 32 + TAG_BYTES
"""How much longer than its plaintext a sealed text is: ``enc`` and the tag."""

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def hpke_seal(public_key: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Return the plaintext sealed to a public key: ``enc[32]||ciphertext``.

    Args:
        public_key: the recipient's, 32 bytes, X25519.
        info: what the sealed text is bound to; it enters the key schedule.
        plaintext: what only the recipient may read.

    Raises:
        CryptoError: the public key has the wrong length or low order.
    """
    try:
        recipient = X25519PublicKey.from_public_bytes(public_key)
        return _SUITE.encrypt(plaintext, recipient, info=info)
    except ValueError as error:
        raise CryptoError("cannot seal to this X25519 public key") from error


def hpke_open(kem: KemKey, info: bytes, sealed: bytes) -> bytes:
    """Return the plaintext of what was sealed to this key.

    Args:
        kem: the recipient's key.
        info: what the sealed text must be bound to.
        sealed: as received, ``enc[32]||ciphertext``.

    Raises:
        UnsealError: it was sealed to another key, for another ``info`` or was
            altered.
    """
    try:
        return _SUITE.decrypt(sealed, kem.private_key, info=info)
    except InvalidTag as error:
        raise UnsealError("the sealed text does not open under this key") from error


def aead_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """Return the ciphertext and its 16-byte tag, without the nonce.

    Args:
        key: 32 bytes.
        nonce: 24 bytes, never used twice with this key; random ones are.
        aad: authenticated with the plaintext, not contained.
        plaintext: what only holders of the key may read.

    Raises:
        CryptoError: the key or the nonce has the wrong length.
    """
    _check_lengths(key, nonce)
    return bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, aad, nonce, key
    )


def aead_open(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """Return the plaintext of what ``aead_seal`` made with the same key.

    Args:
        key: 32 bytes.
        nonce: 24 bytes, the one it was sealed with.
        aad: must equal what it was sealed with.
        ciphertext: as received, with its tag.

    Raises:
        UnsealError: another key, nonce or aad, or altered.
        CryptoError: the key or the nonce has the wrong length.
    """
    _check_lengths(key, nonce)
    if len(ciphertext) < TAG_BYTES:
        raise UnsealError("a ciphertext is shorter than its tag")
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            ciphertext, aad, nonce, key
        )
    except nacl.exceptions.CryptoError as error:
        raise UnsealError("the ciphertext does not open under this key") from error


def seal_with_nonce(key: bytes, aad: bytes, plaintext: bytes, nonce: bytes) -> bytes:
    """Return ``nonce[24]||ciphertext``; arguments and errors as ``aead_seal``."""
    return nonce + aead_seal(key, nonce, aad, plaintext)


def open_with_nonce(key: bytes, aad: bytes, data: bytes) -> bytes:
    """Return the plaintext of ``nonce[24]||ciphertext``.

    Raises:
        UnsealError: another key or aad, altered, or too short.
        CryptoError: the key has the wrong length.
    """
    if len(data) < NONCE_BYTES + TAG_BYTES:
        raise UnsealError("a sealed text is shorter than its nonce and tag")
    return aead_open(key, data[:NONCE_BYTES], aad, data[NONCE_BYTES:])


def _check_lengths(key: bytes, nonce: bytes) -> None:
    """Refuse a key or nonce that XChaCha20-Poly1305 does not have."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise CryptoError(
            f"XChaCha20-Poly1305 takes a key of {KEY_BYTES} bytes"
            f" and a nonce of {NONCE_BYTES}"
        )
