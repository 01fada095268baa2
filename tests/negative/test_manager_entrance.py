"""Tokens, keys, requests for leaves: who gets in, and as what."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from manager.protocol.registration import TokenStage
from manager.store.records import CommandKind
from shared.crypto.certificates import TlsKey
from shared.crypto.keys import SigningKey
from shared.errors import ConfigError, ErrorCode
from shared.messages import AsReply, ErrorNotice, RegistrationDone, RegistrationReply
from shared.names import Io, Role
from shared.topology import enrolment_queue
from tests.negative.realm import Actor, AttackedRealm, Change, run

P = 2**255 - 19
LOW_ORDER = tuple(
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P - 1,
        P,
        P + 1,
    )
)
"""The points of order 1, 2, 4 and 8 on Curve25519 and its twist, as they travel."""
SMALL_ORDER_KEYS = (
    (1).to_bytes(32, "little"),
    bytes(32),
    (P - 1).to_bytes(32, "little"),
    P.to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
)
"""Ed25519 points whose every signature can be made by anybody."""


async def _claims(realm: AttackedRealm, number: int) -> list[Actor]:
    token = await realm.token(Role.CLIENT, Io.INPUT, "hospital")
    return [
        Actor(realm, f"claim{i}", token, Role.CLIENT, Io.INPUT) for i in range(number)
    ]


def _names(realm: AttackedRealm) -> list[str]:
    with realm.store.transaction() as unit:
        return [record.principal for record in unit.people.principals()]


def _events(realm: AttackedRealm) -> list[str]:
    with realm.store.transaction() as unit:
        return [record.event for record in unit.journal.audit(100)]


def test_18_a_used_token_is_refused_with_an_alarm() -> None:
    """Its holder registered; whoever stole it comes too late, and is noticed."""

    async def history(realm: AttackedRealm) -> None:
        owner = await realm.enrol("owner", Role.MPCS)
        realm.broker.declare(enrolment_queue(owner.token.token_id))
        thief = Actor(realm, "thief", owner.token, Role.MPCS)
        before = await realm.snapshot()
        # The broker is the thief's: the temporary user is long gone.
        realm.inject(
            "manager.registration", thief.make(thief.request(), _sealed(thief))
        )
        await realm.settle()
        after, counts = await realm.snapshot(), await realm.count()
        del before["outbox"], after["outbox"]

        assert before == after
        assert counts["alarm"] == 1
        assert "token claimed twice" in _events(realm)
        assert thief.errors() == ["unauthenticated"]

    run(history)


def _sealed(actor: Actor) -> Change:
    return Change(seal=actor.kem_seal())


def test_19_of_twenty_concurrent_claims_one_makes_a_principal() -> None:
    """All in the queue before M looks, each with its own keys."""

    async def history(realm: AttackedRealm) -> None:
        claims = await _claims(realm, 20)
        for claim in claims:
            claim.put(claim.make(claim.request(), _sealed(claim)))
        await realm.settle()
        sent, counts = realm.sent("reg.rep"), await realm.count()
        again = await realm.enrol("next", Role.CLIENT, Io.INPUT, "hospital")

        assert _names(realm) == ["hospital001", "hospital002"]
        assert again.principal == "hospital002"
        assert len(sent) == 1
        assert counts["alarm"] == 19
        assert {each.name for each in realm.actors} == {"next"}

    run(history)


def test_20_every_wrong_claim_gets_the_same_refusal() -> None:
    """Role, io, prefix, secret, token: which of them was wrong is not told."""

    async def history(realm: AttackedRealm) -> None:
        wrong: tuple[dict[str, object], ...] = (
            {"role": Role.MPCS, "io": None},
            {"io": Io.OUTPUT},
            {"io": Io.BOTH},
            {"io": None},
            {"prefix": "bank"},
            {"prefix": "MPC_server_"},
            {"secret": bytes(16)},
            {"token_id": bytes(8)},
            {"pwhash": "!" * 48},
        )
        answers: set[tuple[object, ...]] = set()
        sizes: set[int] = set()
        for fields in wrong:
            [claim] = await _claims(realm, 1)
            claim.read()
            request = claim.request().model_copy(update=fields)
            claim.put(claim.make(request, _sealed(claim)))
            await realm.settle()
            sizes.add(len(realm.sent("err")[-1].body))
            [error] = claim.got(ErrorNotice)
            answers.add((error.code, error.retry_after, error.now))

        assert answers == {(ErrorCode.UNAUTHENTICATED, None, None)}
        assert len(sizes) == 1
        assert _names(realm) == []

    run(history)


def test_20_an_expired_or_revoked_token_gets_that_refusal_too() -> None:
    """Its broker user is gone; a hostile broker lets the request through."""

    async def history(realm: AttackedRealm) -> None:
        claims = [(await _claims(realm, 1))[0] for _ in range(2)]
        expired, revoked = claims
        with realm.store.transaction() as unit:
            command = (CommandKind.REVOKE_TOKEN, revoked.token.token_id, 0)
            unit.orders.add_command(*command)
        await realm.service.tick()
        realm.clock.move(timedelta(hours=2).total_seconds())
        answers: list[tuple[object, ...]] = []
        for claim in (expired, revoked):
            realm.broker.declare(enrolment_queue(claim.token.token_id))
            claim.transport.listen(enrolment_queue(claim.token.token_id).name)
            claim.read()
            message = claim.make(claim.request(), _sealed(claim))
            realm.inject("manager.registration", message)
            await realm.settle()
            answers += [(e.code, e.retry_after, e.now) for e in claim.got(ErrorNotice)]

        assert answers == [(ErrorCode.UNAUTHENTICATED, None, None)] * 2
        assert _names(realm) == []

    run(history)


def test_21_a_lost_answer_costs_no_number() -> None:
    """reg.rep is lost, reg.req comes again: the same principal and certificate."""

    async def history(realm: AttackedRealm) -> None:
        [claim] = await _claims(realm, 1)
        claim.read()
        for _ in range(3):
            claim.put(claim.make(claim.request(), _sealed(claim)))
            await realm.settle()
        replies = claim.got(RegistrationReply)
        other = await realm.enrol("other", Role.CLIENT, Io.INPUT, "hospital")

        assert {reply.principal for reply in replies} == {"hospital001"}
        assert len({reply.cert for reply in replies}) == 1
        assert len({reply.nonce for reply in replies}) == 3
        assert other.principal == "hospital002"

    run(history)


def test_21_only_the_new_principal_says_that_it_is_done() -> None:
    """Another registered principal cannot use up a claim in its name."""

    async def history(realm: AttackedRealm) -> None:
        other = await realm.join_actor("other", Role.MPCS)
        [claim] = await _claims(realm, 1)
        claim.put(claim.make(claim.request(), _sealed(claim)))
        await realm.settle()
        [reply] = claim.got(RegistrationReply)
        done = RegistrationDone(principal=reply.principal, serial=2, nonce=bytes(16))
        other.put(other.make(done, _sealed(other)))
        await realm.settle()
        with realm.store.transaction() as unit:
            token = unit.people.token(claim.token.token_id)

        assert token is not None
        assert token.stage is TokenStage.CLAIMED
        assert other.errors() == ["unauthenticated"]

    run(history)


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_49_a_login_with_a_point_of_low_order_opens_no_session(point: bytes) -> None:
    """Whatever M's own key is, everybody would know the secret."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        for high_bit in (0, 0x80):
            realm.clock.move(10)
            e = point[:31] + bytes([point[31] | high_bit])
            actor.put(actor.make(actor.login(e=e), _sealed(actor)))
            await realm.settle()
        snapshot = await realm.snapshot()

        assert actor.errors() == ["unauthenticated"] * 2
        assert snapshot["sessions"] == []

    run(history)


