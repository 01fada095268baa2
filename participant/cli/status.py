"""``mpc-participant status``: who this is, and how it stands with the manager."""

import asyncio
from datetime import datetime

import click
from rich.table import Table

from participant.cli.app import App
from participant.cli.outputs import Status, status_output
from participant.service.local import ask_once
from shared.cli import ExitCode, closing, json_output
from shared.output import json_text
from shared.printing import print_table


@click.command(
    epilog=closing(
        "mpc-participant status",
        codes={
            0: "it is online",
            3: "no control process runs in the home",
            75: "it runs, and is not online yet",
        },
    )
)
@json_output(Status)
@click.pass_obj
def status(app: App, as_json: bool) -> int:
    """Show the running control process of this home."""
    answer = asyncio.run(ask_once(app.registered_home(), {"op": "status"}))
    found = status_output(answer)
    if as_json:
        click.echo(json_text(found))
    else:
        table = Table("what", "how")
        for name, value in found:
            shown = _time(value) if isinstance(value, datetime) else _text(value)
            table.add_row(name.replace("_", " "), shown)
        print_table(table)
    return ExitCode.DONE if found.is_online else ExitCode.NOT_READY


def _time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {inner}" for name, inner in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
