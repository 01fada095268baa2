"""ProVerif says of the models, and of mutants of them, what docs/models claims."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.models.ap_exchange import Mutant

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "docs" / "models"
CLAIMS = tomllib.loads((MODELS / "mutants.toml").read_text())
PROVERIF = shutil.which("proverif")
MINUTES = 10
WORDS = {"is true.": "t", "is false.": "f", "cannot be proved.": "u"}

_QUERY = re.compile(r"^(?:\(\* Q\d+ \*\) )?query ", re.MULTILINE)
_NUMBERED = re.compile(r"^\(\* Q(\d+) \*\) query ", re.MULTILINE)
_VERDICT = re.compile(r"(is true\.|is false\.|cannot be proved\.)$")


class Case(NamedTuple):
    """A model, or one with rules taken out, and what each of its queries gives."""

    name: str
    text: str
    results: list[str]


def weakened(mutant: dict[str, object]) -> Case:
    """Return a mutant's text; every change must find what it changes."""
    model, changes = mutant["model"], mutant["changes"]
    assert isinstance(model, str)
    assert isinstance(changes, list)
    text = (MODELS / f"{model}.pv").read_text()
    for old, new in changes:
        assert old in text, f"{model}, {mutant['name']}: nothing to change: {old}"
        text = text.replace(old, new)
    return Case(f"{model}-{mutant['name']}", text, str(mutant["results"]).split())


CASES = (
    *(
        Case(name, (MODELS / f"{name}.pv").read_text(), results.split())
        for name, results in CLAIMS["models"].items()
    ),
    *map(weakened, CLAIMS["mutants"]),
)


def test_every_model_has_its_claims() -> None:
    """A file that no test runs says nothing."""
    assert sorted(CLAIMS["models"]) == sorted(f.stem for f in MODELS.glob("*.pv"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_query_has_a_result(case: Case) -> None:
    """Results are compared by their order, so none may be missing."""
    numbers = [int(number) for number in _NUMBERED.findall(case.text)]

    assert list(range(1, len(case.results) + 1)) == numbers
    assert len(_QUERY.findall(case.text)) == len(numbers)


def test_every_mutant_is_explained() -> None:
    """The page says what each of them shows."""
    page = (MODELS / "README.md").read_text()
    explained = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE)

    assert [(m["model"], m["name"]) for m in CLAIMS["mutants"]] == explained
    assert [
        mutant.value
        for mutant in Mutant
        if mutant is not Mutant.NONE and f"| {mutant.value} |" not in page
    ] == []


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES + 60)
@pytest.mark.skipif(PROVERIF is None, reason="ProVerif is not installed")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_proverif_agrees(case: Case, tmp_path: Path) -> None:
    """The design holds, and each mutant breaks what docs/models says and no more."""
    file = tmp_path / f"{case.name}.pv"
    file.write_text(case.text)
    run = subprocess.run(
        [str(PROVERIF), str(file)],
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
        check=True,
    )
    summary = run.stdout.partition("Verification summary:")[2]
    verdicts = [
        WORDS[found.group(1)]
        for line in summary.splitlines()
        if line.startswith("Query") and (found := _VERDICT.search(line))
    ]

    assert case.results == verdicts
