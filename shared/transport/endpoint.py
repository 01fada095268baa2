"""Where the broker is, and how long to wait before trying it again."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from shared.errors import ConfigError

AMQP_PORT = 5672
AMQPS_PORT = 5671
MAX_HOST = 253
"""Of a name in the DNS."""

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*")
_HINT = "write amqp://host:port or amqps://host:port, several with commas between"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One broker node."""

    host: str
    port: int
    is_tls: bool


def parse_endpoints(url: str, vhost: str) -> tuple[Endpoint, ...]:
    """Return the nodes that a broker URL names.

    Args:
        url: ``amqp[s]://host[:port][/vhost]``, or several with commas between
            (the nodes of a cluster, tried in turn).
        vhost: the vhost that a path, if there is one, must name.

    Raises:
        ConfigError: it is malformed, or it holds a user or password.
    """
    return tuple(_parse(part.strip(), vhost) for part in url.split(","))


class Nodes:
    """The nodes of one broker; who answered last is tried first.

    Transports to the same broker may share it: what one of them found out spares the
    next one to wait for a node that is gone.

    Args:
        url: as ``parse_endpoints`` reads it.
        vhost: likewise.

    Raises:
        ConfigError: the url is malformed, or it holds a user or password.
    """

    def __init__(self, url: str, vhost: str) -> None:
        self._endpoints = parse_endpoints(url, vhost)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._endpoints)

    @property
    def first(self) -> Endpoint:
        """The one to try."""
        return self._endpoints[0]

    def leave(self, endpoint: Endpoint) -> None:
        """Try another one next, unless somebody else has left this one already."""
        first, *others = self._endpoints
        if first is endpoint:
            self._endpoints = (*others, first)


def _parse(url: str, vhost: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError("the broker url is malformed", _HINT) from error
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "the broker url holds a user or a password",
            "take them out of the url; they come from the home or a secrets file",
        )
    if parts.scheme not in {"amqp", "amqps"} or not host:
        raise ConfigError(f"{url!r} is not a broker url", _HINT)
    if parts.query or parts.fragment or unquote(parts.path[1:]) not in {"", vhost}:
        raise ConfigError(
            f"the broker url {url!r} says more than where the broker is", _HINT
        )
    is_tls = parts.scheme == "amqps"
    return Endpoint(host, port or (AMQPS_PORT if is_tls else AMQP_PORT), is_tls)


@dataclass(frozen=True, slots=True)
class Advertised:
    """Where others reach a broker: a name or an IP address, with its port."""

    host: str
    port: int

    def url(self, *, is_tls: bool) -> str:
        """Return the broker's URL there."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if is_tls else 'amqp'}://{host}:{self.port}"


def parse_advertised(addresses: Sequence[str], port: int) -> tuple[Advertised, ...]:
    """Return where others reach a broker.

    Args:
        addresses: ``host`` or ``host:port``, ``[v6]`` or ``[v6]:port``.
        port: of an address that names none.

    Raises:
        ConfigError: one is malformed, or is where nobody can be reached.
    """
    return tuple(_advertised(address, port) for address in addresses)


def _advertised(address: str, port: int) -> Advertised:
    try:
        parts = urlsplit(f"//{address}")
        host, given = parts.hostname, parts.port
        is_whole = parts.netloc == address and "@" not in address
        literal = ip_address(host) if host and not _is_name(host) else None
    except ValueError:
        is_whole, host, given, literal = False, None, None, None
    if not is_whole or not host or (literal and literal.is_unspecified) or given == 0:
        raise ConfigError(
            f"{address!r} is not where others can reach the broker",
            "write host or host:port, [v6] or [v6]:port for IPv6",
        )
    return Advertised(str(literal or host), given or port)


def _is_name(host: str) -> bool:
    return (
        len(host) <= MAX_HOST
        and _HOST.fullmatch(host) is not None
        and not (host.rpartition(".")[2].isdecimal())
    )


class Backoff:
    """Growing waits with full jitter, so that a crowd does not return as one.

    Args:
        first: the longest first wait.
        longest: no wait is longer.
    """

    def __init__(self, first: timedelta, longest: timedelta) -> None:
        self._first = first.total_seconds()
        self._longest = longest.total_seconds()
        self._failures = 0

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._failures = 0

    def next_seconds(self) -> float:
        """Return the next wait: random, at least half of the first one."""
        ceiling = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        floor = min(self._first / 2, ceiling)
        return floor + (ceiling - floor) * (secrets.randbits(32) / 2**32)
