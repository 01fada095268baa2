"""The manifest and the tickets of a job."""

from collections.abc import Mapping

import pytest

from manager.protocol.model import Member
from manager.protocol.tickets import Issued, collect_messages, start_messages
from shared.crypto.derivation import manifest_hash, sha256
from shared.crypto.keys import verify
from shared.errors import ErrorCode, LocalProtocolError, UnsealError
from shared.messages import (
    ErrorNotice,
    JobCollect,
    JobStart,
    JobTickets,
    Manifest,
    TicketAuthorisation,
    unpack,
)
from shared.names import Io, Principal, Role
from shared.protocol.machine import Context
from shared.protocol.manifest import CLOCK_SKEW_MS, MANIFEST_LABEL
from shared.protocol.tickets import open_ticket
from tests.job_realm import (
    ANNE,
    BERT,
    CONSUMER,
    DEADLINE,
    FINGERPRINT,
    JOB,
    MANAGER_KEY,
    NOW,
    RESULT_EXP,
    S1,
    S2,
    S3,
    Desk,
    computed_desk,
    consumer,
    context,
    member,
    octets,
    offered_desk,
    received,
    started_desk,
)

SERVERS = (S1, S2, S3)
REVOCATIONS = 3
COLLECT = received(CONSUMER, JobCollect(job=JOB))


def _issue(
    desk: Desk,
    *recipients: Principal,
    keys: Mapping[Principal, bytes] | None = None,
    seconds: float = 1,
) -> Issued:
    names = recipients or tuple(party.p for party in desk.job.parties)
    return start_messages(
        desk.job, names, MANAGER_KEY, FINGERPRINT, context(seconds), REVOCATIONS, keys
    )


def _start(issued: Issued, recipient: Principal) -> JobStart:
    for send in issued.sends:
        if send.recipient == recipient:
            assert isinstance(send.message, JobStart)
            return send.message
    raise AssertionError(recipient)


def test_everybody_gets_one_start_that_answers_its_accept() -> None:
    """The same signed manifest for all, each with its own nonce."""
    desk = started_desk()
    issued = _issue(desk)

    assert [s.recipient for s in issued.sends] == [p.p for p in desk.job.parties]
    for party in desk.job.parties:
        start = _start(issued, party.p)
        assert start.nonce == party.nonce
        assert start.manifest == issued.manifest == desk.job.manifest
        verify(MANAGER_KEY.public, MANIFEST_LABEL, start.manifest, start.manifest_sig)


def test_the_manifest_says_who_does_what() -> None:
    """Spec and endorsements are as received."""
    desk = started_desk()
    manifest = unpack(Manifest, _issue(desk).manifest)

    assert [p.p for p in manifest.parties] == [*SERVERS, ANNE, BERT, CONSUMER]
    assert [p.party for p in manifest.parties] == [0, 1, 2, None, None, None]
    assert manifest.spec == desk.job.spec
    assert (manifest.job, manifest.epoch, manifest.number) == (JOB, 1, 7)
    assert (manifest.nbf, manifest.exp) == (NOW + 1000, RESULT_EXP)
    online = desk.pool.member(ANNE)
    assert online is not None
    assert manifest.parties[3].endorse == online.endorse
    assert manifest.parties[3].cert == online.cert


def test_servers_get_their_ticket_key_and_clients_tickets() -> None:
    """Every key is fresh, for one server or one pair."""
    issued = _issue(started_desk())
    clients = [_start(issued, name) for name in (ANNE, BERT, CONSUMER)]

    keys = [_start(issued, s).k_tkt for s in SERVERS]
    assert keys == [issued.ticket_keys[s] for s in SERVERS]
    assert all(_start(issued, s).t is None for s in SERVERS)
    assert all(start.k_tkt is None for start in clients)
    tickets = [ticket for start in clients for ticket in start.t or ()]
    assert [t.s for t in tickets] == list(SERVERS) * 3
    assert len({t.k_cs for t in tickets} | set(keys)) == 12


@pytest.mark.parametrize(
    ("client", "authorised", "expires"),
    [
        (
            ANNE,
            TicketAuthorisation(dir="in", cols=("age",), max_bytes=1 << 20),
            DEADLINE,
        ),
        (CONSUMER, TicketAuthorisation(dir="out", cols=(), max_bytes=0), RESULT_EXP),
    ],
)
def test_a_ticket_says_what_its_client_may_do(
    client: Principal, authorised: TicketAuthorisation, expires: int
) -> None:
    """It names both TLS keys and the manifest, and ends with what it is for."""
    issued = _issue(started_desk())
    ticket = (_start(issued, client).t or ())[1]

    body = open_ticket(issued.ticket_keys[S2], FINGERPRINT, JOB, 1, S2, ticket.ticket)

    assert body.az == authorised
    assert (body.nbf, body.exp) == (NOW + 1000 - CLOCK_SKEW_MS, expires)
    assert (body.c, body.role) == (client, "client")
    assert body.cnf_c == sha256(client.encode())
    assert body.cnf_s == sha256(S2.encode())
    assert body.k_cs == ticket.k_cs
    assert body.mh == manifest_hash(issued.manifest)


