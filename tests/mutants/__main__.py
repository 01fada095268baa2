"""Removes every check of the protocol in turn and sees which tests fall.

Writes docs/mutants.md. Exits 1 if a check can be removed unnoticed, unless it is one
of ``EQUIVALENT``.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from queue import SimpleQueue

import click
from coverage import CoverageData

from tests.mutants.checks import AREAS, ROOT, Check, checks_in
from tests.mutants.page import PAGE, Fallen, key_of, page, tables

TREES = ("manager", "participant", "shared", "tests")
TESTS = (
    "tests/unit/shared",
    "tests/unit/manager",
    "tests/unit/participant/protocol",
    "tests/unit/participant/service",
    "tests/negative",
    "tests/vectors",
)
"""Tests of the protocol that need no broker, no process and no second of waiting."""

NAMED = 3
"""How many of the tests that fell are named; then the next check has its turn."""
WORKERS = 2
PATIENCE_SECONDS = 300.0
"""After which a check without which the tests do not end counts as noticed."""

_COVERAGE = """\
[run]
source = manager, participant, shared
data_file = {data}
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """A copy of the project in which one check at a time is missing."""

    folder: Path

    def fallen_without(self, check: Check, tests: Sequence[str]) -> tuple[str, ...]:
        """Return which of some tests fail without a check, the first ``NAMED``."""
        file = self.folder / check.path
        whole = file.read_text()
        chosen = self.folder / "chosen"
        chosen.write_text("".join(f"{test}\n" for test in tests))
        try:
            file.write_text(check.source)
            return self._failed(f"@{chosen}")
        finally:
            file.write_text(whole)

    def _failed(self, tests: str) -> tuple[str, ...]:
        try:
            done = _pytest(self.folder, f"--maxfail={NAMED}", "--tb=no", "-rfE", tests)
        except subprocess.TimeoutExpired:
            return ("(they did not end)",)
        lines = done.stdout.splitlines()
        failed = [
            line.split(" ", 1)[1].split(" - ")[0]
            for line in lines
            if line.startswith(("FAILED ", "ERROR "))
        ]
        if done.returncode and not failed:
            raise click.ClickException(f"pytest fails: {done.stdout}{done.stderr}")
        return tuple(failed)


@click.command()
@click.argument("paths", nargs=-1)
def main(paths: Sequence[str]) -> None:
    """Remove the checks of the files PATHS, or of all, and see which tests fall.

    Writes the page; what it says of other files stays.
    """
    begun = time.monotonic()
    known = list(chain.from_iterable(AREAS.values()))
    unknown = sorted(set(paths) - set(known))
    if unknown:
        raise click.UsageError(f"{unknown[0]} is none of: {', '.join(known)}")
    checks = [check for path in paths or known for check in checks_in(path)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        _say(f"which tests reach which of {len(checks)} checks")
        reached = _reached(Path(scratch), checks)
        found = _fallen(Path(scratch), checks, reached)
    _say(f"{len(checks)} checks in {time.monotonic() - begun:.0f} s")
    PAGE.write_text(page(found, tables()))
    unnoticed = [each for each in found if each.is_unnoticed]
    for each in unnoticed:
        _say(f"unnoticed: {key_of(each.check)}")
    sys.exit(1 if unnoticed else 0)


def _fallen(
    scratch: Path, checks: Sequence[Check], reached: Mapping[str, Sequence[str]]
) -> list[Fallen]:
    """Return what fell without each check."""
    trees: SimpleQueue[Tree] = SimpleQueue()
    for number in range(WORKERS):
        trees.put(Tree(_copy(scratch / str(number))))

    def removed(check: Check) -> Fallen:
        tests = reached[key_of(check)]
        with _borrowed(trees) as tree:
            fallen = Fallen(check, tree.fallen_without(check, tests) if tests else ())
        _say(f"{len(fallen.tests)} fell: {key_of(check)}")
        return fallen

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(removed, checks))


@contextmanager
def _borrowed(trees: "SimpleQueue[Tree]") -> Iterator[Tree]:
    tree = trees.get()
    try:
        yield tree
    finally:
        trees.put(tree)


def _copy(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    for tree in TREES:
        shutil.copytree(ROOT / tree, folder / tree, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _reached(scratch: Path, checks: Sequence[Check]) -> dict[str, list[str]]:
    """Return which tests come to the lines of each check."""
    data = scratch / "coverage"
    settings = scratch / "coveragerc"
    settings.write_text(_COVERAGE.format(data=data))
    done = _pytest(
        ROOT,
        "--cov",
        f"--cov-config={settings}",
        "--cov-context=test",
        "--cov-report=",
        *TESTS,
    )
    if done.returncode:
        raise click.ClickException(f"tests fail before any change: {done.stdout}")
    recorded = CoverageData(str(data))
    recorded.read()
    tests: dict[str, list[str]] = {}
    for check in checks:
        lines = recorded.contexts_by_lineno(str(ROOT / check.path))
        contexts = chain.from_iterable(lines.get(line, ()) for line in check.lines)
        tests[key_of(check)] = sorted({each.split("|")[0] for each in contexts} - {""})
    return tests


def _pytest(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def _say(text: str) -> None:
    click.echo(f"· {text}", err=True)


if __name__ == "__main__":
    main()
