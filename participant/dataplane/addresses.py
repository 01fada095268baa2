"""Addresses as settings and endorsements write them: ``host:port``, ``[v6]:port``."""

import errno
import socket
from collections.abc import Sequence
from typing import Final, TypeAlias

from shared.errors import ConfigError

BACKLOG: Final = 512
MAX_PORT: Final = 65535

_SocketAddress: TypeAlias = (
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        ConfigError: it is no address.
    """
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""  # IPv6 without brackets
    if not host or not port.isdecimal() or not 0 <= int(port) <= MAX_PORT:
        raise ConfigError(
            f"{address!r} is not an address", "write host:port, or [v6]:port for IPv6"
        )
    return host, int(port)


def listen_on(addresses: Sequence[str], tries: int) -> tuple[list[socket.socket], int]:
    """Return listening sockets, all on one port, and that port.

    Args:
        addresses: where to listen; the first one's port is asked for, and where it
            is taken the next free one above it.
        tries: how many ports are tried.

    Raises:
        ConfigError: an address is malformed, is not of this machine, or no port of
            those tried is free on all of them.
    """
    wanted = [split_address(address) for address in addresses]
    first = wanted[0][1]
    for port in range(first, min(first + tries, MAX_PORT + 1)):
        bound = _bind_all([host for host, _ in wanted], port)
        if bound is not None:
            return bound, bound[0].getsockname()[1]
    raise ConfigError(
        f"no free port from {first} to {first + tries - 1} on {', '.join(addresses)}",
        "stop what uses them, or choose another port to start from",
    )


def _bind_all(hosts: Sequence[str], port: int) -> list[socket.socket] | None:
    """Return a listening socket a host, or None if the port is taken on one."""
    bound: list[socket.socket] = []
    try:
        for host in hosts:
            for family, address in _resolve(host, port):
                bound.append(_bind(family, address))
                port = bound[0].getsockname()[1]  # port 0: the same everywhere
    except OSError as error:
        for connection in bound:
            connection.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror})",
            "choose an address of this machine and a port that you may use",
        ) from error
    return bound


def _resolve(host: str, port: int) -> list[tuple[int, _SocketAddress]]:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ConfigError(
            f"{host!r} is not an address of this machine",
            "use an IP address, or a name that resolves",
        ) from error
    return [(family, address) for family, _, _, _, address in found]


def _bind(
    family: int,
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        connection.setblocking(False)
        connection.bind(address)
        connection.listen(BACKLOG)
    except OSError:
        connection.close()
        raise
    return connection
