"""What a RabbitMQ needs that somebody else starts, such as one in a container."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
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
COOKIE_BYTES: Final = 32
TICK: Final = timedelta(seconds=10)
"""Nodes of a cluster count one that says nothing for so long as down; until then what
asks all nodes waits for it."""
GROWTH_INTERVAL: Final = timedelta(seconds=20)
"""How often a node of a cluster looks whether a queue lacks a replica."""


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

    @property
    def cookie_path(self) -> Path:
        """What the nodes of a cluster know each other by; in ``HOME`` of each."""
        return self.node / ".erlang.cookie"

    def write(
        self, realm: Realm, hosts: Sequence[str], cluster: Sequence[str] = ()
    ) -> None:
        """Make what is missing, and write the settings of this release.

        The authority and the passwords are kept: participants pin the one, the
        manager has the others.

        Args:
            realm: the vhost.
            hosts: names and IP addresses under which others reach the broker.
            cluster: names under which its nodes find each other, all with these
                files; none for a node that is alone.

        Raises:
            ConfigError: a host is malformed, or a file is damaged or cannot be
                written.
        """
        names = [each.host for each in parse_advertised(hosts, AMQPS_PORT)]
        nodes = [each.host for each in parse_advertised(cluster, AMQPS_PORT)]
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
            **_cluster(nodes),
        }
        lines = "".join(f"{name} = {value}\n" for name, value in own.items())
        text = f"{broker_config('rabbitmq.conf')}\n# Of this broker.\n{lines}"
        write_private(self.settings_path, text)
        if nodes and not self.cookie_path.exists():
            write_private(self.cookie_path, secrets.token_hex(COOKIE_BYTES))


def _cluster(nodes: Sequence[str]) -> dict[str, str]:
    """Return the settings of a cluster; RabbitMQ knows them from 3.13 on.

    A queue that was made before all nodes were there gets its other replicas soon
    after; without the interval, RabbitMQ would look once an hour.
    """
    if not nodes:
        return {}
    growth = "quorum_queue.continuous_membership_reconciliation"
    return {
        "cluster_formation.peer_discovery_backend": "classic_config",
        **{
            f"cluster_formation.classic_config.nodes.{number}": f"rabbit@{node}"
            for number, node in enumerate(nodes, 1)
        },
        "net_ticktime": str(TICK // timedelta(seconds=1)),
        # A minority stops: it must not take what the others will never have.
        "cluster_partition_handling": "pause_minority",
        f"{growth}.enabled": "true",
        f"{growth}.target_group_size": str(len(nodes)),
        f"{growth}.interval": str(GROWTH_INTERVAL // timedelta(milliseconds=1)),
        "queue_leader_locator": "balanced",
    }
