"""Jobs that cannot be: they end at once, say what is wrong, and harm no other."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.errors import FailureCode
from tests.integration.realm_fixture import (
    ANALYST,
    BOTH,
    Done,
    Json,
    LiveRealm,
    until,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

OWNER = "insurer_b"
AT_ONCE = 3.0
"""Seconds that a job may take that nobody can serve, the command's start included."""
MANY_ROWS = 1_000_000
GROW = """
import sys
with open(sys.argv[1], "a", buffering=1) as file:
    while True:
        file.write("1.5\\n")
"""


TABLES = {
    "words": "days\n1\ntwo\n3\n",
    "gaps": "days,other\n1,\nNA,7\n3,8\n",
    "hollow": "days\n",
    "emptied": "days\n1\n",
    "growing": "days\n" + "".join(f"{n}.5\n" for n in range(MANY_ROWS)),
}
"""What ``OWNER`` alone offers, as the files are when they are named."""


@pytest.fixture(scope="module")
def tables(
    started_realm: LiveRealm, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """The files that ``OWNER`` offers."""
    folder = tmp_path_factory.mktemp("tables")
    files = {name: folder / f"{name}.csv" for name in TABLES}
    for name, path in files.items():
        path.write_text(TABLES[name])
        started_realm.participant(OWNER, "dataset", "add", name, str(path))
    until(lambda: set(TABLES) <= started_realm.offers(OWNER), "all are offered")
    return files


def ask(live: LiveRealm, dataset: str, *arguments: str) -> Done:
    """Ask for a mean of column ``days`` unless the arguments name another."""
    column = () if "--column" in arguments else ("--column", "days")
    asked = (*column, "--dataset", dataset, *arguments)
    return live.ask(ANALYST, "mean", *asked).wait()


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("--csp", "atlantis"), "csp=atlantis"),
        (("--ncpus", "10000"), "cpus>=10000"),
        (("--location", "moon"), "location=moon"),
        (("--servers", "9"), "9 MPC servers needed"),
    ],
)
def test_what_no_server_has_is_said_at_once(
    live: LiveRealm, arguments: tuple[str, ...], missing: str
) -> None:
    """The reason names what is missing, here and at the manager."""
    done = live.ask(ANALYST, "mean", "--column", "mdvis", *arguments).wait()
    job = done.json()
    shown = live.shown(job["job"])

    assert done.code == 1
    assert done.seconds < AT_ONCE
    assert job["code"] == FailureCode.NO_QUORUM
    assert missing in job["reason"]
    assert shown["reason"] == job["reason"]
    assert shown["state"] == "closed"


@pytest.mark.parametrize("fixp", ["3", "33"])
def test_a_precision_out_of_bounds_is_a_slip(live: LiveRealm, fixp: str) -> None:
    """Refused before anybody is asked, with both bounds."""
    done = live.ask(ANALYST, "mean", "--column", "mdvis", "--fixp", fixp).wait()

    assert done.code == 2
    assert "4<=x<=32" in done.err
    assert "hint" in done.err


def test_a_dataset_that_nobody_offers(live: LiveRealm) -> None:
    """The reason names it; there is no party to blame."""
    done = ask(live, "dreams")
    job = done.json()

    assert done.code == 1
    assert done.seconds < AT_ONCE
    assert job["code"] == FailureCode.NO_SOURCES
    assert "dreams" in job["reason"]


def test_a_column_that_a_source_does_not_have(live: LiveRealm) -> None:
    """The source that says so is named, by the manager too."""
    done = live.ask(BOTH, "mean", "--column", "shoes").wait()
    job = done.json()

    assert done.code == 1
    assert job["code"] == FailureCode.REFUSED
    assert job["party"] in {
        live.principals[name] for name in ("insurer_a", "insurer_b", "insurer_c")
    }
    assert "shoes" in job["reason"]
    assert live.shown(job["job"])["party"] == job["party"]


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ("words", "line 3"),
        ("gaps", "missing"),
        ("hollow", "no row"),
    ],
)
@pytest.mark.usefixtures("tables")
def test_a_file_that_cannot_be_used_is_named_with_its_place(
    live: LiveRealm, dataset: str, says: str
) -> None:
    """No cell is shown; a job beside it is served by the same parties."""
    beside = live.ask(BOTH, "mean", "--column", "mdvis")
    done = ask(live, dataset)
    unharmed = beside.wait()
    job = done.json()

    assert done.code == 1
    assert job["code"] == FailureCode.REFUSED
    assert job["party"] == live.principals[OWNER]
    assert says in job["reason"]
    assert "two" not in job["reason"]
    assert unharmed.code == 0
    assert unharmed.json()["sources"] == 3


