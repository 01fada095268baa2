"""``mpc-participant runmpc``: ask for a secure computation."""

import asyncio
from pathlib import Path

import click
import uvloop
from rich.console import Console

from participant.cli.app import App, password_for, password_options, say
from participant.cli.completion import asked_columns, asked_datasets, statistics
from participant.cli.outputs import AskedJob, job_output
from participant.cli.progress import quiet_option, telling
from participant.cli.shown import near_names, print_end
from participant.columns import Missing
from participant.engines import registry as engines
from participant.home.folder import Home
from participant.sdk.questions import make_question
from participant.service.background import start_in_background
from participant.service.control import request_of
from participant.service.following import followed
from participant.service.job_list import name_of, running_jobs
from participant.service.local import Answer, Request, ask_once
from participant.service.question import DEFAULT_SERVERS
from participant.service.running import control_process, is_running
from participant.statistics import registry
from participant.statistics.params import DEFAULT_FIXP, MAX_FIXP, MIN_FIXP, Reveal
from shared.cli import ExitCode, MisspeltError, closing, json_output
from shared.errors import FailureCode, RefusedError
from shared.output import json_text

ANY = "any"
MISNAMED = frozenset({FailureCode.NO_SOURCES.value, FailureCode.REFUSED.value})
"""How a job ends of which a dataset or column is misspelt."""


@click.command(
    epilog=closing(
        "mpc-participant runmpc --statistic mean --dataset visits --column mdvis",
        "mpc-participant runmpc --statistic median --dataset visits --column disea"
        " --servers 3 --location miami",
        codes={
            0: "the result was printed; with --detach, the job was asked for",
            1: "the job failed, was refused by a party, or ended in another way",
            2: "the statistic cannot be asked so",
            3: "nobody is registered in the home",
            4: "the broker cannot be reached",
            130: "Ctrl-C: the job goes on",
        },
    )
)
@click.option(
    "--statistic",
    required=True,
    metavar="NAME",
    shell_complete=statistics,
    help=f"One of {', '.join(registry.names())}.",
)
@click.option(
    "--dataset",
    required=True,
    metavar="NAME",
    shell_complete=asked_datasets,
    help="Of every source.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    shell_complete=asked_columns,
    help="May be repeated.",
)
@click.option(
    "--target",
    metavar="NAME",
    shell_complete=asked_columns,
    help="What a regression explains.",
)
@click.option("--edges", metavar="E0,E1,…", help="Of a histogram, increasing.")
@click.option("--q", metavar="0…1", help="Which quantile.")
@click.option("--by", metavar="NAME", help="Column that says a row's group.")
@click.option("--groups", metavar="G0,G1,…", help="Values of that column.")
@click.option(
    "--reveal",
    type=click.Choice([reveal.value for reveal in Reveal]),
    default=Reveal.SUMS.value,
    show_default=True,
    help="What you see: sums and figures, or final figures alone (slower).",
)
@click.option(
    "--missing",
    type=click.Choice([missing.value for missing in Missing]),
    default=Missing.REFUSE.value,
    show_default=True,
    help="What happens to rows with gaps.",
)
@click.option(
    "--fixp",
    type=click.IntRange(MIN_FIXP, MAX_FIXP),
    default=DEFAULT_FIXP,
    show_default=True,
    help="Fractional bits of the result's resolution.",
)
@click.option(
    "--servers",
    type=int,
    default=DEFAULT_SERVERS,
    show_default=True,
    help="How many MPC servers compute.",
)
@click.option("--location", default=ANY, show_default=True, help="Of each MPC server.")
@click.option("--csp", default=ANY, show_default=True, help="Its cloud provider.")
@click.option("--ncpus", type=click.IntRange(min=1), help="Its processors, at least.")
@click.option("--ram", type=click.IntRange(min=1), help="Its GiB, at least.")
@click.option(
    "--min-sources",
    type=click.IntRange(0, 256),
    default=0,
    show_default=True,
    help="Go on with so many sources; 0: every source that is asked has to accept.",
)
@click.option(
    "--engine",
    type=click.Choice(engines.names()),
    help="How it is computed; by default the fastest that can.",
)
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    help="Servers that may pool what they see and learn nothing; all the engine can.",
)
@click.option("--purpose", help="What it is for; the sources see it.")
@click.option("--deadline", default="60s", show_default=True, help="For everything.")
@click.option(
    "--keep", default="24h", show_default=True, help="How long the result waits."
)
@click.option("--detach", is_flag=True, help="Do not wait; print the job's number.")
@quiet_option
@json_output(AskedJob)
@password_options
@click.pass_obj
def runmpc(
    app: App,
    statistic: str,
    dataset: str,
    columns: tuple[str, ...],
    target: str | None,
    edges: str | None,
    q: str | None,
    by: str | None,
    groups: str | None,
    reveal: str,
    missing: str,
    fixp: int,
    servers: int,
    location: str,
    csp: str,
    ncpus: int | None,
    ram: int | None,
    min_sources: int,
    engine: str | None,
    threshold: int | None,
    purpose: str | None,
    deadline: str,
    keep: str,
    detach: bool,
    quiet: bool,
    as_json: bool,
    password_file: Path | None,
    password_fd: int | None,
) -> int:
    """Compute a statistic over the data of several owners, and print it.

    Nobody sees the data: the sources send shares to the MPC servers, whose output
    only this participant can put together. On a terminal a bar shows how far the job
    is. Ctrl-C leaves the job; ``result JOB`` gets it later.
    """
    if statistic not in registry.names():
        raise MisspeltError(
            f"no statistic {statistic!r}; there are {', '.join(registry.names())}",
            statistic,
            registry.names(),
        )
    try:
        question = make_question(
            statistic,
            dataset,
            columns,
            target=target,
            edges=_items(edges),
            q=q,
            by=by,
            groups=_items(groups),
            reveal=reveal,
            missing=missing,
            fixp=fixp,
            servers=servers,
            location=None if location == ANY else location,
            csp=None if csp == ANY else csp,
            ncpus=ncpus,
            ram=ram,
            min_sources=min_sources,
            engine=engine,
            threshold=threshold,
            purpose=purpose,
            deadline=deadline,
            keep=keep,
        )
    except RefusedError as error:
        raise click.UsageError(str(error)) from error
    home = app.registered_home()
    request = {**request_of(question), "detach": detach}
    if detach:
        return _detach(app, home, request, as_json=as_json)
    password = None
    if not asyncio.run(is_running(home)):
        password = password_for(home, password_file, password_fd)
    return follow(app, home, password, request, quiet=quiet, as_json=as_json)


