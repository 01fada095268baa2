"""The data process's end: tasks for workers, answers from them.

The zygote is started by the first job that needs it, as a program of its own, and
started again by the next job if it ends.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Final

from participant.engines.base import Plan
from participant.engines.worker.messages import (
    LENGTH_BYTES,
    MAX_BLOCK_BYTES,
    MAX_HEADER_BYTES,
    decode_answer,
    encode_plan,
    framed,
    read_length,
)
from participant.engines.worker.zygote_process import ZygoteProcess
from shared.errors import DecodeError, FailureCode, JobAbortedError

MAX_WORKER_BYTES: Final = 8 << 30
"""Address space that a worker may have, unless said otherwise."""
REAP_SECONDS: Final = 5.0
"""How long a worker that was killed may take to be gone."""

_log = logging.getLogger(__name__)


class Workers:
    """Runs engines in processes of their own.

    Args:
        memory_bytes: bound of each worker's address space.
    """

    def __init__(self, memory_bytes: int = MAX_WORKER_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._zygote: ZygoteProcess | None = None
        self._starting = asyncio.Lock()

    @property
    def zygote_pid(self) -> int | None:
        """The zygote's process id, if one runs."""
        zygote = self._zygote
        return zygote.pid if zygote is not None and zygote.is_alive else None

    async def warm(self, engine: str) -> None:
        """Import an engine's modules ahead of its job.

        Raises:
            JobAbortedError: the zygote cannot be started.
        """
        (await self._living()).load(engine)

    async def run(
        self,
        engine: str,
        plan: Plan,
        blocks: Sequence[bytes | memoryview],
        peers: Mapping[int, socket.socket],
    ) -> bytes:
        """Return what ``Engine.run`` returns in a worker; cancelling kills the worker.

        Args:
            engine: its name.
            plan: the job's plan at this server.
            blocks: one a source.
            peers: the worker's ends of the channels; closed here in any case.

        Raises:
            JobAbortedError: the engine says so, raised something else, was killed or
                used up its memory; or there can be no worker.
        """
        own, control = socket.socketpair()
        own.setblocking(False)
        try:
            try:
                zygote = await self._living()
                number, ended = zygote.spawn(engine, self._memory_bytes, control, peers)
            finally:
                for channel in (control, *peers.values()):
                    channel.close()
            try:
                share = await _conversation(engine, plan, blocks, own)
            except (EOFError, OSError) as error:
                raise await _lost(engine, ended) from error
            finally:
                zygote.kill(number)
            await _until_ended(ended)
            return share
        finally:
            own.close()

    async def close(self) -> None:
        """End the zygote and every worker."""
        async with self._starting:
            if self._zygote is not None:
                await self._zygote.close()
                self._zygote = None

    async def _living(self) -> ZygoteProcess:
        """Return a zygote that runs."""
        async with self._starting:
            if self._zygote is not None and not self._zygote.is_alive:
                await self._zygote.close()
                self._zygote = None
            if self._zygote is None:
                try:
                    self._zygote = await ZygoteProcess.start()
                except OSError as error:
                    raise _failed(
                        f"the engines' process cannot start ({error.strerror})"
                    ) from error
            return self._zygote


async def _conversation(
    engine: str, plan: Plan, blocks: Sequence[bytes | memoryview], own: socket.socket
) -> bytes:
    """Give a worker its task and return its output share.

    Raises:
        JobAbortedError: it says why there is none.
        EOFError: it ended without an answer; so does OSError.
    """
    loop = asyncio.get_running_loop()
    try:
        for part in framed([encode_plan(plan, len(blocks)), *blocks]):
            await loop.sock_sendall(own, part)
    except OSError:
        _log.debug("a worker ended before it had its task")  # its answer says why
    try:
        answer = decode_answer(await _received(own, MAX_HEADER_BYTES))
    except DecodeError as error:
        raise _failed(f"engine {engine!r} answers nonsense") from error
    if answer.code is not None:
        raise JobAbortedError(f"engine {engine!r}: {answer.text}", answer.code)
    return await _received(own, MAX_BLOCK_BYTES)


async def _received(own: socket.socket, most: int) -> bytes:
    header = await _exactly(own, LENGTH_BYTES)
    return bytes(await _exactly(own, read_length(header, most)))


async def _exactly(own: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    rest = memoryview(data)
    while rest:
        taken = await asyncio.get_running_loop().sock_recv_into(own, rest)
        if not taken:
            raise EOFError
        rest = rest[taken:]
    return data


async def _lost(engine: str, ended: asyncio.Future[int]) -> JobAbortedError:
    """Return the error of a worker that ended without an answer."""
    status = await _until_ended(ended)
    if status is None:
        how = "does not end"
    elif status < 0:
        how = f"was ended by a signal ({signal.strsignal(-status)})"
    else:
        how = f"ended with code {status}"
    return _failed(f"the process of engine {engine!r} {how}")


async def _until_ended(ended: asyncio.Future[int]) -> int | None:
    """Wait until a worker is reaped; return its exit status, None if it is not."""
    try:
        async with asyncio.timeout(REAP_SECONDS):
            return await asyncio.shield(ended)
    except TimeoutError:
        return None


def _failed(what: str) -> JobAbortedError:
    return JobAbortedError(what, FailureCode.ENGINE)
