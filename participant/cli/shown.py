"""Jobs and results as they are printed."""

from collections.abc import Iterator, Mapping, Sequence

import click
from rich.table import Table

from participant.cli.app import say
from participant.cli.outputs import AskedJob, job_output
from participant.sdk.errors import failure_of
from participant.service.job_list import name_of, read_figures
from participant.service.local import Answer
from shared.cli import ExitCode
from shared.codec import Value
from shared.output import json_text
from shared.printable import printable
from shared.printing import print_table
from shared.suggestion import did_you_mean


def job_with_result(answer: Answer) -> AskedJob:
    """Return a job as ``--json`` prints it, with its figures if they are there.

    Raises:
        ConfigError: the file with them is gone or damaged.
    """
    is_done = answer.get("state") == "done"
    return job_output(answer, read_figures(answer) if is_done else None)


def print_end(answer: Answer, *, quiet: bool, as_json: bool) -> int:
    """Print how a job ended and return the exit code that says the same."""
    code = ExitCode.DONE if answer.get("state") == "done" else ExitCode.FAILED
    if as_json:
        click.echo(json_text(job_with_result(answer)))
        return code
    if code is ExitCode.DONE:
        _print_result(answer)
        if not quiet:
            _print_effort(answer)
        return code
    click.echo(printable(str(failure_of(answer))), err=True)
    if answer.get("hint"):
        say(f"hint: {_text(answer, 'hint')}")
    return code


def near_names(failed: Answer, jobs: Sequence[Answer]) -> str | None:
    """Return which dataset or column was meant, by what one has asked for before.

    Args:
        failed: the job that found none of that name.
        jobs: one's own; those that are done had names that there are.
    """
    done = [job for job in jobs if job.get("state") == "done"]
    dataset = _text(failed, "dataset")
    datasets = {_text(job, "dataset") for job in done}
    if dataset not in datasets:
        return did_you_mean(dataset, datasets)
    columns = {
        name
        for job in done
        if job.get("dataset") == dataset
        for name in job_output(job).columns
    }
    wrong = [name for name in job_output(failed).columns if name not in columns]
    questions = (did_you_mean(name, columns) for name in wrong)
    return next((question for question in questions if question), None)


def progress_line(answer: Answer) -> str:
    """Return a line on what a job waits for."""
    line = f"{name_of(answer)}: {_text(answer, 'waiting')}"
    problem = _text(answer, "problem")
    return f"{line} ({problem})" if problem else line


def print_jobs(jobs: list[Answer]) -> None:
    """Print jobs as a table."""
    table = Table("job", "state", "statistic", "dataset", "columns", "ms", "reason")
    for job in jobs:
        times, columns = job.get("times_ms"), job.get("columns")
        total = times.get("total") if isinstance(times, dict) else None
        table.add_row(
            name_of(job),
            str(job.get("state")),
            str(job.get("statistic") or ""),
            str(job.get("dataset") or ""),
            ", ".join(map(str, columns)) if isinstance(columns, list) else "",
            str(total if total is not None else ""),
            str(job.get("reason") or job.get("waiting") or ""),
        )
    print_table(table)


def _print_result(answer: Answer) -> None:
    figures = read_figures(answer)
    columns = answer.get("columns")
    over = ", ".join(map(str, columns)) if isinstance(columns, list) else ""
    table = Table(
        "figure",
        "value",
        title=f"{name_of(answer)}: {_text(answer, 'statistic')} of {over}",
        title_justify="left",
    )
    for name, value in _flat(figures, ""):
        table.add_row(name, value)
    print_table(table)


def _print_effort(answer: Answer) -> None:
    times = answer.get("times_ms")
    total: Value = times.get("total") if isinstance(times, dict) else None
    click.echo(
        f"{_text(answer, 'sources')} sources, {_text(answer, 'servers')} MPC servers,"
        f" {total if isinstance(total, int) else '?'} ms",
        err=True,
    )


def _flat(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(i, list | dict) for i in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{index}]")
    elif isinstance(value, list):
        yield name, ", ".join(map(_figure, value))
    else:
        yield name, _figure(value)


def _text(answer: Answer, name: str) -> str:
    value = answer.get(name)
    return "" if value is None else str(value)


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else str(value)
