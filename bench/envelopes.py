"""Envelopes sealed and opened per second, beside the bare primitives in them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.measured import Figure, Series
from shared import codec, envelope
from shared.crypto.keys import KemKey, SigningKey, verify
from shared.crypto.sealing import aead_open, aead_seal
from shared.messages import JobAccept, Rule, unpack
from shared.names import (
    MANAGER,
    Fingerprint,
    JobId,
    MessageId,
    Principal,
    SessionId,
)

ROUNDS = 9
PER_ROUND = 400
NOW_MS = 1_790_000_000_000


@dataclass(frozen=True, slots=True)
class _Directory:
    signer: SigningKey
    key: bytes

    def knows(self, header: envelope.Header, rule: Rule) -> bool:
        return bool(header.s and rule.roles)

    def session_key(self, header: envelope.Header) -> bytes:
        assert header.sid  # noqa: S101 - the bench seals only in a session
        return self.key

    def kem_keys(self) -> tuple[KemKey, ...]:
        return ()

    def verify_key(self, header: envelope.Header, payload: bytes) -> bytes | None:
        return self.signer.public if payload and header.kid == self.signer.kid else None


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(PER_ROUND):
        action()
    return (time.perf_counter() - start) / PER_ROUND * 1e6


def measure() -> list[Figure]:
    """Return seal and open of a ``job.accept``, interleaved with their floors."""
    signer, key, nonce = SigningKey.generate(), b"k" * 32, b"n" * 24
    realm = Fingerprint(b"f" * 32)
    message = JobAccept(
        job=JobId(b"j" * 16),
        epoch=1,
        spec_hash=b"s" * 32,
        nonce=b"n" * 16,
        rows=4127,
        bytes=151_825,
    )
    addressing = envelope.Addressing(
        sender=Principal("Liberty001"),
        recipient=MANAGER,
        mid=MessageId(b"m" * 16),
        now_ms=NOW_MS,
        lifetime_ms=60_000,
    )
    protection = envelope.SessionSeal(SessionId(b"i" * 16), 1, key, nonce)
    directory = _Directory(signer, key)
    sealed = envelope.seal(message, addressing, protection, signer, realm)
    associated = envelope.parse(sealed).associated
    payload = message.pack()
    signature = signer.sign(b"bench\0", payload)
    ciphertext = aead_seal(key, nonce, associated, signature + payload)
    value = codec.decode_map(payload)

    def open_one() -> object:
        parts = envelope.parse(sealed)
        envelope.check(parts, MANAGER, directory, NOW_MS)
        return envelope.message_of(envelope.prove(parts, directory, realm))

    def seal_one() -> object:
        return envelope.seal(message, addressing, protection, signer, realm)

    def open_floor() -> object:
        aead_open(key, nonce, associated, ciphertext)
        verify(signer.public, b"bench\0", payload, signature)
        codec.decode_map(associated[envelope.PREFIX.size :])
        return unpack(JobAccept, payload)

    def seal_floor() -> object:
        signer.sign(b"bench\0", payload)
        aead_seal(key, nonce, associated, signature + payload)
        codec.encode(value)
        return codec.encode(value)

    actions = {
        "seal": seal_one,
        "seal floor": seal_floor,
        "open": open_one,
        "open floor": open_floor,
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, action in actions.items():
            times[name].append(_timed(action))
    return [
        Figure(
            "envelopes",
            name,
            "µs",
            Series.of(times[name]),
            (("its primitives", Series.of(times[f"{name} floor"])),),
        )
        for name in ("seal", "open")
    ]