@pytest.mark.parametrize(
    ("field", "key"),
    [("kem_pk", point) for point in LOW_ORDER]
    + [("sig_pk", point) for point in SMALL_ORDER_KEYS],
    ids=lambda value: value if isinstance(value, str) else value.hex()[:8],
)
def test_49_a_key_of_small_order_is_not_certified(field: str, key: bytes) -> None:
    """For a small-order signing key anybody could sign, also the request itself."""

    async def history(realm: AttackedRealm) -> None:
        [claim] = await _claims(realm, 1)
        request = claim.request().model_copy(update={field: key})
        claim.put(claim.make(request, _sealed(claim)))
        await realm.settle()

        assert _names(realm) == []
        assert "internal" not in await realm.count()

    run(history)


def test_51_a_login_that_is_replayed_opens_no_session() -> None:
    """The bytes again, the request again under a new mid, after a restart too."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        request = actor.login()
        first = actor.make(request, _sealed(actor))
        actor.put(first)
        await realm.settle()
        before = (await realm.snapshot())["sessions"]
        for restart in (False, True):
            if restart:
                await realm.crash()
            actor.put(first, actor.make(request, _sealed(actor)))
            await realm.settle()
        after, counts = (await realm.snapshot())["sessions"], await realm.count()
        replies = actor.got(AsReply)

        assert before == after
        assert len({reply.core for reply in replies}) == 1
        assert (counts["replay"], counts["dup"]) == (2, 2)

    run(history)


def test_51_a_login_is_too_old_before_its_nonce_is_forgotten() -> None:
    """At any age, restarts between: one session was opened, and never another."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        request = actor.login()
        long = replace(_sealed(actor), life_ms=3_600_000)
        first = actor.make(request, long)
        actor.put(first)
        await realm.settle()
        for _ in range(9):
            realm.clock.move(100)
            await realm.crash()
            actor.put(first, actor.make(request, _sealed(actor)))
            await realm.settle()

        assert len({message.body for message in realm.sent("as.rep")}) == 1
        assert (await realm.snapshot())["sessions"] == []

    run(history)


