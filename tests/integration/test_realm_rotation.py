"""Every key of the manager is rotated while jobs run; none of them notices."""

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest

from manager.realm.founding import KEY_FILE
from manager.realm.keys import load_keys
from tests.integration.realm_fixture import (
    ANALYST,
    BOTH,
    SERVERS,
    SOURCES,
    Command,
    Json,
    LiveRealm,
    until,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def _rotate(live: LiveRealm, *arguments: str) -> None:
    password = str(live.folder / "root.password")
    done = live.manage("keys", "rotate", *arguments, "--root-password-file", password)

    assert done.code == 0, done.err
    assert "in use" in done.err


def _keys(live: LiveRealm) -> list[Json]:
    found: list[Json] = json.loads(live.manager("keys", "list", "--json"))
    return found


def _all_done(asked: Sequence[Command]) -> None:
    ended = [command.wait() for command in asked]

    assert [done.json()["state"] for done in ended] == ["done"] * len(ended)


def test_no_job_fails_while_every_key_is_rotated(live: LiveRealm) -> None:
    """Old and new leaves meet in one job, under the old and the new authority."""
    before, sessions = _keys(live), live.sessions()
    asked = [live.ask(who, "mean", "--column", "mdvis") for who in (ANALYST, BOTH)]
    _rotate(live, "all")
    asked += [live.ask(who, "mean", "--column", "mdvis") for who in (ANALYST, BOTH)]
    _all_done(asked)
    undisturbed = live.sessions()
    for name in (SERVERS[0], SOURCES[0]):
        live.end(name)
        live.restart(name)
    mixed = live.mean()
    live.end("manager")
    live.restart_manager()
    until(lambda: live.is_online(SERVERS[0]), "the server is online")
    after = live.mean()
    kinds = [(key["kind"], key["state"]) for key in _keys(live)]
    ids = {key["id"] for key in _keys(live)}

    assert undisturbed <= sessions
    assert mixed["state"] == after["state"] == "done"
    assert {key["id"] for key in before if key["kind"] != "session"} <= ids
    assert kinds == [
        ("root", "in use"),
        *(("sig", state) for state in ("in use", "former")),
        *(("kem", state) for state in ("in use", "former")),
        *(("ca", state) for state in ("in use", "former")),
        ("session", "in use"),
    ]
    for name in (*SERVERS, *SOURCES, ANALYST):
        assert '"realm descriptor"' in live.log(name)
        assert "Traceback" not in live.log(name)


def test_keys_are_rotated_without_a_manager(live: LiveRealm) -> None:
    """It goes on with them when it starts, and so does everybody."""
    sessions = live.sessions()
    live.end("manager")
    path = live.home("manager") / KEY_FILE
    old = load_keys(path)
    _rotate(live, "all", "--overlap", "1d")
    new = load_keys(path)
    live.restart_manager()
    job = live.mean()

    assert new.generation == old.generation + 1
    assert new.pairs[0].begins - new.pairs[1].ends < 0
    assert new.pairs[1].ends - new.pairs[0].begins < timedelta(days=2) / timedelta(
        milliseconds=1
    )
    assert live.sessions() <= sessions
    assert job["state"] == "done"
