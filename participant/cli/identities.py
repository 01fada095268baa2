"""``mpc-participant identities``: who is registered here."""

import asyncio

import click
from rich.table import Table

from participant.cli.app import App, say
from participant.cli.outputs import Identity, identity_output
from participant.home.folder import Home
from participant.home.identities import Known
from participant.service.running import is_running
from shared.cli import closing, json_output
from shared.output import json_text
from shared.printing import print_table


@click.command(epilog=closing("mpc-participant identities"))
@json_output(list[Identity])
@click.pass_obj
def identities(app: App, as_json: bool) -> None:
    """List the identities of this home, with the number and name of each."""
    found = [(known, _is_running(known)) for known in app.place.identities()]
    if as_json:
        click.echo(
            json_text(
                [identity_output(known, is_running=runs) for known, runs in found]
            )
        )
        return
    if not found:
        say(f"nobody is registered in {app.place.root}")
        return
    table = Table("number", "name", "role", "io", "realm", "running")
    table.add_column("home", overflow="fold")
    for known, runs in found:
        table.add_row(
            str(known.number),
            known.principal,
            known.role,
            known.io,
            known.realm,
            "yes" if runs else "no",
            str(known.path),
        )
    print_table(table)


def _is_running(known: Known) -> bool:
    return asyncio.run(is_running(Home(known.path)))
