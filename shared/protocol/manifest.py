"""What a party checks before it trusts a certificate, a spec or a manifest.

Source: docs/protocol.md, "Job": "Each party refuses unless". Everything is checked
over the bytes received; a refusal's text says which party and what is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from shared.crypto.derivation import equal, manifest_hash, sha256, spec_hash
from shared.crypto.keys import kid, verify
from shared.errors import CryptoError, DecodeError, RefusalCode, RefusedError
from shared.messages import (
    CertificateBody,
    Endorsement,
    JobStart,
    Manifest,
    SignedCertificate,
    Spec,
    Structure,
    read_spec,
    unpack,
)
from shared.names import Duty, Fingerprint, JobId, Principal, Role, duties_allowed
from shared.protocol.roster import (
    check_entry,
    check_roster,
    invalid,
    own_entry,
    talks_to,
)

CLOCK_SKEW_MS = 120_000
"""How far a peer's clock may be ahead of ours; the end of a validity is exact."""

CERTIFICATE_LABEL = b"MPX1-cert\0"
ENDORSEMENT_LABEL = b"MPX1-endorse\0"
SPEC_LABEL = b"MPX1-spec-sig\0"
MANIFEST_LABEL = b"MPX1-manifest\0"

REMEMBERED = 1024
"""Signatures, certificates and endorsements that are not checked again: the same ones
come with every job of a session. Times and roles are judged anew each time."""

_S = TypeVar("_S", bound=Structure)


@dataclass(frozen=True, slots=True)
class AcceptedOffer:
    """The offer that this party accepted, in its own words.

    ``nonce``: the accept's. ``duties``, ``party``: what the offer gave it to do.
    """

    job: JobId
    epoch: int
    spec_hash: bytes
    nonce: bytes
    spec: Spec
    duties: tuple[Duty, ...]
    party: int | None


@dataclass(frozen=True, slots=True)
class OwnSide:
    """Who checks. ``spkis``: hashes of every TLS key that it still holds."""

    principal: Principal
    sig_pk: bytes
    spkis: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class CheckedManifest:
    """A manifest that holds for this party.

    ``certs``, ``endorsements`` and ``spki`` have the parties whose certificate and
    endorsement were verified: everybody at a server; the servers, the consumer and
    itself at a client. ``spki``: SHA-256 of the TLS key's SPKI.
    """

    manifest: Manifest
    spec: Spec
    mh: bytes
    certs: Mapping[Principal, CertificateBody]
    endorsements: Mapping[Principal, Endorsement]
    spki: Mapping[Principal, bytes]


def pin_of(cert: CertificateBody) -> bytes:
    """Return what is pinned of a principal: SHA-256 of its identity key."""
    return sha256(cert.sig_pk)


def check_certificate(
    signed: SignedCertificate,
    manager_keys: tuple[bytes, ...],
    fingerprint: Fingerprint,
    now_ms: int,
    code: RefusalCode = RefusalCode.MANIFEST_INVALID,
) -> CertificateBody:
    """Return the body of a certificate that the manager made and that is in time.

    Args:
        signed: as received.
        manager_keys: the manager's public signing keys in time, from the realm
            descriptor.
        fingerprint: the realm's.
        now_ms: by this party's clock.
        code: the refusal's, should there be one.

    Raises:
        RefusedError: it is another's, of another realm, malformed or out of time.
    """
    for issuer in manager_keys:
        if _verified(issuer, CERTIFICATE_LABEL, signed.c, signed.sig):
            break
    else:
        raise RefusedError("the certificate is not signed by the manager", code)
    cert = _certificate(signed.c, code)
    if cert.iss != kid(issuer):
        raise RefusedError("the certificate names another issuer's key", code)
    if cert.realm != fingerprint:
        raise RefusedError("the certificate is of another realm", code)
    if not duties_allowed(cert.role, cert.io):
        raise RefusedError("the certificate permits nothing", code)
    _check_time("certificate", cert.nbf, cert.exp, now_ms, code)
    return cert


