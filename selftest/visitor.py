"""A registered consumer that sends what no program of ours would send.

Its home lies in the manager's, and is used again by every run. It asks for no job.
"""

import asyncio
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from manager.broker.access import BrokerAccess
from manager.realm.keys import ManagerKeys
from manager.service.enrolment import BrokerAddress, TokenRequest, create_token
from manager.store.records import Standing
from manager.store.store import Store
from participant.dataplane.tls import Identities
from participant.home.folder import Home
from participant.protocol import as_exchange
from participant.protocol.as_exchange import Asking, Session, TlsRequest
from participant.protocol.identity import Identity
from participant.service.registering import Application, register
from participant.service.running import connect, context
from participant.service.session import APP_ID, Mail
from shared import envelope, topology
from shared.clock import SystemClock
from shared.crypto.keys import SigningKey
from shared.envelope import Addressing, KemSeal, SessionSeal
from shared.errors import AuthenticationError, TransportError
from shared.messages import (
    AsReply,
    Attributes,
    ErrorNotice,
    JobQuery,
    JobState,
    LogOff,
    Message,
    Structure,
    type_of,
)
from shared.names import MANAGER, Fingerprint, Io, MessageId, Role, SessionId
from shared.protocol.machine import Received
from shared.transport.base import Outgoing, Transport

FOLDER: Final = "selftest"
"""In the manager's home."""
PREFIX: Final = "Selftest"
LIFE_MS: Final = 60_000
ANSWER: Final = timedelta(seconds=10)
"""How long the manager may take for an answer."""
LOOK: Final = timedelta(milliseconds=50)

_CONSUMER = TokenRequest(Role.CLIENT, Io.OUTPUT, PREFIX)


async def enrolled(
    home: Home, store: Store, keys: ManagerKeys, access: BrokerAccess
) -> Identity:
    """Return the visitor's identity, registered now if the manager knows none.

    Raises:
        FrameworkError: the broker or the manager does not answer.
    """
    if home.is_registered:
        identity = home.key_file(None).load()
        with store.reading() as unit:
            known = {each.principal: each for each in unit.people.principals()}
        record = known.get(identity.principal)
        if record is not None and record.standing is Standing.REGISTERED:
            return identity
        shutil.rmtree(home.path)
        home = Home(home.path)
    now = SystemClock().now()
    with access.admin() as admin:
        address = BrokerAddress(access.amqp_url)
        token = create_token(
            store, keys, admin, address, _CONSUMER, now, secrets.token_bytes
        )
    application = Application(
        token=token,
        role=Role.CLIENT,
        io=Io.OUTPUT,
        prefix=None,
        attributes=Attributes(),
        broker_ca=access.authority,
    )
    with home.lock():
        return await register(home, application, None, connect, context)


