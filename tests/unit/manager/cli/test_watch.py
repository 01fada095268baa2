"""The realm as it is now."""

import asyncio
import io
import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from manager.cli.main import PROGRAM, manager
from manager.cli.outputs import Snapshot
from manager.cli.watch import GRACE, follow, live, look, picture
from manager.config import ManagerSettings
from manager.protocol.job_state import Moment
from manager.protocol.presence import Presence
from shared.cli import run
from shared.clock import to_ms
from shared.messages import Outcome
from shared.names import Io, Principal, Role
from shared.printing import print_table
from tests.manager_realm import FakeClock, ManagerRealm
from tests.terminal import CTRL_C, Terminal
from tests.unit.manager.cli.jobs_shown import START, job
from tests.unit.manager.cli.test_realm_map import EVERYBODY

ROOT = Path(__file__).resolve().parents[4]
HOSTILE = "[/] [red] :smile: said by a source"
SNAPSHOT = Snapshot(
    realm="demo",
    at=START + timedelta(seconds=7),
    participants=EVERYBODY,
    registered=9,
    running=(job({Moment.REQUESTED: 0}, outcome=None, reason="waiting for a server"),),
    ended=(job(number="J002", outcome=Outcome.FAILED, reason=HOSTILE), job()),
    is_stale=False,
)


def test_a_view_shows_who_is_there_what_runs_and_what_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of others are shown as they are."""
    monkeypatch.setenv("COLUMNS", "200")
    print_table(picture(SNAPSHOT))
    text = capsys.readouterr().out

    for words in (
        "5 of 9 online, 1 running",
        "mean of mdvis",
        "waiting for a server",
        f"{HOSTILE} (link_failed)",
        "MPC_server_002",
        " 7 ",
        "450",
    ):
        assert words in text


def test_only_news_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A sign of life is none, and time passing is none."""
    alive = tuple(
        each.model_copy(update={"seen": START + timedelta(minutes=1), "load": 9})
        for each in EVERYBODY
    )
    later = SNAPSHOT.model_copy(
        update={"at": START + timedelta(minutes=1), "participants": alive}
    )
    stale = later.model_copy(update={"is_stale": True})
    follow([SNAPSHOT, later, stale, stale], as_json=True)
    lines = capsys.readouterr().out.splitlines()

    assert [Snapshot.model_validate_json(line) for line in lines] == [SNAPSHOT, stale]


def test_a_view_on_a_terminal_takes_the_place_of_the_one_before() -> None:
    """And gives the cursor back at its end."""
    screen = Console(
        file=io.StringIO(), force_terminal=True, width=120, height=50, markup=False
    )
    live([SNAPSHOT, SNAPSHOT.model_copy(update={"registered": 8})], screen)
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()

    assert text.index("5 of 9 online") < text.index("\x1b[1A") < text.index("5 of 8")
    assert text.rstrip().endswith("\x1b[?25h")


async def _realm(path: Path) -> ManagerRealm:
    realm = ManagerRealm(path)
    await realm.start()
    consumer = await realm.join("c", Role.CLIENT, Io.BOTH)
    consumer.send(consumer.job_request())
    await realm.settle()
    return realm


def test_the_store_is_looked_at(tmp_path: Path) -> None:
    """Who is silent for longer than a manager would allow shows that none runs."""
    realm = asyncio.run(_realm(tmp_path / "manager.db"))
    settings = ManagerSettings(home=tmp_path, realm="demo")
    clock = FakeClock()
    with realm.store.transaction() as unit:
        unit.sessions.save_presence(
            Presence(Principal("client001"), is_online=True, seen=to_ms(clock.now()))
        )
    fresh = look(realm.store, settings, clock)
    clock.move((settings.presence_timeout + GRACE).total_seconds() + 1)
    stale = look(realm.store, settings, clock)
    realm.store.close()

    assert [each.principal for each in fresh.participants] == ["client001"]
    assert [each.outcome for each in fresh.ended] == [Outcome.FAILED]
    assert (fresh.registered, fresh.running) == (1, ())
    assert (fresh.is_stale, stale.is_stale) == (False, True)


def test_watching_ends_well_with_ctrl_c(tmp_path: Path) -> None:
    """On a terminal that cannot draw it prints snapshots; the exit code is 0."""
    realm = asyncio.run(_realm(tmp_path / "manager.db"))
    realm.store.close()
    command = [sys.executable, "-m", "manager", "--home", str(tmp_path), "watch"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Terminal(command, environment) as terminal:
        terminal.until("no_sources")
        terminal.press(CTRL_C)
        code = terminal.end()

    assert code == 0
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_one_look_is_enough_for_scripts(
    tmp_path: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends by itself."""
    realm = asyncio.run(_realm(tmp_path / "manager.db"))
    realm.store.close()
    code = run(manager, PROGRAM, ["--home", str(tmp_path), "watch", "--once", *more])

    assert code == 0
    assert "client001" in capsys.readouterr().out


def test_a_picture_goes_where_it_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a job, and of the realm; alone on stdout, or in a file."""
    realm = asyncio.run(_realm(tmp_path / "manager.db"))
    realm.store.close()
    home = ["--home", str(tmp_path)]
    file = tmp_path / "map.svg"
    show = [*home, "jobs", "show", "J001", "--timeline", "-"]
    codes = [
        run(manager, PROGRAM, show),
        run(manager, PROGRAM, [*home, "map", str(file)]),
        run(manager, PROGRAM, [*show, "--json"]),
    ]
    printed = capsys.readouterr()

    assert codes == [0, 0, 2]
    assert printed.out.startswith("<svg ")
    assert printed.out.endswith("</svg>\n")
    assert "client001" in file.read_text()
    assert "give --timeline or --json, not both" in printed.err
