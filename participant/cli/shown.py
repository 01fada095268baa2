"""Jobs and results as they are printed."""

import json
from collections.abc import Iterator, Mapping

import click
from rich.console import Console
from rich.table import Table

from participant.sdk.errors import failure_of
from participant.service.job_list import name_of, read_figures
from participant.service.local import Answer
from shared.cli import ExitCode
from shared.codec import Value

TIMES = ("offered", "started", "linked", "result", "total")
"""What is told of when a job came how far, in order."""


def machine_form(answer: Answer) -> dict[str, object]:
    """Return a job as ``--json`` prints it, with the result's figures."""
    shown: dict[str, object] = {
        name: answer.get(name)
        for name in ("job", "id", "state", "statistic", "dataset", "columns")
    }
    if answer.get("state") == "done":
        shown["result"] = read_figures(answer)
    elif answer.get("is_over"):
        for name in ("reason", "code", "party"):
            shown[name] = answer.get(name)
    else:
        shown["waiting"] = answer.get("waiting")
    times = answer.get("times_ms")
    shown["servers"], shown["sources"] = answer.get("servers"), answer.get("sources")
    shown["times_ms"] = {
        name: times[name]
        for name in TIMES
        if isinstance(times, Mapping) and name in times
    }
    return shown


def print_end(answer: Answer, *, as_json: bool) -> int:
    """Print how a job ended and return the exit code that says the same."""
    code = ExitCode.DONE if answer.get("state") == "done" else ExitCode.FAILED
    if as_json:
        click.echo(json.dumps(machine_form(answer), ensure_ascii=False))
        return code
    if code is ExitCode.DONE:
        _print_result(answer)
        return code
    click.echo(str(failure_of(answer)), err=True)
    return code


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
    Console().print(table)


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
    Console().print(table)
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
