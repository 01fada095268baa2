"""Puts the running manager together: broker, keys, store, service."""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from datetime import timedelta

import uvloop
from prometheus_client import CollectorRegistry

from manager.broker.access import BrokerAccess
from manager.broker.admin import BrokerAdmin
from manager.config import ManagerSettings
from manager.protocol.job_state import JobSettings
from manager.realm.founding import KEY_FILE
from manager.realm.keys import ManagerKeys, save_keys
from manager.realm.rotation import newest_keys
from manager.service.housekeeping import Rounds
from manager.service.loop import Service, ServiceSettings
from manager.service.turns import Means, Turns
from manager.store.store import Store, Unit
from shared.clock import SystemClock
from shared.collector import spare_what_is_loaded
from shared.crypto.derivation import fingerprint_text
from shared.metrics import MetricsPage
from shared.transport.amqp import AmqpTransport
from shared.transport.base import Transport
from shared.transport.endpoint import Nodes

CONNECTION_NAME = "mpc-manager"
PUBLISH_TIMEOUT = timedelta(seconds=2)
"""Then what the broker has not taken is late, and the rest goes on."""

_log = logging.getLogger(__name__)


def run_service(
    settings: ManagerSettings, access: BrokerAccess, store: Store, keys: ManagerKeys
) -> None:
    """Manage the realm until SIGTERM or SIGINT, or wait for the turn to do so.

    Raises:
        ConfigError: a later release has changed the store, or the port for figures is
            taken.
        TransportError: the broker is not there, or lost for good.
        StoreError: the store does not answer.
    """
    with access.admin() as admin:
        process = _Process(settings, access, admin, store, keys)
        uvloop.run(process.run())
    _log.info("manager stopped")


class _Process:
    """A manager's process, and what it makes its services of."""

    def __init__(
        self,
        settings: ManagerSettings,
        access: BrokerAccess,
        admin: BrokerAdmin,
        store: Store,
        keys: ManagerKeys,
    ) -> None:
        self._settings = settings
        self._access = access
        self._admin = admin
        self._store = store
        self._keys = keys
        self._key_file = settings.home / KEY_FILE
        self._nodes = Nodes(access.amqp_url, access.vhost)
        self._page: MetricsPage | None = None
        if settings.metrics_port is not None:
            self._page = MetricsPage(CollectorRegistry(), settings.metrics_port)
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    async def run(self) -> None:
        """Manage, alone or in turns with others."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        _log.info(
            "manager starts",
            extra={
                "realm": self._keys.realm,
                "fingerprint": fingerprint_text(self._keys.fingerprint),
                "broker": self._access.amqp_url,
            },
        )
        # A port that is taken is found out now, not when this manager takes over.
        if self._page is not None:
            await self._page.start()
        try:
            await self._take_part(stop)
        finally:
            if self._page is not None:
                await self._page.close()

    async def _take_part(self, stop: asyncio.Event) -> None:
        if self._store.is_shared:
            means = Means(self._transport, self._work, self._cut_off, self._follow)
            await Turns(self._store, self._name, means).run(stop)
        else:
            transport = self._transport()
            await self._work(
                self._store, transport, stop, lambda: _log.info("manager ready")
            )

    async def _work(
        self,
        store: Store,
        transport: Transport,
        stop: asyncio.Event,
        ready: Callable[[], None],
    ) -> None:
        """Manage until told to stop, and show figures meanwhile if they are wanted."""
        service = self._service(store, transport)
        if self._page is not None:
            self._page.show(service.figures.registry)
        try:
            await transport.connect()
            await service.start()
            spare_what_is_loaded()
            ready()
            await service.run(stop)
        finally:
            if self._page is not None:
                self._page.show(CollectorRegistry())
            await transport.close()

    def _transport(self) -> Transport:
        credential = self._access.credentials.manager
        return AmqpTransport(
            self._nodes,
            credential.user,
            credential.password,
            self._access.vhost,
            f"{CONNECTION_NAME} {self._name}",
            prefetch=self._settings.prefetch_count,
            publish_timeout=PUBLISH_TIMEOUT,
            ssl_context=self._access.tls(),
        )

    def _service(self, store: Store, transport: Transport) -> Service:
        settings, keys = self._settings, self._keys
        return Service(
            store,
            transport,
            SystemClock(),
            keys,
            self._save,
            self._admin,
            secrets.token_bytes,
            ServiceSettings(
                jobs=JobSettings(
                    keys.fingerprint,
                    keys.realm,
                    settings.offer_timeout,
                    settings.start_timeout,
                ),
                rounds=Rounds(silence=settings.presence_timeout),
                envelopes_per_second=settings.envelopes_per_second,
                bytes_per_second=settings.bytes_per_second,
            ),
        )

    def _save(self, keys: ManagerKeys) -> None:
        save_keys(self._key_file, keys, secrets.token_bytes)
        self._keys = keys

    def _follow(self, unit: Unit) -> None:
        keys = newest_keys(unit, self._keys)
        if keys is not self._keys:
            self._save(keys)

    def _cut_off(self) -> None:
        self._admin.disconnect(self._access.credentials.manager.user)
