"""A participant is revoked while its job runs: it is out, and all others go on."""

import json
import time
from collections.abc import Iterator

import pytest

from manager.cli.demo_cluster import Party
from manager.store.records import Standing
from shared.cli import ExitCode
from shared.errors import FailureCode
from shared.messages import JobStage
from tests.integration.realm_fixture import (
    ANALYST,
    EXAMPLES,
    SERVERS,
    LiveRealm,
    held,
    until,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LATE = "leaver"
KIND = ("--role", "client", "--io", "input", "--prefix", "Leaver")
AT_MOST = 5.0
"""Seconds from the command to the end of its jobs and sessions."""


@pytest.fixture(scope="module")
def late(started_realm: LiveRealm) -> Iterator[str]:
    """Return the name of a source that may be lost."""
    started_realm.enrol_only(Party(LATE, KIND))
    file = EXAMPLES / "insurer_a.csv"
    started_realm.participant(LATE, "dataset", "add", "late", str(file))
    started_realm._spawn("participant", LATE)
    until(lambda: started_realm.is_online(LATE), "it is online")
    until(lambda: "late" in started_realm.offers(LATE), "it offers its data")
    yield started_realm.principals[LATE]
    started_realm.end(LATE)


def refused_logins(live: LiveRealm) -> int:
    """Return how often the broker refused the revoked one's login."""
    return sum(
        "refuses this user" in str(line.get("reason")) for line in live.lines(LATE)
    )


def test_50_whoever_is_revoked_is_out_within_five_seconds(
    live: LiveRealm, late: str
) -> None:
    """Its job ends and says why, and the broker does not let it in any more."""
    before = live.newest()
    with held(live.data_pid(LATE)):
        asked = live.ask(ANALYST, "mean", "--column", "mdvis", "--dataset", "late")
        job = live.next_job(before).job
        until(lambda: live.state(job).stage is JobStage.OFFERED, "it is offered")
        began = time.monotonic()
        revoked = live.manage("participants", "revoke", late, "--yes")
        ended = asked.wait()
        took = time.monotonic() - began

    assert (revoked.code, revoked.out) == (ExitCode.DONE, "")
    assert f"{late} is revoked" in revoked.err
    assert took < AT_MOST
    assert ended.code == ExitCode.FAILED
    assert ended.json()["code"] == FailureCode.REVOKED
    assert ended.json()["party"] == late
    listed = json.loads(live.manage("participants", "list", "--json").out)
    shown = {each["principal"]: each for each in listed}
    assert shown[late]["standing"] == Standing.REVOKED
    assert not shown[late]["online"]
    for server in SERVERS:
        said = [line for line in live.lines(server) if line.get("revoked") == late]
        assert len(said) == 1
    until(lambda: refused_logins(live) > 0, "the broker does not let it in")
    live.mean()  # of all others


def test_whoever_is_revoked_stays_so(live: LiveRealm, late: str) -> None:
    """Twice is a clear error; the next one of its prefix has another number."""
    until(lambda: live.manage("participants", "revoke", late, "--yes").code == 5, "out")
    twice = live.manage("participants", "revoke", late, "--yes")
    nobody = live.manage("participants", "revoke", "Leaver999", "--yes")
    live.enrol_only(Party("successor", KIND))

    assert twice.code == ExitCode.REFUSED
    assert "already" in twice.err
    assert nobody.code == ExitCode.CONFIGURATION
    assert live.principals["successor"] not in {late, "Leaver999"}
