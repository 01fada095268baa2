"""Who may come in: registration and the AS exchange against honest and hostile peers."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from manager.protocol.registration import TokenStage
from manager.service.enrolment import BrokerAddress, TokenRequest, create_token
from manager.store.records import CommandKind, SessionStanding
from shared.crypto.certificates import read_leaf, spki_hash
from shared.crypto.keys import SigningKey
from shared.envelope import Clear, KemSeal, SessionSeal
from shared.errors import ConfigError, ErrorCode
from shared.messages import (
    AsReply,
    AsRequest,
    CertificateBody,
    Endorsement,
    ErrorNotice,
    JobOffer,
    RealmDescriptor,
    RegistrationReply,
    RegistrationRequest,
    Status,
    unpack,
)
from shared.names import Io, Role
from shared.protocol.manifest import ENDORSEMENT_LABEL
from tests.manager_realm import ManagerRealm, RawParty

STATUS = Status(slots_free=1, slots=1, load=0)


def run(history: Callable[[ManagerRealm], Coroutine[object, object, None]]) -> None:
    """Run a history in a fresh realm."""

    async def whole() -> None:
        realm = ManagerRealm()
        await realm.start()
        await history(realm)

    asyncio.run(whole())


def _principals(realm: ManagerRealm) -> list[str]:
    with realm.store.transaction() as unit:
        return [record.principal for record in unit.people.principals()]


def _stages(realm: ManagerRealm) -> list[TokenStage]:
    with realm.store.transaction() as unit:
        return [token.stage for token, _ in unit.people.tokens()]


def _sessions(realm: ManagerRealm, standing: SessionStanding) -> int:
    with realm.store.transaction() as unit:
        return sum(each.standing is standing for each in unit.sessions.all())


def test_the_holder_of_a_token_finds_the_realm_described() -> None:
    """The first message in the enrolment queue is signed by the pinned root."""

    async def history(realm: ManagerRealm) -> None:
        token = await realm.token(Role.MPCS)
        party = RawParty(realm, "s", token, Role.MPCS)

        assert [type(message) for message in party.read()] == [RealmDescriptor]

    run(history)


def test_a_used_token_is_refused_with_an_alarm() -> None:
    """Another key on a used token (test 18)."""

    async def history(realm: ManagerRealm) -> None:
        first = await realm.enrol("s1", Role.MPCS)
        realm.provisioner.create_enrolment(first.token.token_id, "again")
        second = RawParty(realm, "s2", first.token, Role.MPCS)
        second.send_sealed(second.request())
        await realm.settle()
        errors = second.errors()
        await realm.service.tick()

        assert errors == ["unauthenticated"]
        assert _principals(realm) == ["MPC_server_001"]
        assert realm.counters()["alarm"] == 1
        assert _stages(realm) == [TokenStage.USED]

    run(history)


def test_of_twenty_claims_of_one_token_one_is_served() -> None:
    """All at once, each with its own keys (test 19)."""

    async def history(realm: ManagerRealm) -> None:
        token = await realm.token(Role.CLIENT, Io.INPUT, "hospital")
        claims = [
            RawParty(realm, f"c{i}", token, Role.CLIENT, Io.INPUT) for i in range(20)
        ]
        for claim in claims:
            claim.send_sealed(claim.request())
        await realm.settle()

        assert _principals(realm) == ["hospital001"]

    run(history)


def test_a_token_for_something_else_gets_the_same_refusal() -> None:
    """Role, io, prefix, secret, expiry, revocation: one code (test 20)."""

    async def history(realm: ManagerRealm) -> None:
        codes: list[list[str]] = []
        changes: list[dict[str, object]] = [
            {"role": Role.MPCS, "io": None},
            {"io": Io.OUTPUT},
            {"prefix": "bank"},
            {"secret": bytes(16)},
        ]
        for change in changes:
            token = await realm.token(Role.CLIENT, Io.INPUT, "hospital")
            party = RawParty(realm, "c", token, Role.CLIENT, Io.INPUT)
            party.read()
            party.send_sealed(party.request().model_copy(update=change))
            await realm.settle()
            codes.append(party.errors())
        token = await realm.token(Role.MPCS)
        party = RawParty(realm, "s", token, Role.MPCS)
        party.read()
        with realm.store.transaction() as unit:
            state = unit.people.token(token.token_id)
            assert state is not None
            unit.people.save_token(replace(state, expires=realm.clock.ms))
        party.send_sealed(party.request())
        await realm.settle()
        codes.append(party.errors())

        assert codes == [["unauthenticated"]] * 5
        assert _principals(realm) == []

    run(history)


def test_a_revoked_token_lets_nobody_in() -> None:
    """Its user and queue are gone, and its row says so."""

    async def history(realm: ManagerRealm) -> None:
        token = await realm.token(Role.MPCS)
        with realm.store.transaction() as unit:
            unit.orders.add_command(CommandKind.REVOKE_TOKEN, token.token_id, 0)
        await realm.service.tick()

        assert _stages(realm) == [TokenStage.REVOKED]
        assert realm.provisioner.users == set()

    run(history)


def test_an_unused_token_ends_by_itself() -> None:
    """Its user and queue vanish with it."""

    async def history(realm: ManagerRealm) -> None:
        await realm.token(Role.MPCS)
        await realm.pass_time(3601)

        assert _stages(realm) == [TokenStage.EXPIRED]
        assert realm.provisioner.users == set()

    run(history)


def test_a_repeated_request_gets_the_same_name() -> None:
    """reg.rep is lost, the request comes again, no number is skipped (test 21)."""

    async def history(realm: ManagerRealm) -> None:
        token = await realm.token(Role.MPCS)
        party = RawParty(realm, "s", token, Role.MPCS)
        party.read()
        request = party.request()
        party.send_sealed(request)
        await realm.settle()
        [lost] = [m for m in party.read() if isinstance(m, RegistrationReply)]
        again = request.model_copy(update={"nonce": bytes(16)})
        party.send_sealed(again)
        await realm.settle()
        [reply] = [m for m in party.read() if isinstance(m, RegistrationReply)]
        other = await realm.enrol("s2", Role.MPCS)

        assert (reply.principal, reply.cert) == (lost.principal, lost.cert)
        assert reply.nonce == bytes(16)
        assert other.principal == "MPC_server_002"

    run(history)


@pytest.mark.parametrize("prefix", ["MPC_server_", "mpc_server_x", "ward7", "a", "b c"])
def test_a_prefix_that_could_be_mistaken_is_refused(prefix: str) -> None:
    """Reserved, or ending in a digit (test 61)."""

    async def history(realm: ManagerRealm) -> None:
        with pytest.raises(ConfigError):
            await realm.token(Role.CLIENT, Io.INPUT, prefix)

    run(history)


@pytest.mark.parametrize(
    "request_",
    [
        TokenRequest(Role.CLIENT),
        TokenRequest(Role.MPCS, Io.INPUT),
        TokenRequest(Role.MPCS, life=timedelta(hours=25)),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(request_: TokenRequest) -> None:
    """A client does something, a server has no io, nothing lives for ever."""

    async def history(realm: ManagerRealm) -> None:
        address = BrokerAddress("amqp://127.0.0.1:5672")
        with pytest.raises(ConfigError):
            create_token(
                realm.store,
                realm.keys,
                realm.provisioner,
                address,
                request_,
                realm.clock.now(),
                realm.entropy,
            )

        assert _stages(realm) == []

    run(history)


@pytest.mark.parametrize("field", ["sig_pk", "kem_pk"])
def test_a_key_of_low_order_is_not_certified(field: str) -> None:
    """Everybody would know its secret (test 49)."""

    async def history(realm: ManagerRealm) -> None:
        token = await realm.token(Role.MPCS)
        party = RawParty(realm, "s", token, Role.MPCS)
        weak = party.request().model_copy(update={field: bytes(32)})
        party.send_sealed(weak)
        await realm.settle()

        assert _principals(realm) == []

    run(history)


def test_nobody_logs_in_before_reg_done() -> None:
    """The certificate must have arrived first."""

    async def history(realm: ManagerRealm) -> None:
        token = await realm.token(Role.MPCS)
        party = RawParty(realm, "s", token, Role.MPCS)
        party.send_sealed(party.request())
        await realm.settle()
        [reply] = [m for m in party.read() if isinstance(m, RegistrationReply)]
        party.become(reply)
        party.send_sealed(party.login())
        await realm.settle()

        assert party.errors() == ["unauthenticated"]

    run(history)


def test_the_leaf_carries_what_the_manager_sets() -> None:
    """The request's own name is not looked at (test 53)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        core = await party.log_in()
        leaf = read_leaf(core.leaf)

        assert leaf.common_name == party.principal
        assert leaf.spiffe == f"spiffe://demo/mpcs/{party.principal}"
        assert leaf.spki_hash == spki_hash(party.tls.spki)
        assert core.exp - realm.clock.ms <= 24 * 3600 * 1000

    run(history)


