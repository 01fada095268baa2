"""Registration and authentication of one participant, in protocol.

Registration: from publishing reg.req until its answer is checked. Its floor: two
bare hops, and the calls to the broker's API that a new participant costs before it
can be answered. Authentication: from publishing as.req until the session can be
used, in the data process too. Its floor: two bare hops.
"""

import asyncio
import base64
import os
import time
from collections.abc import Sequence

from bench.floor import Floor
from bench.measured import Figure, Series
from bench.realm import BenchRealm, Member, register_member
from manager.broker.access import broker_access
from manager.broker.admin import BrokerAdmin
from participant.config import load_settings
from participant.dataplane.client import DataProcess
from participant.home.folder import Home
from participant.protocol.identity import BrokerLogin
from participant.service.control_process import ControlProcess
from shared.clock import SystemClock
from shared.names import Principal, Role
from shared.transport.amqp import AmqpTransport
from shared.transport.authority import context_for
from shared.transport.base import Outgoing, Publication, Transport

PART = "enrolment"
READY_SECONDS = 30.0
TOKEN = ("--role", "client", "--io", "output", "--prefix", "Newcomer")


class _Watched(AmqpTransport):
    """A transport that notes when each type of message was first published."""

    def __init__(self, login: BrokerLogin, times: dict[str, float]) -> None:
        super().__init__(
            login.url,
            login.user,
            login.password,
            login.vhost,
            f"bench {login.user}",
            ssl_context=context_for(login.authority),
        )
        self._times = times

    async def publish(self, batch: Sequence[Outgoing]) -> list[Publication]:
        """Note the time, then publish."""
        for outgoing in batch:
            self._times.setdefault(outgoing.type, time.perf_counter())
        return await super().publish(batch)

    async def close(self) -> None:
        """Note the time, then close."""
        self._times.setdefault("close", time.perf_counter())
        await super().close()


def measure(realm: BenchRealm, bare: Floor, rounds: int) -> list[Figure]:
    """Return both times of so many newcomers to a running realm."""
    realm.note(f"registering and authenticating {rounds + 1} newcomers")
    access = broker_access(realm.settings)
    registered: list[tuple[float, float]] = []
    authenticated: list[tuple[float, float]] = []
    texts = realm.tokens(TOKEN, rounds + 1)
    with access.admin() as admin:
        for number, text in enumerate(texts):
            home = Home(realm.folder / f"newcomer{number:02}")
            entered = asyncio.run(_register(home, text))
            calls = _calls_ms(admin, Principal(f"Floor{number:03}"))
            logged_on = asyncio.run(_authenticate(home))
            exchange = bare.exchange_ms()
            if number > 0:  # the first of everything is not like the others
                registered.append((entered, calls + exchange))
                authenticated.append((logged_on, exchange))
    return [
        _figure("registration", "two hops, broker API", registered),
        _figure("authentication", "two hops", authenticated),
    ]


def _figure(
    name: str, floor_name: str, samples: Sequence[tuple[float, float]]
) -> Figure:
    ours, floors = (Series.of(each) for each in zip(*samples, strict=True))
    return Figure(PART, name, "ms", ours, ((floor_name, floors),))


async def _register(home: Home, text: str) -> float:
    """Register; return the milliseconds from reg.req until the answer is checked."""
    times: dict[str, float] = {}

    def connect(login: BrokerLogin) -> Transport:
        return _Watched(login, times)

    # The enrolment's transport is closed as soon as the answer is checked.
    await register_member(home, Member(home.path.name, TOKEN), text, connect)
    return (times["close"] - times["reg.req"]) * 1000


async def _authenticate(home: Home) -> float:
    """Log on once; return the milliseconds from as.req until the session is used."""
    times: dict[str, float] = {}
    key_file = home.key_file(None)
    with home.lock():
        process = ControlProcess(
            home,
            key_file,
            key_file.load(),
            load_settings({"home": home.path}),
            lambda login: _Watched(login, times),
            DataProcess.start,
            SystemClock(),
        )
        running = asyncio.create_task(process.run())
        async with asyncio.timeout(READY_SECONDS):
            await process.ready.wait()
        ready = time.perf_counter()
        process.stop()
        await running
    return (ready - times["as.req"]) * 1000


def _calls_ms(admin: BrokerAdmin, principal: Principal) -> float:
    """Return the milliseconds of making a participant at the broker, and remove it."""
    password_hash = base64.b64encode(os.urandom(36)).decode()
    began = time.perf_counter()
    admin.create_participant(principal, Role.CLIENT, password_hash)
    seconds = time.perf_counter() - began
    admin.delete_participant(principal, Role.CLIENT)
    return seconds * 1000
