"""The manager's process: what it needs is there before it waits for its turn."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.broker.access import BrokerAccess
from manager.broker.credentials import load_or_create_credentials
from manager.config import ManagerSettings
from manager.service.running import _Process
from manager.store.store import Store
from shared import topology
from shared.errors import ConfigError
from shared.metrics import LOOPBACK
from shared.transport.memory import MemoryTransport
from tests.manager_realm import REALM, ManagerRealm

GET = b"GET /metrics HTTP/1.1\r\n\r\n"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port: int = other.getsockname()[1]
        yield port


def process(realm: ManagerRealm, home: Path, port: int) -> _Process:
    """Return a manager's process with a page, whose broker is not there."""
    access = BrokerAccess(
        "amqp://127.0.0.1:1",
        "http://127.0.0.1:1",
        load_or_create_credentials(home / "credentials.json"),
        REALM,
        home,
    )
    settings = ManagerSettings(home=home, metrics_port=port)
    return _Process(settings, access, access.admin(), realm.store, realm.keys)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_port_for_figures_that_is_taken_is_found_out_at_the_start(
    is_shared: bool, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at a takeover, where nobody looks: the realm would have no manager."""
    monkeypatch.setattr(Store, "is_shared", is_shared)
    with pytest.raises(ConfigError, match="cannot listen on") as caught:
        asyncio.run(process(ManagerRealm(), tmp_path, taken).run())

    assert "metrics_port" in (caught.value.hint or "")


def test_the_page_shows_the_realm_in_a_manager_s_turn_only(tmp_path: Path) -> None:
    """Before and after it shows the process, so that who watches knows it lives."""
    pages: list[bytes] = []

    async def story() -> None:
        realm = ManagerRealm()
        manager = process(realm, tmp_path, 1)

        def look() -> None:
            assert manager._page is not None
            pages.append(manager._page._answer(GET))

        stop = asyncio.Event()
        stop.set()
        look()
        for _ in range(2):
            transport = MemoryTransport(realm.broker, topology.MANAGER_USER)
            await manager._work(realm.store, transport, stop, look)
            look()

    asyncio.run(story())

    assert [b"mpc_manager_sessions" in page for page in pages] == [
        *(False, True, False, True, False)
    ]
    assert all(b"process_resident_memory_bytes" in page for page in pages)