def _csr(*, authority: bool, names: tuple[str, ...] = ()) -> bytes:
    """Return a request that asks for more than a name."""
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    )
    if authority:
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]),
            critical=False,
        )
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _endorsed(party: RawParty, request: AsRequest, **changes: object) -> AsRequest:
    """Return the request with another endorsement, signed by the party itself."""
    endorsement = unpack(Endorsement, request.endorse).model_copy(update=changes)
    packed = endorsement.pack()
    return request.model_copy(
        update={
            "endorse": packed,
            "endorse_sig": party.signer.sign(ENDORSEMENT_LABEL, packed),
        }
    )


_BAD_LOGINS: dict[str, Callable[[RawParty, AsRequest], AsRequest]] = {
    "another key than endorsed": lambda _, r: r.model_copy(
        update={"csr": _csr(authority=False)}
    ),
    "asks for an authority": lambda _, r: r.model_copy(
        update={"csr": _csr(authority=True)}
    ),
    "asks for a name": lambda _, r: r.model_copy(
        update={"csr": _csr(authority=False, names=("x.example",))}
    ),
    "no request": lambda _, r: r.model_copy(update={"csr": b"csr"}),
    "ephemeral key of low order": lambda _, r: r.model_copy(update={"e": bytes(32)}),
    "another realm": lambda _, r: r.model_copy(update={"m": bytes(32)}),
    "another name": lambda _, r: r.model_copy(update={"p": "MPC_server_099"}),
    "endorsement of another": lambda p, r: _endorsed(p, r, p="MPC_server_099"),
    "endorsement for another realm": lambda p, r: _endorsed(p, r, realm=bytes(32)),
    "endorsement for another role": lambda p, r: _endorsed(p, r, role=Role.CLIENT),
    "endorsement that is over": lambda p, r: _endorsed(p, r, exp=1),
    "endorsement to come": lambda p, r: _endorsed(p, r, nbf=2**61),
    "server without an address": lambda p, r: _endorsed(p, r, addrs=()),
    "endorsement by another key": lambda _, r: r.model_copy(
        update={
            "endorse_sig": SigningKey.from_seed(bytes(32)).sign(
                ENDORSEMENT_LABEL, r.endorse
            )
        }
    ),
    "too short a life": lambda _, r: r.model_copy(update={"life": 1000}),
}


