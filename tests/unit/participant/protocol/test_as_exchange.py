"""The AS exchange against the manager's own half, and every way to refuse it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from participant.protocol import as_exchange
from participant.protocol.as_exchange import Asking, Sessions, TlsRequest
from participant.protocol.identity import Identity
from shared.crypto.certificates import CertificateAuthority, TlsKey
from shared.crypto.derivation import as_confirm, as_keys, as_transcript
from shared.crypto.keys import KemKey
from shared.errors import ClockSkewError, RemoteProtocolError
from shared.messages import AsReply, AsReplyCore
from shared.names import Io, Role, SessionId
from tests.participant_world import NOW_MS, REALM, World


class Exchange:
    """One request of one client, and answers to it."""

    def __init__(self, role: Role = Role.CLIENT) -> None:
        self.world = World()
        self.context = self.world.context()
        io = Io.INPUT if role is Role.CLIENT else None
        name = "Liberty001" if role is Role.CLIENT else "MPC_server_001"
        self.identity = self.world.join(name, role, io).identity
        self.tls = TlsKey.generate()
        self.asking = as_exchange.ask(
            self.identity,
            TlsRequest(self.tls.csr(name), self.tls.spki_hash),
            ("127.0.0.1:1270",) if role is Role.MPCS else (),
            self.context,
        )
        now = self.context.now
        self.authority = CertificateAuthority.create(
            REALM, now - timedelta(days=1), now + timedelta(days=90)
        )
        self.ephemeral = KemKey.from_bytes(self.world.entropy(32))

    def leaf(self, tls: TlsKey | None = None) -> bytes:
        """Return the leaf for a key."""
        return self.authority.issue_leaf(
            (tls or self.tls).spki,
            REALM,
            self.identity.role,
            self.identity.principal,
            self.context.now - timedelta(minutes=5),
            self.context.now + timedelta(hours=12),
        )

    def reply(self, **changes: object) -> AsReply:
        """Return the manager's answer."""
        core = (
            AsReplyCore(
                p=self.identity.principal,
                nonce=self.asking.request.nonce,
                e=self.ephemeral.public,
                sid=SessionId(bytes(16)),
                exp=NOW_MS + 1000 * 3600,
                now=NOW_MS,
                ver=1,
                suite=2,
                vers_seen=self.asking.request.vers,
                suites_seen=self.asking.request.suites,
                leaf=self.leaf(),
                cas=(self.authority.certificate_der,),
            )
            .model_copy(update=changes)
            .pack()
        )
        transcript = as_transcript(self.asking.payload, core)
        shared = self.ephemeral.exchange(self.asking.request.e)
        keys = as_keys(transcript, shared)
        return AsReply(core=core, confirm=as_confirm(keys.confirm_key, transcript))

    def accept(self, reply: AsReply, identity: Identity | None = None) -> object:
        """Let the participant take an answer."""
        return as_exchange.accept(
            self.asking, identity or self.identity, reply, self.context
        )


def test_both_halves_get_the_same_keys_and_renewal_comes_in_time() -> None:
    """At four fifths of its life, so that there is no gap."""
    exchange = Exchange()
    reply = exchange.reply()
    session, cert = as_exchange.accept(
        exchange.asking, exchange.identity, reply, exchange.context
    )
    transcript = as_transcript(exchange.asking.payload, reply.core)
    keys = as_keys(transcript, exchange.ephemeral.exchange(exchange.asking.request.e))

    assert (session.up, session.down) == (keys.up, keys.down)
    assert session.renew_at == NOW_MS + 1000 * 3600 * 80 // 100
    assert session.spki == exchange.tls.spki_hash
    assert cert is None
    assert keys.up.hex() not in repr(session)


def test_an_mpc_server_endorses_its_addresses() -> None:
    """Peers learn from the endorsement where it is reached."""
    exchange = Exchange(Role.MPCS)

    assert b"127.0.0.1:1270" in exchange.asking.endorse
    assert exchange.asking.request.life == as_exchange.SERVER_LIFE_MS


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": bytes(16)},
        {"p": "Other001"},
        {"vers_seen": (1, 2)},
        {"suites_seen": (1,)},
        {"ver": 2},
        {"suite": 9},
        {"exp": NOW_MS},
        {"cas": (b"not a certificate",)},
        {"leaf": b"not a leaf"},
    ],
)
def test_43_an_answer_that_differs_from_what_was_asked_is_refused(
    changes: dict[str, object],
) -> None:
    """Downgrades, other requests' answers, other names."""
    exchange = Exchange()
    with pytest.raises(RemoteProtocolError):
        exchange.accept(exchange.reply(**changes))


