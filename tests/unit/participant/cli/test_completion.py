"""What the Tab key offers at a prompt."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from participant.cli.app import PROGRAM, App
from participant.cli.completion import candidates
from participant.cli.main import participant
from participant.cli.session import Session, prompt_commands
from participant.home import dataset_list
from participant.home.folder import Home
from participant.home.identities import Place
from shared.names import Io, Role
from tests.participant_world import Case, World, with_pin_of


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """The prompt of a consumer that has asked for one job and has one dataset."""
    case = Case()
    home = Home(tmp_path / "home")
    dataset_list.add(home.datasets_path, "visits", Path("visits.csv"))
    identity = with_pin_of(case.consumer, case.servers[0]).identity
    home.write_card(identity)
    home.key_file(None).save(identity)
    side = case.side(case.consumer)
    side.feed(case.asked)
    home.journal(identity).write(side.job)
    return Session(App(Place(home.path, is_named=False), None, None))


@pytest.mark.parametrize(
    ("before", "text", "expected"),
    [
        ("", "re", ["register ", "result "]),
        ("", "run", ["runmpc "]),
        ("mpc-participant ", "conn", ["connect "]),
        ("connect ", "", ["Analytics001 "]),
        ("help ", "re", ["register ", "result "]),
        ("dataset ", "", ["add ", "list ", "remove "]),
        ("dataset remove ", "v", ["visits "]),
        ("pins remove ", "", ["MPC_server_001 "]),
        ("runmpc ", "--sta", ["--statistic "]),
        ("runmpc --statistic ", "me", ["mean ", "median "]),
        ("runmpc --statistic=", "me", ["mean ", "median "]),
        ("runmpc --dataset ", "", ["visits "]),
        ("runmpc --column ", "", ["mdvis "]),
        ("runmpc --missing ", "r", ["refuse "]),
        ("runmpc --purpose 'all ", "re", []),
        ("nonsense ", "", []),
    ],
)
def test_a_word_is_completed_by_what_may_follow(
    session: Session, before: str, text: str, expected: list[str]
) -> None:
    """Commands, options, choices, one's own datasets and identities."""
    assert expected == candidates(prompt_commands, session, before, text)


def test_options_are_offered_where_nothing_else_may_follow(session: Session) -> None:
    """Nobody knows them by heart."""
    offered = candidates(prompt_commands, session, "jobs ", "")

    assert "--json " in offered
    assert all(word.startswith("--") for word in offered)


def test_jobs_are_offered_by_name(session: Session) -> None:
    """From the journal, as no control process runs."""
    (name,) = candidates(prompt_commands, session, "result ", "")

    assert candidates(prompt_commands, session, "cancel ", name[:4]) == [name]


def test_paths_are_completed(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder can go on; hidden names have to be asked for."""
    for name in ("data/a b.csv", "data/.hidden"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).touch()
    monkeypatch.chdir(tmp_path / "here")
    before = "dataset add visits "

    assert candidates(prompt_commands, session, before, "") == ["data/"]
    assert candidates(prompt_commands, session, before, "data/") == ["data/a\\ b.csv "]
    assert candidates(prompt_commands, session, before, "data/.") == ["data/.hidden "]


def test_nothing_is_offered_while_a_key_file_is_sealed(tmp_path: Path) -> None:
    """Completion asks for no password, and prints no error into the line."""
    home = Home(tmp_path / "home")
    identity = World().join("Consumer001", Role.CLIENT, Io.OUTPUT).identity
    home.key_file(b"secret").save(identity)
    home.datasets_path.write_text("not TOML")
    session = Session(App(Place(home.path, is_named=True), None, None))

    assert candidates(prompt_commands, session, "result ", "J") == []
    assert candidates(prompt_commands, session, "dataset remove ", "v") == []


def test_a_shell_is_offered_the_names_of_the_home_that_is_typed(
    session: Session,
) -> None:
    """No command has run by then, so that the options are all there is."""
    home = str(session.place.root)
    shell = ShellComplete(participant, {}, PROGRAM, "")

    def offered(words: list[str], start: str) -> list[str]:
        return [str(item.value) for item in shell.get_completions(words, start)]

    assert offered(["--home", home, "runmpc", "--dataset"], "") == ["visits"]
    assert offered(["--home", home, "--identity"], "A") == ["Analytics001"]
    assert offered(["--home", f"{home}/none", "result"], "") == []
