"""``python -m bench [PART…]``: figures, each beside a floor of the same run."""

import json
import signal
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from bench import envelopes, report, setup
from bench.measured import Figure
from bench.realm import BenchRealm

STDOUT = "-"
ROUNDS = 9
PARTS = ("setup", "envelopes")


def _sizes(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[setup.Size, ...]:
    """Read ``3x1,3x5``; nothing means every size of the bench."""
    if text is None:
        return setup.SIZES
    try:
        return tuple(setup.Size.parse(each) for each in text.split(","))
    except ValueError as error:
        raise click.BadParameter("write SERVERSxSOURCES, such as 3x1,3x5") from error


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--sizes", callback=_sizes, help="Of set-ups: 3x1,3x5 and so on.")
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True)
@click.option(
    "--json",
    "json_path",
    is_flag=False,
    flag_value=STDOUT,
    metavar="[FILE]",
    help="Write JSON to FILE, or to stdout instead of the table.",
)
def bench(
    parts: tuple[str, ...],
    sizes: tuple[setup.Size, ...],
    rounds: int,
    json_path: str | None,
) -> None:
    """Measure PARTS of the framework, all of them unless some are named."""
    signal.signal(signal.SIGTERM, _interrupt)
    progress = Console(stderr=True)
    figures = _measure(parts or PARTS, sizes, rounds, progress)
    text = json.dumps({"figures": [each.to_json() for each in figures]}, indent=1)
    if json_path == STDOUT:
        click.echo(text)
        return
    if json_path is not None:
        Path(json_path).write_text(text + "\n")
    Console().print(report.table(figures))


def _measure(
    parts: tuple[str, ...],
    sizes: tuple[setup.Size, ...],
    rounds: int,
    progress: Console,
) -> list[Figure]:
    figures: list[Figure] = []
    realm = BenchRealm(note=lambda text: progress.print(f"[dim]· {text}[/dim]"))
    try:
        if "envelopes" in parts:
            realm.note("envelopes")
            figures += envelopes.measure()
        if "setup" in parts:
            realm.start_realm("bench")
            table = setup.make_table(realm.folder / "small.npy", setup.ROWS)
            realm.bring(setup.members(sizes, table))
            figures += setup.measure(realm, sizes, rounds)
    finally:
        realm.stop()
    return figures


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    bench()
