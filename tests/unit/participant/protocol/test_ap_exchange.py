"""The AP exchange and peers' hellos: every check, in its order."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from participant.protocol.ap_exchange import (
    MAX_REQUEST_BYTES,
    Admission,
    Call,
    Client,
    ServedJob,
    admit,
    check_reply,
    job_of_request,
    request,
)
from participant.protocol.peer_hello import (
    LinkFacts,
    PeeredJob,
    Server,
    check_peer_hello,
    job_of_hello,
    link_hello,
    peer_hello,
    read_link_hello,
)
from shared.crypto.certificates import spiffe_id
from shared.crypto.derivation import sha256
from shared.crypto.keys import SigningKey
from shared.crypto.sealing import NONCE_BYTES
from shared.errors import FailureCode, JobAbortedError, RemoteProtocolError
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
from shared.protocol.tickets import seal_ticket

REALM = Realm("realm")
FINGERPRINT = Fingerprint(b"F" * 32)
JOB = JobId(b"J" * 16)
CLIENT = Principal("Hospital001")
OTHER = Principal("Hospital002")
SERVER = Principal("MPC_server_001")
MANIFEST = b"M" * 32
TICKET_KEY = b"T" * 32
K_CS = b"K" * 32
TID = b"t" * 16
NOW_MS = 1_800_000_000_000
CONTEXT = Context(
    datetime.fromtimestamp(NOW_MS / 1000, UTC), lambda count: b"n" * count
)
S_NONCE = b"s" * 16
C_NONCE = b"c" * 16
SIG = SigningKey.from_seed(b"i" * 32)
LIMITS = Limits(max_frame=1 << 20, max_bytes=5000)

CLIENT_LEAF, SERVER_LEAF = b"client leaf", b"server leaf"
CLIENT_SPKI, SERVER_SPKI = sha256(b"client key"), sha256(b"server key")
AT_CLIENT = LinkFacts(
    CLIENT_LEAF,
    SERVER_LEAF,
    CLIENT_SPKI,
    SERVER_SPKI,
    spiffe_id(REALM, Role.MPCS, SERVER),
)
AT_SERVER = LinkFacts(
    SERVER_LEAF,
    CLIENT_LEAF,
    SERVER_SPKI,
    CLIENT_SPKI,
    spiffe_id(REALM, Role.CLIENT, CLIENT),
)
SERVED = ServedJob(
    server=SERVER,
    realm=REALM,
    fingerprint=FINGERPRINT,
    job=JOB,
    epoch=1,
    manifest_hash=MANIFEST,
    ticket_key=TICKET_KEY,
    clients={CLIENT: Client(CLIENT_SPKI, SIG.public, frozenset({Duty.INPUT}))},
)


def ticket(**changes: object) -> bytes:
    """Return a sealed ticket; ``key`` and ``server`` seal it, the rest is in it."""
    key = changes.pop("key", TICKET_KEY)
    server = changes.pop("server", SERVER)
    assert isinstance(key, bytes)
    assert isinstance(server, str)
    body = TicketBody.model_validate(
        {
            "tid": TID,
            "mh": MANIFEST,
            "c": CLIENT,
            "role": "client",
            "cnf_c": CLIENT_SPKI,
            "cnf_s": SERVER_SPKI,
            "k_cs": K_CS,
            "az": TicketAuthorisation(dir="in", cols=("age",), max_bytes=1000),
            "nbf": NOW_MS,
            "exp": NOW_MS + 60_000,
            **changes,
        }
    )
    return seal_ticket(
        body, key, FINGERPRINT, JOB, 1, Principal(server), b"0" * NONCE_BYTES
    )


def call(**changes: object) -> Call:
    """Return what the client asks for."""
    asked = Call(CLIENT, SERVER, JOB, 1, MANIFEST, ticket(), K_CS)
    return replace(asked, **changes)  # type: ignore[arg-type]  # fields of a Call


def asked(**changes: object) -> bytes:
    """Return an ap.req; ``facts`` and ``nonce`` are the link's, the rest the call's."""
    facts = changes.pop("facts", AT_CLIENT)
    nonce = changes.pop("nonce", S_NONCE)
    assert isinstance(facts, LinkFacts)
    assert isinstance(nonce, bytes)
    return request(call(**changes), facts, nonce, C_NONCE)


def admitted(
    body: bytes,
    job: ServedJob = SERVED,
    facts: LinkFacts = AT_SERVER,
    spent: frozenset[bytes] = frozenset(),
    context: Context = CONTEXT,
) -> Admission:
    """Return the server's decision."""
    return admit(job, facts, S_NONCE, body, spent, LIMITS, context)


