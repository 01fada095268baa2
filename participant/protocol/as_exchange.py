"""The AS exchange, the participant's half, and the sessions that come of it.

Source: docs/protocol.md, section "AS exchange" (RFC 4120, 3.1, with signatures for
pre-authentication as in RFC 4556). A session is renewed at four fifths of its life;
the older one is kept for a minute, so that nothing under way is lost.
"""

from dataclasses import dataclass

from participant.protocol.identity import Identity
from participant.protocol.trust import SUITES, VERSION, check_certificate
from shared.crypto.certificates import check_leaf, spiffe_id
from shared.crypto.derivation import as_confirm, as_keys, as_transcript, equal
from shared.crypto.keys import KemKey
from shared.errors import (
    ClockSkewError,
    CryptoError,
    DecodeError,
    RemoteProtocolError,
)
from shared.messages import (
    AsReply,
    AsReplyCore,
    AsRequest,
    Endorsement,
    SignedCertificate,
    unpack,
)
from shared.names import Role, SessionId
from shared.protocol.machine import Context

MAX_CLOCK_SKEW_MS = 120_000
CLIENT_LIFE_MS = 12 * 3_600_000
SERVER_LIFE_MS = 24 * 3_600_000
RENEW_AT_PERCENT = 80
OLD_SESSION_MS = 60_000
"""How long messages of the session before are still opened."""
NONCE_BYTES = 16

_ENDORSE_LABEL = b"MPX1-endorse\0"


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that waits for its answer.

    ``payload``: its bytes as sent, for the transcript. ``spki``: SHA-256 of the new
    TLS key. ``endorse``, ``endorse_sig``: this participant's word for it.
    """

    request: AsRequest
    payload: bytes
    ephemeral: KemKey
    spki: bytes
    endorse: bytes
    endorse_sig: bytes
    sent_at: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session with the manager, and the TLS key that lives as long.

    Times in milliseconds. ``renew_at``: when the next AS exchange begins.
    """

    sid: SessionId
    up: bytes
    down: bytes
    started_at: int
    exp: int
    renew_at: int
    leaf: bytes
    authorities: tuple[bytes, ...]
    spki: bytes
    endorse: bytes
    endorse_sig: bytes

    def __repr__(self) -> str:
        """Name the session, never its keys."""
        return f"Session(sid={self.sid.hex()}, <redacted>)"


@dataclass(frozen=True, slots=True)
class Sessions:
    """The session in use and the one before it, for as long as it is heard.

    ``is_superseded``: another process of the same identity took over.
    """

    current: Session | None = None
    older: Session | None = None
    older_until: int = 0
    asking: Asking | None = None

    def down_key(self, sid: SessionId, now_ms: int) -> bytes | None:
        """Return the key that opens what the manager sends in a session."""
        if self.current is not None and self.current.sid == sid:
            return self.current.down if now_ms <= self.current.exp else None
        if self.older is not None and self.older.sid == sid:
            return self.older.down if now_ms <= self.older_until else None
        return None

    def with_session(self, session: Session, now_ms: int) -> "Sessions":
        """Return the sessions after an AS exchange."""
        return Sessions(session, self.current, now_ms + OLD_SESSION_MS)


@dataclass(frozen=True, slots=True)
class TlsRequest:
    """What the data process gave for the new session's TLS key."""

    csr: bytes
    spki: bytes


def ask(
    identity: Identity,
    tls: TlsRequest,
    addresses: tuple[str, ...],
    context: Context,
) -> Asking:
    """Return a signed request for a new session.

    Args:
        identity: who asks.
        tls: the request for the new TLS key's leaf.
        addresses: where an MPC server is reached; empty for clients.
        context: time and entropy.
    """
    life = SERVER_LIFE_MS if identity.role is Role.MPCS else CLIENT_LIFE_MS
    endorsement = Endorsement(
        v=1,
        realm=identity.realm.fingerprint,
        p=identity.principal,
        role=identity.role,
        spki=tls.spki,
        addrs=addresses,
        nbf=context.now_ms - MAX_CLOCK_SKEW_MS,
        exp=context.now_ms + life,
    ).pack()
    endorse_sig = identity.signing.sign(_ENDORSE_LABEL, endorsement)
    ephemeral = KemKey.from_bytes(context.entropy(32))
    request = AsRequest(
        p=identity.principal,
        m=identity.realm.fingerprint,
        e=ephemeral.public,
        nonce=context.entropy(NONCE_BYTES),
        now=context.now_ms,
        life=life,
        vers=(VERSION,),
        suites=SUITES,
        csr=tls.csr,
        endorse=endorsement,
        endorse_sig=endorse_sig,
    )
    return Asking(
        request=request,
        payload=request.pack(),
        ephemeral=ephemeral,
        spki=tls.spki,
        endorse=endorsement,
        endorse_sig=endorse_sig,
        sent_at=context.now_ms,
    )


