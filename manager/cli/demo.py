"""``mpc-manager demo``: a realm on this machine computes on real data."""

import csv
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

import click
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from manager.cli.demo_cluster import Cluster, Party
from shared.cli import closing
from shared.clock import MILLISECOND
from shared.errors import ConfigError, JobError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "insurers"
TOLERANCE = 1e-6
"""Largest relative difference between the secure and the clear result."""
REGRESSION_TOLERANCE = 1e-5

STEPS = ("requested", "offered", "accepted", "started", "ready", "computed", "done")
"""The time-line of a job, as ``jobs show`` names it."""

Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Question:
    """One job of the demo: its arguments and where its figures lie in the result."""

    title: str
    arguments: tuple[str, ...]
    tolerance: float = TOLERANCE


QUESTIONS = (
    Question("mean of mdvis", ("--statistic", "mean", "--column", "mdvis")),
    Question(
        "standard deviation of mdvis", ("--statistic", "stddev", "--column", "mdvis")
    ),
    Question(
        "correlation of mdvis and disea",
        ("--statistic", "correlation", "--column", "mdvis", "--column", "disea"),
    ),
    Question(
        "linear regression of mdvis on lncoins, physlm, disea",
        (
            *("--statistic", "linear-regression", "--target", "mdvis"),
            *("--column", "lncoins", "--column", "physlm", "--column", "disea"),
        ),
        REGRESSION_TOLERANCE,
    ),
)


@click.command(
    epilog=closing(
        "mpc-manager demo --keep",
        codes={0: "every figure was right", 1: "one was not, or a job failed"},
    )
)
@click.option(
    "--keep", is_flag=True, help="Leave everything running until Ctrl-C, for play."
)
def demo(keep: bool) -> None:
    """Run a whole realm here: three insurers, three MPC servers, one analyst.

    Starts RabbitMQ, the manager and seven participants, each a process of its own,
    asks four questions about the insurers' data, and prints every secure result
    beside the one computed in clear from the three files.
    """
    # SIGTERM ends the demo as Ctrl-C does, so that nothing is left running.
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console()
    progress = Console(stderr=True)
    columns = _read_all(EXAMPLE)
    cluster = Cluster(note=lambda text: progress.print(f"[dim]· {text}[/dim]"))
    try:
        cluster.start_realm("demo", demo_parties(EXAMPLE))
        failures = [
            question.title
            for question in QUESTIONS
            if not _ask(question, cluster, columns, console)
        ]
        _timelines(cluster, console)
        _where(cluster, console, keep)
        if failures:
            raise JobError(f"results differ from the clear ones: {failures}")
        if keep:
            signal.pause()
    finally:
        progress.print("[dim]· stopping everything[/dim]")
        cluster.stop()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def demo_parties(example: Path) -> Sequence[Party]:
    """Return three MPC servers, the three insurers of a folder and an analyst."""
    servers = [
        Party(
            f"server{number}",
            ("--role", "mpcs"),
            (
                *("--attr", f"operator={operator}", "--attr", f"location={location}"),
                *("--listen", "127.0.0.1:1270"),
            ),
        )
        for number, operator, location in (
            (1, "university", "miami"),
            (2, "regulator", "chicago"),
            (3, "hospital", "miami"),
        )
    ]
    sources = [
        Party(
            f"insurer_{letter}",
            ("--role", "client", "--io", "input", "--prefix", prefix),
            (),
            example / f"insurer_{letter}.csv",
        )
        for letter, prefix in (("a", "Liberty"), ("b", "Atlantic"), ("c", "Pacific"))
    ]
    analyst = Party(
        "analyst", ("--role", "client", "--io", "output", "--prefix", "Analytics")
    )
    return (*servers, *sources, analyst)


def _ask(
    question: Question, cluster: Cluster, columns: Columns, console: Console
) -> bool:
    cluster.note(question.title)
    answer = json.loads(
        cluster.participant(
            "analyst",
            *("runmpc", "--dataset", "visits", *question.arguments, "--json"),
        )
    )
    secure = _flat(answer["result"])
    clear = _clear(question.title, columns)
    table = Table(title=f"{answer['job']}: {question.title}", title_justify="left")
    for heading in ("figure", "secure result", "computed in clear", "difference"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    right = True
    for name, expected in clear.items():
        seen = secure[name]
        difference = abs(seen - expected) / max(abs(expected), 1e-12)
        right = right and difference <= question.tolerance
        table.add_row(name, f"{seen:.10g}", f"{expected:.10g}", f"{difference:.1e}")
    console.print(table)
    return right


def _timelines(cluster: Cluster, console: Console) -> None:
    table = Table(
        title="time-lines, ms since the request", title_justify="left", box=SIMPLE_HEAD
    )
    for heading in ("job", *STEPS):
        table.add_column(heading, justify="right")
    took_part = ""
    for job in cluster.closed_jobs(len(QUESTIONS)):
        times = {
            name: datetime.fromisoformat(text) for name, text in job["times"].items()
        }
        steps = (str((times[name] - times[STEPS[0]]) // MILLISECOND) for name in STEPS)
        table.add_row(job["number"], *steps)
        took_part = ", ".join(party["principal"] for party in job["parties"])
    console.print(table)
    console.print(f"took part in each: {took_part}", soft_wrap=True)


def _where(cluster: Cluster, console: Console, keep: bool) -> None:
    console.print(f"RabbitMQ management UI: {cluster.broker['management_url']}")
    if not keep:
        console.print("(gone in a moment: use --keep to leave it running for play)")
        return
    manager, analyst = cluster.home("manager"), cluster.home("analyst")
    console.print(
        f"  log in with the user in {manager}/broker/credentials.json\n\n"
        "Everything is running. Try, in another terminal:\n"
        f"  mpc-participant --home {analyst} runmpc --statistic histogram"
        " --dataset visits --column mdvis --edges 0,1,5,20\n"
        f"  mpc-manager --home {manager} participants list --online\n"
        f"  mpc-manager --home {manager} jobs list\n"
        f"Logs are in {cluster.folder}/logs. Ctrl-C here stops and removes it all.",
        soft_wrap=True,
    )


def _read_all(example: Path) -> Columns:
    files = sorted(example.glob("insurer_*.csv"))
    if not files:
        raise ConfigError(
            f"the example data are not in {example}",
            "run the demo from a checkout of the repository",
        )
    values: dict[str, list[float]] = {}
    for file in files:
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                for name, cell in row.items():
                    values.setdefault(name, []).append(float(cell))
    return {name: np.array(cells) for name, cells in values.items()}


def _clear(title: str, columns: Columns) -> Mapping[str, float]:
    """Return the figures as NumPy computes them from all three files."""
    visits, disease = columns["mdvis"], columns["disea"]
    if title.startswith("mean"):
        return {"mean.mdvis": float(visits.mean())}
    if title.startswith("standard"):
        return {"stddev.mdvis": float(visits.std(ddof=1))}
    if title.startswith("correlation"):
        return {"correlation": float(np.corrcoef(visits, disease)[0, 1])}
    names = ("lncoins", "physlm", "disea")
    design = np.column_stack([np.ones_like(visits), *(columns[name] for name in names)])
    solution, *_ = np.linalg.lstsq(design, visits, rcond=None)
    return {
        "intercept": float(solution[0]),
        **{
            f"coefficients.{name}": float(value)
            for name, value in zip(names, solution[1:], strict=True)
        },
    }


def _flat(result: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in result.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = float(value)
    return flat
