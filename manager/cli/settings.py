"""``mpc-manager config``: the settings that hold."""

import click

from manager.config import explain_settings
from shared.cli import closing, json_output
from shared.settings_shown import Setting, print_settings


@click.group()
def config() -> None:
    """Show the settings."""


@config.command(epilog=closing("mpc-manager config show"))
@json_output(list[Setting])
@click.pass_context
def show(context: click.Context, as_json: bool) -> None:
    """Show every setting, its value, and where that comes from.

    That is an option, a variable of the environment, a file, or the default; the
    first of them wins. Passwords within addresses are not shown.
    """
    given = context.find_root().params
    flags = {name: given[name] for name in ("home", "log_level", "log_format")}
    print_settings(explain_settings(flags, given["config"]), as_json=as_json)
