"""``python -m bench [--json]``: figures, each beside a floor of the same run."""

import json
import platform
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from bench import envelopes, setup
from manager.cli.demo_cluster import Cluster


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def bench(as_json: bool) -> None:
    """Measure envelopes and job set-up; takes about a minute."""
    progress = Console(stderr=True)
    cluster = Cluster(note=lambda text: progress.print(f"[dim]· {text}[/dim]"))
    try:
        cluster.note("envelopes")
        figures = [*envelopes.measure(), *setup.measure(cluster)]
    finally:
        cluster.stop()
    if as_json:
        rows = [{**asdict(each), "ratio": each.ratio} for each in figures]
        click.echo(json.dumps({"machine": platform.platform(), "figures": rows}))
        return
    table = Table("figure", "measured", "floor", "ratio")
    for each in figures:
        table.add_row(
            each.name,
            f"{each.value:.1f} {each.unit}",
            f"{each.floor:.1f} {each.unit}",
            f"{each.ratio:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    bench()
