"""``mpc-participant dataset``: what a data owner offers."""

import asyncio
import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from participant.cli.app import App, say
from participant.cli.completion import own_datasets
from participant.datasets import tables
from participant.home import dataset_list
from participant.home.folder import Home
from participant.service.local import NotRunningError, ask_once
from shared.cli import json_option
from shared.errors import ConfigError, RefusedError


@click.group()
def dataset() -> None:
    """Say which files this participant offers, and under which names."""


@dataset.command()
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


@dataset.command("list")
@json_option
@click.pass_obj
def list_datasets(app: App, as_json: bool) -> None:
    """List what is offered."""
    found = app.home().datasets()
    if as_json:
        click.echo(json.dumps([{"name": n, "path": str(p)} for n, p in found.items()]))
        return
    table = Table("dataset", "columns", "file")
    for name, path in found.items():
        try:
            columns = ", ".join(tables.columns(path))
        except RefusedError as error:
            columns = f"not offered: {error}"
        table.add_row(name, columns, str(path))
    Console().print(table)


@dataset.command()
@click.argument("name", shell_complete=own_datasets)
@click.pass_obj
def remove(app: App, name: str) -> None:
    """Offer dataset NAME no more; its file stays."""
    home = app.home()
    dataset_list.remove(home.datasets_path, name)
    _notify(home)


def _notify(home: Home) -> None:
    """Let a running control process read the list again."""
    try:
        answer = asyncio.run(ask_once(home, {"op": "reload-datasets"}))
    except NotRunningError:
        return
    offered = answer.get("offered")
    names = offered if isinstance(offered, list) else []
    say(f"now offered: {', '.join(map(str, names)) or 'nothing'}")
