"""``make fuzz``: each target under libFuzzer (atheris), one after the other.

What is found is written into a file whose name is said; ``python -m tests.fuzz.one
TARGET FILE`` runs it again.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.fuzz.targets import PROGRAM, TARGETS, seeds

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOUND = ROOT / "fuzz-findings"
LONGEST = 4096
"""Bytes of an input."""

_DONE = re.compile(r"Done (\d+) runs in (\d+) second")
_FEATURES = re.compile(r"cov: (\d+) ft: (\d+)")


@click.command()
@click.argument("targets", nargs=-1, type=click.Choice(sorted(TARGETS)))
@click.option("--runs", default=1_000_000, show_default=True, help="Inputs of each.")
@click.option("--seconds", default=0, help="At most so long each; 0 is for ever.")
@click.option("--keep", is_flag=True, help="Keep new inputs in tests/fuzz/corpus.")
def main(targets: Sequence[str], runs: int, seconds: int, keep: bool) -> None:
    """Fuzz TARGETS, or all; ends with 1 if something was found."""
    table = Table("target", "inputs", "a second", "edges", "features", "found")
    found = 0
    for target in targets or TARGETS:
        click.echo(f"· {target}", err=True)
        row, is_found = _fuzzed(target, runs, seconds, keep=keep)
        table.add_row(target, *row)
        found += is_found
    Console().print(table)
    sys.exit(1 if found else 0)


def _fuzzed(
    target: str, runs: int, seconds: int, *, keep: bool
) -> tuple[list[str], bool]:
    """Run one target in a process of its own; return its row, and whether it fell."""
    begun = time.monotonic()
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        inputs = Path(scratch)
        for number, seed in enumerate(seeds(target)):
            (inputs / f"seed{number}").write_bytes(seed)
        kept = CORPUS / target
        kept.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.one", target),
                *(str(inputs), str(kept)),
                *(f"-runs={runs}", f"-max_total_time={seconds}", f"-max_len={LONGEST}"),
                *("-timeout=10", "-rss_limit_mb=2048", "-verbosity=1"),
                f"-artifact_prefix={FOUND}/{target}-",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        if keep and done.returncode == 0:
            _keep(target, inputs, kept)
    counted = _DONE.search(done.stderr)
    covered = _FEATURES.findall(done.stderr)
    inputs_run = int(counted[1]) if counted else 0
    rate = inputs_run / max(time.monotonic() - begun, 1e-9)
    edges, features = covered[-1] if covered else ("0", "0")
    if done.returncode:
        click.echo(done.stderr[-3000:], err=True)
    row = [
        f"{inputs_run:,}",
        f"{rate:,.0f}",
        edges,
        features,
        "yes: see above" if done.returncode else "no",
    ]
    return row, done.returncode != 0


def _keep(target: str, inputs: Path, kept: Path) -> None:
    """Keep the fewest inputs that reach what all of them reach."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        fewest, program = Path(scratch) / "fewest", Path(scratch) / "program"
        fewest.mkdir()
        # libFuzzer starts itself again for this, by its name.
        program.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz.one {target} "$@"\n'
        )
        program.chmod(0o700)
        subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.one", target, "-merge=1"),
                *(str(fewest), str(kept), str(inputs)),
            ],
            cwd=ROOT,
            capture_output=True,
            check=True,
            env=os.environ | {PROGRAM: str(program)},
        )
        shutil.rmtree(kept)
        shutil.copytree(fewest, kept)


if __name__ == "__main__":
    main()
