"""Hashes, key derivations and MACs, each with its own label.

Source: docs/protocol.md, sections "Keys", "AS exchange", "Job" and "AP
exchange". Whatever is called ``realm`` in a hashed or authenticated list is
the realm's fingerprint, since two realms can share a name.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared import codec
from shared.errors import UnsealError
from shared.names import Fingerprint, JobId, Principal, Realm

JOB_ID_BYTES: Final = 16
FINGERPRINT_GROUP: Final = 4
"""How many base32 characters stand between two hyphens of a fingerprint."""


def sha256(*parts: bytes) -> bytes:
    """Return SHA-256 over the parts, one after the other.

    The parts' lengths are not hashed: at most one of them may vary in length
    unless the caller adds lengths.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    """Return HMAC-SHA-256 over the parts, one after the other."""
    return hmac.digest(key, b"".join(parts), "sha256")


def hkdf(secret: bytes, info: bytes, length: int = 32, salt: bytes = b"") -> bytes:
    """Return key material of this many bytes (RFC 5869, SHA-256).

    Args:
        secret: the input key material.
        info: the label of what the result is for.
        length: in bytes, at most 8160.
        salt: empty stands for 32 zero bytes.
    """
    return HKDF(hashes.SHA256(), length, salt=salt, info=info).derive(secret)


def equal(left: bytes, right: bytes) -> bool:
    """Say whether two byte strings are equal, in constant time."""
    return hmac.compare_digest(left, right)


def fingerprint(realm: Realm, root_public: bytes) -> Fingerprint:
    """Return the realm's fingerprint, which every participant pins."""
    return Fingerprint(sha256(b"MPX1-fpr\0", realm.encode(), b"\0", root_public))


def fingerprint_text(realm: Fingerprint) -> str:
    """Return a fingerprint as people compare it: base32 in groups of four."""
    text = base64.b32encode(realm).decode().rstrip("=")
    starts = range(0, len(text), FINGERPRINT_GROUP)
    return "-".join(text[start : start + FINGERPRINT_GROUP] for start in starts)


def job_id(realm: Fingerprint, consumer: Principal, chosen_id: bytes) -> JobId:
    """Return the job's id everywhere.

    Args:
        realm: the fingerprint.
        consumer: who asks; in the hash, so that nobody can squat another's id.
        chosen_id: 16 bytes that the consumer chose.
    """
    named = codec.encode([realm, consumer, chosen_id])
    return JobId(sha256(b"MPX1-job\0", named)[:JOB_ID_BYTES])


def spec_hash(spec: bytes) -> bytes:
    """Return the hash of a job's spec as received."""
    return sha256(b"MPX1-spec\0", spec)


def manifest_hash(manifest: bytes) -> bytes:
    """Return the hash of a job's manifest as received, ``mh``."""
    return sha256(manifest)


class SessionKeys(NamedTuple):
    """What an AS exchange gives both sides, 32 bytes each."""

    up: bytes
    """Participant to manager."""
    down: bytes
    """Manager to participant."""
    confirm_key: bytes
    """For ``as_confirm`` only; forgotten after the exchange."""

    def __repr__(self) -> str:
        """Return text that holds nothing of the keys."""
        return "SessionKeys(<redacted>)"


def as_transcript(request_payload: bytes, core: bytes) -> bytes:
    """Return ``th``, the hash of both halves of an AS exchange as received.

    Args:
        request_payload: the payload of the as.req.
        core: the core of the as.rep.
    """
    return sha256(
        b"MPX1-as\0",
        len(request_payload).to_bytes(4, "big"),
        request_payload,
        len(core).to_bytes(4, "big"),
        core,
    )


def as_keys(transcript: bytes, shared_secret: bytes) -> SessionKeys:
    """Return the keys of a session.

    Args:
        transcript: from ``as_transcript``; the salt.
        shared_secret: what X25519 gave for the two ephemeral keys, 32 bytes.

    Raises:
        UnsealError: the secret is all zero, so a key had low order.
    """
    if equal(shared_secret, bytes(len(shared_secret))):
        raise UnsealError("the ephemeral keys share no secret")
    keys = hkdf(shared_secret, b"MPX1 as", 96, transcript)
    return SessionKeys(keys[:32], keys[32:64], keys[64:])


def as_confirm(confirm_key: bytes, transcript: bytes) -> bytes:
    """Return the 32 bytes by which the manager proves that it has the keys."""
    return hmac_sha256(confirm_key, b"as.rep\0", transcript)


def next_session_key(key: bytes) -> bytes:
    """Return the wrapping key of the slot after this one's."""
    return hkdf(key, b"MPX1 K_sess")


def broker_password(secret: bytes) -> str:
    """Return the temporary broker user's password that a token secret gives."""
    return hkdf(secret, b"MPX1 broker").hex()


def rabbitmq_password_hash(password: str, salt: bytes) -> str:
    """Return RabbitMQ's salted SHA-256 of a password, in base64.

    Args:
        password: in clear.
        salt: 4 random bytes.
    """
    return base64.b64encode(salt + sha256(salt, password.encode())).decode()


def channel_binding(client_leaf: bytes, server_leaf: bytes) -> bytes:
    """Return what binds an AP exchange to the two leaves of its TLS link.

    Args:
        client_leaf: DER of the client's leaf, from the live TLS object.
        server_leaf: DER of the server's.
    """
    return sha256(b"MPX1-cb\0", sha256(client_leaf), sha256(server_leaf))


def ap_request_mac(
    key: bytes,
    client: Principal,
    server: Principal,
    job: JobId,
    epoch: int,
    manifest: bytes,
    binding: bytes,
    server_nonce: bytes,
    client_nonce: bytes,
) -> bytes:
    """Return the MAC of an ap.req.

    Args:
        key: ``k_cs``, fresh for this client, server, job and epoch.
        client: who sends it.
        server: who checks it.
        job: the job's id.
        epoch: the roster's number.
        manifest: the manifest's hash.
        binding: from ``channel_binding``.
        server_nonce: 16 bytes, from link.hello or the last ap.rep.
        client_nonce: 16 bytes, in this ap.req.
    """
    fields = codec.encode(
        [client, server, job, epoch, manifest, binding, server_nonce, client_nonce]
    )
    return hmac_sha256(key, b"MPX1-apreq\0", fields)


def ap_reply_mac(
    key: bytes,
    server: Principal,
    client: Principal,
    job: JobId,
    epoch: int,
    manifest: bytes,
    binding: bytes,
    server_nonce: bytes,
    client_nonce: bytes,
    limits: Mapping[str, codec.Value],
    next_server_nonce: bytes,
) -> bytes:
    """Return the MAC of an ap.rep; arguments as for ``ap_request_mac``.

    Args:
        key: as above.
        server: as above; named first here, so that no ap.req is an ap.rep.
        client: as above.
        job: as above.
        epoch: as above.
        manifest: as above.
        binding: as above.
        server_nonce: the one that the ap.req used.
        client_nonce: the one in the ap.req.
        limits: ``lim`` of the ap.rep.
        next_server_nonce: 16 bytes, for the next ap.req on this link.
    """
    fields = codec.encode(
        [
            server,
            client,
            job,
            epoch,
            manifest,
            binding,
            server_nonce,
            client_nonce,
            limits,
            next_server_nonce,
        ]
    )
    return hmac_sha256(key, b"MPX1-aprep\0", fields)
