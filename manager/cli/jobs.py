"""``mpc-manager jobs``: what was asked for, how far it is, why it ended."""

import json
import re

import click
from rich.console import Console
from rich.table import Table

from manager.cli.opening import open_store
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.job_state import JobState, Moment
from manager.store.records import CommandKind
from manager.store.store import Unit
from shared.cli import json_option
from shared.clock import SystemClock, to_ms
from shared.errors import ConfigError, RefusalCode, RefusedError
from shared.names import JobId, display_number

_NUMBER = re.compile(r"[Jj]?([0-9]{1,9})")
_HEX = re.compile(r"[0-9a-fA-F]{32}")


@click.group()
def jobs() -> None:
    """Show and cancel computations."""


@jobs.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="The newest so many.",
)
@json_option
@click.pass_obj
def list_jobs(settings: ManagerSettings, limit: int, as_json: bool) -> None:
    """List the newest jobs, newest first."""
    with open_store(settings).transaction() as unit:
        states = unit.jobs.latest(limit)
    if as_json:
        click.echo(json.dumps([_entry(state) for state in states]))
        return
    table = Table("job", "consumer", "state", "parties", "requested", "reason")
    for state in states:
        table.add_row(
            display_number(state.number),
            state.consumer,
            _standing(state),
            str(len(state.parties)),
            shown(state.time(Moment.REQUESTED)),
            state.reason or "",
        )
    Console().print(table)


@jobs.command()
@click.argument("job")
@json_option
@click.pass_obj
def show(settings: ManagerSettings, job: str, as_json: bool) -> None:
    """Show one job; JOB is its number, such as J001, or its id in hex."""
    with open_store(settings).transaction() as unit:
        state = _find(unit, job)
    if as_json:
        click.echo(json.dumps(_entry(state)))
        return
    click.echo(f"{display_number(state.number)}  {state.job.hex()}")
    click.echo(f"consumer  {state.consumer}")
    click.echo(f"state     {_standing(state)}")
    if state.reason:
        click.echo(f"reason    {state.reason}")
    # Parties may report late what was early.
    for moment, when in sorted(state.times, key=lambda entry: entry[1]):
        click.echo(f"{moment:<9} {shown(when)}")
    table = Table("party", "duties", "answer", "phase")
    for party in state.parties:
        duties = ", ".join(party.duties)
        table.add_row(party.p, duties, party.answer, party.phase or "")
    Console().print(table)


@jobs.command()
@click.argument("job")
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


def _standing(state: JobState) -> str:
    if not state.is_closed:
        return state.stage.value
    ending = f"{state.stage.value}: {state.outcome}"
    return f"{ending} ({state.code})" if state.code else ending


def _entry(state: JobState) -> dict[str, object]:
    return {
        "job": state.job.hex(),
        "number": display_number(state.number),
        "consumer": state.consumer,
        "epoch": state.epoch,
        "state": state.stage.value,
        "outcome": state.outcome,
        "code": state.code,
        "party": state.party,
        "reason": state.reason,
        "deadline": state.deadline,
        "result_expires": state.result_exp,
        "times": {moment.value: when for moment, when in state.times},
        "parties": [
            {
                "principal": party.p,
                "role": party.role.value,
                "duties": [duty.value for duty in party.duties],
                "party": party.party,
                "answer": party.answer.value,
                "phase": party.phase,
                "rows": party.rows,
                "bytes": party.size,
                "times": {phase.value: when for phase, when in party.times},
            }
            for party in state.parties
        ],
    }
