"""The control process's end of the data process."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Self

import participant
from participant.dataplane.ipc import (
    Configured,
    ConfigureFailed,
    JobFailed,
    JobProgress,
    Prepared,
    PrepareFailed,
    Quit,
    TlsKeyMade,
    ToControl,
    ToData,
)
from participant.dataplane.ipc_stream import IpcStream
from shared.errors import DecodeError, FrameworkError

CLOSE_SECONDS: Final = 5.0
"""How long the data process may take to end before it is killed."""
_EVENTS: Final = (
    Configured,
    ConfigureFailed,
    TlsKeyMade,
    Prepared,
    PrepareFailed,
    JobProgress,
    JobFailed,
)


class DataProcessLostError(FrameworkError):
    """The data process ended although nobody asked it to."""


class DataProcess:
    """A running data process. It ends when this end is closed or this process dies."""

    def __init__(self, process: asyncio.subprocess.Process, stream: IpcStream) -> None:
        self._process = process
        self._stream = stream
        self._is_closing = False

    @classmethod
    async def start(cls, log_level: str = "info", log_format: str = "auto") -> Self:
        """Start a data process; send ``Configure`` first.

        Args:
            log_level: of the data process, which logs on this process's stderr.
            log_format: of its lines.
        """
        own, its = socket.socketpair()
        root = str(Path(participant.__file__).parents[1])
        inherited = os.environ.get("PYTHONPATH")
        path = root if not inherited else f"{root}{os.pathsep}{inherited}"
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # nothing is imported from the folder that we happen to be in
                "-m",
                "participant.dataplane.process",
                str(its.fileno()),
                log_level,
                log_format,
                pass_fds=(its.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
        except BaseException:
            own.close()
            raise
        finally:
            its.close()
        return cls(process, await IpcStream.over(own))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def send(self, order: ToData) -> None:
        """Give an order.

        Raises:
            DataProcessLostError: the process is gone.
        """
        try:
            self._stream.send(order)
            await self._stream.drain()
        except ConnectionError as error:
            raise self._lost() from error

    async def events(self) -> AsyncIterator[ToControl]:
        """Yield answers and events in order, until ``close``.

        Raises:
            DataProcessLostError: the process is gone; all jobs in it are lost, and
                sealed shares are on disk.
            DecodeError: it sent something else: a bug.
        """
        while (event := await self._stream.receive()) is not None:
            if not isinstance(event, _EVENTS):
                raise DecodeError("an order where an answer was due")
            yield event
        if not self._is_closing:
            await self._process.wait()
            raise self._lost()

    async def close(self) -> None:
        """Let the process end, and kill it if it does not."""
        self._is_closing = True
        if self._process.returncode is None:
            self._stream.send(Quit())
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._stream.close()

    def _lost(self) -> DataProcessLostError:
        code = self._process.returncode
        ending = "is gone" if code is None else f"ended with code {code}"
        return DataProcessLostError(
            f"the data process {ending}",
            "its last log lines say why; start the participant again",
        )
