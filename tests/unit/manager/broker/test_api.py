"""Each node of a cluster answers for all: who is gone is left for the next one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from manager.broker.api import ManagementApi
from manager.broker.credentials import Credential
from shared.errors import ConfigError, TransportError

CREDENTIAL = Credential("somebody", "a password")


class _Node(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say which node this is."""
        _, port = self.connection.getsockname()
        answer = f'"{port}"'.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def node() -> Iterator[int]:
    """Run a node; yield its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Node)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def api(*ports: int) -> ManagementApi:
    """Return a client of these nodes."""
    return ManagementApi(
        ", ".join(f"http://127.0.0.1:{port}" for port in ports), CREDENTIAL
    )


def test_the_first_node_that_answers_is_kept(unused_port: int) -> None:
    """Nobody waits for a node that is gone more than once."""
    with node() as second, node() as third:
        client = api(unused_port, second, third)
        answers = [client.get("whoami") for _ in range(3)]
        client.close()

    assert answers == [str(second)] * 3


def test_a_node_that_goes_is_left() -> None:
    """The next request finds another one."""
    with node() as other:
        with node() as first:
            client = api(first, other)
            before = client.get("whoami")
            client.close()
        after = client.get("whoami")
        client.close()

    assert (before, after) == (str(first), str(other))


def test_no_node_at_all_is_one_clear_error(unused_port: int) -> None:
    """It names where nobody answered, and each was asked once."""
    client = api(unused_port, unused_port)

    with pytest.raises(TransportError, match=f"127.0.0.1:{unused_port}: .*refused"):
        client.get("whoami")


@pytest.mark.parametrize(
    "url", ["http://a,", "http://a,amqp://b", "http://u@a,http://b", "http://[a"]
)
def test_each_node_has_a_url(url: str) -> None:
    """A cluster is as strict as one node."""
    with pytest.raises(ConfigError):
        ManagementApi(url, CREDENTIAL)
