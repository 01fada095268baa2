"""Keeps a data process running, and asks it the few things that it answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from participant.dataplane.client import DataProcess, DataProcessLostError
from participant.dataplane.ipc import (
    Configure,
    Configured,
    ConfigureFailed,
    NewTlsKey,
    TlsKeyMade,
    ToControl,
    ToData,
    UseLeaf,
)
from participant.protocol.as_exchange import Session, TlsRequest
from shared.errors import ConfigError
from shared.names import Principal, Realm, Role

ANSWER_TIMEOUT = timedelta(seconds=10)
"""A data process that takes longer to answer counts as lost."""
RESTART_FIRST = timedelta(milliseconds=200)
RESTART_LONGEST = timedelta(seconds=30)
STABLE_AFTER = timedelta(seconds=60)

_log = logging.getLogger(__name__)


class DataWorld(Protocol):
    """Who is told what happens in the data process."""

    async def data_said(self, event: ToControl) -> None:
        """Take an event about a job."""
        ...

    async def data_lost(self) -> None:
        """Take note that links, shares and TLS keys are gone."""
        ...


class DataKeeper:
    """A data process that is started again when it ends.

    Args:
        configuration: its first order.
        world: who is told.
        start: makes a process.
    """

    def __init__(
        self,
        configuration: Configure,
        world: DataWorld,
        start: Callable[[], Awaitable[DataProcess]],
    ) -> None:
        self._configuration = configuration
        self._world = world
        self._start = start
        self._process: DataProcess | None = None
        self._answer: asyncio.Future[TlsKeyMade] | None = None
        self._asking = asyncio.Lock()
        self.ready = asyncio.Event()
        """Set while the process runs and is configured."""
        self.port: int | None = None
        """Where it listens."""

    async def run(self) -> None:
        """Keep a process running until cancelled.

        Raises:
            ConfigError: the addresses to listen on cannot be used.
        """
        wait = RESTART_FIRST
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                process = await self._start()
                self._process = process
                try:
                    await process.send(self._configuration)
                    await self._listen(process)
                except (DataProcessLostError, TimeoutError) as error:
                    _log.error("data process lost", extra={"reason": str(error)})
                finally:
                    self._gone()
                    await process.close()
                await self._world.data_lost()
                stable = loop.time() - began > STABLE_AFTER.total_seconds()
                wait = RESTART_FIRST if stable else min(2 * wait, RESTART_LONGEST)
                await asyncio.sleep(wait.total_seconds())
        finally:
            self._gone()

    async def order(self, order: ToData) -> None:
        """Give an order; without a process it is lost, as ``data_lost`` tells."""
        process = self._process
        if process is None:
            return
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
                await process.send(order)
        except (DataProcessLostError, TimeoutError) as error:
            _log.warning("order not delivered", extra={"reason": str(error)})

    async def new_tls_key(self, principal: Principal) -> TlsRequest:
        """Let the process make the TLS key of the next session.

        Raises:
            DataProcessLostError: there is none, or it does not answer.
        """
        async with self._asking:
            answer: asyncio.Future[TlsKeyMade] = (
                asyncio.get_running_loop().create_future()
            )
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
                    await self.ready.wait()
                    self._answer = answer
                    await self.order(NewTlsKey(principal=principal))
                    made = await answer
            except TimeoutError as error:
                raise DataProcessLostError(
                    "the data process does not answer", "see its log lines"
                ) from error
            finally:
                self._answer = None
                if answer.done() and not answer.cancelled():
                    answer.exception()  # looked at, so that nobody complains
            return TlsRequest(made.csr, made.spki)

    async def use_leaf(self, session: Session, realm: Realm) -> None:
        """Let new links show the session's leaf."""
        await self.order(
            UseLeaf(
                spki=session.spki,
                leaf=session.leaf,
                cas=session.authorities,
                realm=realm,
                exp=session.exp,
            )
        )

    async def _listen(self, process: DataProcess) -> None:
        async for event in process.events():
            match event:
                case Configured():
                    self.port = event.port
                    self.ready.set()
                case ConfigureFailed():
                    raise ConfigError(
                        event.reason, "choose another address with --listen"
                    )
                case TlsKeyMade():
                    if self._answer is not None and not self._answer.done():
                        self._answer.set_result(event)
                case _:
                    await self._world.data_said(event)

    def _gone(self) -> None:
        self.ready.clear()
        self._process = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(DataProcessLostError("the data process is gone"))


def configuration(
    role: Role, listen: tuple[str, ...], port_tries: int, folder: Path
) -> Configure:
    """Return a data process's first order; clients listen nowhere."""
    return Configure(
        role=role,
        listen=listen if role is Role.MPCS else (),
        port_tries=port_tries,
        folder=str(folder),
    )