def test_a_client_with_both_duties_has_one_ticket_for_both() -> None:
    """It lasts as long as the result."""
    desk = started_desk(consumer(Io.BOTH, datasets=("survey",)))
    issued = _issue(desk)
    ticket = (_start(issued, CONSUMER).t or ())[0]

    body = open_ticket(issued.ticket_keys[S1], FINGERPRINT, JOB, 1, S1, ticket.ticket)

    assert body.az.dir == "both"
    assert body.az.cols == ("age",)
    assert body.exp == RESULT_EXP


def test_a_repeated_start_has_the_same_manifest_and_ticket_keys() -> None:
    """The other parties have them already; k_cs travels in the ticket."""
    desk = started_desk()
    first = _issue(desk)

    again = _issue(desk, S1, ANNE, keys=first.ticket_keys, seconds=9)

    assert again.manifest == first.manifest
    assert again.ticket_keys == first.ticket_keys
    assert _start(again, S1) == _start(first, S1)
    ticket = (_start(again, ANNE).t or ())[0]
    body = open_ticket(first.ticket_keys[S1], FINGERPRINT, JOB, 1, S1, ticket.ticket)
    assert body.k_cs == ticket.k_cs
    assert ticket not in (_start(first, ANNE).t or ())


def test_nothing_is_issued_for_a_job_that_was_not_started() -> None:
    """Nor for whom it is not, nor with keys of other servers: bugs of ours."""
    desk = started_desk()

    with pytest.raises(LocalProtocolError, match="has no manifest"):
        _issue(offered_desk())
    with pytest.raises(LocalProtocolError, match="has not accepted"):
        _issue(desk, Principal("Nobody001"))
    with pytest.raises(LocalProtocolError, match="has no ticket key"):
        _issue(desk, S2, keys={S1: bytes(32)})


def test_keys_do_not_show_when_printed() -> None:
    """A log line of what was issued gives nothing away."""
    assert repr(_issue(started_desk())) == "Issued(<redacted>)"


# Collecting


def _collect(
    desk: Desk, keys: Mapping[Principal, bytes], surroundings: Context
) -> JobTickets | ErrorNotice:
    sends = collect_messages(
        desk.job, COLLECT, desk.pool, FINGERPRINT, surroundings, keys
    )
    assert [(s.recipient, s.re) for s in sends] == [(CONSUMER, COLLECT.mid)]
    message = sends[0].message
    assert isinstance(message, JobTickets | ErrorNotice)
    return message


def _renewed(principal: Principal, role: Role, io: Io | None = None) -> Member:
    return member(principal, role, io, spki=octets(f"renewed {principal}", 32))


def test_a_result_is_fetched_with_the_tls_keys_of_now() -> None:
    """Under the ticket keys that the servers kept."""
    desk = computed_desk()
    keys = _issue(desk).ticket_keys
    desk.pool = desk.pool.changed(
        _renewed(S1, Role.MPCS), _renewed(CONSUMER, Role.CLIENT, Io.OUTPUT)
    )

    message = _collect(desk, keys, context(5))

    assert isinstance(message, JobTickets)
    assert [t.s for t in message.t] == list(SERVERS)
    first = message.t[0]
    body = open_ticket(keys[S1], FINGERPRINT, JOB, 1, S1, first.ticket)
    assert body.cnf_c == octets(f"renewed {CONSUMER}", 32)
    assert body.cnf_s == octets(f"renewed {S1}", 32)
    assert (body.az.dir, body.exp, body.k_cs) == ("out", RESULT_EXP, first.k_cs)
    online = desk.pool.member(S1)
    assert online is not None
    assert (first.endorse, first.endorse_sig) == (online.endorse, online.endorse_sig)


def test_servers_that_are_offline_are_left_out() -> None:
    """The consumer fetches what it can and asks again."""
    desk = computed_desk()
    keys = _issue(desk).ticket_keys
    desk.pool = desk.pool.without(S2)

    message = _collect(desk, keys, context(5))

    assert isinstance(message, JobTickets)
    assert [t.s for t in message.t] == [S1, S3]


@pytest.mark.parametrize("offline", [SERVERS, (CONSUMER,)])
def test_without_anybody_to_meet_the_answer_is_busy(
    offline: tuple[Principal, ...],
) -> None:
    """It is worth asking again."""
    desk = computed_desk()
    keys = _issue(desk).ticket_keys
    desk.pool = desk.pool.without(*offline)

    message = _collect(desk, keys, context(5))

    assert isinstance(message, ErrorNotice)
    assert message.code is ErrorCode.BUSY


def test_a_fresh_ticket_opens_under_the_jobs_key_only() -> None:
    """A key of another server does not open it."""
    desk = computed_desk()
    keys = _issue(desk).ticket_keys
    message = _collect(desk, keys, context(5))
    assert isinstance(message, JobTickets)

    with pytest.raises(UnsealError):
        open_ticket(keys[S2], FINGERPRINT, JOB, 1, S1, message.t[0].ticket)