def endorsement(key: SigningKey = SIG, **changes: object) -> dict[str, object]:
    """Return a newer endorsement of the client's current TLS key, for a call."""
    endorse = Endorsement.model_validate(
        {
            "v": 1,
            "realm": FINGERPRINT,
            "p": CLIENT,
            "role": Role.CLIENT,
            "spki": CLIENT_SPKI,
            "addrs": (),
            "nbf": NOW_MS - 1000,
            "exp": NOW_MS + 1000,
            **changes,
        }
    ).pack()
    return {"endorse": endorse, "endorse_sig": key.sign(b"MPX1-endorse\0", endorse)}


def renewed(sig_pk: bytes = SIG.public) -> ServedJob:
    """Return the job in whose manifest the client still has its older TLS key."""
    older = Client(sha256(b"older key"), sig_pk, frozenset({Duty.INPUT}))
    return replace(SERVED, clients={CLIENT: older})


def test_both_halves_agree() -> None:
    """One round trip: the client is admitted, the server proven, a nonce handed on."""
    body = asked()
    admission = admitted(body)
    answer = check_reply(call(), AT_CLIENT, S_NONCE, C_NONCE, admission.reply)

    assert job_of_request(body) == (JOB, 1)
    assert admission.client == CLIENT
    assert admission.ticket_id == TID
    assert admission.authorisation.dir == "in"
    assert (
        answer.limits == admission.limits == Limits(max_frame=1 << 20, max_bytes=1000)
    )
    assert answer.next_nonce == admission.next_nonce == b"n" * 16


def test_server_takes_no_more_than_it_can() -> None:
    """The smaller of the ticket's and the server's own limit holds."""
    large = TicketAuthorisation(dir="in", cols=(), max_bytes=1 << 40)
    admission = admitted(asked(ticket=ticket(az=large)))

    assert admission.limits.max_bytes == LIMITS.max_bytes


def test_nonce_is_chained_to_the_next_request() -> None:
    """The second job on a link uses the nonce of the first one's reply."""
    next_nonce = admitted(asked()).next_nonce
    admission = admit(
        SERVED,
        AT_SERVER,
        next_nonce,
        asked(nonce=next_nonce),
        frozenset(),
        LIMITS,
        CONTEXT,
    )

    assert admission.client == CLIENT


def test_too_long_request_is_refused_unread() -> None:
    """8 KiB is enough for any ticket and endorsement."""
    with pytest.raises(RemoteProtocolError, match="too long"):
        admitted(bytes(MAX_REQUEST_BYTES + 1))


@pytest.mark.parametrize("body", [b"", b"\x80", b"\xc1"])
def test_nonsense_is_refused(body: bytes) -> None:
    """Whatever is no ap.req is no ap.req."""
    with pytest.raises(RemoteProtocolError, match="not a ApRequest"):
        admitted(body)
    with pytest.raises(RemoteProtocolError):
        job_of_request(body)


@pytest.mark.parametrize("changes", [{"job": JobId(b"X" * 16)}, {"epoch": 2}])
def test_request_for_another_job_is_refused(changes: dict[str, object]) -> None:
    """The shell looks jobs up by name; the check is here."""
    with pytest.raises(RemoteProtocolError, match="another job"):
        admitted(asked(**changes))


@pytest.mark.parametrize(
    "presented",
    [
        ticket(key=b"U" * 32),
        ticket(server=Principal("MPC_server_002")),
        ticket()[:-1] + b"\0",
        b"short",
    ],
)
def test_24_25_ticket_that_is_not_for_us_does_not_open(presented: bytes) -> None:
    """Another server's, another key's, an altered one."""
    with pytest.raises(RemoteProtocolError, match="does not open"):
        admitted(asked(ticket=presented))