def _request(
    key: ec.EllipticCurvePrivateKey, extensions: tuple[x509.ExtensionType, ...]
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MPC_server_099")])
    builder = x509.CertificateSigningRequestBuilder(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _key_of(actor: Actor) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(actor.tls.private_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _broken_proof(actor: Actor) -> bytes:
    csr = bytearray(_request(_key_of(actor), ()))
    csr[-1] ^= 1
    return bytes(csr)


_URI = x509.UniformResourceIdentifier("spiffe://demo/mpcs/MPC_server_099")
_WRONG_REQUESTS: dict[str, Callable[[Actor], bytes]] = {
    "another key than endorsed": lambda _: TlsKey.generate().csr("x"),
    "CA:TRUE": lambda a: _request(
        _key_of(a), (x509.BasicConstraints(ca=True, path_length=None),)
    ),
    "another principal's SAN": lambda a: _request(
        _key_of(a), (x509.SubjectAlternativeName([_URI]),)
    ),
    "a DNS name": lambda a: _request(
        _key_of(a), (x509.SubjectAlternativeName([x509.DNSName("manager")]),)
    ),
    "a usage": lambda a: _request(
        _key_of(a), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),)
    ),
    "not signed by its key": _broken_proof,
    "P-384": lambda _: _request(ec.generate_private_key(ec.SECP384R1()), ()),
    "garbage": lambda _: bytes(100),
}


@pytest.mark.parametrize("why", list(_WRONG_REQUESTS))
def test_53_a_request_that_is_not_the_endorsed_key_alone_is_refused(why: str) -> None:
    """The endorsed key itself too, when the request asks for more than a name."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        request = actor.login()
        wrong = request.model_copy(update={"csr": _WRONG_REQUESTS[why](actor)})
        actor.put(actor.make(wrong, _sealed(actor)))
        await realm.settle()

        assert actor.errors() == ["unauthenticated"]
        assert (await realm.snapshot())["sessions"] == []

    run(history)


def test_53_the_leaf_carries_what_the_manager_sets_and_nothing_else() -> None:
    """The request's subject is another principal's name: it is not looked at."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        request = actor.login()
        csr = _request(_key_of(actor), ())
        request = request.model_copy(update={"csr": csr})
        actor.put(actor.make(request, _sealed(actor)))
        await realm.settle()
        [reply] = actor.got(AsReply)
        core = actor.open_session(request, reply)
        leaf = x509.load_der_x509_certificate(core.leaf)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)

        assert leaf.subject.rfc4514_string() == f"CN={actor.principal}"
        assert [name.value for name in names.value] == [
            f"spiffe://demo/mpcs/{actor.principal}"
        ]
        assert not constraints.value.ca
        assert set(usages.value) == {
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.CLIENT_AUTH,
        }
        assert leaf.not_valid_after_utc <= realm.clock.now() + timedelta(hours=24)
        assert len(list(leaf.extensions)) == 5

    run(history)


def test_53_an_endorsement_is_its_own_principals_alone() -> None:
    """S2 logs in with S1's endorsement and request, both recorded somewhere."""

    async def history(realm: AttackedRealm) -> None:
        one = await realm.enrol("s1", Role.MPCS)
        two = await realm.enrol("s2", Role.MPCS)
        recorded = one.login()
        taken = two.login(
            csr=recorded.csr, endorse=recorded.endorse, endorse_sig=recorded.endorse_sig
        )
        two.put(two.make(taken, _sealed(two)))
        await realm.settle()

        assert two.errors() == ["unauthenticated"]
        assert (await realm.snapshot())["sessions"] == []

    run(history)


@pytest.mark.parametrize(
    "prefix",
    ["MPC_server_", "mpc_SERVER_x", "ward7", "manager", "enrol", "a b", "Ünit"],
)
def test_61_a_prefix_that_could_be_mistaken_makes_no_token(prefix: str) -> None:
    """Reserved, ending in a digit, or not a plain name."""

    async def history(realm: AttackedRealm) -> None:
        with pytest.raises(ConfigError):
            await realm.token(Role.CLIENT, Io.INPUT, prefix)

        assert (await realm.snapshot())["tokens"] == []

    run(history)


def test_60_nobody_takes_over_a_name_with_other_keys() -> None:
    """Registered under one key: another key's envelopes in that name are nobody's."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        thief = SigningKey.from_seed(bytes([8]) * 32)
        request = actor.login()
        before = await realm.snapshot()
        actor.put(actor.make(request, replace(_sealed(actor), signer=thief)))
        await realm.settle()
        after = await realm.snapshot()

        assert before["sessions"] == after["sessions"]
        assert before["principals"] == after["principals"]

    run(history)
