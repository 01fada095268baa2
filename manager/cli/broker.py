"""``mpc-manager broker``: the broker that the realm lives on."""

import json
from dataclasses import asdict

import click

from manager.broker.access import broker_access, private_node
from manager.broker.node import NodeStatus, PrivateNode
from manager.config import ManagerSettings
from shared.cli import ExitCode, json_option
from shared.errors import TransportError


@click.group()
def broker() -> None:
    """Run RabbitMQ for this realm, or prepare one that somebody else runs."""


@broker.command()
@json_option
@click.pass_obj
def start(settings: ManagerSettings, as_json: bool) -> None:
    """Start the private node and wait until it serves.

    It belongs to the user who starts it, listens on the loopback address only
    (the setting broker_listen opens AMQP to others) and goes on when this command
    ends. Starting one that runs changes nothing.
    """
    node = private_node(settings)
    status = node.start(progress=_tell)
    _print_node(node, status, as_json)


@broker.command()
@click.option(
    "--now", is_flag=True, help="Kill it: what is not yet on disk may be lost."
)
@click.pass_obj
def stop(settings: ManagerSettings, now: bool) -> None:
    """Stop the private node; what its queues hold is kept."""
    if not private_node(settings).stop(progress=_tell, now=now):
        _tell("it did not run")


@broker.command()
@json_option
@click.pass_obj
def status(settings: ManagerSettings, as_json: bool) -> int:
    """Show whether the broker runs and where it listens.

    Ends with 4 if it does not run or cannot be reached.
    """
    if settings.broker_url is None:
        node = private_node(settings)
        found = node.status()
        if found is None or not found.is_running:
            _print({"running": False}, as_json)
            return ExitCode.UNREACHABLE
        _print_node(node, found, as_json)
        return ExitCode.DONE
    access = broker_access(settings)
    entry: dict[str, object] = {
        "amqp_url": access.amqp_url,
        "management_url": access.management_url,
    }
    try:
        with access.admin() as admin:
            overview = admin.overview()
    except TransportError:
        _print({"running": False, **entry}, as_json)
        raise
    _print({"running": True, **entry, **asdict(overview)}, as_json)
    return ExitCode.DONE


@broker.command()
@click.pass_obj
def apply(settings: ManagerSettings) -> None:
    """Make the realm's vhost, exchanges, queues and user at the broker.

    The private node does it at every start. May be repeated: what stands stays.
    """
    access = broker_access(settings)
    with access.admin() as admin:
        admin.apply([access.credentials.manager_user()])
    _tell(f"vhost {access.vhost} is ready")


def _tell(text: str) -> None:
    click.echo(f"mpc-manager: {text}", err=True)


def _print_node(node: PrivateNode, status: NodeStatus, as_json: bool) -> None:
    _print(
        {
            "running": status.is_running,
            "pid": status.pid,
            "node": status.node_name,
            "amqp_url": status.amqp_url,
            "participants_use": ",".join(
                each.url(is_tls=True) for each in status.advertised
            )
            or status.amqp_url,
            "management_url": status.management_url,
            "administration_url": status.administration_url,
            "authority_file": str(status.authority_path),
            "credentials_file": str(node.credentials_path),
            "log_folder": str(status.log_folder),
            "ports": asdict(status.ports),
        },
        as_json,
    )


def _print(entry: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(entry))
        return
    for name, value in entry.items():
        shown = json.dumps(value) if isinstance(value, dict) else str(value)
        click.echo(f"{name.replace('_', ' '):<17} {shown}")