@pytest.mark.parametrize("wrong", ["principal", "role", "io", "signing", "kem"])
def test_a_newer_certificate_of_something_else_is_refused(wrong: str) -> None:
    """It must say what the old one says, for longer."""
    exchange = Exchange()
    me, other = exchange.identity, exchange.world.join("Other001", Role.CLIENT)
    signing, kem = other.identity.signing, other.identity.kem
    certify = exchange.world.certify
    certs = {
        "principal": certify("Liberty002", me.role, me.io, me.signing, me.kem),
        "role": certify(me.principal, Role.MPCS, me.io, me.signing, me.kem),
        "io": certify(me.principal, me.role, Io.BOTH, me.signing, me.kem),
        "signing": certify(me.principal, me.role, me.io, signing, me.kem),
        "kem": certify(me.principal, me.role, me.io, me.signing, kem),
    }
    with pytest.raises(RemoteProtocolError, match="somebody else's certificate"):
        exchange.accept(exchange.reply(cert=certs[wrong]))


def test_a_newer_certificate_of_ones_own_is_kept() -> None:
    """From then on it is what the identity has."""
    exchange = Exchange()
    me = exchange.identity
    cert = exchange.world.certify(me.principal, me.role, me.io, me.signing, me.kem)
    reply = exchange.reply(cert=cert)
    _, kept = as_exchange.accept(exchange.asking, me, reply, exchange.context)

    assert kept == cert


def test_a_leaf_for_another_key_or_by_another_authority_is_refused() -> None:
    """Nobody else's links may look like this participant's."""
    exchange, other = Exchange(), Exchange()
    for leaf in (exchange.leaf(TlsKey.generate()), other.leaf(exchange.tls)):
        with pytest.raises(RemoteProtocolError, match="leaf"):
            exchange.accept(exchange.reply(leaf=leaf))


def test_a_wrong_confirmation_or_low_order_key_is_refused() -> None:
    """The manager must know the keys, and nobody else may."""
    exchange = Exchange()
    reply = exchange.reply()
    with pytest.raises(RemoteProtocolError, match="confirmation"):
        exchange.accept(reply.model_copy(update={"confirm": bytes(32)}))
    with pytest.raises(RemoteProtocolError, match="low order"):
        exchange.accept(exchange.reply(e=bytes(32)))
    with pytest.raises(RemoteProtocolError):
        exchange.accept(AsReply(core=b"\x80", confirm=bytes(32)))


def test_12_a_clock_that_is_off_is_named_with_its_offset() -> None:
    """The user sets the clock, and needs to know which way."""
    exchange = Exchange()
    with pytest.raises(ClockSkewError, match="600 s behind the manager's"):
        exchange.accept(exchange.reply(now=NOW_MS + 600_000))
    with pytest.raises(ClockSkewError, match="600 s ahead of the manager's"):
        exchange.accept(exchange.reply(now=NOW_MS - 600_000))


def test_a_newer_certificate_is_taken_if_it_is_ones_own() -> None:
    """It comes with the session when a third of the old one's life is left."""
    exchange = Exchange()
    identity, world = exchange.identity, exchange.world
    own = world.certify(
        identity.principal, identity.role, identity.io, identity.signing, identity.kem
    )
    stranger = world.join("Other001", Role.CLIENT, Io.INPUT).identity
    _, cert = as_exchange.accept(
        exchange.asking, identity, exchange.reply(cert=own), exchange.context
    )

    assert cert == own
    with pytest.raises(RemoteProtocolError, match="somebody else"):
        exchange.accept(exchange.reply(cert=stranger.cert))


def test_the_older_session_is_heard_for_a_minute() -> None:
    """What was on its way when the new one began is not lost."""
    exchange = Exchange()
    session, _ = as_exchange.accept(
        exchange.asking, exchange.identity, exchange.reply(), exchange.context
    )
    newer = replace(session, sid=SessionId(b"2" * 16), down=b"d" * 32)
    sessions = Sessions(session).with_session(newer, NOW_MS)

    assert sessions.down_key(newer.sid, NOW_MS) == b"d" * 32
    assert sessions.down_key(newer.sid, newer.exp + 1) is None
    assert sessions.down_key(session.sid, NOW_MS + 59_000) == session.down
    assert sessions.down_key(session.sid, NOW_MS + 61_000) is None
    assert sessions.down_key(SessionId(b"3" * 16), NOW_MS) is None
    assert Sessions().down_key(session.sid, NOW_MS) is None


def test_a_request_shows_no_secret_when_printed() -> None:
    """Logs and traces must not hold keys."""
    exchange = Exchange()

    assert exchange.asking.ephemeral.secret.hex() not in repr(exchange.asking)
    assert isinstance(exchange.asking, Asking)
