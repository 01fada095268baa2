"""A message in, the bytes of its envelope out; pure, for nonces come from outside."""

from dataclasses import dataclass

from shared import codec
from shared.crypto.keys import SigningKey
from shared.crypto.sealing import hpke_seal, seal_with_nonce
from shared.envelope.layout import (
    ENVELOPE_LABEL,
    MAGIC,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    NONCE_BYTES,
    PREFIX,
    SEAL_LABEL,
    SIGNATURE_BYTES,
    WIRE_VERSION,
    to_sign,
)
from shared.errors import DecodeError
from shared.messages import Suite, type_of
from shared.messages.wire import Structure
from shared.names import Fingerprint, KeyId, MessageId, SessionId


@dataclass(frozen=True, slots=True)
class Addressing:
    """What a sender writes into the header, keys aside.

    ``lifetime_ms``: how long the envelope is good for.
    """

    sender: str
    recipient: str
    mid: MessageId
    now_ms: int
    lifetime_ms: int
    job: bytes | None = None
    re: MessageId | None = None


@dataclass(frozen=True, slots=True)
class SessionSeal:
    """Seal in a session: suite 2. ``nonce``: 24 random bytes, never used twice."""

    sid: SessionId
    seq: int
    key: bytes
    nonce: bytes

    def __repr__(self) -> str:
        """Name the session, never the key."""
        return f"SessionSeal(sid={self.sid.hex()}, seq={self.seq})"


@dataclass(frozen=True, slots=True)
class KemSeal:
    """Seal to a public X25519 key: suite 1."""

    public_key: bytes


@dataclass(frozen=True, slots=True)
class Clear:
    """Sign only: suite 3."""


def seal(
    message: Structure,
    addressing: Addressing,
    protection: SessionSeal | KemSeal | Clear,
    signer: SigningKey,
    fingerprint: Fingerprint,
) -> bytes:
    """Return the envelope of a message.

    Raises:
        DecodeError: header or body are larger than the wire allows.
    """
    return seal_payload(
        type_of(message), message.pack(), addressing, protection, signer, fingerprint
    )


def seal_payload(
    name: str,
    payload: bytes,
    addressing: Addressing,
    protection: SessionSeal | KemSeal | Clear,
    signer: SigningKey,
    fingerprint: Fingerprint,
) -> bytes:
    """Return the envelope of a payload that is already packed; see ``seal``."""
    session = protection if isinstance(protection, SessionSeal) else None
    header = _header_bytes(name, addressing, session, signer.kid)
    suite, overhead = _suite_of(protection)
    body_length = SIGNATURE_BYTES + len(payload) + overhead
    if len(header) > MAX_HEADER_BYTES or body_length > MAX_BODY_BYTES:
        raise DecodeError(f"{name} is too large for an envelope")
    associated = (
        PREFIX.pack(MAGIC, WIRE_VERSION, suite, 0, len(header), body_length) + header
    )
    signature = signer.sign(ENVELOPE_LABEL, to_sign(fingerprint, associated, payload))
    plaintext = signature + payload
    if isinstance(protection, SessionSeal):
        body = seal_with_nonce(protection.key, associated, plaintext, protection.nonce)
    elif isinstance(protection, KemSeal):
        body = hpke_seal(protection.public_key, SEAL_LABEL + associated, plaintext)
    else:
        body = plaintext
    return associated + body


def _header_bytes(
    name: str, addressing: Addressing, session: SessionSeal | None, kid: KeyId
) -> bytes:
    # Every key of a ``Header``, nils included; what goes in here is ours.
    return codec.encode(
        {
            "t": name,
            "s": addressing.sender,
            "r": addressing.recipient,
            "kid": kid,
            "sid": session.sid if session else None,
            "mid": addressing.mid,
            "seq": session.seq if session else 0,
            "ts": addressing.now_ms,
            "exp": addressing.now_ms + addressing.lifetime_ms,
            "job": addressing.job,
            "re": addressing.re,
        }
    )


def _suite_of(protection: SessionSeal | KemSeal | Clear) -> tuple[Suite, int]:
    if isinstance(protection, SessionSeal):
        return Suite.SESSION, NONCE_BYTES + 16
    if isinstance(protection, KemSeal):
        return Suite.SEALED, 32 + 16
    return Suite.CLEAR, 0
