"""What the manager issues certificates with, and how long they last."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.crypto.keys import SigningKey
from shared.messages import CertificateBody, SignedCertificate
from shared.names import Fingerprint, Io, Principal, Role
from shared.protocol.manifest import CERTIFICATE_LABEL

CERTIFICATE_LIFE: Final = timedelta(days=365)
CLOCK_SKEW: Final = timedelta(seconds=120)
"""How far a peer's clock may be off; certificates begin this much earlier."""
MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The manager's signing key and the realm for which it speaks.

    ``ends``: the end of the signing key and so of what it signs, ms.
    ``next_serial``: of the next certificate; the shell sees that none comes twice.
    """

    fingerprint: Fingerprint
    signer: SigningKey
    ends: int
    next_serial: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with what the manager keeps of it in clear; ``ends`` in ms."""

    serial: int
    ends: int
    cert: SignedCertificate


def certify(
    issuer: Issuer,
    principal: Principal,
    role: Role,
    io: Io | None,
    keys: tuple[bytes, bytes],
    now_ms: int,
) -> Issued:
    """Return a certificate of registration.

    Args:
        issuer: signs with its next serial.
        principal: whose certificate it is.
        role: what it may be.
        io: what a client may do, ``None`` for servers.
        keys: its Ed25519 and X25519 public keys.
        now_ms: the time.
    """
    ends = min(now_ms + CERTIFICATE_LIFE // MILLISECOND, issuer.ends)
    body = CertificateBody(
        v=1,
        realm=issuer.fingerprint,
        serial=issuer.next_serial,
        principal=principal,
        role=role,
        io=io,
        sig_pk=keys[0],
        kem_pk=keys[1],
        nbf=now_ms - CLOCK_SKEW // MILLISECOND,
        exp=ends,
        iss=issuer.signer.kid,
    ).pack()
    signature = issuer.signer.sign(CERTIFICATE_LABEL, body)
    return Issued(issuer.next_serial, ends, SignedCertificate(c=body, sig=signature))
