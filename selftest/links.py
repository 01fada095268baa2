"""Attempts at the MPC servers' data plane, with and without a leaf of the realm."""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from manager.store.records import SessionStanding
from manager.store.store import Store
from participant.dataplane.addresses import split_address
from participant.dataplane.frames import Frame, FrameDecoder, FrameType, encode_frame
from participant.dataplane.tls import ALPN, Identities, server_name
from participant.protocol.ap_exchange import Call, request
from participant.protocol.peer_hello import read_link_hello
from selftest.attempt import Attempt, judged, not_tried
from selftest.visitor import Visitor
from shared.clock import SystemClock
from shared.crypto.certificates import CertificateAuthority, read_csr
from shared.errors import FrameworkError, LocalProtocolError
from shared.messages import Endorsement, TicketAuthorisation, TicketBody, unpack
from shared.names import Fingerprint, JobId, Principal, Role
from shared.protocol.tickets import seal_ticket

CLOSED: Final = "closed"
GREETED: Final = "greeted"
_CONNECT_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 20.0
"""A server waits 10 s for a handshake to be done."""
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Target:
    """An MPC server that is logged on. ``spki``: SHA-256 of its TLS key's SPKI."""

    principal: Principal
    spki: bytes
    addresses: tuple[str, ...]


def targets(store: Store) -> list[Target]:
    """Return the MPC servers that are logged on."""
    with store.reading() as unit:
        people = {each.principal: each for each in unit.people.principals()}
        sessions = list(unit.sessions.all())
    found: dict[Principal, Target] = {}
    for session in sessions:
        if session.standing is not SessionStanding.LIVE:
            continue
        if people[session.principal].role is Role.MPCS:
            endorsed = unpack(Endorsement, session.endorse)
            found[session.principal] = Target(
                session.principal, endorsed.spki, endorsed.addrs
            )
    return [found[name] for name in sorted(found)]


