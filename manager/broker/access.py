"""How this manager reaches its broker, a private node or somebody else's."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from manager.broker.admin import BrokerAdmin
from manager.broker.credentials import BrokerCredentials, load_credentials
from manager.broker.node import PrivateNode
from manager.config import ManagerSettings
from shared.errors import ConfigError, TransportError
from shared.names import Realm
from shared.transport.authority import context_for
from shared.transport.endpoint import Advertised, parse_advertised, parse_endpoints


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """Where the broker is and who we are there."""

    amqp_url: str
    """Where the manager reaches it; without user and password."""
    management_url: str
    credentials: BrokerCredentials
    vhost: Realm
    folder: Path
    """Of the broker, in the manager's home; it holds who may watch."""
    authority: str | None = None
    """PEM of whom to trust with TLS; ``None`` for the system's authorities."""
    advertised: tuple[Advertised, ...] = ()
    """Where participants reach it, if it is elsewhere for them."""

    @property
    def public_url(self) -> str:
        """What a token tells its holder."""
        if not self.advertised:
            return self.amqp_url
        is_tls = self.amqp_url.startswith("amqps:")
        return ",".join(each.url(is_tls=is_tls) for each in self.advertised)

    def admin(self) -> BrokerAdmin:
        """Return the broker's administrator, not yet connected."""
        return BrokerAdmin(
            self.management_url,
            self.credentials.admin,
            self.vhost,
            context=self.tls(),
        )

    def tls(self) -> ssl.SSLContext | None:
        """Return the context for TLS; ``None`` for the system's authorities."""
        return context_for(self.authority)


def private_node(settings: ManagerSettings) -> PrivateNode:
    """Return this manager's private node, running or not.

    Raises:
        ConfigError: the settings name somebody else's broker.
    """
    if settings.broker_url is not None:
        raise ConfigError(
            "broker_url names a broker that is not ours to start or stop",
            "start it where it belongs, then run 'mpc-manager broker apply'; for a"
            " private node remove broker_url (MPC_BROKER_URL) from the settings",
        )
    return PrivateNode(
        settings.broker_folder,
        settings.vhost,
        settings.broker_port,
        settings.broker_management_port,
        None if settings.broker_listen is None else str(settings.broker_listen),
        settings.broker_advertise,
    )


def broker_access(settings: ManagerSettings) -> BrokerAccess:
    """Return how to reach the broker that the settings mean.

    Raises:
        ConfigError: the credentials are missing or not usable.
        TransportError: it is the private node, and it does not run.
    """
    if (
        settings.broker_url is not None
        and settings.broker_management_url is not None
        and settings.broker_credentials_file is not None
    ):
        return BrokerAccess(
            settings.broker_url,
            settings.broker_management_url,
            load_credentials(settings.broker_credentials_file),
            settings.vhost,
            settings.broker_folder,
            _read(settings.broker_ca_file),
            _advertised(settings, settings.broker_url),
        )
    node = private_node(settings)
    status = node.status()
    if status is None or not status.is_running:
        raise TransportError(
            "the private RabbitMQ node does not run", "run 'mpc-manager broker start'"
        )
    return BrokerAccess(
        status.amqp_url,
        status.administration_url,
        node.credentials(),
        settings.vhost,
        settings.broker_folder,
        _read(status.authority_path),
        status.advertised,
    )


def _advertised(settings: ManagerSettings, url: str) -> tuple[Advertised, ...]:
    first = parse_endpoints(url, settings.vhost)[0]
    return parse_advertised(settings.broker_advertise, first.port)


def _read(authority: Path | None) -> str | None:
    try:
        return None if authority is None else authority.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the broker's authority {authority}",
            "see that it is there, is readable and holds a certificate in PEM",
        ) from error
