"""What is computed in secret, in a realm of real processes: workers over checked links."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.integration.realm_fixture import (
    ANALYST,
    HERE,
    SOURCES,
    Json,
    LiveRealm,
)
from tests.integration.test_realm_jobs import (
    PREDICTORS,
    Clear,
    Columns,
    coefficients,
    read,
    regression,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

GRID = 2.0**-16
TOLERANCE = 1e-6
PATIENCE = ("--deadline", "240s")


def largest(data: Columns) -> object:
    """Return which of two groups has the largest sum."""
    return [
        int(
            data["mdvis"][data["physlm"] == 1].sum()
            > data["mdvis"][data["physlm"] == 0].sum()
        )
    ]


QUESTIONS: Sequence[tuple[tuple[str, ...], Callable[[Json], object], Clear]] = (
    (
        ("median", "--column", "disea"),
        lambda result: result["median"]["disea"],
        lambda data: np.median(data["disea"]),
    ),
    (
        ("quantile", "--column", "disea", "--q", "0.9"),
        lambda result: result["quantile"]["disea"],
        lambda data: np.quantile(data["disea"], 0.9),
    ),
    (
        ("min", "--column", "disea", "--column", "mdvis"),
        lambda result: list(result["min"].values()),
        lambda data: [data["disea"].min(), data["mdvis"].min()],
    ),
    (
        ("max", "--column", "disea", "--column", "mdvis"),
        lambda result: list(result["max"].values()),
        lambda data: [data["disea"].max(), data["mdvis"].max()],
    ),
    (
        ("argmax", "--column", "mdvis", "--by", "physlm", "--groups", "0,1"),
        lambda result: [int(result["argmax"]["mdvis"])],
        largest,
    ),
    (
        ("correlation", "--column", "mdvis", "--column", "disea", "--reveal", "final"),
        lambda result: result["correlation"],
        lambda data: np.corrcoef(data["mdvis"], data["disea"])[0, 1],
    ),
    (
        (
            "linear-regression",
            *("--target", "mdvis", "--reveal", "final"),
            *(part for name in PREDICTORS for part in ("--column", name)),
        ),
        coefficients,
        regression,
    ),
)


def test_what_is_computed_in_secret_is_right(live: LiveRealm) -> None:
    """Every result is NumPy's on all rows together, and says nothing else."""
    data = read(SOURCES)
    for arguments, secure, clear in QUESTIONS:
        job = live.ask(ANALYST, *arguments, *HERE, *PATIENCE).wait().json()

        assert job["state"] == "done", str(job)
        assert "n" not in job["result"]
        np.testing.assert_allclose(
            np.array(secure(job["result"]), dtype=float),
            np.array(clear(data), dtype=float),
            rtol=TOLERANCE,
            atol=GRID,
            err_msg=str(arguments),
        )
        assert (job["sources"], job["servers"]) == (3, 3)


def test_a_source_sees_what_the_consumer_will_learn(live: LiveRealm) -> None:
    """When it accepts, in the log that its owner reads."""
    live.ask(ANALYST, "max", "--column", "disea", *HERE, *PATIENCE).wait()
    lines = [line for line in live.lines("insurer_a") if line.get("consumer_learns")]

    assert str(lines[-1]["consumer_learns"]).startswith("the greatest value")
