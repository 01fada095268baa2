"""Jobs in a realm of real processes: right results, one after the other and at once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from manager.cli.demo_cluster import Party
from tests.integration.realm_fixture import (
    ANALYST,
    BOTH,
    EXAMPLES,
    HERE,
    SERVERS,
    SOURCES,
    VISITOR,
    Json,
    LiveRealm,
    until,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

TOLERANCE = 1e-6
EDGES = (0, 1, 5, 20)
PREDICTORS = ("lncoins", "physlm", "disea")

Columns = Mapping[str, NDArray[np.float64]]
Clear = Callable[[Columns], object]


def read(names: Sequence[str]) -> Columns:
    """Return the columns of some insurers' files, one file behind the other."""
    tables = [
        np.genfromtxt(EXAMPLES / f"{name}.csv", delimiter=",", names=True)
        for name in names
    ]
    whole = np.concatenate(tables)
    return {name: whole[name] for name in whole.dtype.names or ()}


def regression(data: Columns) -> object:
    """Return the intercept and the coefficients by least squares."""
    target = data["mdvis"]
    design = np.column_stack(
        [np.ones_like(target), *(data[name] for name in PREDICTORS)]
    )
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    return [float(figure) for figure in solution]


def histogram(data: Columns) -> object:
    """Return NumPy's counts, with those below and above around them."""
    values = data["mdvis"]
    inside, _ = np.histogram(values, EDGES)
    below, above = (values < EDGES[0]).sum(), (values > EDGES[-1]).sum()
    return [int(below), *(int(count) for count in inside), int(above)]


def counts(result: Json) -> object:
    """Return what ``histogram`` returns, from a secure result."""
    found = result["histogram"]["mdvis"]
    return [found["below"], *found["counts"], found["above"]]


def coefficients(result: Json) -> object:
    """Return what ``regression`` returns, from a secure result."""
    return [
        result["intercept"],
        *(result["coefficients"][name] for name in PREDICTORS),
    ]


TWO = ("--column", "mdvis", "--column", "disea")
QUESTIONS: Sequence[
    tuple[tuple[str, ...], Callable[[Json], object], Callable[[Columns], object]]
] = (
    (
        ("count", "--column", "mdvis"),
        lambda result: result["count"],
        lambda data: len(data["mdvis"]),
    ),
    (
        ("sum", *TWO),
        lambda result: list(result["sum"].values()),
        lambda data: [data["mdvis"].sum(), data["disea"].sum()],
    ),
    (
        ("mean", *TWO),
        lambda result: list(result["mean"].values()),
        lambda data: [data["mdvis"].mean(), data["disea"].mean()],
    ),
    (
        ("variance", "--column", "lpi"),
        lambda result: result["variance"]["lpi"],
        lambda data: data["lpi"].var(ddof=1),
    ),
    (
        ("stddev", "--column", "mdvis"),
        lambda result: result["stddev"]["mdvis"],
        lambda data: data["mdvis"].std(ddof=1),
    ),
    (
        ("covariance", *TWO),
        lambda result: result["matrix"],
        lambda data: np.cov(data["mdvis"], data["disea"]).tolist(),
    ),
    (
        ("correlation", *TWO),
        lambda result: result["correlation"],
        lambda data: np.corrcoef(data["mdvis"], data["disea"])[0, 1],
    ),
    (
        ("histogram", "--column", "mdvis", "--edges", ",".join(map(str, EDGES))),
        counts,
        histogram,
    ),
    (
        (
            "linear-regression",
            *("--target", "mdvis"),
            *(part for name in PREDICTORS for part in ("--column", name)),
        ),
        coefficients,
        regression,
    ),
    (
        ("mean", "--column", "fmde"),
        lambda result: result["mean"]["fmde"],
        lambda data: data["fmde"].mean(),
    ),
)


def roster(live: LiveRealm, job: Json, duty: str) -> set[str]:
    """Return who took part in a job with some duty, by the manager's word."""
    parties = live.shown(job["job"])["parties"]
    return {party["principal"] for party in parties if duty in party["duties"]}


def names(live: LiveRealm, *parties: str) -> set[str]:
    """Return the principals of parties."""
    return {live.principals[party] for party in parties}