def check_endorsement(
    endorse: bytes,
    signature: bytes,
    cert: CertificateBody,
    fingerprint: Fingerprint,
    now_ms: int,
    code: RefusalCode = RefusalCode.MANIFEST_INVALID,
) -> Endorsement:
    """Return a principal's endorsement of its TLS key, proven by its identity key.

    Args:
        endorse: as received.
        signature: as received.
        cert: the principal's, checked.
        fingerprint: the realm's.
        now_ms: by this party's clock.
        code: the refusal's, should there be one.

    Raises:
        RefusedError: another key signed it, it speaks of somebody else, is
            malformed or out of time.
    """
    if not _verified(cert.sig_pk, ENDORSEMENT_LABEL, endorse, signature):
        raise RefusedError("the endorsement is not signed by its principal", code)
    endorsement = _endorsement(endorse, code)
    if endorsement.realm != fingerprint:
        raise RefusedError("the endorsement is of another realm", code)
    if (endorsement.p, endorsement.role) != (cert.principal, cert.role):
        raise RefusedError("the endorsement is another principal's", code)
    _check_time("endorsement", endorsement.nbf, endorsement.exp, now_ms, code)
    return endorsement


def check_spec(spec: bytes, signature: bytes, consumer: CertificateBody) -> Spec:
    """Return the spec that this consumer signed.

    Args:
        spec: as received.
        signature: as received.
        consumer: its certificate, checked.

    Raises:
        RefusedError: another key signed it, it names another consumer or realm,
            the consumer may not get results, or it is malformed.
    """
    code = RefusalCode.SPEC_INVALID
    if not _verifies(consumer.sig_pk, SPEC_LABEL, spec, signature):
        raise RefusedError(
            f"the spec is not signed by its consumer {consumer.principal}", code
        )
    try:
        read = read_spec(spec)
    except DecodeError as error:
        raise RefusedError("the spec is malformed", code) from error
    if read.consumer != consumer.principal:
        raise RefusedError(
            f"the spec of {consumer.principal} names {read.consumer} as consumer", code
        )
    if read.realm != consumer.realm:
        raise RefusedError("the spec is of another realm", code)
    if Duty.OUTPUT not in duties_allowed(consumer.role, consumer.io):
        raise RefusedError(f"{consumer.principal} may not get results", code)
    return read


def check_manifest(
    manifest_bytes: bytes,
    manifest_sig: bytes,
    *,
    manager_keys: tuple[bytes, ...],
    fingerprint: Fingerprint,
    me: OwnSide,
    accepted: AcceptedOffer,
    pins: Mapping[Principal, bytes],
    now_ms: int,
) -> CheckedManifest:
    """Return the manifest if this party may act on it.

    Args:
        manifest_bytes: as received.
        manifest_sig: as received.
        manager_keys: the manager's public signing keys in time.
        fingerprint: the realm's.
        me: this party.
        accepted: the offer that it accepted.
        pins: ``pin_of`` the certificates of the principals that it has pinned.
        now_ms: by this party's clock.

    Raises:
        RefusedError: ``manifest_invalid``, ``spec_invalid`` or ``pin_mismatch``;
            its text says which party and what.
    """
    if not any(
        _verifies(key, MANIFEST_LABEL, manifest_bytes, manifest_sig)
        for key in manager_keys
    ):
        raise invalid("the manifest is not signed by the manager")
    code = RefusalCode.MANIFEST_INVALID
    manifest = _read(Manifest, manifest_bytes, "manifest", code)
    _check_accepted(manifest, fingerprint, accepted)
    _check_time("manifest", manifest.nbf, manifest.exp, now_ms, code)
    check_roster(manifest, accepted.spec)
    own = own_entry(manifest, me.principal, accepted.duties, accepted.party)
    certs: dict[Principal, CertificateBody] = {}
    endorsements: dict[Principal, Endorsement] = {}
    for entry in manifest.parties:
        if not talks_to(own, entry):
            continue
        try:
            cert = check_certificate(entry.cert, manager_keys, fingerprint, now_ms)
            endorsement = check_endorsement(
                entry.endorse, entry.endorse_sig, cert, fingerprint, now_ms
            )
            check_entry(entry, cert, endorsement, accepted.spec.deadline)
        except RefusedError as error:
            raise RefusedError(f"{entry.p}: {error}", error.code) from error
        pin = pins.get(entry.p)
        if pin is not None and not equal(pin, pin_of(cert)):
            raise RefusedError(
                f"{entry.p}: another identity key than the pinned one",
                RefusalCode.PIN_MISMATCH,
            )
        certs[entry.p] = cert
        endorsements[entry.p] = endorsement
    spki = _distinct_keys(manifest, endorsements)
    if certs[own.p].sig_pk != me.sig_pk or spki[own.p] not in me.spkis:
        raise invalid(f"{own.p}: not this party's own keys")
    consumer = certs[accepted.spec.consumer]
    spec = check_spec(manifest.spec, manifest.spec_sig, consumer)
    return CheckedManifest(
        manifest, spec, manifest_hash(manifest_bytes), certs, endorsements, spki
    )


