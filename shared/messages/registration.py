"""The registration exchange: ``reg.req``, ``reg.rep``, ``reg.done``."""

from typing import Annotated, Literal

from annotated_types import Ge, Le, Len

from shared.messages.realm import SignedCertificate, SignedRealm
from shared.messages.wire import (
    Bytes32,
    Name,
    Nonce16,
    Serial,
    Structure,
    Text,
    TimeMs,
    Token,
    Versions,
    WireIo,
    WireRole,
)


class Attributes(Structure):
    """What a principal says of itself.

    ``cpus``: logical processors; ``ram``: GiB; ``csp``: cloud service provider.
    """

    location: Text | None = None
    cpus: Annotated[int, Ge(1), Le(65536)] | None = None
    ram: Annotated[int, Ge(0), Le(1 << 20)] | None = None
    csp: Text | None = None
    operator: Text | None = None


class RegistrationRequest(Structure):
    """``reg.req``: a token and new keys, signed with the new key itself."""

    type: Literal["reg.req"] = "reg.req"
    token_id: Token
    secret: Nonce16
    role: WireRole
    io: WireIo | None = None
    prefix: Text | None = None
    sig_pk: Bytes32
    kem_pk: Bytes32
    attrs: Attributes
    pwhash: Annotated[str, Len(48, 48)]
    nonce: Nonce16
    vers: Versions


class BrokerAccess(Structure):
    """Where a new principal finds its inbox."""

    user: Name
    vhost: Text
    queue: Text


class RegistrationReply(Structure):
    """``reg.rep``: the principal's name, certificate and broker user."""

    type: Literal["reg.rep"] = "reg.rep"
    nonce: Nonce16
    principal: Name
    cert: SignedCertificate
    broker: BrokerAccess
    realm_desc: SignedRealm
    now: TimeMs


class RegistrationDone(Structure):
    """``reg.done``: the new principal holds its certificate."""

    type: Literal["reg.done"] = "reg.done"
    principal: Name
    serial: Serial
    nonce: Nonce16
