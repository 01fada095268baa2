"""The local socket: commands talk to the running control process of their home.

Frames are ``u32`` length (big-endian) and canonical msgpack of one map, at most 1 MiB.
A request has ``op``; answers have ``event``: any number of ``progress``, then one
``done`` or ``error``. The socket has mode 0600, and only its owner is served.
"""

import asyncio
import contextlib
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

from participant.home import secret_file
from participant.home.folder import Home
from shared import codec
from shared.codec import Value
from shared.errors import (
    ConfigError,
    DecodeError,
    FrameworkError,
    JobError,
    RefusalCode,
    RefusedError,
    TransportError,
)

MAX_FRAME_BYTES: Final = 1 << 20
MAX_SOCKET_PATH: Final = 100
"""Longest path of a Unix socket that every system takes, in bytes."""
CONNECT_SECONDS: Final = 5

Request = Mapping[str, Value]
Answer = dict[str, Value]
Handler = Callable[[Request], AsyncIterator[Answer]]

_LENGTH: Final = struct.Struct(">I")
_CREDENTIALS: Final = struct.Struct("3i")
_KINDS: Final[Mapping[str, type[FrameworkError]]] = {
    "config": ConfigError,
    "transport": TransportError,
    "job": JobError,
}


class NotRunningError(ConfigError):
    """No control process works in the home."""


class LocalServer:
    """Serves the commands of this home.

    Args:
        home: whose socket it is; the caller holds its lock.
        handler: yields the answers to a request.
    """

    def __init__(self, home: Home, handler: Handler) -> None:
        self._home = home
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._fallback: Path | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> Path:
        """Listen; return where.

        Raises:
            ConfigError: the socket cannot be made.
        """
        path = self._home.path / "control.sock"
        note = _note(self._home)
        note.unlink(missing_ok=True)
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            self._fallback = Path(tempfile.mkdtemp(prefix="mpc-"))
            path = self._fallback / "control.sock"
            secret_file.write(note, os.fsencode(path))
        path.unlink(missing_ok=True)  # the lock says that nobody listens there
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listening.bind(str(path))
        except OSError as error:
            listening.close()
            raise ConfigError(
                f"cannot listen at {path}: {error.strerror}",
                "choose a home on a local file system: --home FOLDER",
            ) from error
        finally:
            os.umask(mask)
        self._path = path
        self._server = await asyncio.start_unix_server(self._accept, sock=listening)
        return path

    async def close(self) -> None:
        """Stop to listen; what is being answered is cut off."""
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._fallback is not None:
            _note(self._home).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._fallback.rmdir()

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if not _is_own(writer):
                return
            request = await _read(reader)
            if request is not None:
                await self._answer(request, reader, writer)
        except (ConnectionError, DecodeError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Send the answers until they end or the command goes away."""
        gone = asyncio.create_task(reader.read(1))
        answers = asyncio.create_task(self._send_all(request, writer))
        await asyncio.wait({gone, answers}, return_when=asyncio.FIRST_COMPLETED)
        for task in (gone, answers):
            task.cancel()
        await asyncio.gather(gone, answers, return_exceptions=True)

    async def _send_all(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            async for answer in self._handler(request):
                await _write(writer, answer)
        except FrameworkError as error:
            await _write(writer, _error(error))


async def ask(home: Home, request: Request) -> AsyncIterator[Answer]:
    """Yield the answers of the running control process, the last one too.

    Raises:
        NotRunningError: none runs in this home.
        FrameworkError: what it answered as an error.
    """
    path = _socket_path(home)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
    except (OSError, TimeoutError) as error:
        raise NotRunningError(
            f"no control process runs in {home.path}",
            "start one: mpc-participant run, or connect at a prompt",
        ) from error
    try:
        await _write(writer, request)
        while (answer := await _read(reader)) is not None:
            if answer.get("event") == "error":
                raise _raised(answer)
            yield answer
            if answer.get("event") == "done":
                return
        raise TransportError(
            "the control process ended before it answered",
            "see its log, and ask again: mpc-participant jobs",
        )
    except ConnectionError as error:
        raise TransportError(
            "the control process ended", "see its log, then start it again"
        ) from error
    finally:
        writer.close()


async def ask_once(home: Home, request: Request) -> Answer:
    """Return the last answer; errors as for ``ask``."""
    last: Answer = {}
    async for answer in ask(home, request):
        last = answer
    return last


def _socket_path(home: Home) -> Path:
    note = _note(home)
    if note.exists():
        return Path(os.fsdecode(secret_file.read(note)))
    return home.path / "control.sock"


def _note(home: Home) -> Path:
    """Return the file that says where the socket is if the home's path is too long."""
    return home.path / "control.path"


def _is_own(writer: asyncio.StreamWriter) -> bool:
    """Say whether the other end is this user, or root."""
    connection = writer.get_extra_info("socket")
    data = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    _, user, _ = _CREDENTIALS.unpack(data)
    return user in {os.getuid(), 0}


async def _read(reader: asyncio.StreamReader) -> Answer | None:
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if not 0 < length <= MAX_FRAME_BYTES:
            raise DecodeError("a frame of the local socket is too long")
        return codec.decode_map(await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None


async def _write(writer: asyncio.StreamWriter, message: Mapping[str, Value]) -> None:
    data = codec.encode(message)
    writer.write(_LENGTH.pack(len(data)) + data)
    await writer.drain()


def _error(error: FrameworkError) -> Answer:
    answer: Answer = {"event": "error", "message": str(error), "hint": error.hint}
    if isinstance(error, RefusedError):
        return answer | {"kind": "refused", "code": error.code.value}
    for kind, of in _KINDS.items():
        if isinstance(error, of):
            return answer | {"kind": kind}
    return answer | {"kind": "job"}


def _raised(answer: Answer) -> FrameworkError:
    message, hint = str(answer.get("message")), answer.get("hint")
    text = hint if isinstance(hint, str) else None
    if answer.get("kind") == "refused":
        refused = RefusedError(message, RefusalCode(str(answer.get("code"))))
        refused.hint = text
        return refused
    return _KINDS.get(str(answer.get("kind")), JobError)(message, text)
