"""The two ends of a share's way, a process each, over our links and over bare ones.

A receiver listens for each way on a port of its own and answers a whole block. The
sender's time runs, once its connections stand, until every receiver has answered.
"""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum, unique
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from bench.floor_tls import PRINCIPAL, Credentials, contexts
from participant.dataplane.frames import FrameType
from participant.dataplane.links import Link
from participant.dataplane.times import Times
from participant.dataplane.tls import Identities, server_name
from participant.dataplane.transfer import receive_block, send_block
from shared.crypto.certificates import read_csr

HOST = "127.0.0.1"
BLOCK_BYTES = 32 << 20
"""What each server gets."""
PIECE_BYTES = 256 << 10
"""What a bare end writes or reads at a time."""
BACKLOG = 8
ANSWER = b"d"


@unique
class Way(StrEnum):
    """How a block travels."""

    LINK = "our links"
    TLS_BLOCKING = "bare TLS, blocking"
    TLS_ASYNCIO = "bare TLS, asyncio"
    TCP = "bare TCP"


Ports = Mapping[Way, int]


@dataclass(frozen=True, slots=True)
class Sending:
    """One transfer: which way, and to which ports at once."""

    way: Way
    ports: tuple[int, ...]


class _Links:
    """Our links, as a data process makes them, without the exchanges on them."""

    def __init__(self, credentials: Credentials) -> None:
        self._identities = Identities()
        csr, spki = self._identities.make_key(PRINCIPAL)
        leaf = credentials.issue(read_csr(csr))
        self._identity = self._identities.use_leaf(spki, leaf, [credentials.authority])

    @property
    def spki(self) -> bytes:
        """The hash of the key that this end shows."""
        return self._identity.spki

    async def accept(self, listening: socket.socket) -> None:
        """Take one block after the other, each on a link of its own."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listening)
            link = Link(self._identities, Times(), None)
            await loop.connect_accepted_socket(
                lambda link=link: link,  # type: ignore[misc]  # mypy infers no type for a default
                connection,
                ssl=self._identity.listener,
            )
            await receive_block(link, BLOCK_BYTES)
            await link.send(FrameType.ACK)
            link.close()

    async def dial(self, port: int, spki: bytes) -> Link:
        """Return a link with a receiver."""
        link = Link(self._identities, Times(), spki)
        await asyncio.get_running_loop().create_connection(
            lambda: link,
            HOST,
            port,
            ssl=self._identity.dialler,
            server_hostname=server_name(spki),
        )
        return link


class _Counting(asyncio.BufferedProtocol):
    """A bare end under asyncio: counts what comes, and tells when it is enough."""

    def __init__(self, expected: int, answer: bytes) -> None:
        self._left = expected
        self._answer = answer
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._can_write = asyncio.Event()
        self.done = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._can_write.set()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left == 0:
            self._transport.write(self._answer)
            self.done.set()

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    async def send(self, block: memoryview) -> None:
        """Send all of a block and wait for the answer."""
        for start in range(0, len(block), PIECE_BYTES):
            self._transport.write(block[start : start + PIECE_BYTES])
            await self._can_write.wait()
        await self.done.wait()
        self._transport.close()


def receiver_main(credentials: Credentials, pipe: Connection) -> None:
    """Be a server's process until it is killed."""
    os.setsid()  # keeps Ctrl-C away: the bench ends this process
    uvloop.run(_receive(credentials, pipe))


async def _receive(credentials: Credentials, pipe: Connection) -> None:
    links, (_, listener) = _Links(credentials), contexts(credentials)
    listening = {way: socket.create_server((HOST, 0), backlog=BACKLOG) for way in Way}
    for way, context in ((Way.TLS_BLOCKING, listener), (Way.TCP, None)):
        threading.Thread(
            target=_take_blocking, args=(listening[way], context), daemon=True
        ).start()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Counting(BLOCK_BYTES, ANSWER),
        sock=listening[Way.TLS_ASYNCIO],
        ssl=listener,
    )
    listening[Way.LINK].setblocking(False)
    pipe.send(
        (links.spki, {way: each.getsockname()[1] for way, each in listening.items()})
    )
    async with server:
        await links.accept(listening[Way.LINK])


def _take_blocking(listening: socket.socket, context: ssl.SSLContext | None) -> None:
    """Take one block after the other with blocking sockets."""
    buffer = memoryview(bytearray(PIECE_BYTES))
    while True:
        connection, _ = listening.accept()
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        with closing(connection):
            left = BLOCK_BYTES
            while left > 0:
                left -= connection.recv_into(buffer)
            connection.sendall(ANSWER)


def sender_main(
    credentials: Credentials, keys: Mapping[int, bytes], pipe: Connection
) -> None:
    """Be the source's process until the pipe closes.

    Args:
        credentials: of all ends.
        keys: the hash of a receiver's key by its port for our links.
        pipe: brings what to send, takes the seconds that it took.
    """
    os.setsid()  # keeps Ctrl-C away: the bench ends this process
    uvloop.run(_send(credentials, keys, pipe))


async def _send(
    credentials: Credentials, keys: Mapping[int, bytes], pipe: Connection
) -> None:
    links, (dialler, _) = _Links(credentials), contexts(credentials)
    block = bytes(BLOCK_BYTES)
    ways: Mapping[Way, Callable[[Sequence[int]], Awaitable[float]]] = {
        Way.LINK: lambda ports: _over_links(links, keys, ports, block),
        Way.TLS_ASYNCIO: lambda ports: _over_asyncio(dialler, ports, block),
        Way.TLS_BLOCKING: lambda ports: _over_blocking(dialler, ports, block),
        Way.TCP: lambda ports: _over_blocking(None, ports, block),
    }
    pipe.send(True)  # ready
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        assert isinstance(order, Sending)  # noqa: S101 - by the contract of the pipe
        pipe.send(await ways[order.way](order.ports))


async def _over_links(
    links: _Links, keys: Mapping[int, bytes], ports: Sequence[int], block: bytes
) -> float:
    dialled = await asyncio.gather(*(links.dial(port, keys[port]) for port in ports))

    async def send(link: Link) -> None:
        await send_block(link, block)
        await link.expect(FrameType.ACK)
        link.close()

    began = time.perf_counter()
    await asyncio.gather(*map(send, dialled))
    return time.perf_counter() - began


async def _over_asyncio(
    dialler: ssl.SSLContext, ports: Sequence[int], block: bytes
) -> float:
    loop = asyncio.get_running_loop()
    made = await asyncio.gather(
        *(
            loop.create_connection(
                lambda: _Counting(len(ANSWER), b""),
                HOST,
                port,
                ssl=dialler,
                server_hostname="",
            )
            for port in ports
        )
    )
    began = time.perf_counter()
    await asyncio.gather(*(end.send(memoryview(block)) for _, end in made))
    return time.perf_counter() - began


async def _over_blocking(
    dialler: ssl.SSLContext | None, ports: Sequence[int], block: bytes
) -> float:
    connections = []
    for port in ports:
        connection = socket.create_connection((HOST, port))
        if dialler is not None:
            connection = dialler.wrap_socket(connection)
        connections.append(connection)

    def send(connection: socket.socket) -> None:
        with closing(connection), memoryview(block) as view:
            for start in range(0, len(block), PIECE_BYTES):
                connection.sendall(view[start : start + PIECE_BYTES])
            connection.recv(len(ANSWER))

    with ThreadPoolExecutor(max_workers=len(connections)) as pool:
        began = time.perf_counter()
        for sent in [pool.submit(send, connection) for connection in connections]:
            sent.result()
        return time.perf_counter() - began
