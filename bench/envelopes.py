"""Envelopes sealed and opened per second, beside the bare primitives in them.

The primitives are called as their libraries offer them: Ed25519 and
XChaCha20-Poly1305 of libsodium, SHA-2, and msgpack of header and payload. Nothing
is checked, built or wrapped.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgpack
from nacl import bindings

from bench.measured import Better, Figure, Series
from shared import envelope
from shared.crypto.keys import KemKey, SigningKey
from shared.messages import JobAccept, Rule
from shared.names import (
    MANAGER,
    Fingerprint,
    JobId,
    MessageId,
    Principal,
    SessionId,
)

PART = "envelopes"
PER_ROUND = 400
NOW_MS = 1_790_000_000_000
SEALED_AT = envelope.SIGNATURE_BYTES
KEY, NONCE = b"k" * 32, b"n" * envelope.NONCE_BYTES

MESSAGE = JobAccept(
    job=JobId(b"j" * 16),
    epoch=1,
    spec_hash=b"s" * 32,
    nonce=b"n" * 16,
    rows=4127,
    bytes=151_825,
)
ADDRESSING = envelope.Addressing(
    sender=Principal("Liberty001"),
    recipient=MANAGER,
    mid=MessageId(b"m" * 16),
    now_ms=NOW_MS,
    lifetime_ms=60_000,
)
REALM = Fingerprint(b"f" * 32)


@dataclass(frozen=True, slots=True)
class _Directory:
    """The receiver's: one sender, one session."""

    signer: SigningKey

    def knows(self, header: envelope.Header, rule: Rule) -> bool:
        return bool(header.s and rule.roles)

    def session_key(self, header: envelope.Header) -> bytes:
        assert header.sid  # noqa: S101 - the bench seals only in a session
        return KEY

    def kem_keys(self) -> tuple[KemKey, ...]:
        return ()

    def verify_key(self, header: envelope.Header, payload: bytes) -> bytes | None:
        return self.signer.public if payload and header.kid == self.signer.kid else None


class _Envelope:
    """One envelope, sealed and opened by our code and by the primitives alone."""

    def __init__(self) -> None:
        self._signer = SigningKey.generate()
        self._public, self._secret = bindings.crypto_sign_seed_keypair(
            self._signer.seed
        )
        self._directory = _Directory(self._signer)
        self._protection = envelope.SessionSeal(SessionId(b"i" * 16), 1, KEY, NONCE)
        self._sealed = self.seal()
        self._associated = envelope.parse(self._sealed).associated
        self._header = msgpack.unpackb(self._associated[envelope.PREFIX.size :])
        self._payload = msgpack.unpackb(MESSAGE.pack())

    def seal(self) -> bytes:
        """Seal it as a party does."""
        return envelope.seal(MESSAGE, ADDRESSING, self._protection, self._signer, REALM)

    def open(self) -> object:
        """Open it as the manager does."""
        parts = envelope.parse(self._sealed)
        envelope.check(parts, MANAGER, self._directory, NOW_MS)
        return envelope.message_of(envelope.prove(parts, self._directory, REALM))

    def seal_primitives(self) -> object:
        """Do the primitives of ``seal``."""
        header, payload = msgpack.packb(self._header), msgpack.packb(self._payload)
        to_sign = REALM + hashlib.sha512(header).digest() + payload
        signature = bindings.crypto_sign(to_sign, self._secret)[:SEALED_AT]
        return bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            signature + payload, header, NONCE, KEY
        )

    def open_primitives(self) -> object:
        """Do the primitives of ``open``."""
        hashlib.sha256(self._sealed).digest()
        associated = self._sealed[: len(self._associated)]
        header = msgpack.unpackb(associated[envelope.PREFIX.size :])
        opened = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            self._sealed[len(associated) + len(NONCE) :], associated, NONCE, KEY
        )
        payload = opened[SEALED_AT:]
        signed = b"MPX1-env\0" + REALM + hashlib.sha512(associated).digest() + payload
        bindings.crypto_sign_open(opened[:SEALED_AT] + signed, self._public)
        return header, msgpack.unpackb(payload)


def measure(rounds: int) -> list[Figure]:
    """Return seal and open of a ``job.accept``, in turn with their primitives."""
    envelopes = _Envelope()
    actions = {
        "sealed": (envelopes.seal, envelopes.seal_primitives),
        "opened": (envelopes.open, envelopes.open_primitives),
    }
    ours: dict[str, list[float]] = {name: [] for name in actions}
    floors: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, (action, primitives) in actions.items():
            ours[name].append(_per_second(action))
            floors[name].append(_per_second(primitives))
    return [
        Figure(
            PART,
            name,
            "/s",
            Series.of(ours[name]),
            (("its primitives", Series.of(floors[name])),),
            Better.MORE,
        )
        for name in actions
    ]


def _per_second(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(PER_ROUND):
        action()
    return PER_ROUND / (time.perf_counter() - start)
