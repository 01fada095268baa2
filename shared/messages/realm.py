"""The realm: its descriptor, the manager's keys, certificates of principals."""

from enum import StrEnum, unique
from typing import Annotated, Literal

from annotated_types import Ge, Le, Len
from pydantic import Strict

from shared.messages.wire import (
    Address,
    Bytes32,
    Der,
    Kid,
    Name,
    Serial,
    Signature64,
    SmallBlob,
    Structure,
    Text,
    TimeMs,
    Versions,
    WireIo,
    WireRole,
)

VERSION = 1
"""The protocol version of everything signed here."""


@unique
class KeyUse(StrEnum):
    """What a key in the realm descriptor is for."""

    SIG = "sig"
    KEM = "kem"
    CA = "ca"


class RealmKey(Structure):
    """One key of the manager.

    ``pk``: 32 raw bytes for ``sig`` and ``kem``, a DER certificate for ``ca``.
    """

    kid: Kid
    use: Annotated[KeyUse, Strict(strict=False)]
    pk: Der
    nbf: TimeMs
    exp: TimeMs


class RealmDescription(Structure):
    """The signed part of a realm descriptor."""

    v: Literal[1]
    realm: Text
    epoch: Annotated[int, Ge(1), Le(2**32 - 1)]
    root: Bytes32
    keys: Annotated[tuple[RealmKey, ...], Strict(strict=False), Len(1, 32)]
    suites: Versions
    min_ver: Annotated[int, Ge(1), Le(255)]


class SignedRealm(Structure):
    """A realm description and the root's signature over it."""

    rd: Annotated[bytes, Len(1, 65536)]
    sig: Signature64


class RealmDescriptor(SignedRealm):
    """``realm.descriptor``: published to inboxes and enrolment queues."""

    type: Literal["realm.descriptor"] = "realm.descriptor"


class CertificateBody(Structure):
    """The signed part of a principal's certificate; ``realm`` is the fingerprint."""

    v: Literal[1]
    realm: Bytes32
    serial: Serial
    principal: Name
    role: WireRole
    io: WireIo | None = None
    sig_pk: Bytes32
    kem_pk: Bytes32
    nbf: TimeMs
    exp: TimeMs
    iss: Kid


class SignedCertificate(Structure):
    """A certificate body and the manager's signature over it."""

    c: SmallBlob
    sig: Signature64


class Endorsement(Structure):
    """A principal's own word for the TLS key of its session.

    ``spki``: SHA-256 over the DER SubjectPublicKeyInfo. ``addrs``: where an MPC
    server is reached, ``host:port`` or ``[v6]:port``; empty for clients.
    """

    v: Literal[1]
    realm: Bytes32
    p: Name
    role: WireRole
    spki: Bytes32
    addrs: Annotated[tuple[Address, ...], Strict(strict=False), Len(0, 8)]
    nbf: TimeMs
    exp: TimeMs
