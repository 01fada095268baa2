"""Registration as it happens: a token, the broker, a few messages, a key file.

The new keys are on disk before the manager hears of them, so a registration that
was interrupted is taken up again with the same token and ends with the same name.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import unquote, urlsplit

from participant.home import secret_file
from participant.home.folder import Home
from participant.protocol import registration
from participant.protocol.identity import BrokerLogin, Identity
from participant.protocol.registration import Enrolment
from participant.protocol.trust import RealmView, check_descriptor
from participant.service.broker_tls import check_authority, fetch_authority
from participant.service.session import APP_ID, SHORT_LIFE_MS, Mail, descriptor_key
from shared import envelope, topology
from shared.crypto.keys import KemKey
from shared.envelope import Addressing, DroppedError, DropReason, Header, KemSeal
from shared.errors import (
    AuthenticationError,
    ConfigError,
    ErrorCode,
    RemoteProtocolError,
    TransportError,
)
from shared.messages import (
    Attributes,
    ErrorNotice,
    Message,
    RealmDescriptor,
    RegistrationReply,
    Rule,
    SignedRealm,
)
from shared.names import MANAGER, Fingerprint, Io, MessageId, Role, check_prefix
from shared.protocol.machine import Context
from shared.token import Token
from shared.transport.base import Delivery, Outgoing, Publication, Transport

ANSWER_TIMEOUT: Final = timedelta(seconds=60)
"""How long the manager may take, once the broker is reached."""
REPEAT_AFTER: Final = timedelta(seconds=10)
TransportFactory = Callable[[BrokerLogin], Transport]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Application:
    """What the new participant says of itself. ``broker_ca``: PEM, if it was given."""

    token: Token
    role: Role
    io: Io | None
    prefix: str | None
    attributes: Attributes
    broker_ca: str | None = None


async def register(
    home: Home,
    application: Application,
    password: bytes | None,
    connect: TransportFactory,
    context: Callable[[], Context],
) -> Identity:
    """Register a new participant; its key file is in the home when this returns.

    Args:
        home: locked by the caller, without an identity.
        application: who wants to become one.
        password: for the key file, if it is to have one.
        connect: makes a transport for a broker user.
        context: time and entropy.

    Raises:
        ConfigError: the token is for something else, or the home is not usable.
        AuthenticationError: the manager refuses the token.
        TransportError: the broker or the manager does not answer.
    """
    if home.is_registered:
        raise ConfigError(
            f"{home.path} is registered already",
            "use another folder for another identity: --home FOLDER",
        )
    if application.prefix is not None:
        check_prefix(application.prefix)
    enrolment = _begun(home, application, password, context())
    token = application.token
    vhost = vhost_of(token.broker_url)
    authority = await _authority(token, vhost, application.broker_ca)
    login = BrokerLogin(
        url=token.broker_url,
        vhost=vhost,
        user=token.user,
        queue=topology.enrolment_queue(token.token_id).name,
        password=token.broker_password,
        authority=authority,
    )
    desk = _Desk(enrolment, login, connect(login), context)
    try:
        identity = await desk.enrol()
    finally:
        await desk.transport.close()
    home.write_card(identity)  # first: whoever has a key file has a card
    home.key_file(password).save(identity)
    await complete(home, identity, password, connect, context)
    return identity


async def complete(
    home: Home,
    identity: Identity,
    password: bytes | None,
    connect: TransportFactory,
    context: Callable[[], Context],
) -> None:
    """Tell the manager that the key file is written; harmless if it knows.

    Raises:
        TransportError: the broker does not take it; ``run`` tries again.
    """
    if not home.enrolment_path.exists():
        return
    enrolment = home.enrolment_file(password).load_enrolment()
    done = registration.done(identity, enrolment)
    transport = connect(identity.broker)
    try:
        await transport.connect()
        mail = Mail(lambda: identity, context)
        await _publish(transport, mail.seal(done, is_sessionless=True))
    finally:
        await transport.close()
    secret_file.remove(home.enrolment_path)


def vhost_of(url: str) -> str:
    """Return the vhost that a broker's address names, the realm's default if none."""
    path = urlsplit(url.split(",", maxsplit=1)[0]).path
    return unquote(path[1:]) or str(topology.DEFAULT_REALM)


def _begun(
    home: Home, application: Application, password: bytes | None, context: Context
) -> Enrolment:
    """Return the registration that this token began before, or a new one."""
    file = home.enrolment_file(password)
    if file.exists:
        begun = file.load_enrolment()
        if begun.token.token_id == application.token.token_id:
            return begun
    enrolment = registration.begin(
        application.token,
        application.role,
        application.io,
        application.prefix,
        application.attributes,
        context,
    )
    file.save_enrolment(enrolment)
    return enrolment


async def _authority(token: Token, vhost: str, given: str | None) -> str | None:
    if token.broker_ca is None:
        return given
    if given is not None:
        return check_authority(given, token.broker_ca)
    return await fetch_authority(token.broker_url, vhost, token.broker_ca)


@dataclass(slots=True)
class _Desk:
    """The exchange of messages under the token's broker user."""

    enrolment: Enrolment
    login: BrokerLogin
    transport: Transport
    context: Callable[[], Context]
    realm: RealmView | None = None

    async def enrol(self) -> Identity:
        """Return the new identity."""
        await self.transport.connect()
        await self.transport.consume(self.login.queue)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
                return await self._exchange()
        except TimeoutError as error:
            raise TransportError(
                "the manager does not answer"
                + ("" if self.realm else "; there is no realm descriptor"),
                "see whether 'mpc-manager run' is running and the token is not"
                " used or expired, then register again with the same token",
            ) from error

    async def _exchange(self) -> Identity:
        asked_at: int | None = None
        while True:
            for delivery in await self.transport.deliveries(16):
                message = self._open(delivery)
                await self.transport.ack([delivery])
                if isinstance(message, RegistrationReply) and self.realm:
                    return registration.accept(
                        self.enrolment,
                        self.realm,
                        message,
                        self.context(),
                        self.login.authority,
                    )
                if isinstance(message, ErrorNotice):
                    raise _refused(message)
            now = self.context().now_ms
            repeat_ms = REPEAT_AFTER // timedelta(milliseconds=1)
            if self.realm and (asked_at is None or now > asked_at + repeat_ms):
                asked_at = now
                await _publish(self.transport, self._request(self.realm))

    def _request(self, realm: RealmView) -> Outgoing:
        context, token = self.context(), self.enrolment.token
        mid = MessageId(context.entropy(16))
        body = envelope.seal(
            self.enrolment.request(),
            Addressing(token.sender, MANAGER, mid, context.now_ms, SHORT_LIFE_MS),
            KemSeal(realm.kem_key(context.now_ms)),
            self.enrolment.signing,
            token.fingerprint,
        )
        return Outgoing(
            exchange=topology.MANAGER_EXCHANGE,
            routing_key=topology.routing_key("reg.req", token.sender),
            body=body,
            message_id=mid.hex(),
            type="reg.req",
            correlation_id=None,
            expiration_ms=SHORT_LIFE_MS,
            timestamp=context.now_ms // 1000,
            user_id=token.user,
            app_id=APP_ID,
        )

    def _open(self, delivery: Delivery) -> Message | None:
        """Return the message in a delivery; ``None`` if it is dropped."""
        try:
            message = self._proven(delivery)
            if isinstance(message, RealmDescriptor):
                self._note(message)
        except (DroppedError, RemoteProtocolError) as error:
            _log.warning("envelope dropped", extra={"reason": str(error)})
            return None
        return message

    def _proven(self, delivery: Delivery) -> Message:
        sealed = envelope.parse(delivery.body)
        if delivery.has_copies:
            raise DroppedError(DropReason.COPIES, sealed.header)
        now = self.context().now_ms
        directory = _Directory(self.enrolment, self.realm, now)
        envelope.check(sealed, self.enrolment.token.sender, directory, now)
        return envelope.message_of(envelope.prove(sealed, directory, self._fingerprint))

    def _note(self, message: RealmDescriptor) -> None:
        seen = self.realm.epoch if self.realm else self.enrolment.token.min_epoch
        self.realm = check_descriptor(
            SignedRealm(rd=message.rd, sig=message.sig), self._fingerprint, seen
        )

    @property
    def _fingerprint(self) -> Fingerprint:
        return self.enrolment.token.fingerprint


