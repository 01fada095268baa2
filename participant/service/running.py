"""Running a control process: for a daemon, or just as long as one command needs it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from participant.config import ParticipantSettings
from participant.dataplane.client import DataProcess
from participant.home.folder import Home
from participant.protocol.identity import BrokerLogin
from participant.service.control import Control
from participant.service.control_process import ControlProcess
from participant.service.local import LocalServer, NotRunningError, ask_once
from participant.service.standing import Standing
from shared.clock import SystemClock
from shared.collector import spare_what_is_loaded
from shared.errors import TransportError
from shared.metrics import MetricsPage
from shared.protocol.machine import Context
from shared.transport.amqp import AmqpTransport
from shared.transport.authority import context_for
from shared.transport.base import Transport

PATIENCE = timedelta(seconds=15)
"""How long a single command tries to reach the broker."""
END_TIMEOUT = timedelta(seconds=10)
"""How long the end of a control process inside a command may take."""


def context() -> Context:
    """Return the time and entropy of this machine."""
    return Context(SystemClock().now(), os.urandom)


def connect(login: BrokerLogin) -> Transport:
    """Return a transport for a broker user, not yet connected."""
    return AmqpTransport(
        login.url,
        login.user,
        login.password,
        login.vhost,
        f"mpc-participant {login.user}",
        ssl_context=context_for(login.authority),
    )


async def serve(
    home: Home,
    settings: ParticipantSettings,
    password: bytes | None,
    patience: timedelta | None = None,
    started: asyncio.Event | None = None,
) -> None:
    """Be the control process of a home until SIGTERM, Ctrl-C or ``stop``.

    Args:
        home: not locked yet.
        settings: the owner's.
        password: of the key file.
        patience: how long the broker may be out of reach at the start.
        started: set once the local socket is there.

    Raises:
        BusyError: another control process works in the home.
        FrameworkError: why it cannot go on.
    """
    with home.lock():
        key_file = home.key_file(password)
        identity = await asyncio.to_thread(key_file.load)
        if not home.card_path.exists():
            home.write_card(identity)
        process = ControlProcess(
            home,
            key_file,
            identity,
            settings,
            connect,
            lambda: DataProcess.start(settings.log_level, settings.log_format),
            SystemClock(),
        )
        await process.recover()
        server = LocalServer(home, Control(process).handle)
        page = _metrics_page(process, settings)
        await server.start()
        if started is not None:
            started.set()
        spare_what_is_loaded()
        try:
            if page is not None:
                await page.start()
            await process.run(patience)
        finally:
            await server.close()
            if page is not None:
                await page.close()


def _metrics_page(
    process: ControlProcess, settings: ParticipantSettings
) -> MetricsPage | None:
    if settings.metrics_port is None:
        return None
    registry = process.figures.registry
    registry.register(Standing(process.jobs, process.mail, settings.slots))
    return MetricsPage(registry, settings.metrics_port)


async def serve_until_signal(
    home: Home, settings: ParticipantSettings, password: bytes | None
) -> None:
    """Be the control process until SIGTERM or Ctrl-C; errors as for ``serve``."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(serve(home, settings, password))
    stops: list[asyncio.Task[object]] = []

    def stop() -> None:
        stops.append(asyncio.create_task(_stop(home, work)))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def _stop(home: Home, work: asyncio.Task[None]) -> None:
    """Let the process end in good order, or end it."""
    try:
        await ask_once(home, {"op": "stop"})
    except NotRunningError:
        work.cancel()


@asynccontextmanager
async def control_process(
    home: Home, settings: ParticipantSettings, password: bytes | None
) -> AsyncIterator[None]:
    """Have a control process: the one that runs, or one inside this process.

    Raises:
        FrameworkError: it cannot work; in the block's place if it fails meanwhile.
    """
    if await is_running(home):
        yield
        return
    started = asyncio.Event()
    own = asyncio.create_task(serve(home, settings, password, PATIENCE, started))
    ready = asyncio.create_task(started.wait())
    body = asyncio.current_task()

    def failed(task: asyncio.Task[None]) -> None:
        # What the block waits for will not come: the failure says why.
        if not task.cancelled() and task.exception() is not None and body is not None:
            body.cancel()

    try:
        await asyncio.wait({own, ready}, return_when=asyncio.FIRST_COMPLETED)
        if own.done():
            own.result()
        own.add_done_callback(failed)
        yield
    except asyncio.CancelledError:
        _raise_failure(own)
        raise
    except TransportError:
        # The socket closes just before the process ends; that one knows why.
        await asyncio.wait({own}, timeout=END_TIMEOUT.total_seconds())
        _raise_failure(own)
        raise
    finally:
        ready.cancel()
        own.remove_done_callback(failed)
        if not own.done():
            await _stop(home, own)
        await asyncio.gather(own, return_exceptions=True)


def _raise_failure(own: asyncio.Task[None]) -> None:
    if own.done() and not own.cancelled() and own.exception() is not None:
        own.result()


async def is_running(home: Home) -> bool:
    """Say whether a control process answers in the home."""
    try:
        await ask_once(home, {"op": "status"})
    except NotRunningError:
        return False
    return True
