"""``mpc-participant``: the program of data owners, MPC servers and consumers."""

import sys
from pathlib import Path

import click

from participant.cli.app import PROGRAM, App
from participant.config import load_settings
from shared import log
from shared.cli import (
    LazyGroup,
    config_option,
    home_option,
    log_level_option,
    run,
    version_option,
)

COMMAND_LOG_LEVEL = "warning"
"""Of commands that are not ``run``: they tell their story themselves."""


COMMANDS = {
    "register": "participant.cli.register:register",
    "run": "participant.cli.run:run_participant",
    "dataset": "participant.cli.datasets:dataset",
    "runmpc": "participant.cli.runmpc:runmpc",
    "jobs": "participant.cli.jobs:jobs",
    "result": "participant.cli.jobs:result",
    "cancel": "participant.cli.jobs:cancel",
    "status": "participant.cli.status:status",
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@home_option
@config_option
@log_level_option
@version_option
@click.pass_context
def participant(
    context: click.Context,
    home: Path | None,
    config: Path | None,
    log_level: str | None,
) -> None:
    """Take part in secure computations: give data, compute, or ask.

    Start with ``register``, then ``run``. A data owner says what it offers with
    ``dataset add``; a consumer asks with ``runmpc``.
    """
    settings = load_settings({"home": home, "log_level": log_level}, config)
    is_daemon = context.invoked_subcommand == "run"
    log.configure(settings.log_level if is_daemon or log_level else COMMAND_LOG_LEVEL)
    context.obj = App(settings, log_level)


def main() -> None:
    """Run the program and end the process."""
    sys.exit(run(participant, PROGRAM))
