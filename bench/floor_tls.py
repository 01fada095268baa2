"""Bare mutual TLS 1.3 with P-256: the contexts and the dialling of the floors."""

import asyncio
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.clock import SystemClock
from shared.crypto.certificates import CertificateAuthority, TlsKey, der_to_pem
from shared.names import Principal, Realm, Role

REALM = Realm("bench")
PRINCIPAL = Principal("bench001")
LIFETIME = timedelta(days=1)
SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Credentials:
    """One key with its leaf, which every end of a floor shows, and who signed it."""

    chain: bytes
    """PEM of key and leaf."""
    authority: bytes
    """DER of the authority's certificate."""
    authority_key: bytes
    """PEM of the authority's key, for ends that want leaves of their own."""

    def issue(self, spki: bytes) -> bytes:
        """Return the leaf of a key, in DER, of the shape that data links have."""
        signer = CertificateAuthority.from_pem(self.authority_key, self.authority)
        return _issue(signer, spki)


def make_credentials() -> Credentials:
    """Return fresh credentials."""
    now = SystemClock().now()
    authority = CertificateAuthority.create(REALM, now - SKEW, now + 2 * LIFETIME)
    key = TlsKey.generate()
    leaf = der_to_pem(_issue(authority, key.spki)).encode()
    return Credentials(
        key.private_pem + leaf, authority.certificate_der, authority.key_pem
    )


def _issue(authority: CertificateAuthority, spki: bytes) -> bytes:
    now = SystemClock().now()
    return authority.issue_leaf(
        spki, REALM, Role.MPCS, PRINCIPAL, now - SKEW, now + LIFETIME
    )


def contexts(credentials: Credentials) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of dialler and listener: TLS 1.3, mutual, no tickets."""
    dialler = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    dialler.check_hostname = False
    listener = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listener.num_tickets = 0
    for context in (dialler, listener):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=credentials.authority)
        descriptor = os.memfd_create("bench-tls-key", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, credentials.chain)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    return dialler, listener


class Ends:
    """The ends of bare links in one process: those dialled and those accepted."""

    def __init__(self, credentials: Credentials) -> None:
        self._dialler, self._listener = contexts(credentials)
        self._open: list[asyncio.Transport] = []
        self._accepted = 0
        self._changed = asyncio.Event()

    async def listen(self) -> int:
        """Accept from now on; return the port."""
        server = await asyncio.get_running_loop().create_server(
            lambda: _End(self), "127.0.0.1", 0, ssl=self._listener, backlog=200
        )
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def link(self, ports: Sequence[int], accepts: int) -> None:
        """Dial all ports at once; return when so many were accepted here too."""
        await asyncio.gather(*(self._dial(port) for port in ports))
        while self._accepted < accepts:
            self._changed.clear()
            await self._changed.wait()

    def stands(self, transport: asyncio.Transport, *, is_accepted: bool) -> None:
        """Take note of an end whose handshake is done."""
        self._open.append(transport)
        if is_accepted:
            self._accepted += 1
            self._changed.set()

    def close(self) -> None:
        """Drop every end at once; the next links are new ones."""
        for transport in self._open:
            transport.abort()
        self._open.clear()
        self._accepted = 0

    async def _dial(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: _End(self, is_accepted=False),
            "127.0.0.1",
            port,
            ssl=self._dialler,
            server_hostname="",
        )


class _End(asyncio.Protocol):
    """One end; nothing is ever sent over it."""

    def __init__(self, ends: Ends, *, is_accepted: bool = True) -> None:
        self._ends = ends
        self._is_accepted = is_accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream
        self._ends.stands(transport, is_accepted=self._is_accepted)
