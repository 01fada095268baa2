"""The AP exchange: a client shows an MPC server its ticket, once a job on a link.

Source: docs/protocol.md, section "AP exchange". Both halves are pure; a link that
fails a check is closed, and what failed is for the local log only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from participant.protocol.peer_hello import LinkFacts, check_peer_leaf, read_body
from shared.crypto import derivation
from shared.crypto.keys import verify
from shared.errors import FrameworkError, RemoteProtocolError
from shared.messages.link import (
    ApReply,
    ApRequest,
    Limits,
    TicketAuthorisation,
    TicketBody,
)
from shared.messages.realm import Endorsement
from shared.messages.wire import unpack
from shared.names import Duty, Fingerprint, JobId, Principal, Realm, Role
from shared.protocol.machine import Context
from shared.protocol.manifest import CLOCK_SKEW_MS, ENDORSEMENT_LABEL
from shared.protocol.tickets import open_ticket

NONCE_BYTES: Final = 16
MAX_REQUEST_BYTES: Final = 8 << 10

_DUTIES: Final = {
    "in": frozenset({Duty.INPUT}),
    "out": frozenset({Duty.OUTPUT}),
    "both": frozenset({Duty.INPUT, Duty.OUTPUT}),
}


@dataclass(frozen=True, slots=True)
class Call:
    """What a client needs to be admitted to a job by one server.

    ``endorse``, ``endorse_sig``: its own endorsement, where it is newer than the
    manifest's.
    """

    client: Principal
    server: Principal
    job: JobId
    epoch: int
    manifest_hash: bytes
    ticket: bytes = field(repr=False)
    key: bytes = field(repr=False)
    endorse: bytes | None = None
    endorse_sig: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server agreed to, and the nonce for the next job on the link."""

    limits: Limits
    next_nonce: bytes


@dataclass(frozen=True, slots=True)
class Client:
    """A client of a job as its manifest has it."""

    spki: bytes
    sig_pk: bytes
    duties: frozenset[Duty]


@dataclass(frozen=True, slots=True)
class ServedJob:
    """What a server needs to admit the clients of a job."""

    server: Principal
    realm: Realm
    fingerprint: Fingerprint
    job: JobId
    epoch: int
    manifest_hash: bytes
    ticket_key: bytes = field(repr=False)
    clients: Mapping[Principal, Client]


@dataclass(frozen=True, slots=True)
class Admission:
    """A client that was admitted, and the body of the ap.rep for it."""

    client: Principal
    ticket_id: bytes
    authorisation: TicketAuthorisation
    limits: Limits
    reply: bytes
    next_nonce: bytes


def request(
    call: Call, facts: LinkFacts, server_nonce: bytes, client_nonce: bytes
) -> bytes:
    """Return the body of an ap.req.

    Args:
        call: whom the client asks for what.
        facts: of the link that it goes over.
        server_nonce: from the link.hello or the last ap.rep of this link.
        client_nonce: 16 fresh random bytes.
    """
    mac = derivation.ap_request_mac(
        call.key,
        call.client,
        call.server,
        call.job,
        call.epoch,
        call.manifest_hash,
        derivation.channel_binding(facts.own_leaf, facts.peer_leaf),
        server_nonce,
        client_nonce,
    )
    return ApRequest(
        job=call.job,
        epoch=call.epoch,
        ticket=call.ticket,
        n_a=client_nonce,
        endorse=call.endorse,
        endorse_sig=call.endorse_sig,
        mac=mac,
    ).pack()


def check_reply(
    call: Call,
    facts: LinkFacts,
    server_nonce: bytes,
    client_nonce: bytes,
    body: bytes,
) -> Answer:
    """Return what an ap.rep says once it is proven.

    Args:
        call: as for the ap.req that it answers.
        facts: likewise.
        server_nonce: likewise.
        client_nonce: likewise.
        body: as received.

    Raises:
        RemoteProtocolError: it is something else, or the server does not hold the
            key of the ticket.
    """
    reply = read_body(ApReply, body)
    expected = derivation.ap_reply_mac(
        call.key,
        call.server,
        call.client,
        call.job,
        call.epoch,
        call.manifest_hash,
        derivation.channel_binding(facts.own_leaf, facts.peer_leaf),
        server_nonce,
        client_nonce,
        reply.lim.model_dump(),
        reply.n_s,
    )
    if not derivation.equal(expected, reply.mac):
        raise RemoteProtocolError("the MAC of an ap.rep does not verify")
    return Answer(reply.lim, reply.n_s)


def job_of_request(body: bytes) -> tuple[JobId, int]:
    """Return job and epoch that an ap.req names; nothing of it is proven.

    Raises:
        RemoteProtocolError: it is something else.
    """
    asked = read_body(ApRequest, body)
    return asked.job, asked.epoch


