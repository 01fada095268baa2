"""``mpc-participant jobs``, ``result`` and ``cancel``: what became of requests."""

import asyncio
from pathlib import Path

import click

from participant.cli.app import App, password_for, password_options, say
from participant.cli.completion import job_names
from participant.cli.outputs import AskedJob, job_output
from participant.cli.progress import quiet_option
from participant.cli.runmpc import follow
from participant.cli.shown import print_end, print_jobs
from participant.service.control import find_job
from participant.service.job_list import kept_jobs, name_of, running_jobs
from participant.service.local import NotRunningError, ask_once
from participant.service.summary import summary
from shared.cli import ExitCode, closing, json_output
from shared.output import json_text


@click.command(epilog=closing("mpc-participant jobs"))
@json_output(list[AskedJob])
@password_options
@click.pass_obj
def jobs(
    app: App, as_json: bool, password_file: Path | None, password_fd: int | None
) -> None:
    """List the jobs that this participant asked for."""
    home = app.registered_home()
    try:
        found = asyncio.run(running_jobs(home))
    except NotRunningError:
        password = password_for(home, password_file, password_fd)
        found = [summary(job) for job in kept_jobs(home, password)]
    if as_json:
        click.echo(json_text([job_output(job) for job in found]))
    else:
        print_jobs(found)


@click.command(
    epilog=closing(
        "mpc-participant result J001",
        "mpc-participant result J001 --json > J001.json",
        codes={
            0: "the result was printed",
            1: "the job ended without a result",
            4: "the broker cannot be reached",
            5: "there is no such job",
            130: "Ctrl-C: the job goes on",
        },
    )
)
@click.argument("job", shell_complete=job_names)
@quiet_option
@json_output(AskedJob)
@password_options
@click.pass_obj
def result(
    app: App,
    job: str,
    quiet: bool,
    as_json: bool,
    password_file: Path | None,
    password_fd: int | None,
) -> int:
    """Print the result of JOB (such as J001), fetching it if need be."""
    home = app.registered_home()
    password: bytes | None = None
    try:
        asyncio.run(ask_once(home, {"op": "status"}))
    except NotRunningError:
        password = password_for(home, password_file, password_fd)
        answer = summary(find_job(kept_jobs(home, password), job))
        if answer["is_over"]:
            return print_end(answer, quiet=quiet, as_json=as_json)
    request = {"op": "result", "job": job}
    return follow(app, home, password, request, quiet=quiet, as_json=as_json)


@click.command(
    epilog=closing(
        "mpc-participant cancel J001",
        codes={
            0: "the manager was asked, or the job was over",
            3: "no control process runs in the home",
            5: "there is no such job",
        },
    )
)
@click.argument("job", shell_complete=job_names)
@click.pass_obj
def cancel(app: App, job: str) -> int:
    """Give JOB up; the manager ends it at all parties."""
    home = app.registered_home()
    answer = asyncio.run(ask_once(home, {"op": "cancel", "job": job}))
    if answer.get("is_over"):
        say(f"{name_of(answer)} was over already")
    else:
        say(f"asked the manager to end {name_of(answer)}")
    return ExitCode.DONE
