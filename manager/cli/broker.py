"""``mpc-manager broker``: the broker that the realm lives on."""

import json
from datetime import timedelta
from pathlib import Path

import click
from rich.table import Table

from manager.broker.access import BrokerAccess, broker_access, private_node
from manager.broker.credentials import (
    MONITOR_FILE,
    load_monitor,
    load_or_create_monitor,
    monitor_user,
)
from manager.broker.health import LONGEST_STANDSTILL, Limits, judge
from manager.broker.prepared import PreparedBroker
from manager.cli.broker_output import (
    Broker,
    BrokerCheck,
    Monitor,
    broker_output,
    check_output,
    node_output,
)
from manager.cli.opening import inboxes_online, open_store
from manager.config import ManagerSettings
from shared.cli import ExitCode, closing, json_output
from shared.config import parse_duration
from shared.errors import ConfigError, TransportError
from shared.output import Output, json_text, path_text
from shared.printing import print_table


@click.group()
def broker() -> None:
    """Run RabbitMQ for this realm, or prepare one that somebody else runs."""


@broker.command(
    epilog=closing(
        "mpc-manager broker start",
        codes={0: "it serves", 3: "no RabbitMQ was found", 4: "it did not start"},
    )
)
@json_output(Broker)
@click.pass_obj
def start(settings: ManagerSettings, as_json: bool) -> None:
    """Start the private node and wait until it serves.

    It belongs to the user who starts it, listens on the loopback address only
    (the setting broker_listen opens AMQP to others) and goes on when this command
    ends. Starting one that runs changes nothing.
    """
    node = private_node(settings)
    status = node.start(progress=_tell)
    _print(node_output(status, node.credentials_path), as_json)


@broker.command(epilog=closing("mpc-manager broker stop"))
@click.option(
    "--now", is_flag=True, help="Kill it: what is not yet on disk may be lost."
)
@click.pass_obj
def stop(settings: ManagerSettings, now: bool) -> None:
    """Stop the private node; what its queues hold is kept."""
    if not private_node(settings).stop(progress=_tell, now=now):
        _tell("it did not run")


@broker.command(
    epilog=closing(
        "mpc-manager broker status --json",
        codes={0: "it runs", 4: "it does not run, or cannot be reached"},
    )
)
@json_output(Broker)
@click.pass_obj
def status(settings: ManagerSettings, as_json: bool) -> int:
    """Show whether the broker runs and where it listens."""
    if settings.broker_url is None:
        node = private_node(settings)
        found = node.status()
        if found is None or not found.is_running:
            _print(Broker(running=False), as_json)
            return ExitCode.UNREACHABLE
        _print(node_output(found, node.credentials_path), as_json)
        return ExitCode.DONE
    access = broker_access(settings)
    urls = access.amqp_url, access.management_url
    try:
        with access.admin() as admin:
            overview = admin.overview()
    except TransportError:
        _print(broker_output(*urls, None), as_json)
        raise
    _print(broker_output(*urls, overview), as_json)
    return ExitCode.DONE


@broker.command(epilog=closing("mpc-manager broker apply"))
@click.pass_obj
def apply(settings: ManagerSettings) -> None:
    """Make the realm's vhost, exchanges, queues and users at the broker.

    The private node does it at every start. May be repeated: what stands stays.
    """
    access = broker_access(settings)
    watching = monitor_user(load_or_create_monitor(access.folder))
    with access.admin() as admin:
        admin.apply([access.credentials.manager_user(), watching])
    _tell(f"vhost {access.vhost} is ready")


