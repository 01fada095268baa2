"""From a manifest to what the data process does: who talks to whom, with what."""

from collections.abc import Mapping
from typing import TypeVar

from participant.protocol.consent import (
    Rules,
    check_pin,
    check_servers,
    new_pins,
    signing_keys,
)
from participant.protocol.model import (
    Party,
    PartyJob,
    PeerPlan,
    RecordPins,
    Revocations,
    Run,
)
from shared.crypto.derivation import manifest_hash, spec_hash
from shared.errors import DecodeError, RefusalCode, RefusedError
from shared.messages import (
    CertificateBody,
    Endorsement,
    JobStart,
    JobTickets,
    Manifest,
    ServerTicket,
    Spec,
    Structure,
    unpack,
)
from shared.names import Duty, Principal, Role
from shared.protocol.manifest import (
    AcceptedOffer,
    CheckedManifest,
    OwnSide,
    check_certificate,
    check_endorsement,
    check_start,
)
from shared.protocol.roster import invalid

_S = TypeVar("_S", bound=Structure)


def start_plan(
    state: PartyJob, start: JobStart, party: Party, now_ms: int
) -> tuple[RecordPins, Run]:
    """Return what a ``job.start`` asks this party to do.

    Args:
        state: the accepted job.
        start: as received.
        party: this participant.
        now_ms: by its clock.

    Raises:
        RefusedError: something does not hold; nothing may be sent to anybody.
    """
    rules = party.rules
    checked = check_start(
        start,
        manager_keys=signing_keys(rules.identity, now_ms),
        fingerprint=rules.identity.realm.fingerprint,
        me=OwnSide(
            rules.identity.principal, rules.identity.signing.public, party.spkis
        ),
        accepted=accepted_offer(state),
        pins=rules.policy.pinned(rules.identity),
        now_ms=now_ms,
    )
    _check_policy(rules, checked)
    _check_revocations(party.revocations, start, checked)
    me = rules.identity.principal
    run = Run(
        state=state,
        manifest_hash=checked.mh,
        peers=_peers(checked.manifest, checked.certs, checked.endorsements),
        sources=_sources(checked.manifest),
        own_spki=checked.spki[me],
        tickets=start.t,
    )
    return RecordPins(new_pins(rules, checked.certs.values())), run


def accepted_offer(state: PartyJob) -> AcceptedOffer:
    """Return what this party said yes to.

    Raises:
        RefusedError: the spec that was kept is damaged.
    """
    return AcceptedOffer(
        job=state.job,
        epoch=state.epoch,
        spec_hash=spec_hash(state.spec),
        nonce=state.nonce,
        spec=_read(Spec, state.spec),
        duties=state.duties,
        party=state.party,
    )


def fetch_plan(state: PartyJob, tickets: JobTickets, party: Party, now_ms: int) -> Run:
    """Return how a consumer fetches a result with fresh tickets.

    The manifest was checked when the job started; since then an MPC server may have
    a new TLS key, endorsed by the identity key that the manifest names for it.

    Raises:
        RefusedError: an endorsement does not hold, or a server is missing.
    """
    rules = party.rules
    manifest = _read(Manifest, state.manifest)
    if tickets.epoch != state.epoch:
        raise invalid("the tickets are for another epoch")
    fresh = {ticket.s: ticket for ticket in tickets.t}
    manager_keys = signing_keys(rules.identity, now_ms)
    fingerprint = rules.identity.realm.fingerprint
    certs: dict[Principal, CertificateBody] = {}
    endorsements: dict[Principal, Endorsement] = {}
    for entry in manifest.parties:
        if entry.p == rules.identity.principal:
            certs[entry.p] = _read(CertificateBody, entry.cert.c)
            endorsements[entry.p] = _read(Endorsement, party.endorse)
        if entry.role is not Role.MPCS:
            continue
        ticket = fresh.get(entry.p)
        if ticket is None:
            raise invalid(f"{entry.p}: no ticket for it")
        cert = check_certificate(entry.cert, manager_keys, fingerprint, now_ms)
        certs[entry.p] = cert
        endorsements[entry.p] = check_endorsement(
            ticket.endorse, ticket.endorse_sig, cert, fingerprint, now_ms
        )
    return Run(
        state=state,
        manifest_hash=manifest_hash(state.manifest),
        peers=_peers(manifest, certs, endorsements),
        sources=_sources(manifest),
        own_spki=party.spki,
        tickets=tuple(
            ServerTicket(s=ticket.s, k_cs=ticket.k_cs, ticket=ticket.ticket)
            for ticket in tickets.t
        ),
        fetch_only=True,
        endorse=party.endorse,
        endorse_sig=party.endorse_sig,
    )


def serve_plan(state: PartyJob, party: Party) -> Run:
    """Return how an MPC server serves a result that it computed before it restarted.

    The manifest is the one that it checked then; the consumer shows its newer
    endorsement itself.

    Raises:
        RefusedError: what was kept is damaged.
    """
    manifest = _read(Manifest, state.manifest)
    certs = {}
    endorsements = {}
    for entry in manifest.parties:
        certs[entry.p] = _read(CertificateBody, entry.cert.c)
        endorsements[entry.p] = _read(Endorsement, entry.endorse)
    return Run(
        state=state,
        manifest_hash=manifest_hash(state.manifest),
        peers=_peers(manifest, certs, endorsements),
        sources=_sources(manifest),
        own_spki=party.spki,
        tickets=None,
        fetch_only=True,
        endorse=party.endorse,
        endorse_sig=party.endorse_sig,
    )


def _check_policy(rules: Rules, checked: CheckedManifest) -> None:
    """Check the final roster against the owner's rules and pins."""
    check_servers(
        rules.policy,
        [entry.p for entry in checked.manifest.parties if entry.role is Role.MPCS],
    )
    for cert in checked.certs.values():
        check_pin(rules, cert)


def _check_revocations(
    known: Revocations, start: JobStart, checked: CheckedManifest
) -> None:
    """Refuse a roster with somebody revoked, or one that may have somebody."""
    revoked = sorted(known.principals & checked.certs.keys())
    if revoked:
        raise RefusedError(f"{revoked[0]} was revoked", RefusalCode.REVOKED)
    if start.revocations > known.number:
        raise RefusedError(
            "a notice of the manager, of who was revoked, did not arrive here",
            RefusalCode.REVOKED,
        )


def _sources(manifest: Manifest) -> int:
    """Return how many parties give data."""
    return sum(Duty.INPUT in entry.duties for entry in manifest.parties)


def _peers(
    manifest: Manifest,
    certs: Mapping[Principal, CertificateBody],
    endorsements: Mapping[Principal, Endorsement],
) -> tuple[PeerPlan, ...]:
    return tuple(
        PeerPlan(
            principal=entry.p,
            role=entry.role,
            party=entry.party,
            duties=entry.duties,
            spki=endorsements[entry.p].spki,
            sig_pk=certs[entry.p].sig_pk,
            addresses=endorsements[entry.p].addrs,
        )
        for entry in manifest.parties
        if entry.p in certs
    )


def _read(model: type[_S], data: bytes) -> _S:
    try:
        return unpack(model, data)
    except DecodeError as error:
        raise RefusedError(
            "what this party kept of the job is damaged", RefusalCode.INTERNAL
        ) from error
