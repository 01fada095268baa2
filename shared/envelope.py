"""Broker envelopes, pure: bytes in, a message with a proven sender out.

Layout (docs/protocol.md, "Envelope"): ``MPX`` version suite flags, u16 header
length, u32 body length, header (msgpack map), body. The signature covers the
realm fingerprint, prefix, header and payload; the encryption covers them again.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Annotated, Protocol

from annotated_types import Ge, Le, Len

from shared import codec
from shared.crypto.keys import KemKey, SigningKey, verify
from shared.crypto.sealing import (
    hpke_open,
    hpke_seal,
    open_with_nonce,
    seal_with_nonce,
)
from shared.errors import CryptoError, DecodeError, ErrorCode, RemoteProtocolError
from shared.messages import CATALOGUE, Message, Rule, Suite, Way, read, type_of
from shared.messages.wire import Kid, Mid, Sid, Structure, TimeMs, unpack
from shared.names import (
    MANAGER,
    Fingerprint,
    KeyId,
    MessageId,
    Principal,
    SessionId,
)

MAGIC = b"MPX"
WIRE_VERSION = 1
PREFIX = struct.Struct(">3sBBBHI")
MAX_HEADER_BYTES = 1024
MAX_BODY_BYTES = 256 * 1024
MAX_CLOCK_SKEW_MS = 120_000
SIGNATURE_BYTES = 64
NONCE_BYTES = 24

_SUITES = frozenset(suite.value for suite in Suite)
_ENVELOPE_LABEL = b"MPX1-env\0"
_SEAL_LABEL = b"MPX1-seal\0"


@unique
class DropReason(StrEnum):
    """Why an envelope was dropped; the name of its counter."""

    SIZE = "size"
    VERSION = "version"
    HEADER = "header"
    RECIPIENT = "recipient"
    SENDER = "sender"
    REFLECTION = "reflection"
    SUITE = "suite"
    EXPIRED = "expired"
    CLOCK_SKEW = "clock_skew"
    SESSION = "session"
    SUPERSEDED = "superseded"
    UNSEAL = "unseal"
    SIGNATURE = "signature"
    REPLAY = "replay"
    STALE = "stale"
    DUPLICATE = "dup"
    EQUIVOCATION = "equivocation"
    PAYLOAD = "payload"
    FORBIDDEN = "forbidden"
    USER_ID = "user_id"
    COPIES = "copies"
    RATE = "rate"


class DroppedError(RemoteProtocolError):
    """An envelope that is not handled: acknowledged, counted, no state changed.

    Args:
        reason: the counter.
        header: as far as it was read; its sender is a claim, not a fact.
        code: what the claimed sender may be told, if the caller answers at all.
    """

    def __init__(
        self,
        reason: DropReason,
        header: "Header | None" = None,
        code: ErrorCode = ErrorCode.UNAUTHENTICATED,
    ) -> None:
        super().__init__(f"envelope dropped: {reason}", code)
        self.reason = reason
        self.header = header


class Header(Structure):
    """The clear part of an envelope; every key is present, ``nil`` where none.

    ``t`` type, ``s`` sender, ``r`` recipient, ``kid`` the sender's signing key,
    ``seq`` 0 outside a session, ``re`` the mid that is answered.
    """

    t: Annotated[str, Len(1, 32)]
    s: Annotated[str, Len(1, 64)]
    r: Annotated[str, Len(1, 64)]
    kid: Kid
    sid: Sid | None
    mid: Mid
    seq: Annotated[int, Ge(0), Le(2**62)]
    ts: TimeMs
    exp: TimeMs
    job: Annotated[bytes, Len(16, 16)] | None
    re: Mid | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """An envelope that is well-formed and not yet opened.

    ``associated``: prefix and header as received. ``digest``: SHA-256 of it all.
    """

    header: Header
    rule: Rule
    suite: Suite
    associated: bytes
    body: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """An envelope whose sender is proven; ``payload`` is not yet parsed."""

    header: Header
    rule: Rule
    suite: Suite
    payload: bytes
    digest: bytes


class Directory(Protocol):
    """What the receiver knows of senders and keys."""

    def knows(self, header: Header, rule: Rule) -> bool:
        """Say whether the claimed sender may send this type, session aside."""
        ...

    def session_key(self, header: Header) -> bytes:
        """Return the key under which the sender seals in ``header.sid``.

        Raises:
            DroppedError: there is no such session, or it is superseded.
        """
        ...

    def kem_keys(self) -> tuple[KemKey, ...]:
        """Return this side's KEM keys in time, newest first."""
        ...

    def verify_key(self, header: Header, payload: bytes) -> bytes | None:
        """Return the sender's current Ed25519 key if ``header.kid`` is its id.

        ``payload`` is for ``reg.req`` only, which brings its own key.
        """
        ...


