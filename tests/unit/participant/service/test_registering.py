"""Registration and first mail, against the real manager on the memory broker."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from participant.home.folder import Home
from participant.protocol import as_exchange, registration
from participant.protocol.as_exchange import TlsRequest
from participant.protocol.identity import BrokerLogin, Identity
from participant.service.presence import attributes
from participant.service.registering import Application, register, vhost_of
from participant.service.session import Mail
from shared.crypto.certificates import TlsKey
from shared.envelope import Addressing, Clear, seal
from shared.errors import AuthenticationError, ConfigError, ErrorCode, ProtocolError
from shared.messages import AsReply, ErrorNotice, LogOff, RealmDescriptor, Status
from shared.names import MANAGER, Io, MessageId, Role
from shared.protocol.machine import Context, Received
from shared.token import Token
from shared.transport.base import Delivery, Transport
from shared.transport.memory import MemoryTransport
from tests.manager_realm import ManagerRealm, stream
from tests.participant_world import World

_T = TypeVar("_T")


class Newcomer:
    """Somebody with a home who wants to take part."""

    def __init__(self, realm: ManagerRealm, path: Path) -> None:
        self.realm = realm
        self.home = Home(path)
        self.entropy = stream(str(path.name))

    def connect(self, login: BrokerLogin) -> Transport:
        """Return a transport for a broker user."""
        return MemoryTransport(self.realm.broker, login.user)

    def context(self) -> Context:
        """Return the realm's time."""
        return Context(self.realm.clock.now(), self.entropy)

    async def driven(self, work: Coroutine[object, object, _T]) -> _T:
        """Do something while broker and manager work."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.realm.settle()
            await asyncio.sleep(0)
        return await task

    async def register(self, token: Token, password: bytes | None = None) -> Identity:
        """Register with a token."""
        role = token.role
        assert role is not None
        application = Application(token, role, token.io, None, attributes({}))
        return await self.driven(
            register(self.home, application, password, self.connect, self.context)
        )


async def running(realm: ManagerRealm) -> ManagerRealm:
    """Return a realm whose manager works."""
    await realm.start()
    return realm


async def logged_on(
    newcomer: Newcomer, identity: Identity
) -> tuple[Mail, MemoryTransport]:
    """Return the mail of a participant with a session, and its transport."""
    mail = Mail(lambda: identity, newcomer.context)
    transport = MemoryTransport(newcomer.realm.broker, identity.broker.user)
    transport.up()
    transport.listen(identity.broker.queue)
    tls = TlsKey.generate()
    asking = as_exchange.ask(
        identity,
        TlsRequest(tls.csr(identity.principal), tls.spki_hash),
        ("127.0.0.1:1270",) if identity.role is Role.MPCS else (),
        newcomer.context(),
    )
    transport.put([mail.seal(asking.request, is_sessionless=True)])
    await newcomer.realm.settle()
    [reply] = [m.message for m in heard(mail, transport)]
    assert isinstance(reply, AsReply)
    session, _ = as_exchange.accept(asking, identity, reply, newcomer.context())
    mail.sessions = mail.sessions.with_session(session, newcomer.realm.clock.ms)
    return mail, transport


def heard(mail: Mail, transport: MemoryTransport) -> list[Received]:
    """Return what came and was not dropped."""
    deliveries = transport.take(100)
    transport.done(deliveries)
    return [r for r in map(mail.open, deliveries) if r is not None]


def test_a_token_makes_an_identity(tmp_path: Path) -> None:
    """The home holds it, and the registration is complete."""

    async def scene() -> None:
        realm = await running(ManagerRealm())
        newcomer = Newcomer(realm, tmp_path / "home")
        identity = await newcomer.register(
            await realm.token(Role.CLIENT, Io.INPUT, "Liberty")
        )
        kept = newcomer.home.key_file(None).load()

        assert identity.principal == kept.principal == "Liberty001"
        assert kept.signing.seed == identity.signing.seed
        assert kept.realm.fingerprint == realm.keys.fingerprint
        assert not newcomer.home.enrolment_path.exists()
        with pytest.raises(ConfigError, match="registered already"):
            await newcomer.register(await realm.token(Role.MPCS))

    asyncio.run(scene())


def test_20_a_token_with_another_secret_is_refused(tmp_path: Path) -> None:
    """Whoever only saw the broker's user cannot register."""

    async def scene() -> None:
        realm = await running(ManagerRealm())
        again = await realm.token(Role.MPCS)
        second = Newcomer(realm, tmp_path / "second")
        forged = replace(again, secret=bytes(16))
        with pytest.raises(AuthenticationError, match="refuses the token"):
            await second.register(forged)

        assert not second.home.is_registered

    asyncio.run(scene())