@pytest.mark.parametrize("why", list(_BAD_LOGINS))
def test_a_wrong_login_opens_no_session(why: str) -> None:
    """Whatever is wrong, the answer is the same (tests 49, 53)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        party.send_sealed(_BAD_LOGINS[why](party, party.login()))
        await realm.settle()

        assert party.errors() == ["unauthenticated"]
        assert _sessions(realm, SessionStanding.HALF_OPEN) == 0

    run(history)


def test_a_clock_that_is_off_is_told_the_time() -> None:
    """Ten minutes: ``expired`` with the manager's signed time (test 12)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        party.send_sealed(party.login(now=realm.clock.ms - 600_000))
        await realm.settle()
        [error] = [m for m in party.read() if isinstance(m, ErrorNotice)]

        assert (error.code.value, error.now) == ("expired", realm.clock.ms)

    run(history)


@pytest.mark.parametrize("age_ms", [600_000, -600_000])
def test_an_envelope_outside_its_time_is_dropped_with_the_time(age_ms: int) -> None:
    """The header's own times count before anything is opened (test 12)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        protection = KemSeal(realm.keys.kem.public)
        party.post(party.login(), protection, age_ms=age_ms)
        await realm.settle()

        assert party.errors() == ["expired"]
        assert _sessions(realm, SessionStanding.HALF_OPEN) == 0

    run(history)


@pytest.mark.parametrize("changes", [{"vers": (2,)}, {"suites": (1, 3)}])
def test_a_version_that_nobody_speaks_is_refused(changes: dict[str, object]) -> None:
    """No silent fallback (test 43)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        party.send_sealed(party.login(**changes))
        await realm.settle()

        assert party.errors() == ["version"]

    run(history)


