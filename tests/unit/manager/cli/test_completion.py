"""What the Tab key offers to an operator."""

import asyncio
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from manager.cli.main import PROGRAM, manager
from shared.names import Io, Role
from tests.manager_realm import ManagerRealm


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home whose realm has a consumer, a job that is over and a new token's id."""
    home = tmp_path_factory.mktemp("home")

    async def history() -> str:
        realm = ManagerRealm(home / "manager.db")
        await realm.start()
        consumer = await realm.join("c", Role.CLIENT, Io.BOTH)
        consumer.send(consumer.job_request())
        await realm.settle()
        token = await realm.token(Role.MPCS)
        realm.store.close()
        return token.token_id.hex()

    return home, asyncio.run(history())


def offered(home: Path, *words: str) -> list[str]:
    """Return what may follow in place of the last word."""
    shell = ShellComplete(manager, {}, PROGRAM, "")
    before = ["--home", str(home), *words[:-1]]
    return [str(item.value) for item in shell.get_completions(before, words[-1])]


def test_names_in_the_store_are_offered(home: tuple[Path, str]) -> None:
    """Only jobs that go on can be ended, only unused tokens be taken back."""
    folder, token = home

    assert offered(folder, "jobs", "show", "j") == ["J001"]
    assert offered(folder, "jobs", "cancel", "") == []
    assert offered(folder, "participants", "show", "") == ["client001"]
    assert offered(folder, "participants", "show", "x") == []
    assert offered(folder, "token", "revoke", token[:3]) == [token]
    assert offered(folder, "jobs", "") == ["cancel", "list", "show"]


def test_without_a_realm_nothing_is_offered(tmp_path: Path) -> None:
    """The command says what is wrong; the Tab key never does."""
    (tmp_path / "manager.toml").write_text("nonsense = 1\n")

    assert offered(tmp_path / "nowhere", "jobs", "show", "") == []
    assert offered(tmp_path, "jobs", "show", "") == []
