"""``mpc-participant config``: the settings that hold."""

import click

from participant.cli.app import App
from shared.cli import closing, json_output
from shared.settings_shown import Setting, print_settings


@click.group()
def config() -> None:
    """Show the settings."""


@config.command(epilog=closing("mpc-participant config show"))
@json_output(list[Setting])
@click.pass_obj
def show(app: App, as_json: bool) -> None:
    """Show every setting, its value, and where that comes from.

    That is an option, a variable of the environment, a file, or the default; the
    first of them wins. Options of ``run`` are not among them.
    """
    print_settings(app.explained(), as_json=as_json)