def parse(data: bytes) -> Sealed:
    """Return an envelope's parts: steps 1 and 2 of the receiver pipeline.

    Raises:
        DroppedError: size, version, suite, flags or header are not ours.
    """
    if (
        not PREFIX.size
        <= len(data)
        <= (PREFIX.size + MAX_HEADER_BYTES + MAX_BODY_BYTES)
    ):
        raise DroppedError(DropReason.SIZE)
    magic, version, suite, flags, header_length, body_length = PREFIX.unpack_from(data)
    if magic != MAGIC or version != WIRE_VERSION or flags != 0:
        raise DroppedError(DropReason.VERSION, code=ErrorCode.VERSION)
    if (
        header_length > MAX_HEADER_BYTES
        or body_length > MAX_BODY_BYTES
        or len(data) != PREFIX.size + header_length + body_length
    ):
        raise DroppedError(DropReason.SIZE)
    if suite not in _SUITES:
        raise DroppedError(DropReason.VERSION, code=ErrorCode.VERSION)
    end = PREFIX.size + header_length
    try:
        header = unpack(Header, data[PREFIX.size : end])
    except DecodeError as error:
        raise DroppedError(DropReason.HEADER) from error
    rule = CATALOGUE.get(header.t)
    if rule is None:
        raise DroppedError(DropReason.HEADER, header)
    return Sealed(
        header,
        rule,
        Suite(suite),
        data[:end],
        data[end:],
        hashlib.sha256(data).digest(),
    )


def check(sealed: Sealed, me: str, directory: Directory, now_ms: int) -> None:
    """Check address and time: steps 3 and 4 of the receiver pipeline.

    Raises:
        DroppedError: not for ``me``, from nobody known, the wrong suite, way or time.
    """
    header, rule = sealed.header, sealed.rule
    mine = Way.UP if me == MANAGER else Way.DOWN
    if header.s == me or rule.way not in {mine, Way.BOTH}:
        raise DroppedError(DropReason.REFLECTION, header)
    if header.r != me:
        raise DroppedError(DropReason.RECIPIENT, header)
    if sealed.suite not in rule.suites or (
        (sealed.suite is Suite.SESSION) != (header.sid is not None)
    ):
        raise DroppedError(DropReason.SUITE, header)
    if not directory.knows(header, rule):
        raise DroppedError(DropReason.SENDER, header)
    if header.exp < now_ms:
        raise DroppedError(DropReason.EXPIRED, header, ErrorCode.EXPIRED)
    if header.ts > now_ms + MAX_CLOCK_SKEW_MS:
        raise DroppedError(DropReason.CLOCK_SKEW, header, ErrorCode.EXPIRED)


def prove(sealed: Sealed, directory: Directory, fingerprint: Fingerprint) -> Proven:
    """Decrypt and verify: steps 5 to 7 of the receiver pipeline.

    Raises:
        DroppedError: no key, does not open, or not signed by the claimed sender.
    """
    header = sealed.header
    plaintext = _open_body(sealed, directory)
    if len(plaintext) < SIGNATURE_BYTES:
        raise DroppedError(DropReason.UNSEAL, header)
    signature, payload = plaintext[:SIGNATURE_BYTES], plaintext[SIGNATURE_BYTES:]
    key = directory.verify_key(header, payload)
    if key is None:
        raise DroppedError(DropReason.SIGNATURE, header)
    try:
        verify(
            key,
            _ENVELOPE_LABEL,
            _to_sign(fingerprint, sealed.associated, payload),
            signature,
        )
    except CryptoError as error:
        raise DroppedError(DropReason.SIGNATURE, header) from error
    return Proven(header, sealed.rule, sealed.suite, payload, sealed.digest)


def message_of(proven: Proven) -> Message:
    """Return the message: steps 9 and 10 of the receiver pipeline.

    Raises:
        DroppedError: the payload is not the message that the header names.
    """
    try:
        return read(proven.header.t, proven.payload)
    except DecodeError as error:
        raise DroppedError(
            DropReason.PAYLOAD, proven.header, ErrorCode.BAD_REQUEST
        ) from error


def _open_body(sealed: Sealed, directory: Directory) -> bytes:
    if sealed.suite is Suite.CLEAR:
        return sealed.body
    if sealed.suite is Suite.SESSION:
        key = directory.session_key(sealed.header)
        try:
            return open_with_nonce(key, sealed.associated, sealed.body)
        except CryptoError as error:
            raise DroppedError(DropReason.UNSEAL, sealed.header) from error
    for kem in directory.kem_keys():
        try:
            return hpke_open(kem, _SEAL_LABEL + sealed.associated, sealed.body)
        except CryptoError:
            continue
    raise DroppedError(DropReason.UNSEAL, sealed.header)


def _to_sign(fingerprint: Fingerprint, associated: bytes, payload: bytes) -> bytes:
    return fingerprint + hashlib.sha512(associated).digest() + payload


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
    signature = signer.sign(_ENVELOPE_LABEL, _to_sign(fingerprint, associated, payload))
    plaintext = signature + payload
    if isinstance(protection, SessionSeal):
        body = seal_with_nonce(protection.key, associated, plaintext, protection.nonce)
    elif isinstance(protection, KemSeal):
        body = hpke_seal(protection.public_key, _SEAL_LABEL + associated, plaintext)
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


def principal_of(header: Header) -> Principal:
    """Return the header's sender as a principal."""
    return Principal(header.s)
