"""What the figures were measured on: the machine and the versions of everything."""

import os
import platform
import ssl
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from manager.broker.admin import BrokerOverview

LIBRARIES = (
    "cryptography",
    "msgpack",
    "numpy",
    "pika",
    "pydantic",
    "pynacl",
    "SQLAlchemy",
)


def describe(broker: BrokerOverview | None) -> Mapping[str, str]:
    """Return name and value of everything that the figures depend on.

    Args:
        broker: what it says of itself, if one was there.
    """
    found = {
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": str(os.cpu_count()),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
    }
    if broker is not None:
        found["RabbitMQ"] = (
            f"{broker.rabbitmq_version} on Erlang {broker.erlang_version}"
        )
    return found | {name: version(name) for name in LIBRARIES}


def _field(path: Path, name: str) -> str:
    """Return the first value of a name in one of the kernel's tables."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
