"""A link: one TCP and TLS 1.3 connection between two participants.

Source: docs/protocol.md, section "Links". A link carries frames both ways, answers
PING by itself, and notices within ``Times.dead_after`` that its peer is gone.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from datetime import timedelta
from typing import Final, cast

from participant.dataplane.block import DataReceiver
from participant.dataplane.frames import (
    Frame,
    FrameDecoder,
    FrameType,
    decode_code,
    encode_code,
    encode_frame,
)
from participant.dataplane.times import Times
from participant.dataplane.tls import Identities, Leaves
from shared.crypto.derivation import equal
from shared.errors import FailureCode, FrameworkError, RemoteProtocolError

PAUSE_BYTES: Final = 2 << 20
"""Reading stops while so many bytes of frames wait to be taken."""
RESUME_BYTES: Final = 1 << 20
WRITE_HIGH_BYTES: Final = 1 << 20
FRAME_COST_BYTES: Final = 256
"""What a frame counts beyond its body, so that empty ones are bounded too."""
MAX_PINGS: Final = 100
"""PINGs that are answered between two looks at the peer; one is due."""
KEEPALIVE_IDLE_SECONDS: Final = 20
"""Idle links are probed, so that a dead one is not taken for the next job."""
KEEPALIVE_PROBES: Final = 3
CLOSE_SECONDS: Final = 1.0
"""How long a closing link may flush what is buffered."""


class LinkLostError(FrameworkError):
    """The peer, or the network to it, is gone."""


class LinkEndedError(LinkLostError):
    """The peer closed the link in an orderly way."""


class PeerAbortedError(FrameworkError):
    """The peer sent ABORT.

    Args:
        code: what it said.
    """

    def __init__(self, code: FailureCode) -> None:
        super().__init__(f"the peer ended it with {code.value}")
        self.code = code


class Link(asyncio.BufferedProtocol):
    """One link; created by the dialler or the listener before its handshake."""

    def __init__(
        self, identities: Identities, times: Times, expected_spki: bytes | None
    ) -> None:
        """Wait for the handshake.

        Args:
            identities: whose leaf this end shows.
            times: limits.
            expected_spki: at the dialler, of the only leaf that is accepted.
        """
        self._identities = identities
        self._times = times
        self._expected_spki = expected_spki
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder()
        self._frames: deque[Frame] = deque()
        self._waiting_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._leaves: Leaves | None = None
        self._error: FrameworkError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._can_write = asyncio.Event()
        self._closed = asyncio.Event()
        self._is_reading = True
        self._is_in_job = False
        self._last_received = self._loop.time()
        self._pings = 0
        self._watch: asyncio.TimerHandle | None = None
        self.born = self._loop.time()
        self.nonce = b""
        """The server's nonce for the next ap.req on this link."""

    @property
    def leaves(self) -> Leaves:
        """Both leaves; the handshake is done."""
        if self._leaves is None:
            raise self._error or LinkLostError("the link never stood")
        return self._leaves

    @property
    def is_open(self) -> bool:
        """Whether frames can still be sent and none is known to be wrong."""
        return self._error is None and self._transport is not None

    @property
    def never_stood(self) -> bool:
        """Whether no connection was ever made."""
        return self._transport is None

    @property
    def has_frames(self) -> bool:
        """Whether bytes have come that nobody has taken yet."""
        return len(self._frames) > 0 or self._decoder.buffered_bytes > 0

    @property
    def age_seconds(self) -> float:
        """Return how long ago the handshake began."""
        return self._loop.time() - self.born

    # ---- what asyncio calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the peer's leaf before any byte of it is used."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._can_write.set()
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        tune(transport.get_extra_info("socket"), self._times)
        try:
            self._leaves = self._accepted_leaves(tls)
            self._identities.stands(self)
        except RemoteProtocolError as error:
            self._end(error)
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Return where the next bytes go."""
        return self._decoder.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Cut the bytes that came into frames."""
        if self._error is not None:
            return
        self._last_received = self._loop.time()
        try:
            for frame in self._decoder.filled(nbytes):
                self._take(frame)
        except RemoteProtocolError as error:
            self._end(error)
            self.abort(FailureCode.LINK_FAILED)
            return
        if self._waiting_bytes > PAUSE_BYTES and self._is_reading:
            self._is_reading = False
            self._live().pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Let the transport close."""
        self._end(LinkEndedError("the peer closed the link"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._end(LinkLostError(f"the link broke ({type(exc).__name__})"))
        self.end_job()
        self._can_write.set()
        self._closed.set()

    def pause_writing(self) -> None:
        """Make senders wait."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._can_write.set()

    # ---- what jobs call ----

    async def receive(self) -> Frame:
        """Return the next frame; PING, PONG and ABORT are never returned.

        Raises:
            LinkLostError: EOF, a broken connection or silence; what came before
                was returned by earlier calls.
            PeerAbortedError: the peer sent ABORT.
            RemoteProtocolError: the peer sent something malformed.
        """
        while not self._frames:
            if self._error is not None:
                raise self._error
            self._reader = self._loop.create_future()
            await self._reader
        frame = self._next()
        if frame.type is FrameType.ABORT:
            self.close()
            raise PeerAbortedError(decode_code(frame.body))
        return frame

    async def receive_into(self, receiver: DataReceiver) -> Frame:
        """Let DATA go to a receiver as they come; return the frame after them.

        Raises:
            RemoteProtocolError: more data than the receiver takes; and as ``receive``.
        """
        while self._frames and self._frames[0].type is FrameType.DATA:
            receiver.add(self._next().body)
        if not self._frames:
            self._decoder.receiver = receiver
        try:
            return await self.receive()
        finally:
            self._decoder.receiver = None

    def put_back(self, frame: Frame) -> None:
        """Let the next ``receive`` return a frame once more."""
        self._frames.appendleft(frame)
        self._waiting_bytes += len(frame.body) + FRAME_COST_BYTES

    async def expect(self, kind: FrameType) -> Frame:
        """Return the next frame, which has to be of this kind.

        Raises:
            RemoteProtocolError: it is another; and as ``receive``.
        """
        frame = await self.receive()
        if frame.type is not kind:
            raise RemoteProtocolError(f"a frame {frame.type.name}, not {kind.name}")
        return frame

    async def send(self, kind: FrameType, body: bytes = b"") -> None:
        """Send one frame; as ``send_encoded``."""
        await self.send_encoded(encode_frame(kind, body))

    async def send_encoded(self, *parts: bytes | memoryview) -> None:
        """Send the bytes of a frame, and wait while too much is buffered.

        Args:
            parts: of the frame, in order; they must not change.

        Raises:
            LinkLostError: the link is no longer open.
        """
        if isinstance(self._error, LinkEndedError):
            raise LinkEndedError("the peer closed the link") from self._error
        if self._error is not None:
            raise LinkLostError("the link is closed") from self._error
        self._live().writelines(parts)
        if not self._can_write.is_set():
            await self._can_write.wait()

    def begin_job(self) -> None:
        """Watch the peer from now on: PING when it is silent, give it up later."""
        self._is_in_job = True
        self._last_received = self._loop.time()
        self._schedule_watch()

    def end_job(self) -> None:
        """Stop to watch the peer."""
        self._is_in_job = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def allow_stalls(self, is_allowed: bool) -> None:
        """Say whether one side may leave data unread for longer than it may be silent.

        The kernel takes data that stay unread for a dead peer's; while stalls are
        allowed PING alone tells one from the other.
        """
        transport = self._transport
        if transport is not None and not transport.is_closing():
            limit = timedelta(0) if is_allowed else self._times.dead_after
            _bound_unread(transport.get_extra_info("socket"), limit)

    def abort(self, code: FailureCode) -> None:
        """Tell the peer one code and close."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(encode_frame(FrameType.ABORT, encode_code(code)))
        self._frames.clear()  # what came before is of no account any more
        self.close()

    def close(self) -> None:
        """Close the link; what is buffered is flushed for a second at most."""
        self.end_job()
        self._end(LinkLostError("the link was closed"))
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.close()
            self._loop.call_later(CLOSE_SECONDS, transport.abort)

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        if self._transport is not None:
            await self._closed.wait()

    # ---- inside ----

    def _accepted_leaves(self, tls: ssl.SSLObject) -> Leaves:
        """Return both leaves, if the peer's is one to talk to."""
        leaves = self._identities.leaves(tls)
        if self._expected_spki is not None and not equal(
            self._expected_spki, leaves.facts.peer_spki
        ):
            raise RemoteProtocolError("not the endorsed TLS key")
        return leaves

    def _live(self) -> asyncio.Transport:
        if self._transport is None:
            raise LinkLostError("the link never stood")
        return self._transport

    def _next(self) -> Frame:
        """Return the frame that waits longest."""
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame.body) + FRAME_COST_BYTES
        if not self._is_reading and self._waiting_bytes < RESUME_BYTES:
            self._is_reading = True
            with contextlib.suppress(RuntimeError):  # closing already
                self._live().resume_reading()
        return frame

    def _take(self, frame: Frame) -> None:
        if frame.type in {FrameType.PING, FrameType.PONG}:
            if not self._is_in_job:
                raise RemoteProtocolError(f"a frame {frame.type.name} outside a job")
            if frame.type is FrameType.PING:
                self._pings += 1
                if self._pings > MAX_PINGS:
                    raise RemoteProtocolError("a peer that floods us with PING")
                self._live().write(encode_frame(FrameType.PONG))
            return
        self._frames.append(frame)
        self._waiting_bytes += len(frame.body) + FRAME_COST_BYTES

    def _end(self, error: FrameworkError) -> None:
        """Remember why the link is over, the first time, and tell the reader."""
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _schedule_watch(self) -> None:
        interval = self._times.ping_after.total_seconds() / 2
        self._watch = self._loop.call_later(interval, self._look_after)

    def _look_after(self) -> None:
        if not self._is_in_job or self._error is not None:
            return
        self._pings = 0
        silence = self._loop.time() - self._last_received
        if not self._is_reading:
            silence = 0.0  # it is us who do not listen; the peer hears that we live
            self._last_received = self._loop.time()
            self._live().write(encode_frame(FrameType.PING))
        if silence >= self._times.dead_after.total_seconds():
            self._end(LinkLostError("the peer is silent"))
            self._live().abort()
            return
        if silence >= self._times.ping_after.total_seconds():
            self._live().write(encode_frame(FrameType.PING))
        self._schedule_watch()


def tune(connection: socket.socket, times: Times) -> None:
    """Send small frames at once, and notice a dead peer on an idle link too."""
    probe_seconds = max(1, round(times.ping_after.total_seconds()))
    with contextlib.suppress(OSError):  # the peer may be gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_NODELAY, 1),
            (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS),
            (socket.TCP_KEEPINTVL, probe_seconds),
            (socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    _bound_unread(connection, times.dead_after)


def _bound_unread(connection: socket.socket, limit: timedelta) -> None:
    """Let the kernel end a connection whose data stay unread; zero: never."""
    milliseconds = round(limit.total_seconds() * 1000)
    with contextlib.suppress(OSError):  # the peer may be gone already
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