@pytest.mark.usefixtures("tables")
def test_rows_with_gaps_are_left_out_if_the_consumer_says_so(live: LiveRealm) -> None:
    """Only rows that lack a column in use."""
    result = ask(live, "gaps", "--missing", "drop").json()["result"]

    assert (result["n"], result["mean"]["days"]) == (2, pytest.approx(2.0))


def pins(live: LiveRealm) -> dict[str, Json]:
    """Return whose keys ``OWNER`` holds to, by name."""
    shown: list[Json] = json.loads(live.participant(OWNER, "pins", "list", "--json"))
    return {str(pin["principal"]): pin for pin in shown}


def test_a_file_that_was_emptied_is_refused(
    live: LiveRealm, tables: Mapping[str, Path]
) -> None:
    """It had a header when it was offered; now there is nothing in it."""
    tables["emptied"].write_text("")
    done = ask(live, "emptied")
    job = done.json()

    assert done.code == 1
    assert job["state"] == "failed"
    # The manager may have been told already that nobody offers it any more.
    assert (job["code"], job["party"]) in {
        (FailureCode.REFUSED, live.principals[OWNER]),
        (FailureCode.NO_SOURCES, None),
    }
    assert "emptied" in job["reason"] or live.principals[OWNER] in job["reason"]


def test_a_file_that_is_written_meanwhile_is_refused(
    live: LiveRealm, tables: Mapping[str, Path]
) -> None:
    """What was read of it would be neither the old file nor the new one."""
    arguments = [sys.executable, "-c", GROW, str(tables["growing"])]
    with subprocess.Popen(arguments) as writer:
        try:
            beside = live.ask(BOTH, "mean", "--column", "mdvis")
            done = ask(live, "growing")
            unharmed = beside.wait()
        finally:
            writer.kill()
    job = done.json()
    after = ask(live, "growing").json()

    assert done.code == 1
    assert job["code"] == FailureCode.REFUSED
    assert job["party"] == live.principals[OWNER]
    assert "changed while it was read" in job["reason"]
    assert unharmed.code == 0
    assert after["state"] == "done", after
    assert after["result"]["n"] > MANY_ROWS


def test_60_a_consumer_with_another_key_than_its_pin_gets_nothing(
    live: LiveRealm,
) -> None:
    """The owner pins by command, while its control process runs."""
    analyst = live.principals[ANALYST]
    live.mean()
    seen = pins(live)
    live.participant(OWNER, "pins", "remove", analyst)
    live.participant(OWNER, "pins", "add", analyst, "00" * 32)
    refused = live.ask(ANALYST, "mean", "--column", "mdvis").wait().json()
    taken = live.run(OWNER, "pins", "add", analyst, "11" * 32)
    live.participant(OWNER, "pins", "remove", analyst)
    job = live.mean()

    assert seen[analyst]["origin"] == "first-use"
    assert (refused["code"], refused["party"]) == (
        FailureCode.REFUSED,
        live.principals[OWNER],
    )
    assert "pin_mismatch" in refused["reason"]
    assert (taken.code, "another pin (owner)" in taken.err) == (3, True)
    assert job["state"] == "done"
    assert pins(live)[analyst] == seen[analyst]


def test_after_all_refusals_a_job_is_served_at_both_bounds(live: LiveRealm) -> None:
    """Nothing is left of the jobs that could not be."""
    for fixp in ("4", "32"):
        job = live.mean(ANALYST, "--fixp", fixp)

        assert (job["servers"], job["sources"]) == (3, 3)
