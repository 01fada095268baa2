"""The receiver pipeline, pure: bytes in, a message with a proven sender out."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Protocol

from shared.crypto.keys import KemKey, verify
from shared.crypto.sealing import hpke_open, open_with_nonce
from shared.envelope.layout import (
    ENVELOPE_LABEL,
    MAGIC,
    MAX_BODY_BYTES,
    MAX_CLOCK_SKEW_MS,
    MAX_HEADER_BYTES,
    PREFIX,
    SEAL_LABEL,
    SIGNATURE_BYTES,
    WIRE_VERSION,
    Header,
    to_sign,
)
from shared.errors import CryptoError, DecodeError, ErrorCode, RemoteProtocolError
from shared.messages import CATALOGUE, Message, Rule, Suite, Way, read
from shared.messages.wire import unpack
from shared.names import MANAGER, Fingerprint, KeyId

_SUITES = frozenset(suite.value for suite in Suite)


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
        header: Header | None = None,
        code: ErrorCode = ErrorCode.UNAUTHENTICATED,
    ) -> None:
        super().__init__(f"envelope dropped: {reason}", code)
        self.reason = reason
        self.header = header


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
    """An envelope whose sender is proven; ``payload`` is not yet parsed.

    ``kem``: id of the receiver's key to which it was sealed, in suite 1.
    """

    header: Header
    rule: Rule
    suite: Suite
    payload: bytes
    digest: bytes
    kem: KeyId | None = None


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
    plaintext, kem = _open_body(sealed, directory)
    if len(plaintext) < SIGNATURE_BYTES:
        raise DroppedError(DropReason.UNSEAL, header)
    signature, payload = plaintext[:SIGNATURE_BYTES], plaintext[SIGNATURE_BYTES:]
    key = directory.verify_key(header, payload)
    if key is None:
        raise DroppedError(DropReason.SIGNATURE, header)
    try:
        verify(
            key,
            ENVELOPE_LABEL,
            to_sign(fingerprint, sealed.associated, payload),
            signature,
        )
    except CryptoError as error:
        raise DroppedError(DropReason.SIGNATURE, header) from error
    return Proven(header, sealed.rule, sealed.suite, payload, sealed.digest, kem)


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


def _open_body(sealed: Sealed, directory: Directory) -> tuple[bytes, KeyId | None]:
    if sealed.suite is Suite.CLEAR:
        return sealed.body, None
    if sealed.suite is Suite.SESSION:
        key = directory.session_key(sealed.header)
        try:
            return open_with_nonce(key, sealed.associated, sealed.body), None
        except CryptoError as error:
            raise DroppedError(DropReason.UNSEAL, sealed.header) from error
    for kem in directory.kem_keys():
        try:
            plaintext = hpke_open(kem, SEAL_LABEL + sealed.associated, sealed.body)
        except CryptoError:
            continue
        return plaintext, kem.kid
    raise DroppedError(DropReason.UNSEAL, sealed.header)