def check_start(
    start: JobStart,
    *,
    manager_keys: tuple[bytes, ...],
    fingerprint: Fingerprint,
    me: OwnSide,
    accepted: AcceptedOffer,
    pins: Mapping[Principal, bytes],
    now_ms: int,
) -> CheckedManifest:
    """Return the manifest of a ``job.start`` that this party may act on.

    Beyond ``check_manifest``: the start answers this party's accept, and it brings
    a server its ticket key, a client one ticket for every MPC server.

    Args:
        start: as received.
        manager_keys: as for ``check_manifest``, like everything below.
        fingerprint: the realm's.
        me: this party.
        accepted: the offer that it accepted.
        pins: of the principals that it has pinned.
        now_ms: by this party's clock.

    Raises:
        RefusedError: as ``check_manifest``.
    """
    if (start.job, start.epoch) != (accepted.job, accepted.epoch):
        raise invalid("the start is for another job or epoch than was accepted")
    if not equal(start.nonce, accepted.nonce):
        raise invalid("the start does not answer this party's accept")
    checked = check_manifest(
        start.manifest,
        start.manifest_sig,
        manager_keys=manager_keys,
        fingerprint=fingerprint,
        me=me,
        accepted=accepted,
        pins=pins,
        now_ms=now_ms,
    )
    if accepted.party is not None:
        if start.k_tkt is None or start.t is not None:
            raise invalid("the start of an MPC server holds no ticket key alone")
        return checked
    servers = [e.p for e in checked.manifest.parties if e.role is Role.MPCS]
    tickets = start.t or ()
    if start.k_tkt is not None or sorted(t.s for t in tickets) != sorted(servers):
        raise invalid("the start of a client holds no ticket for each MPC server")
    return checked


def _check_accepted(
    manifest: Manifest, fingerprint: Fingerprint, accepted: AcceptedOffer
) -> None:
    """Refuse a manifest of anything but what was accepted."""
    if manifest.realm != fingerprint:
        raise invalid("the manifest is of another realm")
    if (manifest.job, manifest.epoch) != (accepted.job, accepted.epoch):
        raise invalid("the manifest is for another job or epoch than was accepted")
    if not equal(spec_hash(manifest.spec), accepted.spec_hash):
        raise invalid("the manifest holds another spec than was accepted")


def _distinct_keys(
    manifest: Manifest, proven: Mapping[Principal, Endorsement]
) -> dict[Principal, bytes]:
    """Return the proven TLS keys, if no two entries of the whole roster share one."""
    seen: dict[bytes, Principal] = {}
    for entry in manifest.parties:
        endorsement = proven.get(entry.p) or _read(
            Endorsement,
            entry.endorse,
            f"endorsement of {entry.p}",
            RefusalCode.MANIFEST_INVALID,
        )
        other = seen.setdefault(endorsement.spki, entry.p)
        if other != entry.p:
            raise invalid(f"{entry.p}: the same TLS key as {other}")
    return {principal: endorsement.spki for principal, endorsement in proven.items()}


def _check_time(
    what: str, not_before: int, expires: int, now_ms: int, code: RefusalCode
) -> None:
    if now_ms + CLOCK_SKEW_MS < not_before:
        raise RefusedError(f"the {what} is not yet valid", code)
    if expires <= now_ms:
        raise RefusedError(f"the {what} has expired", code)


def _verifies(key: bytes, label: bytes, data: bytes, signature: bytes) -> bool:
    try:
        verify(key, label, data, signature)
    except CryptoError:
        return False
    return True


@lru_cache(maxsize=REMEMBERED)
def _verified(key: bytes, label: bytes, data: bytes, signature: bytes) -> bool:
    return _verifies(key, label, data, signature)


def _read(model: type[_S], data: bytes, what: str, code: RefusalCode) -> _S:
    try:
        return unpack(model, data)
    except DecodeError as error:
        raise RefusedError(f"the {what} is malformed", code) from error


@lru_cache(maxsize=REMEMBERED)
def _certificate(data: bytes, code: RefusalCode) -> CertificateBody:
    return _read(CertificateBody, data, "certificate", code)


@lru_cache(maxsize=REMEMBERED)
def _endorsement(data: bytes, code: RefusalCode) -> Endorsement:
    return _read(Endorsement, data, "endorsement", code)