def follow(
    app: App,
    home: Home,
    password: bytes | None,
    request: Request,
    *,
    quiet: bool,
    as_json: bool,
) -> int:
    """Wait for a job's end, print it and return the exit code."""
    heard: list[Answer] = []
    try:
        uvloop.run(_followed(app, home, password, request, heard, quiet=quiet))
    except KeyboardInterrupt:
        if heard:
            name = name_of(heard[-1])
            say(f"{name} goes on; its result later: mpc-participant result {name}")
        return ExitCode.INTERRUPTED
    return print_end(heard[-1], quiet=quiet, as_json=as_json)


async def _followed(
    app: App,
    home: Home,
    password: bytes | None,
    request: Request,
    heard: list[Answer],
    *,
    quiet: bool,
) -> None:
    """Append what is heard of a job, up to its end."""
    async with (
        control_process(home, app.settings, password),
        telling(Console(stderr=True), quiet=quiet) as teller,
    ):

        def hear(answer: Answer) -> None:
            heard.append(answer)
            teller.tell(answer)

        hear(await followed(home, request, hear))
        if heard[-1].get("code") in MISNAMED:
            heard[-1]["hint"] = near_names(heard[-1], await running_jobs(home))


def _detach(app: App, home: Home, request: Request, *, as_json: bool) -> int:
    async def submit() -> Answer:
        await start_in_background(home, app.log_flags.arguments())
        return await ask_once(home, request)

    answer = asyncio.run(submit())
    if answer.get("is_over"):
        return print_end(answer, quiet=False, as_json=as_json)
    if as_json:
        click.echo(json_text(job_output(answer)))
    else:
        click.echo(name_of(answer))
        say(f"get the result with: mpc-participant result {name_of(answer)}")
    return ExitCode.DONE


def _items(text: str | None) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",")) if text else ()
