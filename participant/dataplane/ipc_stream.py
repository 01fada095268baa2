"""Frames between control process and data process: ``u32`` length, then msgpack."""

import asyncio
import socket
from typing import Final, Self

from participant.dataplane.ipc import MAX_IPC_BYTES, ToControl, ToData, read
from shared.errors import DecodeError, LocalProtocolError

_LENGTH_BYTES: Final = 4


class IpcStream:
    """One end of the socketpair."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connection: socket.socket) -> Self:
        """Return the end that this socket is; it belongs to the stream then."""
        connection.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=connection))

    def send(self, message: ToData | ToControl) -> None:
        """Send a message without waiting; lost if the other end is gone.

        Raises:
            LocalProtocolError: it is longer than messages may be.
        """
        data = message.pack()
        if len(data) > MAX_IPC_BYTES:
            raise LocalProtocolError(
                f"a message of {len(data)} bytes between processes"
            )
        self._writer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    async def drain(self) -> None:
        """Wait while much is unsent.

        Raises:
            ConnectionError: the other end is gone.
        """
        await self._writer.drain()

    async def receive(self) -> ToData | ToControl | None:
        """Return the next message, or None when the other end is gone.

        Raises:
            DecodeError: the other end sent something else.
        """
        try:
            header = await self._reader.readexactly(_LENGTH_BYTES)
            length = int.from_bytes(header, "big")
            if length > MAX_IPC_BYTES:
                raise DecodeError(f"a message of {length} bytes between processes")
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return read(data)

    def close(self) -> None:
        """Close this end; the other one sees that."""
        self._writer.close()
