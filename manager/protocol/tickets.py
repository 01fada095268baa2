"""The manifest, and the tickets that let clients in at MPC servers.

Source: docs/protocol.md, "Job". The manifest is part of the job's state, so each
``job.start`` of a job carries the same bytes; ticket keys are the caller's to keep
wrapped. Nothing here is random but what ``Context.entropy`` gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from manager.protocol import job_notices
from manager.protocol.job_state import JobParty, JobState, Moment, spec_of
from manager.protocol.model import Pool
from shared import codec
from shared.crypto.derivation import manifest_hash
from shared.crypto.keys import KEY_BYTES, SigningKey
from shared.crypto.sealing import NONCE_BYTES
from shared.errors import ErrorCode, LocalProtocolError
from shared.messages import (
    CollectTicket,
    JobStart,
    JobTickets,
    Manifest,
    ManifestParty,
    ServerTicket,
    SignedCertificate,
    Spec,
    TicketAuthorisation,
    TicketBody,
)
from shared.names import Duty, Fingerprint, Principal
from shared.protocol.machine import Context, Received, Send
from shared.protocol.manifest import CLOCK_SKEW_MS, MANIFEST_LABEL
from shared.protocol.tickets import seal_ticket

MAX_COLUMN_BYTES = 3 * 1024
"""What the names of columns may take in a ticket, which holds at most 4 KiB."""
MAX_MANIFEST_BYTES = 192 * 1024
MAX_START_BYTES = 248 * 1024
"""Manifest and tickets of one ``job.start``; an envelope holds 256 KiB."""
_TICKET_BYTES = 640
"""More than a ticket and what goes with it take besides the columns."""
_TID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Issued:
    """``ticket_keys``: by MPC server; keep them wrapped until the job is closed."""

    manifest: bytes
    sends: tuple[Send, ...]
    ticket_keys: Mapping[Principal, bytes]

    def __repr__(self) -> str:
        """Return text that holds nothing of the keys."""
        return "Issued(<redacted>)"


def make_manifest(state: JobState, fingerprint: Fingerprint, now_ms: int) -> bytes:
    """Return the manifest of a roster in which everybody has accepted."""
    manifest = Manifest(
        v=1,
        realm=fingerprint,
        job=state.job,
        number=state.number,
        epoch=state.epoch,
        spec=state.spec,
        spec_sig=state.spec_sig,
        parties=tuple(
            ManifestParty(
                p=party.p,
                role=party.role,
                duties=party.duties,
                party=party.party,
                cert=SignedCertificate(c=party.cert, sig=party.cert_sig),
                endorse=party.endorse,
                endorse_sig=party.endorse_sig,
            )
            for party in state.parties
        ),
        nbf=now_ms,
        exp=state.result_exp,
    )
    return manifest.pack()


def column_bytes(spec: Spec) -> int:
    """Return how many bytes a spec's columns take in a ticket."""
    return len(codec.encode(list(spec.az.cols)))


def fits(manifest: bytes, spec: Spec) -> bool:
    """Say whether a manifest and its tickets go into one ``job.start``."""
    tickets = spec.servers * (_TICKET_BYTES + column_bytes(spec))
    return (
        len(manifest) <= MAX_MANIFEST_BYTES
        and len(manifest) + tickets <= MAX_START_BYTES
    )


def start_messages(
    state: JobState,
    recipients: Sequence[Principal],
    signer: SigningKey,
    fingerprint: Fingerprint,
    context: Context,
    revocations: int,
    ticket_keys: Mapping[Principal, bytes] | None = None,
) -> Issued:
    """Return one ``job.start`` for each recipient, with fresh tickets for clients.

    Args:
        state: of a job that was started.
        recipients: principals of its roster.
        signer: the manager's key.
        fingerprint: the realm's.
        context: of this step; its entropy makes keys, ids and nonces.
        revocations: how many principals were revoked so far.
        ticket_keys: what an earlier call for this job returned; none at first.

    Raises:
        LocalProtocolError: the job was not started, a recipient is not in the
            roster, or a server has no ticket key.
    """
    if ticket_keys is None:
        ticket_keys = {server.p: context.entropy(KEY_BYTES) for server in state.servers}
    issuer = _issuer(state, fingerprint, context, ticket_keys)
    signature = signer.sign(MANIFEST_LABEL, issuer.manifest)
    sends: list[Send] = []
    for recipient in recipients:
        party = state.find(recipient)
        if party is None or party.nonce is None:
            raise LocalProtocolError(f"{recipient} has not accepted this job")
        message = JobStart(
            job=state.job,
            epoch=state.epoch,
            nonce=party.nonce,
            manifest=issuer.manifest,
            manifest_sig=signature,
            k_tkt=issuer.key_of(recipient) if party.is_server else None,
            t=None if party.is_server else issuer.server_tickets(party),
            revocations=revocations,
        )
        sends.append(Send(recipient, message))
    return Issued(issuer.manifest, tuple(sends), ticket_keys)


