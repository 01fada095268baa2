"""The operator's commands that need no broker."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from manager.cli.main import PROGRAM, manager
from manager.realm.founding import KEY_FILE, LOCK_FILE, init_realm
from manager.realm.private_files import locked
from manager.store.records import CommandKind
from manager.store.store import Store
from shared.cli import ExitCode, run
from shared.names import Io, Role
from tests.manager_realm import REALM, START, ManagerRealm, stream
from tests.unit.manager.realm.test_keys import CHEAP

Command = Callable[..., int]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a realm in it; its password costs little."""
    home = tmp_path / "home"
    init_realm(home, home / "manager.db", REALM, b"pw", START, stream("init"), CHEAP)
    (home / "manager.toml").write_text(f'realm = "{REALM}"\n')
    return home


@pytest.fixture
def command(home: Path) -> Command:
    """Run a command in the home."""

    def call(*arguments: str) -> int:
        return run(manager, PROGRAM, ["--home", str(home), *arguments])

    return call


def test_init_makes_a_realm_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints the fingerprint alone, and never overwrites."""
    (tmp_path / "pw").write_text("secret\n")
    arguments = ["--home", str(tmp_path / "h"), "init", "--realm", "demo"]
    arguments += ["--root-password-file", str(tmp_path / "pw")]
    first = run(manager, PROGRAM, arguments)
    out = capsys.readouterr().out
    keys = (tmp_path / "h" / KEY_FILE).read_bytes()
    second = run(manager, PROGRAM, arguments)

    assert (first, second) == (ExitCode.DONE, ExitCode.CONFIGURATION)
    assert len(out.strip().replace("-", "")) == 52
    assert (tmp_path / "h" / KEY_FILE).read_bytes() == keys


def test_init_asks_nobody_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how to give the password instead."""
    code = run(manager, PROGRAM, ["--home", str(tmp_path), "init", "--realm", "demo"])

    assert code == ExitCode.USAGE
    assert "--root-password-file" in capsys.readouterr().err
    assert not (tmp_path / KEY_FILE).exists()


def test_init_refuses_settings_of_another_realm(tmp_path: Path) -> None:
    """Or every later command would be about the wrong one."""
    (tmp_path / "pw").write_text("secret\n")
    (tmp_path / "manager.toml").write_text('realm = "other"\n')
    code = run(
        manager,
        PROGRAM,
        [
            *("--home", str(tmp_path), "init", "--realm", "demo"),
            *("--root-password-file", str(tmp_path / "pw")),
        ],
    )

    assert code == ExitCode.CONFIGURATION


