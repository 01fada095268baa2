"""The six ports of a private node, chosen once and kept."""

import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields

from shared.errors import ConfigError

LOOPBACK = "127.0.0.1"
FIRST_PORT = 20_000
LAST_PORT = 31_999
"""Below what systems hand out for outgoing connections, so that a port stays free
while the node is down."""
_ATTEMPTS = 200
_RELEASE_SECONDS = 2.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class NodePorts:
    """What a node listens on, all of it on the loopback address.

    ``management``: the UI for people, in clear; ``administration``: the same
    under TLS, for the manager. ``prometheus``: figures, in clear, without a login.
    """

    amqp: int
    management: int
    administration: int
    prometheus: int
    distribution: int
    epmd: int


def is_free(port: int) -> bool:
    """Say whether nobody listens on the loopback port."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # As servers do: connections that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Say whether somebody accepts connections on the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def choose_ports(wanted: Mapping[str, int], kept: NodePorts | None) -> NodePorts:
    """Choose ports: the wanted ones, else the kept ones, else free ones.

    Args:
        wanted: by field name of ``NodePorts``; what the user insists on.
        kept: those of the last time; one that is taken is chosen anew.

    Raises:
        ConfigError: a wanted port is taken, or none is free.
    """
    chosen: dict[str, int] = {}
    before = asdict(kept) if kept else {}
    for field in fields(NodePorts):
        if field.name in wanted:
            port = wanted[field.name]
            if not is_free(port):
                raise ConfigError(
                    f"port {port} on {LOOPBACK} is taken",
                    "stop who listens there, or set another port for the broker",
                )
            chosen[field.name] = port
    for field in fields(NodePorts):
        if field.name not in chosen:
            candidate = before.get(field.name)
            taken = set(chosen.values())
            if candidate is None or candidate in taken or not _becomes_free(candidate):
                candidate = _free_port(taken | set(before.values()))
            chosen[field.name] = candidate
    return NodePorts(**chosen)


def completed(kept: Mapping[str, int]) -> NodePorts:
    """Return the ports of a node, of which an earlier release chose no ``prometheus``.

    Args:
        kept: by field name of ``NodePorts``.

    Raises:
        TypeError: another one is missing, or there is one too many.
        ConfigError: no port is free.
    """
    if "prometheus" in kept:
        return NodePorts(**kept)
    return NodePorts(**kept, prometheus=_free_port(set(kept.values())))


def _becomes_free(port: int) -> bool:
    """Say whether a port is free; a node that was killed lets go a moment later."""
    deadline = time.monotonic() + _RELEASE_SECONDS
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _free_port(taken: set[int]) -> int:
    for _ in range(_ATTEMPTS):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
        if port not in taken and is_free(port):
            return port
    raise ConfigError(
        f"no free port between {FIRST_PORT} and {LAST_PORT}",
        "set the broker's ports yourself",
    )