@broker.command(
    epilog=closing("mpc-manager broker prepare broker --host broker.example.org")
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A name or IP address under which others reach the broker.",
)
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME",
    help="Of a cluster: a name under which a node is found by the others; all of them.",
)
@click.pass_obj
def prepare(
    settings: ManagerSettings,
    folder: Path,
    hosts: tuple[str, ...],
    nodes: tuple[str, ...],
) -> None:
    """Write what a RabbitMQ needs that somebody else starts, such as in a container.

    FOLDER/node has RabbitMQ's settings for TLS on ports 5671 and 15671, its key and
    certificate, and the realm's definitions. FOLDER/access has what a manager needs:
    the certificate of the broker's authority, and both passwords. May be repeated:
    the authority and the passwords stay. All nodes of a cluster (RabbitMQ 3.13 or
    later) take the same files, with FOLDER/node as HOME, where their cookie is.
    """
    place = folder.absolute()
    prepared = PreparedBroker(place / "node", place / "access")
    prepared.write(settings.vhost, hosts, nodes)
    _tell(
        f"start RabbitMQ with RABBITMQ_CONFIG_FILE={prepared.settings_path} and"
        f" RABBITMQ_ENABLED_PLUGINS_FILE={prepared.plugins_path}"
    )


@broker.command(epilog=closing("mpc-manager broker monitor --show-password"))
@click.option("--show-password", is_flag=True, help="Print the password too.")
@json_output(Monitor)
@click.pass_obj
def monitor(settings: ManagerSettings, show_password: bool, as_json: bool) -> None:
    """Show where the management UI is and who may watch there.

    The user sees connections, queues and rates of the broker; it changes nothing and
    takes no message. 'broker start' and 'broker apply' make it.
    """
    access = broker_access(settings)
    credential = load_monitor(access.folder)
    output = Monitor(
        url=_ui_url(settings, access),
        user=credential.user,
        password_file=path_text(access.folder / MONITOR_FILE),
        password=credential.password if show_password else None,
    )
    _print(output, as_json)


@broker.command(
    epilog=closing(
        "mpc-manager broker check",
        "mpc-manager broker check --waiting 100 --standstill 5m --json",
        codes={
            0: "all is well",
            1: "something is wrong",
            3: "there is no realm in the home",
            4: "the broker does not run, or cannot be reached",
        },
    )
)
@click.option(
    "--waiting",
    type=click.IntRange(0),
    default=Limits().waiting,
    show_default=True,
    help="Messages that may wait in one queue.",
)
@click.option(
    "--dead-letters",
    type=click.IntRange(0),
    default=Limits().dead_letters,
    show_default=True,
    help="Messages that may have expired, been given up or had no queue.",
)
@click.option(
    "--standstill",
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="How long messages may wait with none acknowledged; at most 10m.",
)
@json_output(BrokerCheck)
@click.pass_obj
def check(
    settings: ManagerSettings,
    waiting: int,
    dead_letters: int,
    standstill: str,
    as_json: bool,
) -> int:
    """Look for what is wrong at the broker; for cron and monitors.

    Alarms, queues that nobody reads, backlog, dead letters, messages that stand.
    """
    limits = Limits(waiting, dead_letters, _standstill(standstill))
    inboxes = inboxes_online(open_store(settings))
    with broker_access(settings).admin() as admin:
        output = check_output(judge(admin.snapshot(limits.standstill), inboxes, limits))
    if as_json:
        click.echo(json_text(output))
    else:
        table = Table("", "check", "at", "found")
        for finding in output.findings:
            mark = "ok" if finding.is_well else "WRONG"
            table.add_row(mark, finding.check, finding.subject, finding.found)
        print_table(table)
    return ExitCode.DONE if output.is_well else ExitCode.FAILED


def _standstill(text: str) -> timedelta:
    limit = parse_duration(text)
    if not timedelta() < limit <= LONGEST_STANDSTILL:
        raise ConfigError(
            f"--standstill {text} is not between 0 and 10m",
            "RabbitMQ remembers ten minutes of a queue's past",
        )
    return limit


def _ui_url(settings: ManagerSettings, access: BrokerAccess) -> str:
    if settings.broker_url is not None:
        return access.management_url
    status = private_node(settings).status()
    return status.management_url if status else access.management_url


def _tell(text: str) -> None:
    click.echo(f"mpc-manager: {text}", err=True)


def _print(output: Output, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(output))
        return
    for name, value in output.model_dump(mode="json", exclude_none=True).items():
        shown = json.dumps(value) if isinstance(value, dict) else str(value)
        click.echo(f"{name.replace('_', ' '):<17} {shown}")
