"""``mpc-manager broker``: the broker that the realm lives on."""

import json

import click

from manager.broker.access import broker_access, private_node
from manager.cli.broker_output import Broker, broker_output, node_output
from manager.config import ManagerSettings
from shared.cli import ExitCode, closing, json_output
from shared.errors import TransportError
from shared.output import json_text


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
    """Make the realm's vhost, exchanges, queues and user at the broker.

    The private node does it at every start. May be repeated: what stands stays.
    """
    access = broker_access(settings)
    with access.admin() as admin:
        admin.apply([access.credentials.manager_user()])
    _tell(f"vhost {access.vhost} is ready")


def _tell(text: str) -> None:
    click.echo(f"mpc-manager: {text}", err=True)


def _print(output: Broker, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(output))
        return
    for name, value in output.model_dump(mode="json", exclude_none=True).items():
        shown = json.dumps(value) if isinstance(value, dict) else str(value)
        click.echo(f"{name.replace('_', ' '):<17} {shown}")
