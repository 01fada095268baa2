"""What a RabbitMQ needs that somebody else starts, such as one in a container."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manager.broker.credentials import load_or_create_credentials
from manager.broker.files import broker_config, make_folder, write_private
from manager.broker.node_tls import NodeTls
from manager.broker.ports import LOOPBACK
from shared.clock import SystemClock
from shared.names import Realm
from shared.topology import render
from shared.transport.endpoint import AMQPS_PORT, parse_advertised

MANAGEMENT_PORT: Final = 15671
"""Where RabbitMQ has its management API under TLS."""


@dataclass(frozen=True, slots=True)
class PreparedBroker:
    """The files of one broker, in two folders for two readers.

    ``node``: for RabbitMQ, with its secret key; it must find them under this path.
    ``access``: for the manager: whom to trust, and both passwords.
    """

    node: Path
    access: Path

    @property
    def settings_path(self) -> Path:
        """What ``RABBITMQ_CONFIG_FILE`` must name."""
        return self.node / "rabbitmq.conf"

    @property
    def plugins_path(self) -> Path:
        """What ``RABBITMQ_ENABLED_PLUGINS_FILE`` must name."""
        return self.node / "enabled_plugins"

    def write(self, realm: Realm, hosts: Sequence[str]) -> None:
        """Make what is missing, and write the settings of this release.

        The authority and the passwords are kept: participants pin the one, the
        manager has the others.

        Args:
            realm: the vhost.
            hosts: names and IP addresses under which others reach the broker.

        Raises:
            ConfigError: a host is malformed, or a file is damaged or cannot be
                written.
        """
        names = [each.host for each in parse_advertised(hosts, AMQPS_PORT)]
        for folder in (self.node, self.access):
            make_folder(folder)
        tls = NodeTls(self.node)
        tls.create(realm, names, SystemClock().now())
        credentials = load_or_create_credentials(self.access / "credentials.json")
        write_private(
            self.access / tls.authority_path.name, tls.authority_path.read_text("ascii")
        )
        users = (credentials.admin_user(), credentials.manager_user())
        definitions = self.node / "definitions.json"
        write_private(definitions, render(realm, users))
        write_private(self.plugins_path, broker_config("enabled_plugins"))
        own = {
            "listeners.tcp": "none",
            "listeners.ssl.default": str(AMQPS_PORT),
            "management.ssl.port": str(MANAGEMENT_PORT),
            "prometheus.tcp.ip": LOOPBACK,  # it is in clear and asks for no password
            **tls.options(),
            "load_definitions": str(definitions),
            "log.console": "true",
        }
        lines = "".join(f"{name} = {value}\n" for name, value in own.items())
        text = f"{broker_config('rabbitmq.conf')}\n# Of this broker.\n{lines}"
        write_private(self.settings_path, text)
