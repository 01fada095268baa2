"""``mpc-participant``: the program of data owners, MPC servers and consumers."""

import sys
from pathlib import Path

import click

from participant.cli.app import PROGRAM, App
from participant.cli.datasets import dataset
from participant.cli.jobs import cancel, jobs, result
from participant.cli.register import register
from participant.cli.run import run_participant
from participant.cli.runmpc import runmpc
from participant.cli.status import status
from participant.config import load_settings
from shared import log
from shared.cli import (
    config_option,
    home_option,
    log_level_option,
    run,
    version_option,
)

COMMAND_LOG_LEVEL = "warning"
"""Of commands that are not ``run``: they tell their story themselves."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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


for _command in (
    register,
    run_participant,
    dataset,
    runmpc,
    jobs,
    result,
    cancel,
    status,
):
    participant.add_command(_command)


def main() -> None:
    """Run the program and end the process."""
    sys.exit(run(participant, PROGRAM))