@dataclass
class Visitor:
    """Who knocks.

    Attributes:
        identity: who that is.
        transport: connected, its inbox being read.
        identities: its TLS keys, for the links.
        session: with the manager, after ``log_on``.
        number: of its last envelope in the session.
        request: with which it logged on.
    """

    identity: Identity
    transport: Transport
    identities: Identities = field(default_factory=Identities)
    session: Session | None = None
    number: int = 0

    def __post_init__(self) -> None:
        """Be able to read what the manager answers."""
        self.request = self.asking().request
        self._mail = Mail(lambda: self.identity, context)

    @property
    def queue(self) -> str:
        """The inbox."""
        return self.identity.broker.queue

    async def log_on(self) -> None:
        """Begin a session, as an honest participant does.

        Raises:
            FrameworkError: the manager does not answer, or refuses.
        """
        asking = self.asking()
        self.request = asking.request
        await self.post(self.sealed_to_manager(asking.request))
        reply = await self.hear(lambda heard: isinstance(heard.message, AsReply))
        if reply is None or not isinstance(reply.message, AsReply):
            raise TransportError(
                "the manager does not answer the visitor's AS exchange",
                "see whether 'mpc-manager run' runs: mpc-manager status",
            )
        session, _ = as_exchange.accept(asking, self.identity, reply.message, context())
        self.identities.use_leaf(session.spki, session.leaf, session.authorities)
        self.session = session
        now = context().now_ms
        self._mail.sessions = self._mail.sessions.with_session(session, now)

    async def log_off(self) -> None:
        """End the session."""
        if self.session is not None:
            await self.post(self.sealed(LogOff()))

    def asking(self) -> Asking:
        """Return a fresh request for a session."""
        csr, spki = self.identities.make_key(self.identity.principal)
        return as_exchange.ask(self.identity, TlsRequest(csr, spki), (), context())

    async def is_served(self) -> bool:
        """Say whether an honest question is answered."""
        await self.post(self.sealed(JobQuery()))
        answer = await self.hear(lambda heard: isinstance(heard.message, JobState))
        return answer is not None

    def sealed_to_manager(
        self,
        message: Structure,
        *,
        signer: SigningKey | None = None,
        fingerprint: Fingerprint | None = None,
    ) -> bytes:
        """Return an envelope outside of any session."""
        identity, now = self.identity, context().now_ms
        addressing = Addressing(identity.principal, MANAGER, new_mid(), now, LIFE_MS)
        return envelope.seal(
            message,
            addressing,
            KemSeal(identity.realm.kem_key(now)),
            signer or identity.signing,
            fingerprint or identity.realm.fingerprint,
        )

    def sealed(
        self,
        message: Structure,
        *,
        payload: bytes | None = None,
        sender: str | None = None,
        recipient: str = MANAGER,
        mid: MessageId | None = None,
        sid: SessionId | None = None,
        number: int | None = None,
        late_ms: int = 0,
        signer: SigningKey | None = None,
        fingerprint: Fingerprint | None = None,
    ) -> bytes:
        """Return an envelope in the session, true but for what is said.

        Args:
            message: what it says; its type even if ``payload`` replaces it.
            payload: other bytes in the message's place.
            sender: in whose name.
            recipient: to whom.
            mid: its id, a fresh one unless given.
            sid: the session.
            number: its number in the session, the next one unless given.
            late_ms: how long ago it was made; negative if it is yet to be.
            signer: who signs.
            fingerprint: for which realm.

        Raises:
            AuthenticationError: there is no session.
        """
        session = self.session
        if session is None:
            raise AuthenticationError("the visitor has no session")
        if number is None:
            self.number += 1
            number = self.number
        addressing = Addressing(
            sender or self.identity.principal,
            recipient,
            mid or new_mid(),
            context().now_ms - late_ms,
            LIFE_MS,
        )
        return envelope.seal_payload(
            type_of(message),
            message.pack() if payload is None else payload,
            addressing,
            SessionSeal(
                sid or session.sid, number, session.up, secrets.token_bytes(24)
            ),
            signer or self.identity.signing,
            fingerprint or self.identity.realm.fingerprint,
        )

    async def post(self, body: bytes, **properties: str | None) -> None:
        """Publish an envelope, true but for the properties that are given.

        Raises:
            TransportError: the broker does not take it.
        """
        await self.transport.publish([self.outgoing(body, **properties)])

    def outgoing(self, body: bytes, **properties: str | None) -> Outgoing:
        """Return an envelope with the properties of an honest one, but for some."""
        name = self.identity.principal
        try:
            kind = envelope.parse(body).header.t
        except envelope.DroppedError:
            kind = "job.query"
        honest = Outgoing(
            exchange=topology.MANAGER_EXCHANGE,
            routing_key=topology.routing_key(kind, name),
            body=body,
            message_id=secrets.token_hex(16),
            type=kind,
            correlation_id=None,
            expiration_ms=LIFE_MS,
            timestamp=context().now_ms // 1000,
            user_id=self.identity.broker.user,
            app_id=APP_ID,
        )
        return replace(honest, **properties)  # type: ignore[arg-type]  # names of text fields

    async def hear(
        self, fits: Callable[[Received], bool], patience: timedelta = ANSWER
    ) -> Received | None:
        """Return the first message that fits, or ``None`` if none comes in time."""
        try:
            async with asyncio.timeout(patience.total_seconds()):
                while True:
                    for heard in await self._heard(LOOK):
                        if fits(heard):
                            return heard
        except TimeoutError:
            return None

    async def told(self) -> list[Message]:
        """Return what came in the meantime."""
        return [heard.message for heard in await self._heard(LOOK)]

    async def _heard(self, wait: timedelta) -> list[Received]:
        deliveries = await self.transport.deliveries(16, wait)
        heard = [self._mail.open(delivery) for delivery in deliveries]
        await self.transport.ack(deliveries)
        return [each for each in heard if each is not None]


def new_mid() -> MessageId:
    """Return a fresh id of an envelope."""
    return MessageId(secrets.token_bytes(16))


def is_refusal(message: Message) -> bool:
    """Say whether a message refuses something."""
    return isinstance(message, ErrorNotice)
