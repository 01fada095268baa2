"""TLS of a private node: its authority, its key and its certificate.

AMQP's login and HTTP's carry the password as it is, and the loopback interface
is read by whoever captures it. So the node speaks TLS only, but to a browser:
the management UI is there for people on this machine, in clear.
"""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from manager.broker.files import write_private
from manager.broker.ports import LOOPBACK, NodePorts
from shared.crypto.broker_certificates import (
    HOST,
    BrokerAuthority,
    create_broker_authority,
    create_broker_certificate,
    hosts_of,
)
from shared.errors import ConfigError, CryptoError
from shared.names import Realm
from shared.transport.authority import check_shown

LIFETIME = timedelta(days=3650)
"""A realm does not live as long."""
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - recognised; its operator asks for it
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
    def authority_key_path(self) -> Path:
        """The authority's secret key."""
        return self.folder / "authority.key"

    @property
    def chain_path(self) -> Path:
        """What the node shows."""
        return self.folder / "node.pem"

    @property
    def key_path(self) -> Path:
        """The node's secret key."""
        return self.folder / "node.key"

    def create(self, realm: Realm, hosts: Sequence[str], now: datetime) -> None:
        """Make what is missing or is not good for these hosts.

        The authority is kept whatever happens: participants pin it. Without its key
        it is somebody else's, who signs for these hosts.

        Args:
            realm: shown in the names.
            hosts: names and IP addresses where the node is reached, besides this
                machine's own.
            now: an aware time.

        Raises:
            ConfigError: a file is damaged or cannot be written, or what somebody else
                signed is not for these hosts, not trusted by clients or not of this
                key, or others may read the key.
        """
        begins, ends = now - _SKEW, now + LIFETIME
        if not self.authority_path.exists():
            if self.chain_path.exists():
                raise ConfigError(
                    f"{self.chain_path} is there, and"
                    f" {self.authority_path.name} is not",
                    "put the certificate of the authority there that signed it, or"
                    f" remove {self.chain_path.name} and {self.key_path.name}: the"
                    " node then makes an authority of its own",
                )
            authority = create_broker_authority(realm, begins, ends)
            write_private(self.authority_key_path, authority.key)
            write_private(self.authority_path, authority.certificate)
        try:
            shown = self._shown_hosts()
            if not self.authority_key_path.exists():
                return self._check_others({LOOPBACK, *hosts} - shown)
            wanted = {HOST, LOOPBACK, *hosts}
            if shown == wanted:
                return None
            made = create_broker_certificate(
                self._authority(), realm, wanted, begins, ends
            )
        except CryptoError as error:
            raise ConfigError(
                f"the broker's certificates in {self.folder} are damaged: {error}",
                "restore the folder from a backup, or remove *.pem and *.key there:"
                " participants then register anew",
            ) from error
        self.chain_path.unlink(missing_ok=True)  # never beside another key
        write_private(self.key_path, made.key)
        write_private(self.chain_path, made.chain)
        return None

    def _check_others(self, missing: set[str]) -> None:
        """Refuse what somebody else signed, if clients would, or others read its key.

        Args:
            missing: where the node is reached and its certificate is not good.
        """
        if missing:
            raise ConfigError(
                f"{self.chain_path} is not there, or not good for"
                f" {', '.join(sorted(missing))}",
                "let the authority whose certificate is in"
                f" {self.authority_path.name} sign one for these names, and put it"
                f" there with its key, {self.key_path.name}; or remove *.pem and *.key"
                " there: participants then register anew",
            )
        if self.key_path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"others may read {self.key_path}", f"chmod 600 {self.key_path}"
            )
        authority = _read(self.authority_path)
        check_shown(self.chain_path, self.key_path, authority, LOOPBACK)

    def _shown_hosts(self) -> frozenset[str]:
        """Return where the node's certificate is good; nowhere if there is none."""
        if not self.chain_path.exists() or not self.key_path.exists():
            return frozenset()
        return hosts_of(_read(self.chain_path))

    def _authority(self) -> BrokerAuthority:
        return BrokerAuthority(
            _read(self.authority_path), _read(self.authority_key_path)
        )

    def listeners(self, ports: NodePorts, outside: str | None) -> Mapping[str, str]:
        """Return RabbitMQ's settings for everything that listens.

        Args:
            ports: of the node.
            outside: IP address where AMQP is taken too, besides the loopback address;
                nothing else is.
        """
        return {
            "listeners.tcp": "none",
            **_amqp_listeners(ports.amqp, outside),
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(ports.management),
            "management.ssl.ip": LOOPBACK,
            "management.ssl.port": str(ports.administration),
            "prometheus.tcp.ip": LOOPBACK,
            "prometheus.tcp.port": str(ports.prometheus),
            **self.options(),
        }

    def options(self) -> Mapping[str, str]:
        """Return RabbitMQ's settings for TLS, wherever it listens."""
        settings: dict[str, str] = {}
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


def _amqp_listeners(port: int, outside: str | None) -> Mapping[str, str]:
    if outside in _EVERYWHERE:
        return {"listeners.ssl.all": f"{outside}:{port}"}
    local = {"listeners.ssl.local": f"{LOOPBACK}:{port}"}
    if outside is None or outside == LOOPBACK:
        return local
    return local | {"listeners.ssl.outside": f"{outside}:{port}"}


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise CryptoError(f"{path.name} cannot be read") from error
