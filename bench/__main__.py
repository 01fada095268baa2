"""``python -m bench [PART…]``: figures, each beside a floor of the same run."""

import json
import signal
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from bench import report
from bench.run import Bench, Part, Wanted
from bench.setup import SIZES, Size

STDOUT = "-"
ROUNDS = LEAST_ROUNDS = 7
"""A figure in the docs has at least so many samples."""
DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDTH = 120
"""Of the table where the output is not a terminal."""


def _sizes(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[Size, ...]:
    """Read ``3x1,3x5``; nothing means every size of the bench."""
    if text is None:
        return SIZES
    try:
        return tuple(Size.parse(each) for each in text.split(","))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice([part.value for part in Part]))
@click.option("--sizes", callback=_sizes, help="Of set-ups: 3x1,3x5 and so on.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=ROUNDS,
    show_default=True,
    help="Samples of each figure, taken in turn with its floor's.",
)
@click.option(
    "--json",
    "json_path",
    is_flag=False,
    flag_value=STDOUT,
    metavar="[FILE]",
    help="Write JSON to FILE, or to stdout instead of the table.",
)
@click.option(
    "--docs/--no-docs",
    default=True,
    help=f"Write docs/{report.PAGE} and docs/{report.PLOT} after a whole bench.",
)
def bench(
    parts: tuple[str, ...],
    sizes: tuple[Size, ...],
    rounds: int,
    json_path: str | None,
    docs: bool,
) -> None:
    """Measure PARTS of the framework, all of them unless some are named.

    Everything runs in a realm of its own that ends with the command. The whole
    takes some five minutes on two cores.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    progress = Console(stderr=True)
    wanted = Wanted(frozenset(map(Part, parts or Part)), sizes, rounds)
    results = Bench(wanted, lambda text: progress.print(f"[dim]· {text}[/dim]")).run()
    found = (results.figures, results.panels, results.machine)
    text = json.dumps(report.to_json(*found), indent=1)
    if json_path == STDOUT:
        click.echo(text)
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
        console.print(report.table(results.figures))
        for order in report.orders(results.panels):
            console.print(order)
        if json_path is not None:
            Path(json_path).write_text(text + "\n")
    is_whole = not parts and sizes == SIZES and rounds >= LEAST_ROUNDS
    if docs and is_whole:
        report.write_docs(DOCS, *found)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    bench()
