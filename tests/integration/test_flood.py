"""A flood of junk from a registered broker user; the others do not notice."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from manager.broker.access import BrokerAccess
from shared.messages import JobQuery, JobState
from shared.names import Io, Role
from tests.integration.flood_realm import (
    Connected,
    ManagerProcess,
    RemoteRealm,
    connected,
)
from tests.negative.realm import BUSIER, STATUS, Change

pytestmark = [pytest.mark.broker, pytest.mark.slow]

RATE: Final = 5000
SECONDS: Final = 10
LATE_SECONDS: Final = 2.0
GROWTH_BYTES: Final = 48 << 20
PAUSE_SECONDS: Final = 0.1

_log = logging.getLogger(__name__)


@pytest.fixture
def manager(broker: BrokerAccess, tmp_path: Path) -> Iterator[ManagerProcess]:
    """A manager that runs; at the end it stops with 0."""
    process = ManagerProcess(tmp_path / "home", broker)
    process.start()
    try:
        yield process
    finally:
        code = process.stop()

    assert code == 0


def _junk(link: Connected) -> list[str]:
    """Return envelopes that cost the most before they are refused, in hex."""
    actor = link.actor
    good = actor.make(STATUS)
    return [
        bytes(300).hex(),
        b"MPX".ljust(300, b"\1").hex(),
        good.body[:-1].hex(),
        actor.spoil(good, -1, good.body[-1] ^ 1).body.hex(),
        actor.make(actor.login(), Change(seal=actor.kem_seal())).body.hex(),
        actor.make(BUSIER, Change(sender="MPC_server_099")).body.hex(),
        actor.make(BUSIER, Change(seq=1)).body.hex(),
    ]


async def _flood(manager: ManagerProcess, link: Connected) -> dict[str, float]:
    flooder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.flooder",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    order = {
        "url": manager.broker.amqp_url,
        "authority": manager.broker.authority,
        "vhost": manager.broker.vhost,
        "user": link.actor.principal,
        "password": "password",
        "rate": RATE,
        "total": RATE * SECONDS,
        "bodies": _junk(link),
    }
    output, _ = await flooder.communicate(json.dumps(order).encode())
    answer: dict[str, float] = json.loads(output)
    return answer


async def _round_trip(link: Connected) -> float:
    """Say status, ask for jobs; return after how many seconds the answer came."""
    began = time.monotonic()
    link.actor.send(STATUS)
    link.actor.send(JobQuery())
    await link.exchange(JobState)
    return time.monotonic() - began


def test_41_a_flood_neither_delays_the_others_nor_fills_the_memory(
    manager: ManagerProcess,
) -> None:
    """50,000 junk envelopes in ten seconds; p95 under 2 s, memory flat."""

    async def history() -> None:
        realm = RemoteRealm(manager.home)
        async with (
            connected(manager, realm, Role.CLIENT, Io.OUTPUT) as honest,
            connected(manager, realm, Role.MPCS) as hostile,
        ):
            await _round_trip(honest)
            before = manager.resident_bytes()
            flood = asyncio.create_task(_flood(manager, hostile))
            trips: list[float] = []
            while not flood.done():
                trips.append(await _round_trip(honest))
                await asyncio.sleep(PAUSE_SECONDS)
            answer = await flood
            trips.sort()
            p95 = trips[int(len(trips) * 0.95)]
            grown = manager.resident_bytes() - before
            _log.info(
                "%d envelopes in %.1f s, %d round trips, p95 %.0f ms, %d KiB grown",
                answer["sent"],
                answer["seconds"],
                len(trips),
                p95 * 1000,
                grown >> 10,
            )

            assert answer["sent"] == RATE * SECONDS
            assert p95 < LATE_SECONDS
            assert grown < GROWTH_BYTES

    asyncio.run(history())
