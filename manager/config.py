"""The manager's settings; docs/operations.md explains each to its operator."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, IPvAnyAddress, model_validator

from shared.config import (
    Duration,
    Explained,
    Settings,
    environment_of,
    explain,
    load,
)
from shared.errors import ConfigError
from shared.names import Realm, check_realm
from shared.transport.endpoint import AMQPS_PORT, parse_advertised, parse_endpoints

SETTINGS_FILE = "manager.toml"
DEFAULT_HOME = Path("~/.mpc-manager")

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
PositiveDuration = Annotated[Duration, Field(gt=timedelta(0))]


class ManagerSettings(Settings):
    """Everything that an operator may set.

    Attributes:
        home: the manager's folder; not settable in the file, which lies in it.
        realm: its name, also that of the vhost.
        broker_url: ``amqp[s]://host[:port]``, several with commas between; unset
            for the private node. User and password are in the credentials file.
        broker_management_url: of that broker's management API, or of several nodes.
        broker_credentials_file: both passwords for that broker, mode 0600.
        broker_ca_file: PEM of whom that broker's TLS is signed by, unless the system
            trusts it anyway; tokens pin it.
        broker_listen: IP address where the private node takes AMQP, besides the
            loopback address; unset for that one alone.
        broker_advertise: where participants reach the broker, ``host`` or
            ``host:port``; tokens say it, and the private node's certificate.
        broker_port: of the private node; unset for any free one, which is kept.
        broker_management_port: likewise.
        store_url: ``sqlite:///`` and a file, or ``postgresql://``; unset for SQLite
            in the home.
        store_password_file: the password for that database, mode 0600.
        store_synchronous: ``normal`` survives kill -9, not a power cut.
        presence_timeout: of silence, after which a participant is offline.
        offer_timeout: how long an MPC server may take to answer an offer.
        start_timeout: how long a client may.
        envelopes_per_second: of one principal, before any public-key work.
        bytes_per_second: likewise.
        prefetch_count: deliveries that may be unacknowledged at once; with few the
            broker waits for the manager, and a flood outruns it.
        log_level: the least that is logged.
        log_format: ``auto`` is for people on a terminal, JSON elsewhere.
        metrics_port: where Prometheus reads figures, on the loopback address;
            nowhere unless set.
    """

    home: Path = DEFAULT_HOME
    realm: str = "mpc"
    broker_url: str | None = None
    broker_management_url: str | None = None
    broker_credentials_file: Path | None = None
    broker_ca_file: Path | None = None
    broker_listen: IPvAnyAddress | None = None
    broker_advertise: tuple[str, ...] = ()
    broker_port: Port | None = None
    broker_management_port: Port | None = None
    store_url: str | None = None
    store_password_file: Path | None = None
    store_synchronous: Literal["full", "normal"] = "full"
    presence_timeout: PositiveDuration = timedelta(seconds=90)
    offer_timeout: PositiveDuration = timedelta(seconds=5)
    start_timeout: PositiveDuration = timedelta(seconds=60)
    envelopes_per_second: Count = 50
    bytes_per_second: Count = 1 << 20
    prefetch_count: Annotated[int, Field(ge=1, le=1000)] = 256
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    metrics_port: Port | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        vhost = check_realm(self.realm)
        parse_advertised(self.broker_advertise, AMQPS_PORT)
        if self.broker_url is None:
            if (
                self.broker_management_url
                or self.broker_credentials_file
                or self.broker_ca_file
            ):
                raise ConfigError(
                    "broker_url is not set, but another setting of a broker is",
                    "set broker_url, or none of broker_management_url,"
                    " broker_credentials_file and broker_ca_file",
                )
            if self.broker_listen and not self.broker_advertise:
                raise ConfigError(
                    "broker_listen is set, but not where others reach the broker",
                    "name this machine as they know it in broker_advertise",
                )
            return self
        if self.broker_listen:
            raise ConfigError(
                "broker_listen is for the private node, and broker_url names another",
                "remove one of the two; broker_advertise says where others reach it",
            )
        parse_endpoints(self.broker_url, vhost)
        if not self.broker_management_url or not self.broker_credentials_file:
            raise ConfigError(
                "a broker that somebody else runs needs more settings",
                "set broker_management_url and broker_credentials_file too",
            )
        return self

    @property
    def vhost(self) -> Realm:
        """The realm, checked."""
        return check_realm(self.realm)

    @property
    def broker_folder(self) -> Path:
        """Where the private node lies."""
        return self.home / "broker"

    @property
    def database_url(self) -> str:
        """Where the store is: ``store_url`` or SQLite in the home."""
        return self.store_url or f"sqlite:///{self.home / 'manager.db'}"


def load_settings(
    flags: Mapping[str, object], config: Path | None = None
) -> ManagerSettings:
    """Read the manager's settings: flags, ``MPC_…``, file, defaults.

    Args:
        flags: by field name; ``None`` where one was not given.
        config: the file, ``HOME/manager.toml`` unless given.

    Raises:
        ConfigError: a setting is unknown or not valid.
    """
    wanted = flags.get("home") or environment_of(ManagerSettings).get("home")
    home = Path(str(wanted or DEFAULT_HOME)).expanduser().absolute()
    return load(
        ManagerSettings,
        {**flags, "home": home},
        config or home / SETTINGS_FILE,
        not_in_file=frozenset({"home"}),
    )


def explain_settings(
    flags: Mapping[str, object], config: Path | None = None
) -> tuple[Explained, ...]:
    """Return the manager's settings, and where each comes from.

    Args:
        flags: as for ``load_settings``.
        config: likewise.

    Raises:
        ConfigError: a setting is unknown or not valid.
    """
    settings = load_settings(flags, config)
    return explain(settings, flags, config or settings.home / SETTINGS_FILE)
