"""``mpc-manager``: the operator's program."""

from pathlib import Path

import click

from manager.config import load_settings
from shared import cli, log
from shared.cli import (
    MEANINGS,
    LazyGroup,
    closing,
    config_option,
    home_option,
    log_format_option,
    log_level_option,
    version_option,
)

PROGRAM = "mpc-manager"


COMMANDS = {
    "init": "manager.cli.realm:init",
    "run": "manager.cli.realm:run_manager",
    "status": "manager.cli.status:status",
    "backup": "manager.cli.backup:backup",
    "restore": "manager.cli.backup:restore",
    "broker": "manager.cli.broker:broker",
    "keys": "manager.cli.keys:keys",
    "token": "manager.cli.tokens:token",
    "participants": "manager.cli.participants:participants",
    "jobs": "manager.cli.jobs:jobs",
    "selftest": "selftest.command:selftest",
    "map": "manager.cli.realm_map:realm_map",
    "watch": "manager.cli.watch:watch",
    "config": "manager.cli.settings:config",
    "completion": "shared.completion:completion",
    "demo": "manager.cli.demo:demo",
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=closing(
        "mpc-manager init --realm health",
        "mpc-manager --home ~/health jobs list",
        codes=MEANINGS,
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@home_option
@config_option
@log_level_option
@log_format_option
@version_option
@click.pass_context
def manager(
    context: click.Context,
    home: Path | None,
    config: Path | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Manage a realm: who may compute with whom, and every computation.

    Start with ``init``, ``broker start`` and ``run``; then ``token create`` for
    each participant. ``demo`` shows a whole realm on this machine.
    """
    flags = {"home": home, "log_level": log_level, "log_format": log_format}
    settings = load_settings(flags, config)
    log.configure(settings.log_level, form=settings.log_format)
    context.obj = settings


def main() -> None:
    """Run the program and end the process."""
    cli.main(manager, PROGRAM)
