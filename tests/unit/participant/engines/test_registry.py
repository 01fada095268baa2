"""Engines by name: built in, or brought by installed packages."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from participant.engines.additive import Additive
from participant.engines.registry import engine, is_plugin, names
from participant.service.question import program_hash
from shared.errors import RefusalCode, RefusedError
from tests.worker_engines import Talking, install, plugged_in

PLUGIN = "tests.worker_engines"
BROKEN = """
from tests.worker_engines import Talking

class NoName(Talking):
    name = "other"

class NoVersion(Talking):
    name = "no-version"
    version = ""

class NoRun(Talking):
    name = "no-run"
    run = None

def fails():
    raise ValueError("a secret of the package")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for packages; whatever lies there is installed."""
    (tmp_path / "broken_plugin.py").write_text(BROKEN)
    with plugged_in(tmp_path):
        yield tmp_path
    sys.modules.pop("broken_plugin", None)


def test_a_plugin_is_listed_without_being_imported(folder: Path) -> None:
    """A broken or slow package costs nobody who does not use it."""
    install(folder, ["talking = broken_plugin:Talking"])

    assert names() == ("additive", "mpyc", "talking")
    assert is_plugin("talking")
    assert not is_plugin("additive")
    assert "broken_plugin" not in sys.modules


def test_a_plugin_is_served_like_a_built_in_engine(folder: Path) -> None:
    """One object for the whole process."""
    install(folder, [f"talking = {PLUGIN}:Talking"])

    assert isinstance(engine("talking"), Talking)
    assert engine("talking") is engine("talking")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gone = no_such_module:Engine", r"cannot be loaded \(ModuleNotFoundError\)"),
        ("gone = broken_plugin:Gone", r"cannot be loaded \(AttributeError\)"),
        ("fails = broken_plugin:fails", r"cannot be loaded \(ValueError\)"),
        ("no-name = broken_plugin:NoName", "is none: see its name"),
        ("no-version = broken_plugin:NoVersion", "is none: see its version"),
        ("no-run = broken_plugin:NoRun", "is none: see its run"),
        ("nothing = builtins:dict", "is none: see its name, version"),
    ],
)
def test_a_broken_plugin_is_named_and_breaks_no_other(
    folder: Path, line: str, words: str
) -> None:
    """With its package; the text of its own error may hold anything and is not told."""
    install(folder, [line, f"talking = {PLUGIN}:Talking"])
    with pytest.raises(RefusedError, match=words) as caught:
        engine(line.split(maxsplit=1)[0])

    assert caught.value.code is RefusalCode.UNSUPPORTED
    assert "test-engines" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert engine("talking").name == "talking"


def test_two_packages_cannot_share_a_name(folder: Path) -> None:
    """Which of them computes must not be left to chance."""
    install(folder, [f"talking = {PLUGIN}:Talking"], "one")
    install(folder, [f"talking = {PLUGIN}:Hanging"], "two")
    with pytest.raises(RefusedError, match="brought by one and by two"):
        engine("talking")


def test_a_plugin_cannot_take_a_built_in_name(folder: Path) -> None:
    """Nor one that no request could hold."""
    install(folder, [f"additive = {PLUGIN}:Talking", f"no label = {PLUGIN}:Talking"])

    assert names() == ("additive", "mpyc")
    assert isinstance(engine("additive"), Additive)


def test_another_version_of_an_engine_is_another_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parties that would not understand each other refuse before a byte is sent."""
    install(folder, [f"talking = {PLUGIN}:Talking"])
    before = program_hash("mean", "talking", "talking")
    monkeypatch.setattr(Talking, "version", "2")

    assert before != program_hash("mean", "talking", "talking")
