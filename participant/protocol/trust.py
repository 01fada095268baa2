"""What a participant believes: the realm it pinned, and what follows from it.

Source: docs/protocol.md, section "Realm, trust anchors, enrolment". Everything
starts from the fingerprint; the descriptor names the manager's keys, those sign
certificates, and certificates name the keys of principals.
"""

from dataclasses import dataclass
from typing import Final

from shared.crypto.derivation import equal, fingerprint
from shared.crypto.keys import kid, verify
from shared.errors import (
    ConfigError,
    CryptoError,
    DecodeError,
    RefusedError,
    RemoteProtocolError,
)
from shared.messages import (
    CertificateBody,
    KeyUse,
    RealmDescription,
    RealmKey,
    SignedCertificate,
    SignedRealm,
    unpack,
)
from shared.names import Fingerprint, KeyId, Realm, check_realm
from shared.protocol import manifest

VERSION: Final = 1
SUITES: Final = (1, 2, 3)
"""The suites that this release knows; it offers all of them."""

_REALM_LABEL: Final = b"MPX1-realm\0"


@dataclass(frozen=True, slots=True)
class RealmView:
    """A realm whose descriptor was checked against the pinned fingerprint.

    ``signed``: the descriptor as received, to be kept.
    """

    fingerprint: Fingerprint
    name: Realm
    epoch: int
    keys: tuple[RealmKey, ...]
    signed: SignedRealm

    def signing_key(self, key_id: KeyId, now_ms: int) -> bytes | None:
        """Return the manager's signing key with this id if it is in time."""
        for key in self.in_time(KeyUse.SIG, now_ms):
            if key.kid == key_id:
                return key.pk
        return None

    def kem_key(self, now_ms: int) -> bytes:
        """Return the manager's newest key to seal to.

        Raises:
            CryptoError: none is in time.
        """
        keys = self.in_time(KeyUse.KEM, now_ms)
        if not keys:
            raise CryptoError(
                "the realm descriptor names no key of the manager that is in time",
                "check this machine's clock; else ask the operator for a new"
                " realm descriptor",
            )
        return keys[0].pk

    def in_time(self, use: KeyUse, now_ms: int) -> tuple[RealmKey, ...]:
        """Return the manager's keys for a use, newest first."""
        keys = (
            key for key in self.keys if key.use is use and key.nbf <= now_ms <= key.exp
        )
        return tuple(sorted(keys, key=lambda key: key.nbf, reverse=True))


def check_descriptor(
    signed: SignedRealm, pinned: Fingerprint, min_epoch: int
) -> RealmView:
    """Return the realm that a descriptor describes.

    Args:
        signed: as received.
        pinned: the fingerprint, from the token or the key file.
        min_epoch: the highest epoch seen; a lower one is a rollback.

    Raises:
        RemoteProtocolError: another realm, a rollback, a bad signature or a
            realm that this release cannot take part in.
    """
    try:
        body = unpack(RealmDescription, signed.rd)
        if not equal(fingerprint(check_realm(body.realm), body.root), pinned):
            raise RemoteProtocolError("a realm descriptor of another realm")
        verify(body.root, _REALM_LABEL, signed.rd, signed.sig)
    except (DecodeError, CryptoError, ConfigError) as error:
        raise RemoteProtocolError("not a realm descriptor of this realm") from error
    if body.epoch < min_epoch:
        raise RemoteProtocolError(
            f"a realm descriptor of epoch {body.epoch}, older than {min_epoch}"
        )
    if body.min_ver > VERSION:
        raise RemoteProtocolError(
            f"the realm asks for protocol version {body.min_ver}, this is {VERSION}"
        )
    if any(key.use is not KeyUse.CA and key.kid != kid(key.pk) for key in body.keys):
        raise RemoteProtocolError("a realm descriptor names a key by another's id")
    return RealmView(
        fingerprint=pinned,
        name=Realm(body.realm),
        epoch=body.epoch,
        keys=body.keys,
        signed=SignedRealm(rd=signed.rd, sig=signed.sig),
    )


def check_certificate(
    signed: SignedCertificate, realm: RealmView, now_ms: int
) -> CertificateBody:
    """Return what a principal's certificate says.

    Raises:
        RemoteProtocolError: it is not by this realm's manager, or out of time.
    """
    try:
        issuer = realm.signing_key(unpack(CertificateBody, signed.c).iss, now_ms)
        if issuer is None:
            raise RemoteProtocolError("a certificate by an issuer that is not in time")
        return manifest.check_certificate(signed, (issuer,), realm.fingerprint, now_ms)
    except (DecodeError, RefusedError) as error:
        raise RemoteProtocolError(
            f"not a certificate by the manager: {error}"
        ) from error
