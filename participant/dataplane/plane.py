"""The data plane of one participant, without the process around it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from participant.dataplane.ipc import (
    Configure,
    Configured,
    ConfigureFailed,
    NewTlsKey,
    Prepare,
    Quit,
    Revoke,
    StartJob,
    StopJob,
    TlsKeyMade,
    ToControl,
    ToData,
    TrustAuthorities,
    UseLeaf,
)
from participant.dataplane.jobs import JobTable
from participant.dataplane.listener import Listener
from participant.dataplane.order import Environment
from participant.dataplane.pool import LinkPool
from participant.dataplane.preparation import bounded
from participant.dataplane.times import Times
from participant.dataplane.tls import Identities
from participant.engines.worker.launcher import Workers
from shared.clock import Clock
from shared.errors import ConfigError, LocalProtocolError

_log = logging.getLogger(__name__)


class DataPlane:
    """Takes orders of the control process one after the other, answers any time.

    Args:
        emit: where answers and events go; it must not block.
        clock: the time.
        times: limits.
    """

    def __init__(
        self, emit: Callable[[ToControl], None], clock: Clock, times: Times
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._times = times
        self._identities = Identities()
        self._pool = LinkPool(self._identities, times, clock)
        self._workers = Workers()
        self._jobs: JobTable | None = None
        self._listener: Listener | None = None

    @property
    def handshakes(self) -> int:
        """How many links this process dialled so far."""
        return self._pool.handshakes

    async def handle(self, order: ToData) -> bool:
        """Carry out one order; say whether more may follow.

        Raises:
            LocalProtocolError: ``Configure`` did not come first or came twice, or a
                leaf is for a key that was not made here.
            CryptoError: a leaf is not for the key that it is said to be for.
        """
        match order:
            case Configure():
                await self._configure(order)
            case NewTlsKey():
                csr, spki = self._identities.make_key(order.principal)
                self._emit(TlsKeyMade(csr=csr, spki=spki))
            case UseLeaf():
                self._identities.use_leaf(order.spki, order.leaf, order.cas)
            case TrustAuthorities():
                self._identities.trust(order.cas)
            case Prepare():
                self._table().prepare(order)
            case StartJob():
                self._table().start(order)
            case StopJob():
                self._table().stop(order)
            case Revoke():
                self._identities.revoke(order.principals)
            case Quit():
                return False
            case _:
                assert_never(order)
        return True

    async def close(self) -> None:
        """End all jobs and their workers, close all links, stop to listen."""
        if self._jobs is not None:
            await self._jobs.close()
        if self._listener is not None:
            await self._listener.close()
        self._pool.close()
        await self._workers.close()

    def _table(self) -> JobTable:
        if self._jobs is None:
            raise LocalProtocolError("the data plane is not configured yet")
        return self._jobs

    async def _configure(self, order: Configure) -> None:
        if self._jobs is not None:
            raise LocalProtocolError("the data plane is configured already")
        environment = Environment(
            pool=self._pool,
            clock=self._clock,
            times=self._times,
            folder=Path(order.folder),
            emit=self._emit,
            workers=self._workers,
        )
        jobs = JobTable(environment)
        if not order.listen:
            self._jobs = jobs
            self._emit(Configured())
            return
        listener = Listener(self._identities, jobs, self._times, self._clock)
        try:
            port = await listener.start(order.listen, order.port_tries)
        except ConfigError as error:
            self._emit(ConfigureFailed(reason=bounded(f"{error}; {error.hint}")))
            return
        self._jobs, self._listener = jobs, listener
        _log.info("listening", extra={"port": port})
        self._emit(Configured(port=port))