def test_24_ticket_of_another_job_does_not_open() -> None:
    """The job is in what the seal is bound to."""
    other = replace(SERVED, job=JobId(b"X" * 16))
    with pytest.raises(RemoteProtocolError, match="does not open"):
        admitted(asked(job=other.job), job=other)


@pytest.mark.parametrize(
    "times",
    [
        {"nbf": 0, "exp": NOW_MS},
        {"nbf": NOW_MS + 120_001, "exp": NOW_MS + 200_000},
    ],
)
def test_26_ticket_outside_its_time_is_refused(times: dict[str, object]) -> None:
    """The end is exact; the start allows for the clocks' skew."""
    with pytest.raises(RemoteProtocolError, match="outside its time"):
        admitted(asked(ticket=ticket(**times)))


def test_26_client_needs_no_clock() -> None:
    """Nothing in an ap.req depends on the client's time."""
    assert admitted(asked(ticket=ticket(nbf=NOW_MS + 119_000))).client == CLIENT


def test_ticket_of_another_manifest_is_refused() -> None:
    """Whoever is in the roster is in the hash."""
    with pytest.raises(RemoteProtocolError, match="another manifest"):
        admitted(asked(ticket=ticket(mh=b"N" * 32)))


def test_ticket_for_another_leaf_of_the_server_is_refused() -> None:
    """cnf_s is the leaf that was presented on this very link."""
    with pytest.raises(RemoteProtocolError, match="leaf of this server"):
        admitted(asked(ticket=ticket(cnf_s=b"x" * 32)))


def test_ticket_of_a_client_outside_the_manifest_is_refused() -> None:
    """The manifest names the clients."""
    with pytest.raises(RemoteProtocolError, match="manifest lacks"):
        admitted(asked(ticket=ticket(c=OTHER)))


def test_22_ticket_over_anothers_leaf_is_refused() -> None:
    """cnf_c is the leaf at the other end."""
    with pytest.raises(RemoteProtocolError, match="another leaf of a client"):
        admitted(asked(), facts=replace(AT_SERVER, peer_spki=b"x" * 32))


def test_60_ticket_that_names_a_leaf_its_client_did_not_endorse_is_refused() -> None:
    """A manager cannot put another's leaf under a client's name."""
    forged = ticket(cnf_c=b"x" * 32)
    with pytest.raises(RemoteProtocolError, match="did not endorse"):
        admitted(asked(ticket=forged), facts=replace(AT_SERVER, peer_spki=b"x" * 32))


def test_60_leaf_with_anothers_name_is_refused() -> None:
    """Key and name must both be the client's."""
    name = spiffe_id(REALM, Role.CLIENT, OTHER)
    with pytest.raises(RemoteProtocolError, match="not a leaf of"):
        admitted(asked(), facts=replace(AT_SERVER, peer_name=name))


def test_server_may_not_show_a_ticket() -> None:
    """The endorsed role decides what a dialler may send."""
    name = spiffe_id(REALM, Role.MPCS, CLIENT)
    with pytest.raises(RemoteProtocolError, match="not a leaf of"):
        admitted(asked(), facts=replace(AT_SERVER, peer_name=name))


def test_63_newer_endorsement_of_the_same_identity_is_taken() -> None:
    """A consumer that came back has a new TLS key and the same identity."""
    assert admitted(asked(**endorsement()), job=renewed()).client == CLIENT


def test_63_endorsement_without_signature_is_none() -> None:
    """Both or nothing."""
    for half in ("endorse", "endorse_sig"):
        with pytest.raises(RemoteProtocolError, match="did not endorse"):
            admitted(asked(**{half: endorsement()[half]}), job=renewed())


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (endorsement(SigningKey.from_seed(b"j" * 32)), "does not verify"),
        (endorsement(p=OTHER), "another principal"),
        (endorsement(role=Role.MPCS), "another principal"),
        (endorsement(realm=b"G" * 32), "another principal"),
        (endorsement(exp=NOW_MS), "outside its time"),
        (endorsement(nbf=NOW_MS + 120_001), "outside its time"),
        (endorsement(spki=b"x" * 32), "not the endorsed TLS key"),
        (
            {"endorse": b"\x80", "endorse_sig": SIG.sign(b"MPX1-endorse\0", b"\x80")},
            "does not verify",
        ),
    ],
)
def test_63_wrong_newer_endorsement_is_refused(
    shown: dict[str, object], why: str
) -> None:
    """Another key's, another's, out of time, for another TLS key, or nonsense."""
    with pytest.raises(RemoteProtocolError, match=why):
        admitted(asked(**shown), job=renewed())