def collect_messages(
    state: JobState,
    request: Received,
    pool: Pool,
    fingerprint: Fingerprint,
    context: Context,
    ticket_keys: Mapping[Principal, bytes],
) -> tuple[Send, ...]:
    """Return the answer to a consumer that fetches its result in a new session.

    MPC servers that are offline now are left out: the consumer asks again. If
    none is online, or the consumer is not, the answer is ``busy``.

    Args:
        state: of a job that is computed.
        request: the ``job.collect``.
        pool: who is online now, with which TLS keys and endorsements.
        fingerprint: the realm's.
        context: of this step.
        ticket_keys: what ``start_messages`` returned for this job.

    Raises:
        LocalProtocolError: the job was not started, or a server has no ticket key.
    """
    issuer = _issuer(state, fingerprint, context, ticket_keys)
    consumer = pool.member(state.consumer)
    tickets: list[CollectTicket] = []
    for server in state.servers:
        member = pool.member(server.p)
        if consumer is None or member is None:
            continue
        key, ticket = issuer.ticket(
            server.p, member.spki, consumer.principal, consumer.spki, (Duty.OUTPUT,)
        )
        tickets.append(
            CollectTicket(
                s=server.p,
                k_cs=key,
                ticket=ticket,
                endorse=member.endorse,
                endorse_sig=member.endorse_sig,
            )
        )
    if not tickets:
        return (job_notices.error(request, ErrorCode.BUSY),)
    message = JobTickets(job=state.job, epoch=state.epoch, t=tuple(tickets))
    return (Send(request.sender, message, request.mid),)


@dataclass(frozen=True, slots=True)
class _Issuer:
    """What all tickets of one job share."""

    state: JobState
    spec: Spec
    manifest: bytes
    mh: bytes
    not_before: int
    fingerprint: Fingerprint
    context: Context
    ticket_keys: Mapping[Principal, bytes]

    def key_of(self, server: Principal) -> bytes:
        """Return the ticket key of one MPC server."""
        key = self.ticket_keys.get(server)
        if key is None:
            raise LocalProtocolError(f"{server} has no ticket key in this job")
        return key

    def server_tickets(self, client: JobParty) -> tuple[ServerTicket, ...]:
        """Return a client's fresh ticket for every MPC server of the roster."""
        tickets: list[ServerTicket] = []
        for server in self.state.servers:
            key, ticket = self.ticket(
                server.p, server.spki, client.p, client.spki, client.duties
            )
            tickets.append(ServerTicket(s=server.p, k_cs=key, ticket=ticket))
        return tuple(tickets)

    def ticket(
        self,
        server: Principal,
        server_spki: bytes,
        client: Principal,
        client_spki: bytes,
        duties: tuple[Duty, ...],
    ) -> tuple[bytes, bytes]:
        """Return a fresh ``k_cs`` and the ticket that brings it to the server."""
        key = self.context.entropy(KEY_BYTES)
        state = self.state
        body = TicketBody(
            tid=self.context.entropy(_TID_BYTES),
            mh=self.mh,
            c=client,
            role="client",
            cnf_c=client_spki,
            cnf_s=server_spki,
            k_cs=key,
            az=self._authorisation(duties),
            nbf=self.not_before,
            exp=state.result_exp if Duty.OUTPUT in duties else state.deadline,
        )
        ticket = seal_ticket(
            body,
            self.key_of(server),
            self.fingerprint,
            state.job,
            state.epoch,
            server,
            self.context.entropy(NONCE_BYTES),
        )
        return key, ticket

    def _authorisation(self, duties: tuple[Duty, ...]) -> TicketAuthorisation:
        """Return what a client with these duties may do at a server."""
        if Duty.INPUT not in duties:
            return TicketAuthorisation(dir="out", cols=(), max_bytes=0)
        direction: Literal["in", "both"] = "both" if Duty.OUTPUT in duties else "in"
        return TicketAuthorisation(
            dir=direction, cols=self.spec.az.cols, max_bytes=self.spec.az.max_bytes
        )


def _issuer(
    state: JobState,
    fingerprint: Fingerprint,
    context: Context,
    ticket_keys: Mapping[Principal, bytes],
) -> _Issuer:
    started = state.time(Moment.STARTED)
    if state.manifest is None or started is None:
        raise LocalProtocolError("a job that was not started has no manifest")
    return _Issuer(
        state,
        spec_of(state),
        state.manifest,
        manifest_hash(state.manifest),
        # A server's clock may be behind the manager's.
        max(0, started - CLOCK_SKEW_MS),
        fingerprint,
        context,
        ticket_keys,
    )