@pytest.mark.parametrize("arguments", [("run",), ("token", "create", "--role", "mpcs")])
def test_without_its_broker_nothing_is_started(
    command: Command, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint says what to start."""
    code = command(*arguments)

    assert code == ExitCode.UNREACHABLE
    assert "mpc-manager broker start" in capsys.readouterr().err


def test_run_alone_brings_a_store_of_an_earlier_release_up_to_date(
    home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every other command refuses it and says so."""
    with sqlite3.connect(home / "manager.db") as connection:
        connection.execute("DROP TABLE lease")
        connection.execute("UPDATE meta SET value = x'31' WHERE key = 'schema_version'")
    connection.close()
    before = command("jobs", "list", "--json")
    said = capsys.readouterr().err
    started = command("run")
    after = command("jobs", "list", "--json")

    assert (before, started, after) == (
        ExitCode.CONFIGURATION,
        ExitCode.UNREACHABLE,
        ExitCode.DONE,
    )
    assert "mpc-manager run" in said


def test_status_says_whether_the_manager_of_this_home_runs(
    home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a store of its own it has no lease and no epoch."""
    stopped = command("status", "--json")
    with locked(home / LOCK_FILE):
        running = command("status", "--json")
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = command("status")

    assert (stopped, running, told) == (
        ExitCode.NOT_READY,
        ExitCode.DONE,
        ExitCode.NOT_READY,
    )
    assert [entry["active"] for entry in shown] == [False, True]
    assert shown[0]["epoch"] is None
    assert shown[0]["store"] == str(home / "manager.db")
    assert "none is active" in capsys.readouterr().out


def test_a_second_home_does_not_share_a_file(
    home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two managers would write into it: only a database can be shared."""
    place = home.parent / "elsewhere.db"
    (home / "manager.db").rename(place)
    with (home / "manager.toml").open("a") as settings:
        settings.write(f'store_url = "sqlite:///{place}"\n')
    alone = command("run")
    with locked(place.with_name("elsewhere.db.lock")):
        second = command("run")

    assert (alone, second) == (ExitCode.UNREACHABLE, ExitCode.NOT_READY)
    assert f"with the store {place}" in capsys.readouterr().err


def test_a_second_home_does_not_share_the_first_one_s_file(
    home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store in its home has the same lock, also where a link leads to it."""
    other, link = home.parent / "other", home.parent / "linked.db"
    other.mkdir(mode=0o700)
    (other / KEY_FILE).touch(mode=0o600)
    (other / KEY_FILE).write_bytes((home / KEY_FILE).read_bytes())
    link.symlink_to(home / "manager.db")
    second = []
    with locked((home / "manager.db").with_name("manager.db.lock")):
        first = command("run")
        for place in (home / "manager.db", link):
            (other / "manager.toml").write_text(
                f'realm = "{REALM}"\nstore_url = "sqlite:///{place}"\n'
            )
            second.append(run(manager, PROGRAM, ["--home", str(other), "run"]))
    said = capsys.readouterr().err

    assert [first, *second] == [ExitCode.NOT_READY] * 3
    assert said.count(f"with the store {home / 'manager.db'}") == 3


@pytest.mark.parametrize("path", ["", "manager.db", ":memory:"])
def test_a_store_is_named_by_an_absolute_path(
    path: str, home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """It must not depend on the folder from which a command is given."""
    with (home / "manager.toml").open("a") as settings:
        settings.write(f'store_url = "sqlite:///{path}"\n')
    file = home.parent / "backup"
    codes = [command("backup", str(file)), command("run"), command("jobs", "list")]
    said = capsys.readouterr().err

    assert codes == [ExitCode.CONFIGURATION] * 3
    assert said.count("hint: write sqlite:////absolute/path") == 3
    assert not file.exists()


def test_an_empty_realm_lists_nothing(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON, for machines."""
    codes = [
        command(name, "list", "--json") for name in ("token", "participants", "jobs")
    ]

    assert codes == [ExitCode.DONE] * 3
    assert capsys.readouterr().out == "[]\n[]\n[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "show", "J001"),
        ("jobs", "cancel", "00" * 16),
        ("participants", "show", "nobody001"),
        ("token", "revoke", "00" * 8),
    ],
)
def test_what_does_not_exist_is_said_so(
    command: Command, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """With where to look."""
    code = command(*arguments)

    assert code == ExitCode.CONFIGURATION
    assert "hint: see: mpc-manager" in capsys.readouterr().err


def test_jobs_and_participants_are_shown(
    home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """State, reason and times; for people and for machines."""

    async def history() -> None:
        (home / "manager.db").unlink()
        realm = ManagerRealm(home / "manager.db")
        await realm.start()
        consumer = await realm.join("c", Role.CLIENT, Io.BOTH)
        consumer.send(consumer.job_request())
        await realm.settle()
        realm.store.close()

    asyncio.run(history())
    codes = [
        command("jobs", "show", "J001", "--json"),
        command("participants", "list", "--online", "--json"),
    ]
    lines = capsys.readouterr().out.splitlines()
    job, people = json.loads(lines[0]), json.loads(lines[1])
    codes += [
        command("jobs", "list"),
        command("jobs", "show", job["job"]),
        command("participants", "list"),
        command("participants", "show", "client001"),
        command("token", "list"),
    ]
    text = capsys.readouterr().out

    assert codes == [ExitCode.DONE] * 7
    assert (job["number"], job["state"], job["code"]) == (
        "J001",
        "closed",
        "no_sources",
    )
    assert job["times"]["requested"] == "2030-01-01T06:00:00.000Z"
    assert [entry["principal"] for entry in people] == ["client001"]
    assert "client001" in text
    assert command("jobs", "cancel", "1") == ExitCode.REFUSED


def test_a_revocation_is_left_for_the_running_manager(
    home: Path, command: Command
) -> None:
    """It finds the command within a quarter of a second."""

    async def history() -> str:
        (home / "manager.db").unlink()
        realm = ManagerRealm(home / "manager.db")
        await realm.start()
        token = await realm.token(Role.MPCS)
        realm.store.close()
        return token.token_id.hex()

    token_id = asyncio.run(history())
    code = command("token", "revoke", token_id)
    with Store.open(home / "manager.db").transaction() as unit:
        commands = unit.orders.take_commands()

    assert code == ExitCode.DONE
    assert commands == [(CommandKind.REVOKE_TOKEN, bytes.fromhex(token_id))]


def test_settings_are_shown_with_where_they_come_from(
    home: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The home by its option, the realm by the file in it."""
    monkeypatch.setenv("MPC_LOG_LEVEL", "error")
    code = command("config", "show", "--json")
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}

    assert code == ExitCode.DONE
    assert found["home"]["where"] == "--home"
    assert found["realm"]["where"] == str(home / "manager.toml")
    assert found["log_level"]["where"] == "MPC_LOG_LEVEL"
    assert found["offer_timeout"] == {
        "name": "offer_timeout",
        "value": "5s",
        "source": "default",
        "where": None,
    }


def test_a_backup_comes_back_in_an_empty_home(
    home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nowhere else; stdout is empty, so that a nightly job says nothing on it."""
    file, new = home.parent / "backup", home.parent / "new"
    codes = [command("backup", str(file)), command("backup", str(file))]
    refused = command("restore", str(file))
    restored = run(manager, PROGRAM, ["--home", str(new), "restore", str(file)])
    said = capsys.readouterr()
    listed = run(manager, PROGRAM, ["--home", str(new), "token", "list", "--json"])

    assert codes == [ExitCode.DONE, ExitCode.CONFIGURATION]
    assert refused == ExitCode.CONFIGURATION
    assert (restored, listed) == (ExitCode.DONE, ExitCode.DONE)
    assert said.out == ""
    assert f"holds realm {REALM}: manager.db" in said.err
    assert "next: mpc-manager broker start" in said.err


def test_a_backup_names_what_it_does_not_hold(
    home: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of a broker that somebody else runs lie where the settings say."""
    elsewhere = home.parent / "credentials.json"
    with (home / "manager.toml").open("a") as file:
        file.write(
            'broker_url = "amqps://hub"\nbroker_management_url = "https://hub"\n'
            f'broker_credentials_file = "{elsewhere}"\n'
        )
    code = command("backup", str(home.parent / "backup"))

    assert code == ExitCode.DONE
    assert f"{elsewhere} is not in it" in capsys.readouterr().err


def test_there_is_nothing_to_back_up_without_a_realm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint says how a realm is made."""
    code = run(manager, PROGRAM, ["--home", str(tmp_path), "backup", "file"])

    assert code == ExitCode.CONFIGURATION
    assert "hint" in capsys.readouterr().err