@pytest.mark.parametrize("direction", ["out", "both"])
def test_ticket_for_a_duty_that_the_manifest_does_not_give_is_refused(
    direction: str,
) -> None:
    """A source cannot fetch results, whatever its ticket says."""
    more = TicketAuthorisation.model_validate(
        {"dir": direction, "cols": (), "max_bytes": 1}
    )
    with pytest.raises(RemoteProtocolError, match="duty"):
        admitted(asked(ticket=ticket(az=more)))


@pytest.mark.parametrize(
    "body",
    [
        asked(key=b"L" * 32),
        asked(nonce=b"r" * 16),
        asked(facts=replace(AT_CLIENT, own_leaf=b"another certificate of the key")),
        asked(facts=replace(AT_CLIENT, peer_leaf=b"another certificate of the key")),
        asked(manifest_hash=b"N" * 32),
        asked(client=OTHER),
        asked(server=Principal("MPC_server_002")),
    ],
)
def test_23_30_wrong_mac_is_refused(body: bytes) -> None:
    """Another k_cs, an older nonce, another link, other names."""
    with pytest.raises(RemoteProtocolError, match=r"MAC of an ap\.req"):
        admitted(body)


def test_23_altered_nonce_of_the_client_is_refused() -> None:
    """Every field of an ap.req is under its MAC."""
    altered = unpack(ApRequest, asked()).model_copy(update={"n_a": b"d" * 16})
    with pytest.raises(RemoteProtocolError, match=r"MAC of an ap\.req"):
        admitted(altered.pack())


def test_30_spent_ticket_is_refused() -> None:
    """Once data were exchanged under it, it is worth nothing."""
    with pytest.raises(RemoteProtocolError, match="used before"):
        admitted(asked(), spent=frozenset({TID}))


def test_reply_from_somebody_without_the_key_is_refused() -> None:
    """The exchange is mutual: who cannot open the ticket cannot answer."""
    reply = admitted(asked()).reply
    for wrong in (call(key=b"L" * 32), call(server=Principal("MPC_server_002"))):
        with pytest.raises(RemoteProtocolError, match=r"MAC of an ap\.rep"):
            check_reply(wrong, AT_CLIENT, S_NONCE, C_NONCE, reply)
    with pytest.raises(RemoteProtocolError, match=r"MAC of an ap\.rep"):
        check_reply(call(), AT_CLIENT, S_NONCE, b"d" * 16, reply)
    with pytest.raises(RemoteProtocolError, match="not a ApReply"):
        check_reply(call(), AT_CLIENT, S_NONCE, C_NONCE, b"\x80")


def test_altered_limits_or_nonce_in_a_reply_are_refused() -> None:
    """What the client acts on is under the MAC."""
    reply = unpack(ApReply, admitted(asked()).reply)
    for changes in (
        {"lim": Limits(max_frame=1, max_bytes=1)},
        {"n_s": b"m" * 16},
    ):
        with pytest.raises(RemoteProtocolError, match=r"MAC of an ap\.rep"):
            check_reply(
                call(),
                AT_CLIENT,
                S_NONCE,
                C_NONCE,
                reply.model_copy(update=changes).pack(),
            )


def test_secrets_are_not_printed() -> None:
    """A state that is logged by accident shows no key."""
    assert "KKKK" not in repr(call())
    assert "TTTT" not in repr(SERVED)


# ---- hellos ----

SPKI = {0: sha256(b"0"), 1: sha256(b"1"), 2: sha256(b"2")}
NAME = {index: Principal(f"MPC_server_00{index + 1}") for index in SPKI}