def test_a_replayed_login_opens_no_session() -> None:
    """The same request in a new envelope, also after a restart (test 51)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        request = party.login()
        party.send_sealed(request)
        await realm.settle()
        await realm.crash()
        party.send_sealed(request)
        await realm.settle()
        # A restart may publish an answer again, with the same bytes.
        replies = {m.core for m in party.read() if isinstance(m, AsReply)}
        await realm.service.tick()

        assert len(replies) == 1
        assert realm.counters()["replay"] == 1
        assert _sessions(realm, SessionStanding.HALF_OPEN) == 1

    run(history)


def test_a_second_login_supersedes_the_first_when_it_is_used() -> None:
    """Until then the first session lives; then it is told (test 56)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.join("s", Role.MPCS)
        first = (party.sid, party.keys, party.seq)
        await party.log_in()
        second = (party.sid, party.keys, party.seq)
        live_before = _sessions(realm, SessionStanding.LIVE)
        party.send(STATUS)
        await realm.settle()
        party.sid, party.keys, party.seq = first
        party.send(STATUS)
        await realm.settle()
        errors = party.errors()
        party.sid, party.keys, party.seq = second

        assert live_before == 1
        assert errors == ["superseded"]
        assert _sessions(realm, SessionStanding.LIVE) == 1

    run(history)


def test_a_session_that_nobody_uses_ends() -> None:
    """Half-open for 60 s at most, and at most two of them."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        for _ in range(3):
            await party.log_in()
        half_open = _sessions(realm, SessionStanding.HALF_OPEN)
        await realm.pass_time(61)

        assert half_open == 2
        assert _sessions(realm, SessionStanding.HALF_OPEN) == 0

    run(history)


def test_more_logins_than_allowed_are_not_opened() -> None:
    """Twenty at once; the next is told ``busy``."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        for _ in range(21):
            party.send_sealed(party.login())
        await realm.settle()

        assert party.errors() == ["busy"]

    run(history)


def test_a_certificate_near_its_end_is_renewed() -> None:
    """With a third of its life left, if the manager's key lives longer."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.enrol("s", Role.MPCS)
        with realm.store.transaction() as unit:
            [record] = unit.people.principals()
            ends = realm.clock.ms + 24 * 3600 * 1000
            begins = realm.clock.ms - 10 * 24 * 3600 * 1000
            unit.people.save_principal(
                replace(record, cert_begins=begins, cert_ends=ends)
            )
        await realm.crash()
        core = await party.log_in()
        assert core.cert is not None
        renewed = unpack(CertificateBody, core.cert.c)

        assert renewed.serial == 2
        assert renewed.exp == realm.keys.ends

    run(history)


def test_what_the_broker_says_must_fit_the_envelope() -> None:
    """User, copies, routing key: dropped without a word (tests 42, 57)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.join("s", Role.MPCS)
        other = await realm.join("t", Role.MPCS)
        message = party.send(STATUS)
        realm.broker.settle()
        taken = realm.transport.take(10)
        realm.transport.done(taken)
        queue = "manager.jobs"
        realm.broker.inject(queue, replace(message, user_id=None))
        realm.broker.inject(queue, replace(message, user_id=other.principal))
        realm.broker.inject(queue, message, has_copies=True)
        realm.broker.inject(queue, replace(message, routing_key="jobs.other"))
        realm.broker.inject("manager.registration", message)
        await realm.settle()
        await realm.service.tick()
        counters = realm.counters()

        assert party.read() == []
        assert (counters["user_id"], counters["copies"]) == (2, 3)

    run(history)


