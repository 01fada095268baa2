"""``mpc-participant status``: who this is, and how it stands with the manager."""

import asyncio
import json

import click
from rich.console import Console
from rich.table import Table

from participant.cli.app import App
from participant.service.local import ask_once
from shared.cli import ExitCode, json_option


@click.command()
@json_option
@click.pass_obj
def status(app: App, as_json: bool) -> int:
    """Show the running control process of this home."""
    answer = asyncio.run(ask_once(app.registered_home(), {"op": "status"}))
    answer.pop("event", None)
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        table = Table("what", "how")
        for name, value in answer.items():
            table.add_row(name.replace("_", " "), _text(value))
        Console().print(table)
    return ExitCode.DONE if answer.get("is_online") else ExitCode.NOT_READY


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {inner}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
