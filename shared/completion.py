"""``completion``: what a shell needs to complete commands, options and names."""

import click

from shared.cli import closing


@click.command(
    epilog=closing(
        'eval "$(mpc-manager completion bash)"  # for this shell; in .bashrc for all',
        "mpc-participant completion fish"
        " > ~/.config/fish/completions/mpc-participant.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script for SHELL, after which the Tab key completes.

    It completes commands, options, choices, and the names that this home knows:
    jobs, participants, datasets, identities. The words typed so far go to the
    program itself, which runs at each Tab key.
    """
    from click.shell_completion import (  # noqa: PLC0415 - only this command needs it
        get_completion_class,
    )

    root = context.find_root()
    program = str(root.info_name)
    variable = f"_{program.replace('-', '_')}_COMPLETE".upper()
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click cannot complete in {shell}")
    click.echo(kind(root.command, {}, program, variable).source())