def test_a_flood_over_budget_is_not_opened() -> None:
    """What is over 50 a second is dropped before any public-key work (test 41)."""

    async def history(realm: ManagerRealm) -> None:
        flooder = await realm.join("s", Role.MPCS)
        honest = await realm.enrol("t", Role.MPCS)
        for _ in range(1000):
            flooder.send(STATUS)
        await honest.log_in()
        await realm.service.tick()

        assert realm.counters()["rate"] >= 700
        assert honest.sid is not None

    run(history)


@pytest.mark.parametrize(
    ("index", "value"), [(3, 2), (4, 0x7F), (5, 1)], ids=["version", "suite", "flags"]
)
def test_another_version_on_the_wire_is_dropped(index: int, value: int) -> None:
    """One byte decides, nothing else is read (test 43)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.join("s", Role.MPCS)
        message = party.send(STATUS)
        realm.broker.settle()
        realm.transport.done(realm.transport.take(10))
        body = bytearray(message.body)
        body[index] = value
        party.transport.put([replace(message, body=bytes(body))])
        await realm.settle()
        await realm.service.tick()

        assert realm.counters()["version"] == 1

    run(history)


def test_a_client_may_not_use_a_number_twice() -> None:
    """Same seq, other content: dropped and counted (test 9)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.join("s", Role.MPCS)
        party.send(STATUS, seq=5)
        party.send(STATUS, seq=5)
        party.send(STATUS, seq=20_000)
        party.send(STATUS, seq=6)
        await realm.settle()
        await realm.service.tick()
        counters = realm.counters()

        assert (counters["equivocation"], counters["stale"]) == (1, 1)

    run(history)


def test_a_server_may_not_ask_for_a_job() -> None:
    """Roles are checked before any machine (test 15)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.join("s", Role.MPCS)
        party.send(party.job_request())
        await realm.settle()
        with realm.store.transaction() as unit:
            jobs = unit.jobs.latest(1)

        assert party.errors() == ["forbidden"]
        assert jobs == []

    run(history)


def test_forged_and_foreign_envelopes_are_dropped() -> None:
    """Another key, a clear suite, a session of somebody else (tests 4, 14, 52)."""

    async def history(realm: ManagerRealm) -> None:
        party = await realm.join("s", Role.MPCS)
        other = await realm.join("t", Role.MPCS)
        own = party.signer
        party.signer = SigningKey.from_seed(bytes(32))
        party.send(STATUS)
        party.signer = own
        party.post(ErrorNotice(code=ErrorCode.BUSY), Clear())
        party.post(STATUS, Clear())
        assert other.sid is not None
        party.post(STATUS, SessionSeal(other.sid, 9, other.keys[0], bytes(24)))
        await realm.settle()
        await realm.service.tick()
        counters = realm.counters()

        assert (counters["signature"], counters["suite"]) == (1, 1)
        assert counters["session"] == 1
        assert not [m for m in other.read() if isinstance(m, JobOffer)]

    run(history)


def test_a_stranger_with_a_token_that_does_not_exist_learns_nothing() -> None:
    """No such token is the same as a wrong secret."""

    async def history(realm: ManagerRealm) -> None:
        token = await realm.token(Role.MPCS)
        party = RawParty(realm, "s", token, Role.MPCS)
        request = party.request()
        party.send_sealed(
            RegistrationRequest.model_validate(
                {**request.model_dump(), "token_id": bytes(8)}
            )
        )
        await realm.settle()

        assert party.errors() == ["unauthenticated"]

    run(history)
