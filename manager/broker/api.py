"""RabbitMQ's management API: one kept connection, JSON in and out.

Each node of a cluster serves it for the whole cluster: who does not answer is left for
the next one.
"""

import http.client
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from manager.broker.credentials import Credential
from shared.errors import ConfigError, TransportError

DEFAULT_TIMEOUT = timedelta(seconds=10)
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A list of many thousand queues fits; more is refused."""
_REASON_CHARACTERS = 300
_HINT = "see that the broker runs ('mpc-manager broker status') and its url is right"


@dataclass(frozen=True, slots=True)
class _Node:
    """Where one node answers; ``prefix`` stands before every path."""

    url: str
    prefix: str
    connection: http.client.HTTPConnection


class ManagementApi:
    """A blocking client, one request at a time; threads may share it.

    Args:
        url: ``http[s]://host:port`` of the management listener, without a user; the
            nodes of a cluster with commas between.
        credential: an administrator of the broker.
        timeout: of each step of a request.
        context: for ``https``; trusts the system's authorities unless given.

    Raises:
        ConfigError: the url is malformed.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        timeout: timedelta = DEFAULT_TIMEOUT,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._nodes = [_node(part.strip(), timeout, context) for part in url.split(",")]
        """The one that answered last is the first."""
        token = b64encode(f"{credential.user}:{credential.password}".encode())
        self._headers = {
            "Authorization": f"Basic {token.decode()}",
            "Content-Type": "application/json",
        }
        self._user = credential.user
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        with self._lock:
            for node in self._nodes:
                node.connection.close()

    def get(self, *path: str, query: str = "") -> object:
        """Return what a path holds.

        Raises:
            TransportError: the broker is not there, refuses, or knows no such path.
        """
        status, answer = self._request("GET", path, None, query)
        if status != HTTPStatus.OK:
            raise self._refused("GET", path, status, answer)
        try:
            content: object = json.loads(answer)
        except ValueError as error:
            raise TransportError(
                f"{self._nodes[0].url} does not answer as RabbitMQ's management api"
                " does",
                _HINT,
            ) from error
        return content

    def put(self, *path: str, body: Mapping[str, object]) -> None:
        """Create or update what a path names.

        Raises:
            TransportError: the broker is not there or refuses, for instance since
                it holds the same name with other arguments.
        """
        self._change("PUT", path, body, {HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})

    def post(self, *path: str, body: Mapping[str, object]) -> None:
        """Add to what a path names.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        self._change("POST", path, body, {HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})

    def delete(self, *path: str) -> bool:
        """Delete what a path names; say whether it was there.

        Raises:
            TransportError: the broker is not there or refuses.
        """
        status = self._change(
            "DELETE", path, None, {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND}
        )
        return status != HTTPStatus.NOT_FOUND

    def _change(
        self,
        method: str,
        path: tuple[str, ...],
        body: Mapping[str, object] | None,
        accepted: set[HTTPStatus],
    ) -> int:
        status, answer = self._request(method, path, body, "")
        if status not in accepted:
            raise self._refused(method, path, status, answer)
        return status

    def _request(
        self,
        method: str,
        path: tuple[str, ...],
        body: Mapping[str, object] | None,
        query: str,
    ) -> tuple[int, bytes]:
        target = "".join(f"/{quote(part, safe='')}" for part in path) + query
        content = None if body is None else json.dumps(body).encode()
        with self._lock:
            for patience in reversed(range(len(self._nodes))):
                node = self._nodes[0]
                try:
                    return self._ask(node, method, target, content)
                except (http.client.HTTPException, OSError) as error:
                    node.connection.close()
                    self._nodes.append(self._nodes.pop(0))
                    if not patience:
                        raise self._unreachable(node, error) from error
        raise AssertionError("a broker has a node")

    def _ask(
        self, node: _Node, method: str, target: str, content: bytes | None
    ) -> tuple[int, bytes]:
        had_connection = node.connection.sock is not None
        try:
            return self._exchange(node, method, target, content)
        except (http.client.HTTPException, OSError) as error:
            node.connection.close()
            # A kept connection may have been closed by the broker meanwhile.
            # Each of our changes may be repeated: all are idempotent.
            if not had_connection or isinstance(error, TimeoutError):
                raise
        return self._exchange(node, method, target, content)

    def _exchange(
        self, node: _Node, method: str, target: str, content: bytes | None
    ) -> tuple[int, bytes]:
        node.connection.request(
            method, node.prefix + target, body=content, headers=self._headers
        )
        response = node.connection.getresponse()
        answer = response.read(MAX_ANSWER_BYTES + 1)
        if len(answer) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too large")
        return response.status, answer

    def _unreachable(self, node: _Node, error: Exception) -> TransportError:
        reason = str(error) or type(error).__name__
        return TransportError(
            f"cannot reach the broker's management api at {node.url}: {reason}", _HINT
        )

    def _refused(
        self, method: str, path: tuple[str, ...], status: int, answer: bytes
    ) -> TransportError:
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return TransportError(
                f"the broker does not let {self._user!r} administer it",
                "see that the user is an administrator and the credentials are right",
            )
        reason = ""
        with suppress(ValueError, AttributeError):
            # Two shapes: {"error", "reason"} and, at times, a plain text.
            reason = str(json.loads(answer).get("reason"))[:_REASON_CHARACTERS]
        return TransportError(
            f"the broker refused {method} {'/'.join(path)} ({status}): {reason}",
            "an object of that name may exist with other settings: delete it in the"
            " management UI and run 'mpc-manager broker apply'",
        )


def _node(url: str, timeout: timedelta, context: ssl.SSLContext | None) -> _Node:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is not a url", "write http://host:port") from error
    if (
        parts.scheme not in {"http", "https"}
        or not host
        or parts.username is not None
        or parts.query
        or parts.fragment
    ):
        raise ConfigError(
            "the broker's management url is malformed",
            "write http://host:port or https://host:port, without user and password,"
            " the nodes of a cluster with commas between",
        )
    seconds = timeout.total_seconds()
    connection = (
        http.client.HTTPSConnection(
            host,
            port,
            timeout=seconds,
            context=context or ssl.create_default_context(),
        )
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=seconds)
    )
    return _Node(url, parts.path.rstrip("/") + "/api", connection)