def test_21_an_interrupted_registration_is_taken_up_again(tmp_path: Path) -> None:
    """The keys are on disk first, so the same token gives the same name."""

    async def scene() -> None:
        realm = await running(ManagerRealm())
        token = await realm.token(Role.MPCS)
        interrupted = Newcomer(realm, tmp_path / "home")
        home = interrupted.home
        identity = await interrupted.register(token, b"a password")
        home.key_path.rename(tmp_path / "lost")
        # As it was before the answer came: the keys, and no identity yet.
        enrolment = registration.begin(
            token, Role.MPCS, None, None, attributes({}), interrupted.context()
        )
        enrolment = replace(
            enrolment, signing=identity.signing, kem=identity.kem, password="p" * 32
        )
        home.enrolment_file(b"a password").save_enrolment(enrolment)
        begun = home.enrolment_file(b"a password").load_enrolment()

        assert home.needs_password
        assert begun.request() == enrolment.request()
        assert registration.done(identity, begun).principal == "MPC_server_001"

    asyncio.run(scene())


def test_mail_opens_what_the_manager_sends_in_the_session(tmp_path: Path) -> None:
    """A session's first word is answered by nothing; an odd one by an error."""

    async def scene() -> None:
        realm = await running(ManagerRealm())
        newcomer = Newcomer(realm, tmp_path / "home")
        identity = await newcomer.register(await realm.token(Role.MPCS))
        mail, transport = await logged_on(newcomer, identity)
        transport.put([mail.seal(Status(slots_free=1, slots=1, load=0))])
        await realm.settle()

        assert heard(mail, transport) == []
        assert mail.counters == {}

    asyncio.run(scene())


def test_52_an_error_that_the_manager_did_not_sign_is_ignored(tmp_path: Path) -> None:
    """Whoever can write into the inbox changes nothing."""

    async def scene() -> None:
        realm = await running(ManagerRealm())
        newcomer = Newcomer(realm, tmp_path / "home")
        identity = await newcomer.register(await realm.token(Role.MPCS))
        mail, _ = await logged_on(newcomer, identity)
        stranger = World().manager
        mid = MessageId(bytes(16))
        for signer in (stranger, identity.signing):
            body = seal(
                ErrorNotice(code=ErrorCode.SUPERSEDED, re=mid),
                Addressing(MANAGER, identity.principal, mid, realm.clock.ms, 30_000),
                Clear(),
                signer,
                realm.keys.fingerprint,
            )

            assert mail.open(delivery(body)) is None
        honest = seal(
            ErrorNotice(code=ErrorCode.BUSY, re=mid),
            Addressing(MANAGER, identity.principal, mid, realm.clock.ms, 30_000),
            Clear(),
            realm.keys.signer,
            realm.keys.fingerprint,
        )

        assert mail.open(delivery(honest)) is not None
        assert mail.open(replace(delivery(honest), has_copies=True)) is None
        assert mail.counters == {"signature": 2, "copies": 1}

    asyncio.run(scene())


def delivery(body: bytes) -> Delivery:
    """Return bytes as they come from the broker."""
    return Delivery(
        queue="q",
        body=body,
        user_id="manager",
        has_copies=False,
        redelivered=False,
        tag=None,
        routing_key="q",
        message_type=None,
    )


def test_13_own_messages_and_old_sessions_are_dropped(tmp_path: Path) -> None:
    """Reflection, and a session of which this process knows nothing."""

    async def scene() -> None:
        realm = await running(ManagerRealm())
        newcomer = Newcomer(realm, tmp_path / "home")
        identity = await newcomer.register(await realm.token(Role.MPCS))
        mail, _ = await logged_on(newcomer, identity)
        own = mail.seal(LogOff())
        fresh = Mail(lambda: identity, newcomer.context)

        assert mail.open(delivery(own.body)) is None
        assert mail.counters == {"reflection": 1}
        with pytest.raises(ProtocolError, match="no session"):
            fresh.seal(LogOff())

    asyncio.run(scene())


def test_48_a_descriptor_may_bring_the_key_that_signs_it(tmp_path: Path) -> None:
    """What makes it true is the root's signature; another root's is refused."""

    async def scene() -> None:
        realm = await running(ManagerRealm())
        newcomer = Newcomer(realm, tmp_path / "home")
        identity = await newcomer.register(await realm.token(Role.MPCS))
        mail, _ = await logged_on(newcomer, identity)
        other = World()
        signed = other.descriptor()
        mid = MessageId(bytes(16))
        body = seal(
            RealmDescriptor(rd=signed.rd, sig=signed.sig),
            Addressing(MANAGER, identity.principal, mid, realm.clock.ms, 30_000),
            Clear(),
            other.manager,
            realm.keys.fingerprint,
        )

        assert mail.open(delivery(body)) is None
        assert mail.counters == {"signature": 1}

    asyncio.run(scene())


def test_the_vhost_is_in_the_brokers_address() -> None:
    """A token's holder must know it; without one it is the default realm's."""
    assert vhost_of("amqps://h:5671/demo,amqps://i:5671/demo") == "demo"
    assert vhost_of("amqp://127.0.0.1:5672") == "mpc"
