"""Long-term and ephemeral keys: Ed25519 to sign, X25519 to agree on secrets.

Source: docs/protocol.md, section "Keys". A key object shows nothing of its
secret when printed and cannot be pickled.
"""

import hashlib
import secrets
from typing import Final, NoReturn, Self

import nacl.exceptions
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from nacl import bindings

from shared.errors import BadSignatureError, CryptoError, UnsealError
from shared.names import KeyId

KEY_BYTES: Final = 32
"""Every Ed25519 seed and public key and every X25519 key has this length."""
SIGNATURE_BYTES: Final = 64
KEY_ID_BYTES: Final = 8


def kid(public_key: bytes) -> KeyId:
    """Return the id of a public key of any kind."""
    return KeyId(hashlib.sha256(b"MPX1-kid\0" + public_key).digest()[:KEY_ID_BYTES])


class SigningKey:
    """An Ed25519 key pair.

    Every signature covers a label that ends in NUL, so that a signature made
    for one purpose never serves another.
    """

    __slots__ = ("_secret", "kid", "public")

    public: bytes
    """The 32-byte public key."""
    kid: KeyId
    """The id of the public key."""

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self.kid = kid(self.public)

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh key from the operating system's randomness."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the key that a 32-byte seed stands for.

        Raises:
            CryptoError: the seed does not have 32 bytes.
        """
        if len(seed) != KEY_BYTES:
            raise CryptoError(f"a signing key's seed has {KEY_BYTES} bytes")
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes that give the key back."""
        return bindings.crypto_sign_ed25519_sk_to_seed(self._secret)

    def sign(self, label: bytes, data: bytes) -> bytes:
        """Return the 64-byte signature over the label and the data.

        Raises:
            CryptoError: the label does not end in NUL.
        """
        signed = bindings.crypto_sign(_labelled(label, data), self._secret)
        return signed[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        """Return text that holds nothing of the key."""
        return "SigningKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a signing key cannot be pickled")


def verify(public_key: bytes, label: bytes, data: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature over the label and the data as received.

    libsodium refuses a signature whose S is not below the group order, and a
    public key of small order or in a second encoding.

    Raises:
        BadSignatureError: the signature does not verify.
        CryptoError: the label does not end in NUL.
    """
    message = _labelled(label, data)
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise BadSignatureError("a signature or its public key has the wrong length")
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except nacl.exceptions.CryptoError as error:
        raise BadSignatureError("the signature does not verify") from error


def check_public_key(public_key: bytes) -> None:
    """Check that the bytes are an Ed25519 public key worth certifying.

    Raises:
        CryptoError: wrong length, second encoding, no point of the curve, of
            small order or outside the prime-order subgroup.
    """
    if len(public_key) != KEY_BYTES or not bindings.crypto_core_ed25519_is_valid_point(
        public_key
    ):
        raise CryptoError("not a sound Ed25519 public key")


class KemKey:
    """An X25519 key pair."""

    __slots__ = ("_key",)

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh key from the operating system's randomness."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, secret: bytes) -> Self:
        """Return the key with these 32 secret bytes.

        Raises:
            CryptoError: the secret does not have 32 bytes.
        """
        if len(secret) != KEY_BYTES:
            raise CryptoError(f"an X25519 secret has {KEY_BYTES} bytes")
        return cls(X25519PrivateKey.from_private_bytes(secret))

    @property
    def private_key(self) -> X25519PrivateKey:
        """The library's key, for ``shared.crypto.sealing`` alone."""
        return self._key

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes that give the key back."""
        return self._key.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return self._key.public_key().public_bytes_raw()

    @property
    def kid(self) -> KeyId:
        """The id of the public key."""
        return kid(self.public)

    def exchange(self, peer_public: bytes) -> bytes:
        """Return the 32-byte secret shared with the owner of a public key.

        It is not uniform: derive keys from it, never use it as one.

        Raises:
            UnsealError: the peer's key has the wrong length or low order, so
                that everybody would know the secret (RFC 7748, 6.1).
        """
        if len(peer_public) != KEY_BYTES:
            raise UnsealError(f"an X25519 public key has {KEY_BYTES} bytes")
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError as error:
            raise UnsealError("the X25519 public key has low order") from error

    def __repr__(self) -> str:
        """Return text that holds nothing of the key."""
        return "KemKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a KEM key cannot be pickled")


def check_kem_key(public_key: bytes) -> None:
    """Check that the bytes are an X25519 public key that may be used.

    Raises:
        UnsealError: wrong length or low order.
    """
    _PROBE.exchange(public_key)


def _labelled(label: bytes, data: bytes) -> bytes:
    """Return what is signed."""
    if not label.endswith(b"\0"):
        raise CryptoError("a signature's label ends in NUL")
    return label + data


# Every X25519 secret is a multiple of 8, the order of every low-order point,
# so any fixed one sends exactly those points to zero. It protects nothing.
_PROBE: Final = KemKey.from_bytes(bytes(KEY_BYTES))
