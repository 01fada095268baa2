"""Carries an engine's messages between its worker and another server's, over a link.

The worker has one end of a socket pair for each peer, the relay the other: what the
worker writes goes out in DATA frames of the link with that server, what comes in is
written for the worker to read. Each direction ends with END, once the sender's worker
has succeeded; without it the data count as cut off. Nothing is read ahead of the
worker beyond ``PENDING_BYTES``.

Source: docs/protocol.md, section "Frames".
"""

import asyncio
import contextlib
import socket
from collections import deque
from typing import Final

from participant.dataplane.frames import FrameType, decode_end, encode_end
from participant.dataplane.links import Link, LinkLostError
from participant.dataplane.transfer import TruncatedError, together, wait_in_silence
from shared.errors import RemoteProtocolError
from shared.messages.link import EndOfData

PIECE_BYTES: Final = 256 << 10
"""How much of what the worker wrote goes into one DATA frame."""
PENDING_BYTES: Final = 1 << 20
"""What waits for the worker to read it, in this process."""


class Relay:
    """A channel between this server's worker and one peer's; carried once.

    ``worker_end``: the worker's socket; whoever takes it closes it.
    """

    def __init__(self) -> None:
        own, self.worker_end = socket.socketpair()
        own.setblocking(False)
        self._own = own
        self._is_carried = False
        self._is_closed = False
        self._is_finished = asyncio.Event()
        self._is_ending = asyncio.Event()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._has_come = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.taken = 0
        """Bytes that came from the peer."""
        self.sent = 0
        """Bytes that went to the peer."""

    def finish(self) -> None:
        """Let the peer know the end of the data: this server's worker succeeded."""
        self._is_finished.set()

    def close(self) -> None:
        """Forget the channel, as soon as no link serves it any more."""
        self._is_closed = True
        self.worker_end.close()
        if not self._is_carried:
            self._own.close()

    async def carry(self, link: Link) -> None:
        """Carry data both ways until both workers have succeeded.

        After an error this server's worker just hears nothing any more: its job
        decides what the error means before the worker could complain of it.

        Raises:
            TruncatedError: EOF after the first DATA, or the END does not fit.
            LinkLostError: the link broke.
            RemoteProtocolError: another frame came.
            PeerAbortedError: the peer gave up.
        """
        if self._own.fileno() < 0:
            raise LinkLostError("the job is over")
        self._is_carried = True
        link.allow_stalls(True)
        try:
            await together([self._send_out(link), self._take_in(link), self._hand_on()])
        finally:
            link.allow_stalls(False)
            self._is_carried = False
            if self._is_closed or self._is_finished.is_set():
                self._own.close()

    async def _send_out(self, link: Link) -> None:
        """Send what the worker writes, and END."""
        while data := await self._from_worker():
            self.sent += len(data)
            await link.send(FrameType.DATA, data)
        await self._is_finished.wait()
        self._is_ending.set()
        await link.send(FrameType.END, encode_end(EndOfData(count=self.sent)))

    async def _from_worker(self) -> bytes:
        """Return what the worker wrote, nothing once it has ended in whatever way."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.sock_recv(self._own, PIECE_BYTES)
        except ConnectionError:  # it left data unread
            return b""

    async def _take_in(self, link: Link) -> None:
        """Take what the peer's worker wrote, to its END; then nothing may come."""
        while True:
            await self._room(link)
            try:
                frame = await link.receive()
            except LinkLostError as error:
                if self.taken:
                    raise TruncatedError("the data ended before their END") from error
                raise
            if frame.type is FrameType.END:
                break
            if frame.type is not FrameType.DATA:
                raise RemoteProtocolError(f"a frame {frame.type.name} among data")
            self.taken += len(frame.body)
            self._put(frame.body)
        if decode_end(frame.body).count != self.taken:
            raise TruncatedError("the END does not fit the data before it")
        self._put(b"")
        await wait_in_silence(link, self._is_ending)

    async def _hand_on(self) -> None:
        """Write what came for the worker, as fast as it reads."""
        loop = asyncio.get_running_loop()
        while True:
            await self._has_come.wait()
            data = self._pending.popleft()
            self._pending_bytes -= len(data)
            if not self._pending:
                self._has_come.clear()
            if self._pending_bytes < PENDING_BYTES:
                self._has_room.set()
            with contextlib.suppress(OSError):  # it ended and needs no more
                if data:
                    await loop.sock_sendall(self._own, data)
                else:
                    self._own.shutdown(socket.SHUT_WR)
            if not data:
                return

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._has_come.set()
        if self._pending_bytes >= PENDING_BYTES:
            self._has_room.clear()

    async def _room(self, link: Link) -> None:
        """Wait until the worker has read enough, or the link is gone.

        What a link that is gone has brought before is bounded.
        """
        if self._has_room.is_set():
            return
        waits = [
            asyncio.ensure_future(self._has_room.wait()),
            asyncio.ensure_future(link.wait_closed()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
