"""What the data owner's commands print of files that others may have written."""

import json
from pathlib import Path

import pytest

from participant.cli.app import PROGRAM, app_of
from participant.cli.datasets import dataset
from shared.cli import run

TITLE = "\x1b]0;owned\x07age"
"""A column's name that gives the terminal's window another title."""


def call(home: Path, *arguments: str) -> int:
    """Run a command of a data owner."""
    return run(dataset, PROGRAM, arguments, app_of(home, None, None))


def test_a_header_does_not_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People see spaces instead; machines get the name as it is."""
    monkeypatch.setenv("COLUMNS", "200")
    table = tmp_path / "visits.csv"
    table.write_text(f"{TITLE},cost\n1,2\n")

    assert call(tmp_path / "home", "add", "visits", str(table)) == 0
    added = capsys.readouterr().err
    assert call(tmp_path / "home", "list") == 0
    listed = capsys.readouterr().out
    assert call(tmp_path / "home", "list", "--json") == 0
    exact = json.loads(capsys.readouterr().out)

    assert "2 columns:  ]0;owned age, cost\n" in added
    assert " ]0;owned age, cost" in listed
    assert "\x1b" not in added + listed
    assert "\x07" not in added + listed
    assert exact[0]["columns"] == [TITLE, "cost"]


def test_what_a_driver_says_does_not_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may hold what stands in a database."""
    named = tmp_path / "visits.toml"
    store = tmp_path / "visits.db"
    store.touch()
    query = json.dumps(f'SELECT a FROM "{TITLE}"')
    named.write_text(f'url = "sqlite:///{store}"\nquery = {query}\n')
    named.chmod(0o600)

    assert call(tmp_path / "home", "add", "visits", str(named)) == 3
    said = capsys.readouterr().err

    assert "hint: its driver says: no such table:  ]0;owned age\n" in said
    assert "\x1b" not in said
