"""What all commands of the participant's program share."""

from pathlib import Path

import pytest

from participant.cli.app import App
from participant.cli.session import Session
from participant.home.identities import Place
from shared.names import Io


@pytest.fixture
def app(tmp_path: Path) -> App:
    """Return the program of somebody who named a folder without an identity."""
    return App(Place(tmp_path, is_named=True), None, None)


@pytest.mark.parametrize("io", [None, Io.INPUT, Io.BOTH])
def test_next_step_of_who_is_asked(app: App, io: Io | None) -> None:
    """Servers and sources wait for jobs."""
    assert app.next_step(io) == "mpc-participant run"


def test_next_step_of_who_only_asks(app: App) -> None:
    """A consumer needs no process that waits."""
    assert app.next_step(Io.OUTPUT) == "mpc-participant runmpc"


def test_next_step_at_a_prompt(app: App) -> None:
    """A prompt stays connected, whoever it is."""
    assert Session(app).next_step(Io.OUTPUT) == "connect"
