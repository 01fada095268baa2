"""``mpc-participant``: the program of data owners, MPC servers and consumers."""

from pathlib import Path

import click

from participant.cli.app import PROGRAM, LogFlags, app_of
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
    "pins": "participant.cli.pins:pins",
    "status": "participant.cli.status:status",
    "identities": "participant.cli.identities:identities",
    "config": "participant.cli.settings:config",
    "completion": "shared.completion:completion",
    "shell": "participant.cli.shell:shell",
}


def _identities(
    context: click.Context, parameter: click.Parameter, start: str
) -> list[str]:
    from participant.cli.completion import (  # noqa: PLC0415 - only the Tab key needs it
        identity_names,
    )

    return identity_names(context, parameter, start)


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=closing(
        "mpc-participant register --token-file analyst.token",
        "mpc-participant --home server1 run",
        codes=MEANINGS,
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@home_option
@click.option(
    "--identity",
    metavar="NAME",
    shell_complete=_identities,
    help="Which one, by name or number, where several are registered.",
)
@config_option
@log_level_option
@log_format_option
@version_option
@click.pass_context
def participant(
    context: click.Context,
    home: Path | None,
    identity: str | None,
    config: Path | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Take part in secure computations: give data, compute, or ask.

    Start with ``register``, then ``run``. A data owner says what it offers with
    ``dataset add``; a consumer asks with ``runmpc``. ``shell`` is a prompt for all
    of it. The default home takes several identities; the name of the only one can
    be left out.
    """
    log.configure(log_level or COMMAND_LOG_LEVEL, form=log_format or "auto")
    context.obj = app_of(home, identity, config, LogFlags(log_level, log_format))


def main() -> None:
    """Run the program and end the process."""
    cli.main(participant, PROGRAM)