def test_ten_jobs_one_after_the_other_are_right(live: LiveRealm) -> None:
    """Every statistic over three owners' files is the one of all rows together."""
    data = read(SOURCES)
    jobs = []
    for arguments, secure, clear in QUESTIONS:
        job = live.ask(ANALYST, *arguments, *HERE).wait().json()
        jobs.append(job)

        assert job["state"] == "done", job
        np.testing.assert_allclose(
            np.array(secure(job["result"]), dtype=float),
            np.array(clear(data), dtype=float),
            rtol=TOLERANCE,
            err_msg=str(arguments),
        )
        assert (job["sources"], job["servers"]) == (3, 3)

    assert len({job["id"] for job in jobs}) == len(QUESTIONS)
    for job in (jobs[0], jobs[-1]):
        assert roster(live, job, "compute") == names(live, *SERVERS)
        assert roster(live, job, "input") == names(live, *SOURCES)
        assert roster(live, job, "output") == names(live, ANALYST)


def test_four_jobs_at_once_are_right(live: LiveRealm) -> None:
    """On the same servers, of three consumers, one of whom has no process running."""
    data = read(SOURCES)
    asked = [
        live.ask(consumer, "mean", "--column", column, *HERE)
        for consumer, column in (
            (ANALYST, "mdvis"),
            (ANALYST, "disea"),
            (VISITOR, "lpi"),
            (BOTH, "fmde"),
        )
    ]
    jobs = [command.wait().json() for command in asked]
    means = [next(iter(job["result"]["mean"].items())) for job in jobs]

    assert [job["state"] for job in jobs] == ["done"] * 4
    for name, value in means:
        assert value == pytest.approx(data[name].mean(), rel=TOLERANCE)
    for job in jobs:
        assert roster(live, job, "compute") == names(live, *SERVERS)


def test_a_client_may_give_and_ask_in_one_job(live: LiveRealm, tmp_path: Path) -> None:
    """Its own rows count, beside those of the other source."""
    own, other = tmp_path / "own.csv", tmp_path / "other.csv"
    own.write_text("days\n1\n2\n")
    other.write_text("days\n9\n")
    for name, path in ((BOTH, own), ("insurer_a", other)):
        live.participant(name, "dataset", "add", "stays", str(path))
        until(lambda name=name: "stays" in live.offers(name), f"{name} offers stays")  # type: ignore[misc]  # a default as a closure
    try:
        job = (
            live.ask(BOTH, "mean", "--column", "days", "--dataset", "stays")
            .wait()
            .json()
        )
        took_part = live.shown(job["job"])["parties"]
    finally:
        for name in (BOTH, "insurer_a"):
            live.participant(name, "dataset", "remove", "stays")
    [entry] = [p for p in took_part if p["principal"] == live.principals[BOTH]]

    assert job["result"]["n"] == 3
    assert job["result"]["mean"]["days"] == pytest.approx(4.0)
    assert set(entry["duties"]) == {"input", "output"}


def test_sources_come_and_go_between_jobs(live: LiveRealm) -> None:
    """Who ends in good order is not asked; who is back, or new, is."""
    all_three, two = read(SOURCES), read(SOURCES[:2])
    code = live.end(SOURCES[2])
    until(lambda: not live.is_online(SOURCES[2]), "the source is offline")
    without = live.mean()
    live.restart(SOURCES[2])
    until(lambda: "visits" in live.offers(SOURCES[2]), "it offers its data")
    again = live.mean()

    assert code == 0
    assert without["sources"] == 2
    assert without["result"]["mean"]["mdvis"] == pytest.approx(two["mdvis"].mean())
    assert again["sources"] == 3
    assert again["result"]["mean"]["mdvis"] == pytest.approx(all_three["mdvis"].mean())


def test_a_source_that_registers_later_takes_part(
    live: LiveRealm, tmp_path: Path
) -> None:
    """And is not missed when it has left."""
    rows = tmp_path / "late.csv"
    rows.write_text("mdvis\n1000\n")
    before = read(SOURCES)["mdvis"]
    kind = ("--role", "client", "--io", "input", "--prefix", "Late")
    live.add([Party("late", kind, (), rows)])
    try:
        until(lambda: "visits" in live.offers("late"), "it offers its data")
        with_it = live.mean()
    finally:
        live.end("late")
    until(lambda: not live.is_online("late"), "the source is offline")
    without = live.mean()
    expected = np.append(before, 1000.0).mean()

    assert with_it["sources"] == 4
    assert with_it["result"]["mean"]["mdvis"] == pytest.approx(expected)
    assert without["sources"] == 3
