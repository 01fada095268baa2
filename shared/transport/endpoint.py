"""Where the broker is, and how long to wait before trying it again."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from shared.errors import ConfigError

AMQP_PORT = 5672
AMQPS_PORT = 5671

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
