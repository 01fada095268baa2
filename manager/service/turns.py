"""Managers that share a store take turns: one is active, the others wait.

The active one holds the lease and renews it while it has the broker. A takeover is a
restart in another process: a new service on the same store. Why the former one can do
no harm is in docs/adr/0038-managers-take-turns-by-a-lease.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from manager.protocol.lease import Lease, is_free, released, renewed, taken
from manager.store.migrations import check_version
from manager.store.store import LeaseLostError, Store, Unit
from shared.errors import StoreError, TransportError
from shared.transport.base import (
    CredentialsRefusedError,
    RefusedByBrokerError,
    Transport,
)

LOOK: Final = timedelta(milliseconds=250)
"""How often a waiting manager looks at the lease."""
RENEWAL: Final = timedelta(milliseconds=500)
"""How often the active one renews it."""
CONNECTING: Final = timedelta(seconds=20)
"""How long the one that has become active may take until it is connected: it was
before its turn, so the broker is within its reach. Two nodes may be gone."""
PAUSE: Final = timedelta(seconds=1)
"""After which what failed is tried again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """What a manager works with.

    ``transport``: makes a new way to the broker. ``work``: manages on a store until
    told to stop, on a transport that it connects and closes, and calls back when it is
    ready. ``cut_off``: closes every connection of a manager at the broker; blocks.
    ``follow``: keeps this home's copy of the keys up to date.
    """

    transport: Callable[[], Transport]
    work: Callable[
        [Store, Transport, asyncio.Event, Callable[[], None]], Awaitable[None]
    ]
    cut_off: Callable[[], None]
    follow: Callable[[Unit], None]


class Turns:
    """One of the managers.

    Args:
        store: which they share.
        holder: names this process.
        means: to manage with.
    """

    def __init__(self, store: Store, holder: str, means: Means) -> None:
        self._store = store
        self._holder = holder
        self._means = means
        self._transport: Transport | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Wait, manage, and wait again, until told to stop.

        Raises:
            ConfigError: a later release has changed the store, or the keys
            cannot be had.
            StoreError: the database cannot be read at the beginning.
            TransportError: the broker is not there at the beginning, or refuses.
        """
        self._look()
        waiting = self._means.transport()
        await waiting.connect()
        while not stop.is_set():
            try:
                store = await self._wait(waiting, stop)
                await waiting.close()
                if store is not None:
                    await self._hold(store, stop)
            except LeaseLostError as error:
                _log.warning("lease lost", extra={"reason": str(error)})
            except (CredentialsRefusedError, RefusedByBrokerError):
                raise
            except (StoreError, TransportError) as error:
                _log.warning("manager interrupted", extra={"reason": str(error)})
                await _pause(stop, PAUSE)
            finally:
                await waiting.close()
            waiting = await self._reconnected(stop)
        await waiting.close()

    def take(self) -> Store | None:
        """Return the store for this manager's turn, if the lease is free.

        Raises:
            ConfigError: a later release has changed the store, or the keys
            cannot be had.
            StoreError: the database does not answer.
        """
        if not self._look():
            return None
        with self._store.transaction() as unit:
            _check(unit)
            before = unit.leases.get()
            lease = taken(before, self._holder, unit.leases.now_ms())
            if lease is None:
                return None
            unit.leases.put(lease)
        _log.info("manager takes over", extra=_told(lease) | {"former": before.holder})
        return self._store.fenced(lease.epoch)

    def _look(self) -> bool:
        """Say whether the lease is free; keep nobody waiting."""
        with self._store.reading() as unit:
            _check(unit)
            lease, now = unit.leases.get(), unit.leases.now_ms()
            self._means.follow(unit)
        return is_free(lease, now)

    async def _wait(self, waiting: Transport, stop: asyncio.Event) -> Store | None:
        """Return when it is this manager's turn, or ``None`` to stop."""
        is_told = False
        while not stop.is_set():
            # Who cannot reach the broker leaves the lease to others.
            if waiting.connected.is_set():
                store = self.take()
                if store is not None:
                    return store
                if not is_told:
                    is_told = True
                    self._tell("manager waits")
            elif waiting.failure is not None:
                raise waiting.failure
            await _pause(stop, LOOK)
        return None

    async def _hold(self, store: Store, stop: asyncio.Event) -> None:
        keeping = asyncio.create_task(self._keep(store))
        working = asyncio.create_task(self._manage(store, stop))
        tasks = (keeping, working)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            try:
                with store.transaction() as unit:
                    unit.leases.put(released(unit.leases.get()))
            except StoreError as error:
                _log.info("lease not released", extra={"reason": str(error)})
        for task in done:
            task.result()

    async def _keep(self, store: Store) -> None:
        """Renew the lease, but not while the broker is out of reach."""
        loop = asyncio.get_running_loop()
        while True:
            transport, now = self._transport, loop.time()
            if transport is None:
                reach_ends = now + CONNECTING.total_seconds()
            elif transport.connected.is_set():
                reach_ends = now
            if now <= reach_ends:
                with store.transaction() as unit:
                    lease = unit.leases.get()
                    unit.leases.put(renewed(lease, unit.leases.now_ms()))
            await asyncio.sleep(RENEWAL.total_seconds())

    async def _manage(self, store: Store, stop: asyncio.Event) -> None:
        try:
            await asyncio.to_thread(self._means.cut_off)
        except TransportError as error:
            _log.warning("former manager not cut off", extra={"reason": str(error)})
        self._transport = self._means.transport()
        try:
            await self._means.work(
                store, self._transport, stop, lambda: self._tell("manager ready")
            )
        finally:
            self._transport = None

    async def _reconnected(self, stop: asyncio.Event) -> Transport:
        """Return a connection to wait with; there may be none until stop."""
        while True:
            transport = self._means.transport()
            if stop.is_set():
                return transport
            try:
                await transport.connect()
            except CredentialsRefusedError:
                raise
            except TransportError as error:
                _log.warning("broker not reached", extra={"reason": str(error)})
                await _pause(stop, PAUSE)
            else:
                return transport

    def _tell(self, event: str) -> None:
        with self._store.reading() as unit:
            lease = unit.leases.get()
        _log.info(event, extra=_told(lease))


def _check(unit: Unit) -> None:
    check_version(unit.journal.version())


def _told(lease: Lease) -> dict[str, object]:
    return {"epoch": lease.epoch, "holder": lease.holder, "since": lease.since}


async def _pause(stop: asyncio.Event, pause: timedelta) -> None:
    try:
        await asyncio.wait_for(stop.wait(), pause.total_seconds())
    except TimeoutError:
        return
