"""``mpc-participant dataset``: what a data owner offers."""

import asyncio
from pathlib import Path

import click
from rich.table import Table

from participant.cli.app import App, say
from participant.cli.completion import own_datasets
from participant.cli.outputs import OfferedDataset
from participant.datasets import tables
from participant.home import dataset_list
from participant.home.folder import Home
from participant.service.local import NotRunningError, ask_once
from shared.cli import closing, json_output
from shared.errors import ConfigError, RefusedError
from shared.output import json_text, path_text
from shared.printing import print_table


@click.group()
def dataset() -> None:
    """Say which files this participant offers, and under which names."""


@dataset.command(epilog=closing("mpc-participant dataset add visits visits.csv"))
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_obj
def add(app: App, name: str, path: Path) -> None:
    """Offer the table in PATH (.csv, .npy, .npz, .parquet) as dataset NAME.

    A PATH that ends in .toml names a database and a query: url = "…", query = "…".
    Consumers may ask for statistics over it; the rows never leave this machine.
    """
    home = app.home()
    try:
        columns = tables.columns(path.expanduser())
    except RefusedError as error:
        hint = error.hint or "give a table with a header"
        raise ConfigError(f"{path}: {error}", hint) from error
    dataset_list.add(home.datasets_path, name, path)
    say(f"{name}: {len(columns)} columns: {', '.join(columns)}")
    _notify(home)


@dataset.command("list", epilog=closing("mpc-participant dataset list"))
@json_output(list[OfferedDataset])
@click.pass_obj
def list_datasets(app: App, as_json: bool) -> None:
    """List what is offered."""
    found = [_output(*each) for each in app.home().datasets().items()]
    if as_json:
        click.echo(json_text(found))
        return
    table = Table("dataset", "columns", "file")
    for each in found:
        columns = ", ".join(each.columns or ()) or f"not offered: {each.problem}"
        table.add_row(each.name, columns, each.path)
    print_table(table)


@dataset.command(epilog=closing("mpc-participant dataset remove visits"))
@click.argument("name", shell_complete=own_datasets)
@click.pass_obj
def remove(app: App, name: str) -> None:
    """Offer dataset NAME no more; its file stays."""
    home = app.home()
    dataset_list.remove(home.datasets_path, name)
    _notify(home)


def _output(name: str, path: Path) -> OfferedDataset:
    """Return a dataset as it would be offered now."""
    columns, problem = None, None
    try:
        columns = tables.columns(path)
    except RefusedError as error:
        problem = str(error)
    return OfferedDataset(
        name=name, path=path_text(path), columns=columns, problem=problem
    )


def _notify(home: Home) -> None:
    """Let a running control process read the list again."""
    try:
        answer = asyncio.run(ask_once(home, {"op": "reload-datasets"}))
    except NotRunningError:
        return
    offered = answer.get("offered")
    names = offered if isinstance(offered, list) else []
    say(f"now offered: {', '.join(map(str, names)) or 'nothing'}")
