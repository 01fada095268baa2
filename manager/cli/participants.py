"""``mpc-manager participants``: who is registered, who is online."""

import json

import click
from rich.table import Table

from manager.cli import completion
from manager.cli.opening import open_store
from manager.cli.outputs import Participant, participant_output
from manager.cli.times import shown
from manager.config import ManagerSettings
from shared.cli import closing, json_output
from shared.errors import ConfigError
from shared.output import json_text
from shared.printing import print_table
from shared.suggestion import did_you_mean


@click.group()
def participants() -> None:
    """Show who takes part in the realm."""


@participants.command("list", epilog=closing("mpc-manager participants list --online"))
@click.option("--online", is_flag=True, help="Only who is online now.")
@json_output(list[Participant])
@click.pass_obj
def list_participants(settings: ManagerSettings, online: bool, as_json: bool) -> None:
    """List the registered participants."""
    found = [each for each in _all(settings) if each.online or not online]
    if as_json:
        click.echo(json_text(found))
        return
    table = Table(
        "principal", "role", "io", "online", "slots", "location", "csp", "last heard"
    )
    for each in found:
        table.add_row(
            each.principal,
            each.role,
            each.io,
            "yes" if each.online else "no",
            f"{each.slots_free}/{each.slots}" if each.slots else "",
            each.attributes.location,
            each.attributes.csp,
            shown(each.seen),
        )
    print_table(table)


@participants.command(epilog=closing("mpc-manager participants show MPC_server_001"))
@click.argument("name", shell_complete=completion.participants)
@json_output(Participant)
@click.pass_obj
def show(settings: ManagerSettings, name: str, as_json: bool) -> None:
    """Show one participant: what it is, has and offers."""
    known = {each.principal: each for each in _all(settings)}
    found = known.get(name)
    if found is None:
        near = did_you_mean(name, known)
        raise ConfigError(
            f"nobody is registered as {name!r}",
            near or "see: mpc-manager participants list",
        )
    if as_json:
        click.echo(json_text(found))
        return
    times = {
        "seen": found.seen,
        "registered": found.registered,
        "certificate_ends": found.certificate_ends,
    }
    for key, value in found.model_dump(mode="json").items():
        text = shown(times[key]) if key in times else value
        if isinstance(text, dict | list):
            text = json.dumps(text)
        click.echo(f"{key.replace('_', ' '):<17} {'' if text is None else text}")


def _all(settings: ManagerSettings) -> list[Participant]:
    with open_store(settings).reading() as unit:
        records = unit.people.principals()
        presences = {each.principal: each for each in unit.sessions.presences()}
    return [
        participant_output(record, presences.get(record.principal))
        for record in records
    ]