@dataclass(frozen=True, slots=True)
class _Directory:
    """What somebody who enrols knows of senders and keys."""

    enrolment: Enrolment
    realm: RealmView | None
    now_ms: int

    def knows(self, header: Header, rule: Rule) -> bool:  # noqa: ARG002 - protocol
        """Say whether the manager is who claims to send."""
        return header.s == MANAGER

    def session_key(self, header: Header) -> bytes:
        """There are no sessions yet."""
        raise DroppedError(DropReason.SESSION, header)

    def kem_keys(self) -> tuple[KemKey, ...]:
        """Return the new key."""
        return (self.enrolment.kem,)

    def verify_key(self, header: Header, payload: bytes) -> bytes | None:
        """Return the manager's signing key with this id."""
        if header.t == "realm.descriptor":
            fingerprint = self.enrolment.token.fingerprint
            return descriptor_key(payload, fingerprint, header, self.now_ms)
        if self.realm is None:
            return None
        return self.realm.signing_key(header.kid, self.now_ms)


async def _publish(transport: Transport, message: Outgoing) -> None:
    if await transport.publish([message]) != [Publication.CONFIRMED]:
        raise TransportError(
            "the broker has no queue for the manager",
            "see whether 'mpc-manager run' has prepared the broker",
        )


def _refused(notice: ErrorNotice) -> AuthenticationError:
    if notice.code is ErrorCode.BUSY:
        return AuthenticationError(
            "the manager is busy", "register again in a minute with the same token"
        )
    return AuthenticationError(
        f"the manager refuses the token ({notice.code})",
        "it may be used, expired or made for another role; ask its operator for a"
        " new one: mpc-manager token create",
    )
