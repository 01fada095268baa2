"""What ``mpc-manager broker`` prints for machines."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from manager.broker.admin import BrokerOverview
from manager.broker.health import Finding
from manager.broker.node import NodeStatus
from shared.output import Output, path_text


class Ports(Output):
    """What the private node listens on, on the loopback address.

    Attributes:
        amqp: AMQP over TLS.
        management: the management UI, in clear.
        administration: the same under TLS.
        prometheus: figures, in clear and without a login.
        distribution: Erlang's.
        epmd: Erlang's port mapper.
    """

    amqp: int
    management: int
    administration: int
    prometheus: int
    distribution: int
    epmd: int


class Broker(Output):
    """The realm's broker; what is not known of it is null.

    Attributes:
        running: whether it answers.
        amqp_url: where clients find it.
        participants_use: of the private node, the URLs that tokens hold.
        management_url: its management UI.
        administration_url: the private node's management API, under TLS.
        node: its name.
        pid: of the private node.
        authority_file: PEM of whom a client of the private node trusts.
        credentials_file: of the private node.
        log_folder: of the private node.
        ports: of the private node.
        rabbitmq_version: of another broker.
        erlang_version: of another broker.
        cluster_name: of another broker.
        connections: at another broker, of all vhosts.
        queues: at another broker, of all vhosts.
        messages: waiting at another broker, of all vhosts.
    """

    running: bool
    amqp_url: str | None = None
    participants_use: str | None = None
    management_url: str | None = None
    administration_url: str | None = None
    node: str | None = None
    pid: int | None = None
    authority_file: str | None = None
    credentials_file: str | None = None
    log_folder: str | None = None
    ports: Ports | None = None
    rabbitmq_version: str | None = None
    erlang_version: str | None = None
    cluster_name: str | None = None
    connections: int | None = None
    queues: int | None = None
    messages: int | None = None


class Monitor(Output):
    """Who may watch in the management UI.

    Attributes:
        url: of the UI.
        user: its name at the broker.
        password_file: in the manager's home, mode 0600.
        password: if ``--show-password`` asks for it.
    """

    url: str
    user: str
    password_file: str
    password: str | None = None


class BrokerFinding(Output):
    """One thing that was looked at.

    Attributes:
        check: ``node``, ``reader``, ``backlog``, ``dead letters`` or ``standstill``.
        subject: a node, a queue, or ``all``.
        found: how it is, in words.
        is_well: whether that is in order.
    """

    check: str
    subject: str
    found: str
    is_well: bool


class BrokerCheck(Output):
    """What ``broker check`` found.

    Attributes:
        is_well: whether everything is in order.
        findings: all that is wrong, and one for each check that found nothing.
    """

    is_well: bool
    findings: tuple[BrokerFinding, ...]


def check_output(findings: Sequence[Finding]) -> BrokerCheck:
    """Return what a check found."""
    return BrokerCheck(
        is_well=all(finding.is_well for finding in findings),
        findings=tuple(BrokerFinding(**asdict(finding)) for finding in findings),
    )


def node_output(status: NodeStatus, credentials: Path) -> Broker:
    """Return the private node."""
    ports = status.ports
    return Broker(
        running=status.is_running,
        amqp_url=status.amqp_url,
        participants_use=",".join(each.url(is_tls=True) for each in status.advertised)
        or status.amqp_url,
        management_url=status.management_url,
        administration_url=status.administration_url,
        node=status.node_name,
        pid=status.pid,
        authority_file=path_text(status.authority_path),
        credentials_file=path_text(credentials),
        log_folder=path_text(status.log_folder),
        ports=Ports(
            amqp=ports.amqp,
            management=ports.management,
            administration=ports.administration,
            prometheus=ports.prometheus,
            distribution=ports.distribution,
            epmd=ports.epmd,
        ),
    )


def broker_output(
    amqp_url: str, management_url: str, overview: BrokerOverview | None
) -> Broker:
    """Return a broker that somebody else runs; without overview it does not answer."""
    if overview is None:
        return Broker(running=False, amqp_url=amqp_url, management_url=management_url)
    return Broker(
        running=True,
        amqp_url=amqp_url,
        management_url=management_url,
        node=overview.node,
        rabbitmq_version=overview.rabbitmq_version,
        erlang_version=overview.erlang_version,
        cluster_name=overview.cluster_name,
        connections=overview.connections,
        queues=overview.queues,
        messages=overview.messages,
    )
