"""TLS of a private node: its key and certificates, made at its first start.

AMQP's login and HTTP's carry the password as it is, and the loopback interface
is read by whoever captures it. So the node speaks TLS only, but to a browser:
the management UI is there for people on this machine, in clear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from manager.broker.files import write_private
from manager.broker.ports import LOOPBACK, NodePorts
from shared.crypto.broker_certificates import create_broker_certificates
from shared.names import Realm

LIFETIME = timedelta(days=3650)
"""A realm does not live as long; the authority's key is forgotten at once."""
_SKEW = timedelta(hours=1)
_VERSIONS = ("tlsv1.3", "tlsv1.2")


@dataclass(frozen=True, slots=True)
class NodeTls:
    """The files of one node."""

    folder: Path

    @property
    def authority_path(self) -> Path:
        """PEM of whom the node's clients trust; no secret."""
        return self.folder / "authority.pem"

    @property
    def chain_path(self) -> Path:
        """What the node shows."""
        return self.folder / "node.pem"

    @property
    def key_path(self) -> Path:
        """The node's secret key."""
        return self.folder / "node.key"

    def create(self, realm: Realm, now: datetime) -> None:
        """Make what is missing; what is there is kept, participants pin it.

        Raises:
            ConfigError: a file cannot be written.
        """
        paths = (self.key_path, self.chain_path, self.authority_path)
        if all(path.exists() for path in paths):
            return
        made = create_broker_certificates(
            realm, (LOOPBACK,), now - _SKEW, now + LIFETIME
        )
        for path, text in zip(
            paths, (made.key, made.chain, made.authority), strict=True
        ):
            write_private(path, text)

    def listeners(self, ports: NodePorts) -> Mapping[str, str]:
        """Return RabbitMQ's settings for everything that listens."""
        settings = {
            "listeners.tcp": "none",
            "listeners.ssl.local": f"{LOOPBACK}:{ports.amqp}",
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(ports.management),
            "management.ssl.ip": LOOPBACK,
            "management.ssl.port": str(ports.administration),
            "prometheus.tcp.ip": LOOPBACK,
            "prometheus.tcp.port": str(ports.prometheus),
        }
        for prefix in ("ssl_options", "management.ssl"):
            settings |= {
                f"{prefix}.cacertfile": str(self.authority_path),
                f"{prefix}.certfile": str(self.chain_path),
                f"{prefix}.keyfile": str(self.key_path),
                f"{prefix}.verify": "verify_none",  # it knows users by password
                f"{prefix}.fail_if_no_peer_cert": "false",
            } | {
                f"{prefix}.versions.{number}": version
                for number, version in enumerate(_VERSIONS, 1)
            }
        return settings
