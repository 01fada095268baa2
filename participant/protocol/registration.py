"""The registration exchange, the participant's half.

Source: docs/protocol.md, section "Registration". The new keys sign the request, so
that the manager knows that their owner asks.
"""

from dataclasses import dataclass

from participant.protocol.identity import BrokerLogin, Identity
from participant.protocol.trust import (
    VERSION,
    RealmView,
    check_certificate,
    check_descriptor,
)
from shared.crypto.derivation import rabbitmq_password_hash
from shared.crypto.keys import KemKey, SigningKey
from shared.errors import RemoteProtocolError
from shared.messages import (
    Attributes,
    CertificateBody,
    RegistrationDone,
    RegistrationReply,
    RegistrationRequest,
    unpack,
)
from shared.names import Io, Principal, Role
from shared.protocol.machine import Context
from shared.token import Token

NONCE_BYTES = 16
PASSWORD_BYTES = 32
SALT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A registration under way: the token, fresh keys and what was asked."""

    token: Token
    signing: SigningKey
    kem: KemKey
    role: Role
    io: Io | None
    prefix: str | None
    attributes: Attributes
    password: str
    salt: bytes
    journal_key: bytes
    nonce: bytes

    def __repr__(self) -> str:
        """Name the role, never the keys."""
        return f"Enrolment({self.role}, <redacted>)"

    def request(self) -> RegistrationRequest:
        """Return the ``reg.req``; the same one for every retry."""
        return RegistrationRequest(
            token_id=self.token.token_id,
            secret=self.token.secret,
            role=self.role,
            io=self.io,
            prefix=self.prefix,
            sig_pk=self.signing.public,
            kem_pk=self.kem.public,
            attrs=self.attributes,
            pwhash=rabbitmq_password_hash(self.password, self.salt),
            nonce=self.nonce,
            vers=(VERSION,),
        )


def begin(
    token: Token,
    role: Role,
    io: Io | None,
    prefix: str | None,
    attributes: Attributes,
    context: Context,
) -> Enrolment:
    """Return a registration with fresh keys."""
    return Enrolment(
        token=token,
        signing=SigningKey.from_seed(context.entropy(32)),
        kem=KemKey.from_bytes(context.entropy(32)),
        role=role,
        io=io,
        prefix=prefix,
        attributes=attributes,
        password=context.entropy(PASSWORD_BYTES).hex(),
        salt=context.entropy(SALT_BYTES),
        journal_key=context.entropy(32),
        nonce=context.entropy(NONCE_BYTES),
    )


def accept(
    enrolment: Enrolment,
    realm: RealmView,
    reply: RegistrationReply,
    context: Context,
    authority: str | None = None,
) -> Identity:
    """Return the new identity.

    Args:
        enrolment: what was asked.
        realm: from the descriptor in the enrolment queue.
        reply: from the manager, its sender proven.
        context: the time.
        authority: PEM of the broker's CA, kept with the login.

    Raises:
        RemoteProtocolError: the answer is not to this request, or not what it
            asked for; nothing may be kept of it.
    """
    if reply.nonce != enrolment.nonce:
        raise RemoteProtocolError("a registration's answer to another request")
    newest = check_descriptor(reply.realm_desc, realm.fingerprint, realm.epoch)
    body = check_certificate(reply.cert, newest, context.now_ms)
    if (
        body.principal != reply.principal
        or body.sig_pk != enrolment.signing.public
        or body.kem_pk != enrolment.kem.public
    ):
        raise RemoteProtocolError("a certificate of somebody else")
    if body.role is not enrolment.role or body.io != enrolment.io:
        raise RemoteProtocolError("a certificate of another role than asked for")
    return Identity(
        signing=enrolment.signing,
        kem=enrolment.kem,
        principal=Principal(reply.principal),
        role=body.role,
        io=body.io,
        cert=reply.cert,
        realm=newest,
        broker=BrokerLogin(
            url=enrolment.token.broker_url,
            vhost=reply.broker.vhost,
            user=reply.broker.user,
            queue=reply.broker.queue,
            password=enrolment.password,
            authority=authority,
        ),
        journal_key=enrolment.journal_key,
    )


def done(identity: Identity, enrolment: Enrolment) -> RegistrationDone:
    """Return the message that completes a registration; the key file is written."""
    body = unpack(CertificateBody, identity.cert.c)
    return RegistrationDone(
        principal=identity.principal, serial=body.serial, nonce=enrolment.nonce
    )
