"""What a participant says of itself: slots, load, datasets, attributes, addresses."""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from participant.dataplane.addresses import split_address
from shared.errors import ConfigError
from shared.messages import Attributes, DatasetNotice
from shared.messages.wire import MAX_COLUMNS, MAX_TEXT, validate
from shared.transport.endpoint import parse_endpoints

MEMORY_INFO = Path("/proc/meminfo")
ATTRIBUTES = ("location", "csp", "cpus", "ram", "operator")

_KIB_IN_GIB = 1 << 20
_MAX_COLUMN_TEXT = 128

_log = logging.getLogger(__name__)


def attributes(given: Mapping[str, str]) -> Attributes:
    """Return what is known of this machine, as far as its owner does not say else.

    Raises:
        ConfigError: an attribute is unknown or malformed.
    """
    found: dict[str, str | int] = {"cpus": os.cpu_count() or 1}
    ram = _ram_gib()
    if ram is not None:
        found["ram"] = ram
    for name, text in given.items():
        if name not in ATTRIBUTES:
            raise ConfigError(
                f"there is no attribute {name!r}",
                f"the attributes are {', '.join(ATTRIBUTES)}",
            )
        found[name] = _attribute(name, text)
    return validate(Attributes, dict(found))


def load_percent() -> int:
    """Return the one-minute load in percent of a core."""
    return round(100 * os.getloadavg()[0])


def notice(name: str, columns: Sequence[str]) -> DatasetNotice:
    """Return what is said of a dataset: its columns, as far as messages take them."""
    fitting = [
        column
        for column in columns
        if column.isprintable() and 0 < len(column) <= _MAX_COLUMN_TEXT
    ]
    return DatasetNotice(name=name, cols=tuple(fitting[: MAX_COLUMNS * 4]))


def reached_at(
    advertise: tuple[str, ...],
    listen: tuple[str, ...],
    port: int,
    broker_url: str,
    vhost: str,
) -> tuple[str, ...]:
    """Return the addresses at which others reach an MPC server.

    Args:
        advertise: what its owner says, ``host`` or ``host:port``; the port is added
            where it is missing or 0.
        listen: where it listens; used if its owner says nothing.
        port: on which it listens in fact.
        broker_url: the way to the broker shows this machine's own address, for one
            that listens everywhere.
        vhost: of the broker.

    Raises:
        ConfigError: an address is malformed.
    """
    if advertise:
        return tuple(_with_port(address, port) for address in advertise)
    found = []
    for address in listen:
        host, _ = split_address(address)
        if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - recognised, not bound
            host = _own_host(broker_url, vhost)
        found.append(_joined(host, port))
    return tuple(dict.fromkeys(found))


def _with_port(address: str, port: int) -> str:
    is_bare = ":" not in address or address.endswith("]")
    host, given = split_address(f"{address}:0" if is_bare else address)
    return _joined(host, given or port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _own_host(broker_url: str, vhost: str) -> str:
    """Return this machine's address on the way to the broker; nothing is sent."""
    endpoint = parse_endpoints(broker_url, vhost)[0]
    try:
        family, kind, _, _, target = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def _attribute(name: str, text: str) -> str | int:
    if name in {"cpus", "ram"}:
        if not text.isdecimal() or (name == "cpus" and int(text) < 1):
            raise ConfigError(
                f"{name}={text}: not a whole number",
                "cpus counts processors, ram GiB: --attr cpus=4 --attr ram=8",
            )
        return int(text)
    if not text.isprintable() or not 0 < len(text) <= MAX_TEXT:
        raise ConfigError(
            f"attribute {name} is not 1 to {MAX_TEXT} printable characters"
        )
    return text


def _ram_gib() -> int | None:
    try:
        lines = MEMORY_INFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) // _KIB_IN_GIB
    return None
