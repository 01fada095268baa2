"""What stands in for MPyC's connections: messages on a given socket, without pickle."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.engines.shamir import Field

MAX_MESSAGE_BYTES: Final = 1 << 28
MAX_WAITING_BYTES: Final = 1 << 29
"""Messages of one peer that nothing has asked for yet, with what each costs."""
MESSAGE_COST_BYTES: Final = 256
"""What a message counts beyond its payload, so that empty ones are bounded too."""

_HEADER: Final = struct.Struct("<qI")
"""The program counter that a message is for, and its length in bytes."""


class PeerLostError(ConnectionError):
    """A peer closed its channel, although it still owed messages."""


class Channel(asyncio.Protocol):
    """Messages to and from one peer, each with the program counter that it is for.

    It stands in for MPyC's ``MessageExchanger``, with bounds and an end.
    """

    def __init__(self, peer: int, loop: asyncio.AbstractEventLoop) -> None:
        self.nbytes_sent = 0
        self.is_closed: asyncio.Future[None] = loop.create_future()
        self._peer = peer
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._came: dict[int, bytes] = {}
        self._waiting_bytes = 0
        self._awaited: dict[int, asyncio.Future[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream
        self._transport = transport

    def send(self, counter: int, payload: bytes) -> None:
        """Send a message; MPyC calls this."""
        if self._transport is not None:
            self._transport.write(_HEADER.pack(counter, len(payload)) + payload)
            self.nbytes_sent += _HEADER.size + len(payload)

    def receive(self, counter: int) -> "bytes | asyncio.Future[bytes]":
        """Return a message or its future; MPyC calls this."""
        payload = self._came.pop(counter, None)
        if payload is not None:
            self._waiting_bytes -= len(payload) + MESSAGE_COST_BYTES
            return payload
        future: asyncio.Future[bytes] = self._loop.create_future()
        if self.is_closed.done():
            future.set_exception(self._lost())
        else:
            self._awaited[counter] = future
        return future

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._data += data
        start = 0
        while len(self._data) - start >= _HEADER.size:
            counter, size = _HEADER.unpack_from(self._data, start)
            if size > MAX_MESSAGE_BYTES or self._waiting_bytes > MAX_WAITING_BYTES:
                self.abort()
                return
            end = start + _HEADER.size + size
            if len(self._data) < end:
                break
            payload = bytes(memoryview(self._data)[start + _HEADER.size : end])
            start = end
            future = self._awaited.pop(counter, None)
            if future is None:
                if counter in self._came:
                    self.abort()
                    return
                self._came[counter] = payload
                self._waiting_bytes += size + MESSAGE_COST_BYTES
            elif not future.done():
                future.set_result(payload)
        del self._data[:start]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See ``asyncio.Protocol``: what is owed will not come."""
        self._transport = None
        if not self.is_closed.done():
            self.is_closed.set_result(None)
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(self._lost())
        self._awaited.clear()

    def close(self) -> None:
        """Close once everything is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _lost(self) -> PeerLostError:
        return PeerLostError(f"server {self._peer + 1} is gone")


class ShareCodec:
    """What MPyC finds in place of pickle: rows of residues, and nothing else."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def dumps(self, elements: Sequence[int]) -> bytes:
        """Return residues as bytes."""
        return self._field.write(elements)

    def loads(self, data: bytes) -> NDArray[np.object_]:
        """Return the residues in bytes; refuse everything else."""
        return np.array(self._field.read(data), dtype=object)
