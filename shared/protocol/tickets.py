"""Tickets: sealed by the manager for one MPC server, shown to it by one client.

Source: docs/protocol.md, "Job": nonce, then XChaCha20-Poly1305 under the ticket key
of this (server, job, epoch), bound to realm, job, epoch and server.
"""

from shared import codec
from shared.crypto.sealing import open_with_nonce, seal_with_nonce
from shared.messages import TicketBody, unpack
from shared.names import Fingerprint, JobId, Principal

_LABEL = b"MPX1-ticket\0"


def seal_ticket(
    body: TicketBody,
    key: bytes,
    fingerprint: Fingerprint,
    job: JobId,
    epoch: int,
    server: Principal,
    nonce: bytes,
) -> bytes:
    """Return a ticket that only this server can open, in this job and epoch only.

    Args:
        body: what the ticket says.
        key: ``k_tkt``, 32 bytes, fresh for this server, job and epoch.
        fingerprint: the realm's.
        job: the job's id.
        epoch: the roster's number.
        server: who shall open it.
        nonce: 24 fresh random bytes.

    Raises:
        CryptoError: the key or the nonce has the wrong length.
    """
    bound = _bound_to(fingerprint, job, epoch, server)
    return seal_with_nonce(key, bound, body.pack(), nonce)


def open_ticket(
    key: bytes,
    fingerprint: Fingerprint,
    job: JobId,
    epoch: int,
    server: Principal,
    ticket: bytes,
) -> TicketBody:
    """Return what a ticket says; whether that holds is for the caller to check.

    Args:
        key: ``k_tkt`` of this server, job and epoch, 32 bytes.
        fingerprint: the realm's.
        job: the job's id.
        epoch: the roster's number.
        server: the one that opens it.
        ticket: as received.

    Raises:
        UnsealError: it was made for another server, job, epoch or realm, under
            another key, or was altered.
        DecodeError: what was sealed is no ticket.
        CryptoError: the key has the wrong length.
    """
    bound = _bound_to(fingerprint, job, epoch, server)
    return unpack(TicketBody, open_with_nonce(key, bound, ticket))


def _bound_to(
    fingerprint: Fingerprint, job: JobId, epoch: int, server: Principal
) -> bytes:
    return _LABEL + codec.encode([fingerprint, job, epoch, server])