def admit(
    job: ServedJob,
    facts: LinkFacts,
    server_nonce: bytes,
    body: bytes,
    spent: frozenset[bytes],
    server_limits: Limits,
    context: Context,
) -> Admission:
    """Decide on an ap.req; the order of the checks is the protocol's.

    Args:
        job: the one that the ap.req names.
        facts: of the link that it came over.
        server_nonce: the last one sent on this link.
        body: as received.
        spent: ids of the tickets that data were already exchanged under.
        server_limits: what this server takes of anybody.
        context: the time, and the randomness of the next nonce.

    Raises:
        RemoteProtocolError: the client is not admitted: close the link.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise RemoteProtocolError("an ap.req is too long")
    asked = read_body(ApRequest, body)
    if (asked.job, asked.epoch) != (job.job, job.epoch):
        raise RemoteProtocolError("an ap.req names another job")
    ticket = _opened(job, asked.ticket)
    if not ticket.nbf - CLOCK_SKEW_MS <= context.now_ms < ticket.exp:
        raise RemoteProtocolError("a ticket outside its time")
    if not derivation.equal(ticket.mh, job.manifest_hash):
        raise RemoteProtocolError("a ticket of another manifest")
    if not derivation.equal(ticket.cnf_s, facts.own_spki):
        raise RemoteProtocolError("a ticket for another leaf of this server")
    client = _confirmed_client(job, ticket, asked, facts, context)
    if not _DUTIES[ticket.az.dir] <= client.duties:
        raise RemoteProtocolError("a ticket for a duty that the manifest does not give")
    binding = derivation.channel_binding(facts.peer_leaf, facts.own_leaf)
    expected = derivation.ap_request_mac(
        ticket.k_cs,
        ticket.c,
        job.server,
        job.job,
        job.epoch,
        job.manifest_hash,
        binding,
        server_nonce,
        asked.n_a,
    )
    if not derivation.equal(expected, asked.mac):
        raise RemoteProtocolError("the MAC of an ap.req does not verify")
    if ticket.tid in spent:
        raise RemoteProtocolError("a ticket that was used before")
    limits = Limits(
        max_frame=server_limits.max_frame,
        max_bytes=min(server_limits.max_bytes, ticket.az.max_bytes),
    )
    next_nonce = context.entropy(NONCE_BYTES)
    mac = derivation.ap_reply_mac(
        ticket.k_cs,
        job.server,
        ticket.c,
        job.job,
        job.epoch,
        job.manifest_hash,
        binding,
        server_nonce,
        asked.n_a,
        limits.model_dump(),
        next_nonce,
    )
    reply = ApReply(lim=limits, n_s=next_nonce, mac=mac).pack()
    return Admission(ticket.c, ticket.tid, ticket.az, limits, reply, next_nonce)


def _opened(job: ServedJob, ticket: bytes) -> TicketBody:
    """Return what a ticket holds, if the manager made it for this server and job."""
    try:
        return open_ticket(
            job.ticket_key, job.fingerprint, job.job, job.epoch, job.server, ticket
        )
    except FrameworkError as error:
        raise RemoteProtocolError("a ticket that does not open") from error


def _confirmed_client(
    job: ServedJob,
    ticket: TicketBody,
    asked: ApRequest,
    facts: LinkFacts,
    context: Context,
) -> Client:
    """Return the ticket's client, if the TLS peer is that client.

    # RFC 8705, 3: the certificate of the TLS link must be the confirmed one.
    """
    client = job.clients.get(ticket.c)
    if client is None:
        raise RemoteProtocolError("a ticket of a client that the manifest lacks")
    if not derivation.equal(ticket.cnf_c, facts.peer_spki):
        raise RemoteProtocolError("a ticket for another leaf of a client")
    spki = client.spki
    if not derivation.equal(spki, facts.peer_spki):
        spki = _newer_spki(job, ticket.c, client, asked, context)
    check_peer_leaf(job.realm, Role.CLIENT, ticket.c, spki, facts)
    return client


def _newer_spki(
    job: ServedJob,
    principal: Principal,
    client: Client,
    asked: ApRequest,
    context: Context,
) -> bytes:
    """Return the TLS key that a client endorses in its ap.req."""
    if asked.endorse is None or asked.endorse_sig is None:
        raise RemoteProtocolError("a TLS key that its client did not endorse")
    try:
        verify(client.sig_pk, ENDORSEMENT_LABEL, asked.endorse, asked.endorse_sig)
        endorsement = unpack(Endorsement, asked.endorse)
    except FrameworkError as error:
        raise RemoteProtocolError("an endorsement that does not verify") from error
    if (endorsement.realm, endorsement.p, endorsement.role) != (
        job.fingerprint,
        principal,
        Role.CLIENT,
    ):
        raise RemoteProtocolError("an endorsement of another principal")
    is_begun = endorsement.nbf - CLOCK_SKEW_MS <= context.now_ms
    if not is_begun or context.now_ms >= endorsement.exp:
        raise RemoteProtocolError("an endorsement outside its time")
    return endorsement.spki
