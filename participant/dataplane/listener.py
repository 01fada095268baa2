"""The one listening port of an MPC server, and what may happen on it.

Source: docs/protocol.md, sections "Links" and "AP exchange". Until its ap.req or
peer.hello a connection gets nothing but a link.hello, and its place is limited.
"""

import asyncio
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from participant.dataplane.addresses import listen_on
from participant.dataplane.frames import Frame, FrameType
from participant.dataplane.links import Link
from participant.dataplane.times import Times
from participant.dataplane.tls import Identities
from participant.protocol.ap_exchange import NONCE_BYTES, job_of_request
from participant.protocol.peer_hello import job_of_hello, link_hello
from shared.clock import Clock
from shared.errors import FailureCode, FrameworkError, RemoteProtocolError
from shared.names import JobId

MAX_UNPROVEN: Final = 64
"""Connections that have not sent an ap.req or peer.hello, in all."""
MAX_UNPROVEN_PER_ADDRESS: Final = 48
MAX_HELD: Final = 256
"""Links whose ap.req or peer.hello waits for its job, in all."""
MAX_HELD_PER_LEAF: Final = 32
POLL_SECONDS: Final = 0.05
LIFE_MARGIN_SECONDS: Final = 60.0
"""How much longer than its dialler a listener keeps an idle link."""

_log = logging.getLogger(__name__)


class Served(Protocol):
    """A job that takes links."""

    async def serve(self, link: Link, frame: Frame) -> None:
        """Do this job on a link, from its ap.req or peer.hello to the DONE.

        Raises:
            FrameworkError: the link is to be closed.
        """
        ...


class Jobs(Protocol):
    """Where a link's job is found."""

    async def wait_for(self, job: JobId, epoch: int) -> Served | None:
        """Return a job as soon as it is there, or None if it does not come."""
        ...


class _Unproven:
    """Connections that have not shown anything yet, the oldest first."""

    def __init__(self) -> None:
        self._entries: dict[asyncio.Task[None], tuple[float, str]] = {}
        self._by_address: Counter[str] = Counter()

    def is_full(self) -> bool:
        return len(self._entries) >= MAX_UNPROVEN

    def is_full_for(self, address: str) -> bool:
        return self._by_address[address] >= MAX_UNPROVEN_PER_ADDRESS

    def add(self, task: asyncio.Task[None], now: float, address: str) -> None:
        self._entries[task] = (now, address)
        self._by_address[address] += 1

    def remove(self, task: asyncio.Task[None]) -> None:
        entry = self._entries.pop(task, None)
        if entry is not None:
            self._by_address[entry[1]] -= 1
            if not self._by_address[entry[1]]:
                del self._by_address[entry[1]]

    def evict(self, before: float, address: str | None) -> bool:
        """End the oldest that came before a time; say whether there was one."""
        for task, (since, its_address) in self._entries.items():
            if since > before:
                return False
            if address in {None, its_address}:
                self.remove(task)
                task.cancel()
                return True
        return False


