"""The page that Prometheus reads: plain HTTP on the loopback address, in the loop.

The library keeps and renders the figures. Its own HTTP server starts a thread for
each request and bounds neither their number nor their time; this one serves one
page, ``GET /metrics``, between two turns of the event loop.
"""

import asyncio
import os
from datetime import timedelta
from http import HTTPStatus

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from shared.errors import ConfigError

LOOPBACK = "127.0.0.1"
PATH = "/metrics"
MAX_REQUEST_BYTES = 8192
MAX_CONNECTIONS = 16
"""Further ones are closed at once: a scraper needs one."""
REQUEST_TIMEOUT = timedelta(seconds=5)
"""How long a request may take to come, and its answer to go."""
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# A series beside each counter that says when it began: nothing here reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's


class MetricsPage:
    """Serves what a registry holds, and memory, time and files of this process.

    Args:
        registry: the program's; read in the event loop, so that its collectors may
            look at what the loop changes.
        port: where to listen on the loopback address.
    """

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        self.show(registry)
        self._port = port
        self._server: asyncio.Server | None = None
        self._open = 0

    def show(self, registry: CollectorRegistry) -> None:
        """Serve another registry, which was not served before, from now on."""
        ProcessCollector(registry=registry)
        self._registry = registry

    async def start(self) -> None:
        """Listen from now on.

        Raises:
            ConfigError: the port is taken, or this user may not listen there.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, LOOPBACK, self._port, limit=MAX_REQUEST_BYTES
            )
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise ConfigError(
                f"cannot listen on {LOOPBACK}:{self._port} for metrics: {reason}",
                "set another metrics_port, or leave it out",
            ) from error

    async def close(self) -> None:
        """Stop to listen; may be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT.total_seconds()):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(request))
                    await writer.drain()
        except (
            OSError,  # TimeoutError is one
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            pass  # whoever it was does not read pages
        finally:
            self._open -= 1
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        line = request.partition(b"\r\n")[0].decode("latin-1").split(" ")
        method, target = (line[0], line[1]) if len(line) > 1 else ("", "")
        if target.partition("?")[0] != PATH:
            return _response(HTTPStatus.NOT_FOUND, f"there is {PATH} only\n".encode())
        if method != "GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"GET only\n")
        return _response(HTTPStatus.OK, generate_latest(self._registry))


def _response(status: HTTPStatus, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {_CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
