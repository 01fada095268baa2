"""``mpc-manager keys`` in a home without a broker."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.cli import keys as commands
from manager.cli.key_output import keys_output
from manager.cli.main import PROGRAM, manager
from manager.realm.founding import KEY_FILE, LOCK_FILE, ROOT_FILE, init_realm
from manager.realm.keys import describe, load_keys, make_keys, save_keys
from manager.realm.private_files import locked
from manager.realm.rotation import OVERLAP, Rotated, rotated
from shared.cli import ExitCode, run
from shared.clock import SystemClock, to_ms
from shared.crypto.keys import SigningKey
from tests.manager_realm import REALM, START, stream
from tests.unit.manager.realm.test_keys import CHEAP


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a realm in it, and the file ``pw`` beside it."""
    home = tmp_path / "home"
    place, now = home / "manager.db", SystemClock().now()
    init_realm(home, place, REALM, b"secret", now, stream("init"), CHEAP)
    (home / "manager.toml").write_text(f'realm = "{REALM}"\n')
    (tmp_path / "pw").write_text("secret\n")
    return home


@pytest.fixture
def busy(home: Path) -> Iterator[None]:
    """A manager holds the home, and looks at nothing."""
    with locked(home / LOCK_FILE):
        yield


def call(home: Path, *arguments: str) -> int:
    """Run a command in the home."""
    return run(manager, PROGRAM, ["--home", str(home), "keys", *arguments])


def password(home: Path) -> tuple[str, str]:
    """Return the option that gives the root's password."""
    return "--root-password-file", str(home.parent / "pw")


def test_keys_are_listed_and_rotated(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything, while no manager runs; old keys are shown as former ones."""
    before = load_keys(home / KEY_FILE)
    code = call(home, "rotate", "all", *password(home))
    after = load_keys(home / KEY_FILE)
    capsys.readouterr()
    call(home, "list", "--json")
    shown = json.loads(capsys.readouterr().out)
    call(home, "list")
    table = capsys.readouterr().out
    states = {key["id"]: key["state"] for key in shown}

    assert code == ExitCode.DONE
    assert after.generation == before.generation + 1
    assert states[after.signer.kid.hex()] == "in use"
    assert states[before.signer.kid.hex()] == "former"
    assert states[str(after.slot)] == "in use"
    assert states[str(before.slot)] == "former"
    assert after.authority.kid.hex() in table


def test_session_keys_need_no_root(home: Path) -> None:
    """Nothing that the descriptor names has changed."""
    (home / ROOT_FILE).unlink()
    code = call(home, "rotate", "sessions")

    assert code == ExitCode.DONE
    assert load_keys(home / KEY_FILE).generation == 1


def test_a_root_key_may_lie_elsewhere(home: Path, tmp_path: Path) -> None:
    """As it should."""
    (home / ROOT_FILE).rename(tmp_path / "root.key")
    missing = call(home, "rotate", "ca", *password(home))
    found = call(
        home, "rotate", "ca", "--root", str(tmp_path / "root.key"), *password(home)
    )

    assert (missing, found) == (ExitCode.CONFIGURATION, ExitCode.DONE)


@pytest.mark.parametrize("overlap", ["1h", "15d", "soon"])
def test_an_overlap_out_of_bounds_changes_nothing(
    home: Path, overlap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is possible."""
    code = call(home, "rotate", "manager", "--overlap", overlap, *password(home))

    assert code == ExitCode.CONFIGURATION
    assert "hint" in capsys.readouterr().err
    assert load_keys(home / KEY_FILE).generation == 0


@pytest.mark.usefixtures("busy")
def test_a_manager_that_does_not_take_the_keys_is_told_of(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are in the store; the file is the running manager's to write."""
    monkeypatch.setattr(commands, "LONGEST_WAIT_SECONDS", 0.2)
    code = call(home, "rotate", "sessions")

    assert code == ExitCode.NOT_READY
    assert "not taken" in capsys.readouterr().err
    assert load_keys(home / KEY_FILE).generation == 0


def test_a_manager_that_starts_takes_keys_that_it_missed(home: Path) -> None:
    """It ended before it had taken them; a backup of that moment would be worth nothing."""
    with locked(home / LOCK_FILE), pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "LONGEST_WAIT_SECONDS", 0.0)
        call(home, "rotate", "sessions")
    arguments = ["--home", str(home)]
    file = str(home.parent / "realm.backup")
    too_early = run(manager, PROGRAM, [*arguments, "backup", file])
    without_broker = run(manager, PROGRAM, [*arguments, "run"])
    in_time = run(manager, PROGRAM, [*arguments, "backup", file])

    assert too_early == ExitCode.CONFIGURATION
    assert without_broker == ExitCode.UNREACHABLE
    assert load_keys(home / KEY_FILE).generation == 1
    assert in_time == ExitCode.DONE


@pytest.mark.parametrize("kind", Rotated)
def test_an_interrupted_rotation_is_made_again(
    home: Path, kind: Rotated, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key file was written and the store was not: no manager runs on that."""
    keys = load_keys(home / KEY_FILE)
    now = SystemClock().now()
    ahead = rotated(keys, {kind}, now, OVERLAP, stream("r"))
    save_keys(home / KEY_FILE, ahead, stream("s"))
    refused = run(manager, PROGRAM, ["--home", str(home), "run"])
    hint = capsys.readouterr().err
    again = call(home, "rotate", "all", *password(home))
    started = run(manager, PROGRAM, ["--home", str(home), "run"])

    assert refused == ExitCode.CONFIGURATION
    assert "mpc-manager keys rotate all" in hint
    assert again == ExitCode.DONE
    assert started == ExitCode.UNREACHABLE  # there is no broker
    assert load_keys(home / KEY_FILE).generation == ahead.generation + 1


def test_a_key_whose_time_is_over_is_shown_so() -> None:
    """As long as a descriptor names it."""
    root = SigningKey.from_seed(bytes(32))
    keys = make_keys(REALM, root.public, START, stream("k"))
    both = rotated(keys, {Rotated.CA}, START, OVERLAP, stream("r"))
    late = to_ms(START + OVERLAP) + 1
    shown = keys_output(describe(both, root, 2), both, late)

    assert [(key.kind, key.state) for key in shown] == [
        ("root", "in use"),
        ("sig", "in use"),
        ("kem", "in use"),
        ("ca", "in use"),
        ("ca", "ended"),
        ("session", "in use"),
    ]
