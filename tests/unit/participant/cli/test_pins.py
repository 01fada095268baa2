"""``mpc-participant pins`` while no control process runs."""

import json
from pathlib import Path

import pytest

from participant.cli.app import PROGRAM, app_of
from participant.cli.pins import pins
from participant.home.folder import Home
from shared.cli import ExitCode, run
from shared.names import Role
from tests.participant_world import World

ONE, TWO = "01" * 32, "02" * 32


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A server's home, its key file under a password."""
    home = Home(tmp_path / "home")
    home.key_file(b"right").save(World().join("MPC_server_001", Role.MPCS).identity)
    (tmp_path / "password").write_text("right\n")
    return home


def call(home: Home, *arguments: str) -> int:
    """Run a command with the password."""
    password = ("--password-file", str(home.path.parent / "password"))
    app = app_of(home.path, None, None)
    return run(pins, PROGRAM, (*arguments, *password), app)


def listed(home: Home, capsys: pytest.CaptureFixture[str]) -> list[object]:
    """Return name, key and origin of all pins."""
    capsys.readouterr()
    assert call(home, "list", "--json") == ExitCode.DONE
    return [tuple(pin.values()) for pin in json.loads(capsys.readouterr().out)]


def test_pins_are_added_listed_and_removed(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key file keeps them, sealed as before; the policy's stand beside them."""
    home.policy_path.write_text(f'[keys]\nBert001 = "{TWO}"\n')
    added = call(home, "add", "Anne001", ONE)
    both = listed(home, capsys)
    removed = call(home, "remove", "Anne001")
    one = listed(home, capsys)

    assert (added, removed) == (ExitCode.DONE, ExitCode.DONE)
    assert both == [("Anne001", ONE, "owner"), ("Bert001", TWO, "policy")]
    assert one == both[1:]
    assert home.needs_password


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "Anne001", TWO), "another pin (owner)"),
        (("add", "Anne001", "abc"), "not a principal with the hash"),
        (("remove", "Bert001"), "no key is pinned for"),
    ],
)
def test_a_slip_of_the_pen_changes_nothing(
    home: Home,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    """It is named, with what to do."""
    call(home, "add", "Anne001", ONE)
    code = call(home, *arguments)
    err = capsys.readouterr().err

    assert code == ExitCode.CONFIGURATION
    assert said in err
    assert "hint: " in err
    assert listed(home, capsys) == [("Anne001", ONE, "owner")]


def test_a_home_in_which_another_command_writes_is_left_alone(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two at a time would lose one's pin."""
    with home.lock():
        code = call(home, "add", "Anne001", ONE)

    assert code == ExitCode.CONFIGURATION
    assert "another process works in" in capsys.readouterr().err
