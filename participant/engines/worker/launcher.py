"""The data process's end: tasks for workers, answers from them.

The zygote is started by the first job that needs it, as a program of its own, and
started again by the next job if it ends.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import participant
from participant.engines.base import Plan
from participant.engines.worker.messages import (
    LENGTH_BYTES,
    MAX_BLOCK_BYTES,
    MAX_HEADER_BYTES,
    MAX_PACKET_BYTES,
    decode_answer,
    encode_plan,
    framed,
    read_length,
)
from shared import codec
from shared.errors import DecodeError, FailureCode, JobAbortedError

MAX_WORKER_BYTES: Final = 8 << 30
"""Address space that a worker may have, unless said otherwise."""
CLOSE_SECONDS: Final = 5.0
"""How long the zygote may take to end, and a worker that was killed to be reaped."""
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""Numeric libraries start no threads on import: the zygote could not be forked."""

_log = logging.getLogger(__name__)


class _Zygote:
    """A running zygote."""

    def __init__(
        self, process: asyncio.subprocess.Process, orders: socket.socket
    ) -> None:
        self._process = process
        self._orders = orders
        self._last = 0
        self._running: dict[int, asyncio.Future[int]] = {}
        self.is_alive = True
        asyncio.get_running_loop().add_reader(orders, self._read)

    @classmethod
    async def start(cls) -> Self:
        """Start one; it has this process's environment and one descriptor."""
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own.setblocking(False)
        root = str(Path(participant.__file__).parents[1])
        inherited = os.environ.get("PYTHONPATH")
        path = root if not inherited else f"{root}{os.pathsep}{inherited}"
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "participant.engines.worker.zygote",
                str(its.fileno()),
                str(os.getpid()),
                pass_fds=(its.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            )
        except BaseException:
            own.close()
            raise
        finally:
            its.close()
        return cls(process, own)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def load(self, engine: str) -> None:
        """Let it import an engine."""
        self._order({"op": "load", "engine": engine})

    def spawn(
        self,
        engine: str,
        memory_bytes: int,
        control: socket.socket,
        peers: Mapping[int, socket.socket],
    ) -> tuple[int, asyncio.Future[int]]:
        """Let it fork a worker; return its number and what will be its exit status.

        Raises:
            JobAbortedError: the zygote is gone or does not take orders.
        """
        self._last += 1
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._running[self._last] = ended
        order: dict[str, codec.Value] = {
            "op": "spawn",
            "id": self._last,
            "engine": engine,
            "memory": memory_bytes,
            "peers": list(peers),
        }
        try:
            self._order(order, [control, *peers.values()])
        except BaseException:
            del self._running[self._last]
            raise
        return self._last, ended

    def kill(self, number: int) -> None:
        """Let it end a worker, if that still runs."""
        if self.is_alive and number in self._running:
            try:
                self._order({"op": "kill", "id": number})
            except JobAbortedError:
                self._process.kill()  # its workers end with it

    async def close(self) -> None:
        """End it and its workers."""
        self._gone()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _order(
        self, order: Mapping[str, codec.Value], channels: Sequence[socket.socket] = ()
    ) -> None:
        try:
            socket.send_fds(
                self._orders,
                [codec.encode(order)],
                [channel.fileno() for channel in channels],
            )
        except OSError as error:
            raise _failed(f"the engines' process takes no orders ({error})") from error

    def _read(self) -> None:
        """Take a report; the end of them is the zygote's end."""
        try:
            packet = self._orders.recv(MAX_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            _log.error("the engines' process ended")
            self._gone()
            return
        match codec.decode_map(packet):
            case {"op": "ended", "id": int(number), "status": int(status)}:
                ended = self._running.pop(number, None)
                if ended is not None and not ended.done():
                    ended.set_result(status)
            case _:
                raise DecodeError("not a report of the zygote")

    def _gone(self) -> None:
        if not self.is_alive:
            return
        self.is_alive = False
        asyncio.get_running_loop().remove_reader(self._orders)
        self._orders.close()
        for ended in self._running.values():
            if not ended.done():
                ended.set_result(-signal.SIGKILL)
        self._running.clear()


class Workers:
    """Runs engines in processes of their own.

    Args:
        memory_bytes: bound of each worker's address space.
    """

    def __init__(self, memory_bytes: int = MAX_WORKER_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._zygote: _Zygote | None = None
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
        blocks: Sequence[bytes],
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

    async def _living(self) -> _Zygote:
        """Return a zygote that runs."""
        async with self._starting:
            if self._zygote is not None and not self._zygote.is_alive:
                await self._zygote.close()
                self._zygote = None
            if self._zygote is None:
                try:
                    self._zygote = await _Zygote.start()
                except OSError as error:
                    raise _failed(
                        f"the engines' process cannot start ({error.strerror})"
                    ) from error
            return self._zygote


async def _conversation(
    engine: str, plan: Plan, blocks: Sequence[bytes], own: socket.socket
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
        async with asyncio.timeout(CLOSE_SECONDS):
            return await asyncio.shield(ended)
    except TimeoutError:
        return None


def _failed(what: str) -> JobAbortedError:
    return JobAbortedError(what, FailureCode.ENGINE)