def accept(
    asking: Asking, identity: Identity, reply: AsReply, context: Context
) -> tuple[Session, SignedCertificate | None]:
    """Return the session, and this participant's newer certificate if one came.

    Raises:
        ClockSkewError: the manager's clock is more than two minutes away.
        RemoteProtocolError: it does not answer this request, offers less than was
            asked for, or its leaf is not for this participant's key.
    """
    try:
        core = unpack(AsReplyCore, reply.core)
        _check_core(asking, identity, core, context.now_ms)
        transcript = as_transcript(asking.payload, reply.core)
        keys = as_keys(transcript, asking.ephemeral.exchange(core.e))
        if not equal(as_confirm(keys.confirm_key, transcript), reply.confirm):
            raise RemoteProtocolError("an as.rep whose confirmation is wrong")
        check_leaf(
            core.leaf,
            core.cas,
            context.now,
            spiffe_id(identity.realm.name, identity.role, identity.principal),
            asking.spki,
        )
    except (DecodeError, CryptoError) as error:
        raise RemoteProtocolError(f"an as.rep that does not hold: {error}") from error
    cert = _newer_certificate(identity, core.cert, context.now_ms)
    life = core.exp - context.now_ms
    session = Session(
        sid=core.sid,
        up=keys.up,
        down=keys.down,
        started_at=context.now_ms,
        exp=core.exp,
        renew_at=context.now_ms + life * RENEW_AT_PERCENT // 100,
        leaf=core.leaf,
        authorities=core.cas,
        spki=asking.spki,
        endorse=asking.endorse,
        endorse_sig=asking.endorse_sig,
    )
    return session, cert


def _check_core(
    asking: Asking, identity: Identity, core: AsReplyCore, now_ms: int
) -> None:
    request = asking.request
    if core.nonce != request.nonce or core.p != identity.principal:
        raise RemoteProtocolError("an as.rep to another request")
    if core.vers_seen != request.vers or core.suites_seen != request.suites:
        raise RemoteProtocolError("an as.rep that answers another offer: a downgrade")
    if core.ver not in request.vers or core.suite not in request.suites:
        raise RemoteProtocolError("an as.rep with a version that was not offered")
    if abs(core.now - now_ms) > MAX_CLOCK_SKEW_MS:
        raise skew(core.now, now_ms)
    if core.exp <= now_ms:
        raise RemoteProtocolError("an as.rep with a session that is over")


def skew(manager_now: int, now_ms: int) -> ClockSkewError:
    """Return the error that names how far this machine's clock is off.

    Args:
        manager_now: the manager's time, in milliseconds.
        now_ms: this machine's.
    """
    seconds = (now_ms - manager_now) / 1000
    way = "ahead of" if seconds > 0 else "behind"
    return ClockSkewError(
        f"this machine's clock is {abs(seconds):.0f} s {way} the manager's",
        "set the clock (an NTP service keeps it right); up to 120 s are accepted",
    )


def _newer_certificate(
    identity: Identity, cert: SignedCertificate | None, now_ms: int
) -> SignedCertificate | None:
    if cert is None:
        return None
    body = check_certificate(cert, identity.realm, now_ms)
    if (
        body.principal != identity.principal
        or body.role is not identity.role
        or body.io != identity.io
        or body.sig_pk != identity.signing.public
        or body.kem_pk != identity.kem.public
    ):
        raise RemoteProtocolError("an as.rep with somebody else's certificate")
    return cert