class Listener:
    """Accepts links and gives each of their jobs to whom it belongs."""

    def __init__(
        self, identities: Identities, jobs: Jobs, times: Times, clock: Clock
    ) -> None:
        self._identities = identities
        self._jobs = jobs
        self._times = times
        self._clock = clock
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._unproven = _Unproven()
        self._held: Counter[bytes] = Counter()

    async def start(self, addresses: Sequence[str], tries: int) -> int:
        """Listen, and return the port.

        Raises:
            ConfigError: it cannot; the text says where and why.
        """
        self._sockets, port = await asyncio.to_thread(listen_on, addresses, tries)
        self._accepting = [
            asyncio.create_task(self._accept(listening)) for listening in self._sockets
        ]
        return port

    async def close(self) -> None:
        """Stop to listen and close every link."""
        tasks = [*self._accepting, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_place()
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError:  # the peer is gone, or we are out of descriptors
                await asyncio.sleep(POLL_SECONDS)
                continue
            address = str(peer[0])
            now = loop.time()
            is_full = self._unproven.is_full_for(address)
            if is_full and not self._unproven.evict(now - self._eviction(), address):
                connection.close()
                continue
            connection.setblocking(False)
            task = asyncio.create_task(self._serve(connection))
            self._unproven.add(task, now, address)
            self._serving.add(task)
            task.add_done_callback(self._unproven.remove)
            task.add_done_callback(self._serving.discard)

    async def _wait_for_place(self) -> None:
        """Wait until another connection may be taken; those that idle make room."""
        loop = asyncio.get_running_loop()
        while self._unproven.is_full():
            if not self._unproven.evict(loop.time() - self._eviction(), None):
                await asyncio.sleep(POLL_SECONDS)

    def _eviction(self) -> float:
        return self._times.eviction.total_seconds()

    async def _serve(self, connection: socket.socket) -> None:
        """Serve a connection until it ends; nothing that a peer does escapes."""
        link = Link(self._identities, self._times, None)
        is_proven = False
        code: FailureCode | None = FailureCode.LINK_FAILED
        try:
            frame = await self._first_frame(connection, link)
            is_proven = True
            await self._serve_jobs(link, frame)
        except (FrameworkError, OSError, TimeoutError) as error:
            _log.info(
                "link closed",
                extra={"outcome": type(error).__name__, "reason": _text(error)},
            )
        except asyncio.CancelledError:
            # Either the listener closes, or the connection had to make room: then
            # there is no job that could be aborted, and its dialler tries again.
            code = FailureCode.PARTY_LOST if is_proven else None
            raise
        finally:
            if code is None:
                link.close()
            else:
                link.abort(code)
            if link.never_stood:
                connection.close()

    async def _first_frame(self, connection: socket.socket, link: Link) -> Frame:
        """Do the handshake and return the frame that starts the first job."""
        identity = self._identities.newest()
        if identity is None:
            raise FrameworkError("no leaf yet")
        loop = asyncio.get_running_loop()
        seconds = self._times.first_frame.total_seconds()
        async with asyncio.timeout(seconds):
            await loop.connect_accepted_socket(
                lambda: link,
                connection,
                ssl=identity.listener,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=1,
            )
            link.nonce = secrets.token_bytes(NONCE_BYTES)
            _ = link.leaves  # a peer without a leaf does not get any further
            await link.send(FrameType.LINK_HELLO, link_hello(link.nonce))
            frame = await link.receive()
        task = asyncio.current_task()
        if task is not None:
            self._unproven.remove(task)
        return frame

    async def _serve_jobs(self, link: Link, frame: Frame) -> None:
        """Do one job after the other on a link."""
        while True:
            await self._serve_job(link, frame)
            frame = await self._next_job(link)

    async def _next_job(self, link: Link) -> Frame:
        """Return what starts the next job on an idle link."""
        left = self._times.link_life.total_seconds() - link.age_seconds
        try:
            async with asyncio.timeout(left + LIFE_MARGIN_SECONDS):
                return await link.receive()
        except (TimeoutError, asyncio.CancelledError):
            link.close()  # no ABORT: nothing is going on that could be aborted
            raise

    async def _serve_job(self, link: Link, frame: Frame) -> None:
        """Do one job on a link."""
        if not link.leaves.are_in_time(self._clock.now()):
            raise RemoteProtocolError("a leaf outside its time")
        if frame.type is FrameType.AP_REQ:
            job, epoch = job_of_request(frame.body)
        elif frame.type is FrameType.PEER_HELLO:
            job, epoch = job_of_hello(frame.body)
        else:
            raise RemoteProtocolError(f"a frame {frame.type.name} starts no job")
        served = await self._find(link, job, epoch)
        if served is None:
            raise RemoteProtocolError("a job that did not start here")
        if link.has_frames:
            raise RemoteProtocolError("frames before the answer")
        await served.serve(link, frame)

    async def _find(self, link: Link, job: JobId, epoch: int) -> Served | None:
        """Return the job, waiting for it where there is room to wait."""
        leaf = link.leaves.facts.peer_spki
        if self._held.total() >= MAX_HELD or self._held[leaf] >= MAX_HELD_PER_LEAF:
            raise RemoteProtocolError("too many links wait for their job")
        self._held[leaf] += 1
        try:
            return await self._jobs.wait_for(job, epoch)
        finally:
            self._held[leaf] -= 1
            if not self._held[leaf]:
                del self._held[leaf]


def _text(error: Exception) -> str:
    """Return an error's text, if it is one of ours: those hold no peer's bytes."""
    return str(error) if isinstance(error, FrameworkError) else ""