def peered(party: int, **changes: object) -> PeeredJob:
    """Return the job as this server sees it."""
    job = PeeredJob(
        party=party,
        realm=REALM,
        job=JOB,
        epoch=1,
        manifest_hash=MANIFEST,
        servers={index: Server(NAME[index], SPKI[index]) for index in SPKI},
    )
    return replace(job, **changes)  # type: ignore[arg-type]  # fields of a PeeredJob


def link_from(peer: int) -> LinkFacts:
    """Return a link with this server at the other end."""
    name = spiffe_id(REALM, Role.MPCS, NAME[peer])
    return LinkFacts(b"own", b"peer", secrets.token_bytes(32), SPKI[peer], name)


def test_link_hello_carries_a_nonce() -> None:
    """The listener's first frame, and nothing else is one."""
    assert read_link_hello(link_hello(S_NONCE)) == S_NONCE
    with pytest.raises(RemoteProtocolError, match="not a LinkHello"):
        read_link_hello(b"\x80")


def test_peers_prove_who_they_are_both_ways() -> None:
    """The dialler's hello is answered by the listener's."""
    hello = peer_hello(peered(0), 1)
    answer = peer_hello(peered(1), 0)

    assert job_of_hello(hello) == (JOB, 1)
    assert check_peer_hello(peered(1), link_from(0), hello, expected=None) == 0
    assert check_peer_hello(peered(0), link_from(1), answer, expected=1) == 1


@pytest.mark.parametrize("index", [1, 3])
def test_34_party_that_the_manifest_lacks_is_refused(index: int) -> None:
    """Nobody is party 3 of three, and nobody else is me."""
    hello = peer_hello(peered(index), 1)
    with pytest.raises(RemoteProtocolError, match="manifest lacks"):
        check_peer_hello(peered(1), link_from(0), hello, expected=None)


def test_34_party_that_claims_anothers_index_is_refused() -> None:
    """The leaf says which party it is."""
    hello = peer_hello(peered(0), 1)
    with pytest.raises(RemoteProtocolError, match="not the endorsed TLS key"):
        check_peer_hello(peered(1), link_from(2), hello, expected=None)


def test_34_leaf_with_anothers_name_is_refused() -> None:
    """Key and name must both be the server's."""
    facts = replace(link_from(0), peer_name=spiffe_id(REALM, Role.CLIENT, NAME[0]))
    with pytest.raises(RemoteProtocolError, match="not a leaf of"):
        check_peer_hello(peered(1), facts, peer_hello(peered(0), 1), expected=None)


def test_only_the_lower_index_dials() -> None:
    """Two links between one pair would be one too many."""
    hello = peer_hello(peered(2), 1)
    with pytest.raises(RemoteProtocolError, match="than expected"):
        check_peer_hello(peered(1), link_from(2), hello, expected=None)


def test_answer_of_another_party_than_dialled_is_refused() -> None:
    """The dialler knows whom it dialled."""
    hello = peer_hello(peered(2), 0)
    with pytest.raises(RemoteProtocolError, match="than expected"):
        check_peer_hello(peered(0), link_from(2), hello, expected=1)


def test_hello_for_another_party_or_job_is_refused() -> None:
    """A hello names both ends and the job."""
    with pytest.raises(RemoteProtocolError, match="for another party"):
        check_peer_hello(
            peered(1), link_from(0), peer_hello(peered(0), 2), expected=None
        )
    for changes in ({"epoch": 2}, {"job": JobId(b"X" * 16)}):
        hello = peer_hello(peered(0, **changes), 1)
        with pytest.raises(RemoteProtocolError, match="for another job"):
            check_peer_hello(peered(1), link_from(0), hello, expected=None)
    with pytest.raises(RemoteProtocolError, match="not a PeerHello"):
        check_peer_hello(peered(1), link_from(0), b"\x80", expected=None)


def test_35_another_manifest_is_a_roster_mismatch() -> None:
    """A proven peer with another roster ends the job, and is named."""
    hello = peer_hello(peered(0, manifest_hash=b"N" * 32), 1)
    with pytest.raises(JobAbortedError) as caught:
        check_peer_hello(peered(1), link_from(0), hello, expected=None)

    assert caught.value.code is FailureCode.ROSTER_MISMATCH
    assert caught.value.party == NAME[0]
