"""``mpc-manager jobs``: what was asked for, how far it is, why it ended."""

import re
from pathlib import Path

import click
from rich.table import Table

from manager.cli import completion, svg
from manager.cli.opening import open_store
from manager.cli.outputs import Job, job_output
from manager.cli.timeline import timeline as picture_of
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.job_state import JobState, Moment
from manager.store.records import CommandKind
from manager.store.store import Unit
from shared.cli import closing, json_output
from shared.clock import SystemClock, to_ms
from shared.errors import ConfigError, RefusalCode, RefusedError
from shared.names import JobId
from shared.output import json_text
from shared.printing import print_table

_NUMBER = re.compile(r"[Jj]?([0-9]{1,9})")
_HEX = re.compile(r"[0-9a-fA-F]{32}")


@click.group()
def jobs() -> None:
    """Show and cancel computations."""


@jobs.command(
    "list",
    epilog=closing("mpc-manager jobs list --limit 5", "mpc-manager jobs list --json"),
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="The newest so many.",
)
@json_output(list[Job])
@click.pass_obj
def list_jobs(settings: ManagerSettings, limit: int, as_json: bool) -> None:
    """List the newest jobs, newest first."""
    with open_store(settings).reading() as unit:
        found = [job_output(state) for state in unit.jobs.latest(limit)]
    if as_json:
        click.echo(json_text(found))
        return
    table = Table("job", "consumer", "state", "parties", "requested", "reason")
    for job in found:
        table.add_row(
            job.number,
            job.consumer,
            standing(job),
            str(len(job.parties)),
            shown(job.times.get(Moment.REQUESTED)),
            job.reason,
        )
    print_table(table)


@jobs.command(
    epilog=closing(
        "mpc-manager jobs show J001",
        "mpc-manager jobs show J001 --timeline J001.svg",
        codes={0: "it is shown, however the job ended", 3: "there is no such job"},
    )
)
@click.argument("job", shell_complete=completion.jobs)
@click.option(
    "--timeline",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw parties and phases as SVG into FILE, '-' for stdout, instead.",
)
@json_output(Job)
@click.pass_obj
def show(
    settings: ManagerSettings, job: str, timeline: Path | None, as_json: bool
) -> None:
    """Show one job; JOB is its number, such as J001, or its id in hex.

    With ``--timeline`` a picture is drawn: each party has a bar, coloured by what it
    was busy with. A file that exists is replaced.
    """
    if timeline is not None and as_json:
        raise click.UsageError("give --timeline or --json, not both")
    with open_store(settings).reading() as unit:
        found = job_output(_find(unit, job))
    if timeline is not None:
        svg.write(timeline, picture_of(found))
        return
    if as_json:
        click.echo(json_text(found))
        return
    click.echo(f"{found.number}  {found.job}")
    click.echo(f"consumer  {found.consumer}")
    click.echo(f"asks      {found.statistic} of {', '.join(found.columns)}")
    click.echo(f"state     {standing(found)}")
    if found.reason:
        click.echo(f"reason    {found.reason}")
    # Parties may report late what was early.
    for moment, when in sorted(found.times.items(), key=lambda entry: entry[1]):
        click.echo(f"{moment:<9} {shown(when)}")
    table = Table("party", "duties", "answer", "phase")
    for party in found.parties:
        duties = ", ".join(party.duties)
        table.add_row(party.principal, duties, party.answer, party.phase)
    print_table(table)


@jobs.command(
    epilog=closing(
        "mpc-manager jobs cancel J001",
        codes={3: "there is no such job", 5: "it is over already"},
    )
)
@click.argument("job", shell_complete=completion.open_jobs)
@click.pass_obj
def cancel(settings: ManagerSettings, job: str) -> None:
    """End a job; every party is told that the operator did it."""
    with open_store(settings).transaction() as unit:
        state = _find(unit, job)
        if state.is_closed:
            raise RefusedError("the job is over already", RefusalCode.PARAMETERS)
        now = to_ms(SystemClock().now())
        unit.orders.add_command(CommandKind.CANCEL_JOB, state.job, now)
    click.echo("mpc-manager: the running manager cancels it at once", err=True)


def _find(unit: Unit, job: str) -> JobState:
    state = None
    number = _NUMBER.fullmatch(job)
    if _HEX.fullmatch(job):
        state = unit.jobs.get(JobId(bytes.fromhex(job)))
    elif number is not None:
        state = unit.jobs.numbered(int(number[1]))
    if state is None:
        raise ConfigError(f"there is no job {job!r}", "see: mpc-manager jobs list")
    return state


def standing(job: Job) -> str:
    """Return how far a job is, or how it ended."""
    if job.outcome is None:
        return job.state
    ending = f"{job.state}: {job.outcome}"
    return f"{ending} ({job.code})" if job.code else ending
