"""What ``config show`` says of a participant."""

from pathlib import Path

import pytest

from participant.cli.app import App
from participant.home.identities import Place
from shared.config import Source


def test_a_home_may_come_from_an_option_a_variable_or_a_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has several needs to know which is meant, and why."""

    def source(app: App) -> tuple[str, str | None]:
        (home,) = (each for each in app.explained() if each.name == "home")
        assert home.value == tmp_path
        return home.source, home.where

    named = Place(tmp_path, is_named=True)

    assert source(App(named, None, None)) == (Source.OPTION, "--home")
    monkeypatch.setenv("MPC_HOME", str(tmp_path))
    assert source(App(named, None, None)) == (Source.ENVIRONMENT, "MPC_HOME")
    monkeypatch.delenv("MPC_HOME")
    (tmp_path / "identity.key").touch()
    place = Place(tmp_path, is_named=False)
    assert source(App(place, "1", None)) == (Source.OPTION, "--identity")
    assert source(App(place, None, None)) == (Source.DEFAULT, None)
