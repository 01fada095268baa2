"""``mpc-manager selftest`` against a realm of real processes."""

import json
import re
from collections import Counter

import pytest

from manager.broker.access import broker_access
from manager.config import load_settings
from shared.topology import ADMIN_PERMISSIONS
from tests.integration.realm_fixture import ANALYST, Done, Json, LiveRealm

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def attempts(done: Done) -> list[Json]:
    """Return what was tried."""
    found: list[Json] = json.loads(done.out)
    return found


@pytest.fixture(scope="module")
def beside(started_realm: LiveRealm) -> tuple[Done, Json]:
    """A self-test of a sound realm, and the job that ran meanwhile."""
    asked = started_realm.ask(ANALYST, "mean", "--column", "mdvis")
    done = started_realm.manage("selftest", "--json")
    return done, asked.wait().json()


def test_a_sound_realm_refuses_everything_and_goes_on(
    live: LiveRealm, beside: tuple[Done, Json]
) -> None:
    """While a job runs: at the broker, the manager and every server."""
    done, asked = beside
    made = attempts(done)
    people = json.loads(live.manager("participants", "list", "--json"))
    servers = [
        each["principal"]
        for each in people
        if each["role"] == "mpcs" and each["online"]
    ]

    assert done.code == 0, done.out
    assert {each["verdict"] for each in made} == {"held"}
    assert Counter(each["at"] for each in made) == Counter(
        {"broker": 9, "manager": 26} | dict.fromkeys(servers, 12)
    )
    assert asked["state"] == "done"
    assert live.mean()["state"] == "done"
    assert "Traceback" not in live.log("manager")


@pytest.mark.usefixtures("beside")
def test_what_is_not_refused_is_a_surprise(live: LiveRealm) -> None:
    """A broker whose permissions somebody has opened; the visitor is the same."""
    settings = load_settings({"home": live.home("manager")})
    with broker_access(settings).admin() as admin:
        admin._permit("Selftest001", ADMIN_PERMISSIONS)
    done = live.manage("selftest")

    assert done.code == 1
    assert re.search("somebody else's inbox.*allowed.*SURPRISE", done.out)
    assert re.search("into somebody's inbox.*allowed.*SURPRISE", done.out)
    assert re.search("[1-9] surprises", done.err)
    assert "Selftest002" not in live.manager("participants", "list")


def test_without_a_manager_there_is_no_verdict(live: LiveRealm) -> None:
    """Nothing refuses because nobody is there."""
    live.end("manager")
    done = live.manage("selftest")
    live.restart_manager()

    assert done.code == 4
    assert "hint: " in done.err
