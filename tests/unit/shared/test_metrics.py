"""The page that Prometheus reads, over real sockets on the loopback address."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

import pytest
from prometheus_client import CollectorRegistry, Counter

from shared.errors import ConfigError
from shared.metrics import LOOPBACK, MAX_CONNECTIONS, MAX_REQUEST_BYTES, MetricsPage

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def free_port() -> int:
    """Return a port on which nobody listens at this moment."""
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


async def ask(port: int, request: bytes) -> str:
    """Return everything that comes back for some bytes."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(request)
        with suppress(ConnectionError):
            return (await reader.read()).decode()
        return ""
    finally:
        writer.close()


def served(use: Callable[[int], Awaitable[None]]) -> None:
    """Serve a page with one counter while a test uses it."""

    async def story() -> None:
        registry = CollectorRegistry()
        Counter("mpc_seen", "Seen.", registry=registry).inc(3)
        port = free_port()
        page = MetricsPage(registry, port)
        await page.start()
        try:
            await use(port)
        finally:
            await page.close()
            await page.close()

    asyncio.run(story())


def test_the_page_holds_the_registry_and_this_process() -> None:
    """In the text form that every Prometheus reads; nothing of when it began."""

    async def use(port: int) -> None:
        answer = await ask(port, GET)
        head, _, body = answer.partition("\r\n\r\n")

        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert f"Content-Length: {len(body)}" in head
        assert "mpc_seen_total 3.0" in body
        assert "process_resident_memory_bytes" in body
        assert "_created" not in body

    served(use)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404"),
        (b"GET /metrics/x HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"\r\n\r\n", "404"),
        (b"\xff\xfe\r\n\r\n", "404"),
        (b"GET /metrics?name=x HTTP/1.0\r\n\r\n", "200"),
    ],
)
def test_a_request_for_something_else_is_refused(
    request_bytes: bytes, status: str
) -> None:
    """There is one page, to be read only."""

    async def use(port: int) -> None:
        answer = await ask(port, request_bytes)

        assert answer.split(" ")[1] == status

    served(use)


def test_a_request_without_an_end_is_dropped() -> None:
    """More than a request may hold is not kept."""

    async def use(port: int) -> None:
        assert await ask(port, b"x" * (2 * MAX_REQUEST_BYTES)) == ""
        assert "200 OK" in await ask(port, GET)

    served(use)


def test_connections_that_say_nothing_are_few() -> None:
    """Further ones are closed at once, and room is made when one ends."""

    async def use(port: int) -> None:
        silent = [
            await asyncio.open_connection(LOOPBACK, port)
            for _ in range(MAX_CONNECTIONS)
        ]
        turned_away = await ask(port, GET)
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
        answer = ""
        while "200 OK" not in answer:
            answer = await ask(port, GET)

        assert turned_away == ""

    served(use)


def test_a_port_that_is_taken_is_an_error_of_settings() -> None:
    """The message names the port, the hint the setting."""

    async def use(port: int) -> None:
        second = MetricsPage(CollectorRegistry(), port)
        with pytest.raises(ConfigError, match=str(port)) as caught:
            await second.start()

        assert "metrics_port" in str(caught.value.hint)

    served(use)
