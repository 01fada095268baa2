"""What is kept of the lines that were typed at a prompt."""

import readline
from collections.abc import Iterator
from pathlib import Path

import pytest

from participant.cli.line_editor import MAX_LINES, LineEditor, is_remembered
from shared.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_history() -> Iterator[None]:
    """Leave the library as it was found; it has one history a process."""
    yield
    readline.clear_history()
    readline.set_completer(None)


def nothing(_before: str, _text: str) -> list[str]:
    """Complete nothing."""
    return []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("jobs", True),
        ("register --token-file analyst.token", True),
        ("", False),
        ("  ", False),
        ("mpxe1.AAAA.BBBB", False),
        ("register --token-file=mpxe1.AAAA.BBBB", False),
    ],
)
def test_a_token_is_never_remembered(line: str, expected: bool) -> None:
    """Not even where it was typed by mistake."""
    assert expected == is_remembered(line)


def test_a_history_is_taken_up_and_kept_short(tmp_path: Path) -> None:
    """The newest lines stay, for their owner only."""
    path = tmp_path / "history"
    path.touch(0o600)
    path.write_text("".join(f"result J{n:04}\n" for n in range(MAX_LINES + 5)))
    LineEditor(path, nothing)
    kept = path.read_text().splitlines()

    assert readline.get_current_history_length() == MAX_LINES
    assert readline.get_history_item(1) == "result J0005"
    assert (kept[0], len(kept)) == ("result J0005", MAX_LINES)
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_an_empty_history(tmp_path: Path) -> None:
    """The first line makes it."""
    LineEditor(tmp_path / "history", nothing)

    assert readline.get_current_history_length() == 0
    assert not (tmp_path / "history").exists()


def test_a_history_for_everybody_is_refused(tmp_path: Path) -> None:
    """It says what somebody asks about whom."""
    path = tmp_path / "history"
    path.touch(0o644)

    with pytest.raises(ConfigError, match="others can read"):
        LineEditor(path, nothing)
