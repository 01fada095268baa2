"""What an envelope is made of, for those who seal and those who open.

Layout (docs/protocol.md, "Envelope"): ``MPX`` version suite flags, u16 header
length, u32 body length, header (msgpack map), body. The signature covers the
realm fingerprint, prefix, header and payload; the encryption covers them again.
"""

import hashlib
import struct
from typing import Annotated

from annotated_types import Ge, Le, Len

from shared.messages.wire import Kid, Mid, Sid, Structure, TimeMs
from shared.names import Fingerprint, Principal

MAGIC = b"MPX"
WIRE_VERSION = 1
PREFIX = struct.Struct(">3sBBBHI")
MAX_HEADER_BYTES = 1024
MAX_BODY_BYTES = 256 * 1024
MAX_CLOCK_SKEW_MS = 120_000
SIGNATURE_BYTES = 64
NONCE_BYTES = 24

ENVELOPE_LABEL = b"MPX1-env\0"
SEAL_LABEL = b"MPX1-seal\0"


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


def to_sign(fingerprint: Fingerprint, associated: bytes, payload: bytes) -> bytes:
    """Return what the sender's signature covers, behind its label.

    ``associated``: prefix and header as sent.
    """
    return fingerprint + hashlib.sha512(associated).digest() + payload


def principal_of(header: Header) -> Principal:
    """Return the header's sender as a principal."""
    return Principal(header.s)