@dataclass
class _Link:
    """A TLS connection that says what the attempt wants."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    decoder: FrameDecoder = field(default_factory=FrameDecoder)
    frames: list[Frame] = field(default_factory=list)

    async def receive(self) -> Frame | None:
        """Return the next frame, ``None`` once the server has closed."""
        while not self.frames:
            try:
                data = await self.reader.read(1 << 16)
            except (OSError, ssl.SSLError):
                return None
            if not data:
                return None
            self.frames += self.decoder.feed(data)
        return self.frames.pop(0)

    async def end(self) -> str:
        """Return how the server takes it: it closes, with an ABORT or without."""
        while (frame := await self.receive()) is not None:
            if frame.type is not FrameType.ABORT:
                return f"answered {frame.type.name}"
        return CLOSED


@dataclass(frozen=True, slots=True)
class LinkAttempts:
    """What somebody may try at one MPC server."""

    visitor: Visitor
    target: Target

    async def run(self) -> list[Attempt]:
        """Try everything at once, each on a connection of its own."""
        at = self.target.principal
        address = await self._reachable()
        if address is None:
            where = ", ".join(self.target.addresses) or "no address"
            return [
                not_tried(at, "its data plane", f"not reachable from here: {where}")
            ]
        handshakes: Sequence[tuple[str, str, ssl.SSLContext, str | None]] = (
            ("TLS without a certificate", CLOSED, _context(), None),
            ("TLS 1.2", CLOSED, _context(newest=ssl.TLSVersion.TLSv1_2), None),
            ("a leaf of another authority", CLOSED, self._foreign(), None),
            ("another server's name", CLOSED, self._own(), "0" * 32 + f".{ALPN}"),
            ("a leaf of this realm", GREETED, self._own(), None),
        )
        talks: Sequence[tuple[str, Callable[[_Link, bytes], Awaitable[bytes]]]] = (
            ("a frame of no known type", _unknown),
            ("a frame that is too long", _long),
            ("data without a ticket", _data),
            ("a malformed ap.req", _malformed),
            ("a ticket that the visitor made up", self._ticket),
            ("a hello as another MPC server", _hello),
        )
        tried = [
            ("no TLS", CLOSED, self._plain(address)),
            *(
                (what, expected, self._greeted(address, context, name))
                for what, expected, context, name in handshakes
            ),
            *((what, CLOSED, self._said(address, talk)) for what, talk in talks),
        ]
        seen = await asyncio.gather(*(each for _, _, each in tried))
        return [
            judged(at, what, expected, saw)
            for (what, expected, _), saw in zip(tried, seen, strict=True)
        ]

    async def _reachable(self) -> tuple[str, int] | None:
        for text in self.target.addresses:
            address = split_address(text)
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_SECONDS):
                    _, writer = await asyncio.open_connection(*address)
                writer.close()
                return address
        return None

    async def _plain(self, address: tuple[str, int]) -> str:
        reader, writer = await asyncio.open_connection(*address)
        link = _Link(reader, writer)
        with _timed_out() as seen:
            async with asyncio.timeout(_WAIT_SECONDS):
                writer.write(encode_frame(FrameType.PING) * 8)
                data = await reader.read()
                seen.text = CLOSED if data[:1] in {b"", b"\x15"} else "answered"
        link.writer.transport.abort()
        return seen.text

    async def _greeted(
        self, address: tuple[str, int], context: ssl.SSLContext, name: str | None
    ) -> str:
        """Say whether a TLS client is sent the first frame."""
        with _timed_out() as seen:
            async with asyncio.timeout(_WAIT_SECONDS):
                try:
                    link = await self._dialled(address, context, name)
                except (OSError, ssl.SSLError):
                    return CLOSED
                frame = await link.receive()
                link.writer.transport.abort()
                is_hello = frame is not None and frame.type is FrameType.LINK_HELLO
                seen.text = GREETED if is_hello else CLOSED
        return seen.text

    async def _said(
        self,
        address: tuple[str, int],
        talk: Callable[[_Link, bytes], Awaitable[bytes]],
    ) -> str:
        """Say how the server takes something from a client with a leaf."""
        with _timed_out() as seen:
            async with asyncio.timeout(_WAIT_SECONDS):
                try:
                    link = await self._dialled(address, self._own(), None)
                    hello = await link.receive()
                except (OSError, ssl.SSLError):
                    return "not greeted"
                if hello is None:
                    return "not greeted"
                link.writer.write(await talk(link, hello.body))
                seen.text = await link.end()
                link.writer.transport.abort()
        return seen.text

    async def _dialled(
        self, address: tuple[str, int], context: ssl.SSLContext, name: str | None
    ) -> _Link:
        host, port = address
        reader, writer = await asyncio.open_connection(
            host,
            port,
            ssl=context,
            server_hostname=name or server_name(self.target.spki),
        )
        return _Link(reader, writer)

    def _own(self) -> ssl.SSLContext:
        identity = self.visitor.identities.newest()
        if identity is None:
            raise LocalProtocolError("the visitor has no leaf")
        return identity.dialler

    def _foreign(self) -> ssl.SSLContext:
        """Return a context with the visitor's name in a leaf by somebody else."""
        me, now = self.visitor.identity, SystemClock().now()
        authority = CertificateAuthority.create(me.realm.name, now - _DAY, now + _DAY)
        identities = Identities()
        csr, spki = identities.make_key(me.principal)
        leaf = authority.issue_leaf(
            read_csr(csr),
            me.realm.name,
            me.role,
            me.principal,
            now - _HOUR,
            now + _HOUR,
        )
        trusted = (authority.certificate_der,)
        context = identities.use_leaf(spki, leaf, trusted).dialler
        context.verify_mode = ssl.CERT_NONE
        return context

    async def _ticket(self, link: _Link, hello: bytes) -> bytes:
        me, now = self.visitor.identity, SystemClock().now()
        job, key, manifest = JobId(bytes(16)), secrets.token_bytes(32), bytes(32)
        tls = link.writer.get_extra_info("ssl_object")
        facts = self.visitor.identities.leaves(tls).facts
        begun = int(now.timestamp() * 1000)
        body = TicketBody(
            tid=secrets.token_bytes(16),
            mh=manifest,
            c=me.principal,
            role="client",
            cnf_c=facts.own_spki,
            cnf_s=facts.peer_spki,
            k_cs=key,
            az=TicketAuthorisation(dir="out", cols=(), max_bytes=0),
            nbf=begun - _MINUTE_MS,
            exp=begun + _MINUTE_MS,
        )
        ticket = seal_ticket(
            body,
            secrets.token_bytes(32),
            Fingerprint(me.realm.fingerprint),
            job,
            1,
            self.target.principal,
            secrets.token_bytes(24),
        )
        call = Call(me.principal, self.target.principal, job, 1, manifest, ticket, key)
        asked = request(call, facts, read_link_hello(hello), secrets.token_bytes(16))
        return encode_frame(FrameType.AP_REQ, asked)


@dataclass
class _Seen:
    text: str = "kept open"


@contextlib.contextmanager
def _timed_out() -> Iterator[_Seen]:
    """Give what is seen, which is that nothing happened unless somebody says more."""
    seen = _Seen()
    with contextlib.suppress(TimeoutError, ConnectionError, FrameworkError):
        yield seen


def _context(newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Return a context that shows no certificate and takes any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    context.set_alpn_protocols([ALPN])
    return context


async def _unknown(_: _Link, __: bytes) -> bytes:
    return b"\x00\x00\x00\x02\xff\x00"


async def _long(_: _Link, __: bytes) -> bytes:
    return b"\xff\xff\xff\xff\x04"


async def _data(_: _Link, __: bytes) -> bytes:
    return encode_frame(FrameType.DATA, bytes(64))


async def _malformed(_: _Link, __: bytes) -> bytes:
    return encode_frame(FrameType.AP_REQ, b"\xc1" * 64)


async def _hello(_: _Link, __: bytes) -> bytes:
    return encode_frame(FrameType.PEER_HELLO, b"\x80")
