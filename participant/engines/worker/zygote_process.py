"""The zygote as the data process knows it: a process, and a socket for orders to it."""

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
from participant.engines.worker.messages import MAX_PACKET_BYTES
from shared import codec
from shared.errors import DecodeError, FailureCode, JobAbortedError

CLOSE_SECONDS: Final = 5.0
"""How long the zygote may take to end before it is killed."""
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""Numeric libraries start no threads on import: the zygote could not be forked."""

_log = logging.getLogger(__name__)


class ZygoteProcess:
    """A running zygote; it ends when this end is closed or this process dies."""

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
            raise JobAbortedError(
                f"the engines' process takes no orders ({error.strerror})",
                FailureCode.ENGINE,
            ) from error

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
