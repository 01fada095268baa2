"""Puts the running manager together: broker, keys, store, service."""

import asyncio
import logging
import secrets
import signal
from datetime import timedelta

import uvloop

from manager.broker.access import BrokerAccess
from manager.config import ManagerSettings
from manager.protocol.job_state import JobSettings
from manager.realm.founding import KEY_FILE
from manager.realm.keys import ManagerKeys, save_keys
from manager.service.housekeeping import Rounds
from manager.service.loop import Service, ServiceSettings
from manager.store.store import Store
from shared.clock import SystemClock
from shared.collector import spare_what_is_loaded
from shared.crypto.derivation import fingerprint_text
from shared.metrics import MetricsPage
from shared.transport.amqp import AmqpTransport

CONNECTION_NAME = "mpc-manager"
PUBLISH_TIMEOUT = timedelta(seconds=2)
"""Then what the broker has not taken is late, and the rest goes on."""

_log = logging.getLogger(__name__)


def run_service(
    settings: ManagerSettings, access: BrokerAccess, store: Store, keys: ManagerKeys
) -> None:
    """Manage the realm until SIGTERM or SIGINT.

    Raises:
        TransportError: the broker is not there, or lost for good.
        StoreError: the store does not answer.
    """
    uvloop.run(_serve(settings, access, store, keys))


async def _serve(
    settings: ManagerSettings, access: BrokerAccess, store: Store, keys: ManagerKeys
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    credential = access.credentials.manager
    transport = AmqpTransport(
        access.amqp_url,
        credential.user,
        credential.password,
        access.vhost,
        CONNECTION_NAME,
        prefetch=settings.prefetch_count,
        publish_timeout=PUBLISH_TIMEOUT,
        ssl_context=access.tls(),
    )
    path = settings.home / KEY_FILE
    with access.admin() as admin:
        service = Service(
            store,
            transport,
            SystemClock(),
            keys,
            lambda changed: save_keys(path, changed, secrets.token_bytes),
            admin,
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
        page = None
        if settings.metrics_port is not None:
            page = MetricsPage(service.figures.registry, settings.metrics_port)
            await page.start()
        try:
            await transport.connect()
            await service.start()
            spare_what_is_loaded()
            _log.info(
                "manager ready",
                extra={
                    "realm": keys.realm,
                    "fingerprint": fingerprint_text(keys.fingerprint),
                    "broker": access.amqp_url,
                },
            )
            await service.run(stop)
        finally:
            await transport.close()
            if page is not None:
                await page.close()
    _log.info("manager stopped")
