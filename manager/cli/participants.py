"""``mpc-manager participants``: who is registered, who is online, who is out."""

import json
import time
from datetime import timedelta
from typing import Final

import click
from rich.table import Table

from manager.cli import completion
from manager.cli.opening import open_store
from manager.cli.outputs import Participant, participant_output
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.store.records import CommandKind, Standing
from shared.cli import ExitCode, closing, json_output
from shared.clock import SystemClock, to_ms
from shared.errors import ConfigError, RefusalCode, RefusedError, TransportError
from shared.names import Principal
from shared.output import json_text
from shared.printing import print_table
from shared.suggestion import did_you_mean

LOOK: Final = timedelta(milliseconds=100)
PATIENCE: Final = timedelta(seconds=5)
"""How long a running manager may take until it has revoked somebody."""


@click.group()
def participants() -> None:
    """Show who takes part in the realm, and revoke who shall not any more."""


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
            _online(each),
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
    found = _found(settings, name)
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


@participants.command(
    epilog=closing(
        "mpc-manager participants revoke Liberty001",
        "mpc-manager participants revoke Liberty001 --yes",
        codes={
            3: "nobody is registered under this name",
            4: "it is revoked, but the broker still has its user",
            5: "it is revoked already",
            75: "no manager runs: the next one that starts does it first",
        },
    )
)
@click.argument("name", shell_complete=completion.participants)
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@click.pass_obj
def revoke(settings: ManagerSettings, name: str, yes: bool) -> int:
    """Revoke a participant for ever: its sessions and jobs end at once.

    Its broker user is removed, every other participant is told, and MPC servers close
    their links with it. The name is never given out again; whoever it was registers
    anew, with another token, under another name.
    """
    found = _found(settings, name)
    if found.standing is Standing.REVOKED:
        raise RefusedError(f"{name} is revoked already", RefusalCode.REVOKED)
    if not yes:
        click.confirm(f"revoke {name} for ever?", abort=True, err=True)
    store = open_store(settings)
    with store.transaction() as unit:
        now = to_ms(SystemClock().now())
        unit.orders.add_command(CommandKind.REVOKE_PARTICIPANT, name.encode(), now)
    is_revoked = False
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while time.monotonic() < deadline:
        time.sleep(LOOK.total_seconds())
        with store.reading() as unit:
            standings = {
                each.principal: each.standing for each in unit.people.principals()
            }
            is_locked_out = all(
                task.principal != name for _, task in unit.orders.tasks()
            )
        is_revoked = standings[Principal(name)] is Standing.REVOKED
        if is_revoked and is_locked_out:
            click.echo(f"mpc-manager: {name} is revoked", err=True)
            return ExitCode.DONE
    if is_revoked:
        raise TransportError(
            f"{name} is revoked, but the broker still has its user",
            "the manager goes on trying to remove it: see whether the broker's"
            " management API answers (mpc-manager broker status)",
        )
    click.echo(
        "mpc-manager: no manager runs; the next one that starts does it first", err=True
    )
    return ExitCode.NOT_READY


def _online(participant: Participant) -> str:
    if participant.standing is Standing.REVOKED:
        return "revoked"
    return "yes" if participant.online else "no"


def _found(settings: ManagerSettings, name: str) -> Participant:
    known = {each.principal: each for each in _all(settings)}
    found = known.get(name)
    if found is None:
        near = did_you_mean(name, known)
        raise ConfigError(
            f"nobody is registered as {name!r}",
            near or "see: mpc-manager participants list",
        )
    return found


def _all(settings: ManagerSettings) -> list[Participant]:
    with open_store(settings).reading() as unit:
        records = unit.people.principals()
        presences = {each.principal: each for each in unit.sessions.presences()}
    return [
        participant_output(record, presences.get(record.principal))
        for record in records
    ]
