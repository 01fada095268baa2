"""What is computed in secret agrees with NumPy on the same rows in clear."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from participant.columns import Missing
from participant.datasets.tables import columns
from participant.statistics.base import Result
from tests.unit.participant.datasets.whole import read_columns
from tests.unit.participant.statistics.rounds import Table, compute

pytestmark = pytest.mark.slow

INSURERS = sorted((Path(__file__).parents[2] / "examples" / "insurers").glob("*.csv"))

NAMES = columns(INSURERS[0])

SOURCES = [read_columns(path, NAMES, Missing.REFUSE) for path in INSURERS]

ALL = {name: np.concatenate([source[name] for source in SOURCES]) for name in NAMES}

GRID = 2.0**-16


def _ask(
    statistic: str,
    used: Sequence[str],
    sources: Sequence[Table] = SOURCES,
    **more: object,
) -> Result:
    result = compute({"statistic": statistic, "columns": list(used)} | more, sources)
    json.dumps(result, allow_nan=False)
    return result


def _final(
    statistic: str,
    used: Sequence[str],
    sources: Sequence[Table] = SOURCES,
    **more: object,
) -> Result:
    return _ask(statistic, used, sources, reveal="final", **more)


def _near(expected: object, rel: float = 1e-6) -> object:
    return pytest.approx(expected, rel=rel, abs=1e-9)


@pytest.mark.parametrize(("statistic", "clear"), [("min", np.min), ("max", np.max)])
def test_extremes_agree_with_numpy(statistic: str, clear: object) -> None:
    """Of all columns at once, to the grid."""
    assert callable(clear)
    expected = {name: pytest.approx(clear(ALL[name]), abs=GRID) for name in NAMES}

    assert _ask(statistic, NAMES) == {statistic: expected}


def test_median_and_quantiles_agree_with_numpy() -> None:
    """Twenty thousand rows of three insurers; nothing else comes out."""
    column = ALL["disea"]
    median = pytest.approx(np.median(column), abs=GRID)
    assert _ask("median", ["disea"]) == {"median": {"disea": median}}

    quantile = pytest.approx(np.quantile(column, 0.937), abs=GRID)
    assert _ask("quantile", ["disea"], q="0.937") == {"quantile": {"disea": quantile}}


def test_the_group_with_the_largest_sum_is_named() -> None:
    """Rows of groups that are not named do not count; empty groups sum up to 0."""
    sources = [
        {"a": [1.0, 5.0, 100.0], "g": [0.0, 1.0, 7.0]},
        {"a": [5.5, -1.0, 1.0], "g": [0.0, 1.0, 1.5]},
    ]
    more: dict[str, object] = {"by": "g", "groups": ["1", "0", "1.5", "8"]}
    assert _ask("argmax", ["a"], sources, **more) == {"by": "g", "argmax": {"a": "0"}}

    below = [{"a": [-1.0, -2.0], "g": [0.0, 1.0]}]
    more["groups"] = ["1", "9", "8"]
    assert _ask("argmax", ["a"], below, **more) == {"by": "g", "argmax": {"a": "9"}}


def test_final_spreads_agree_with_numpy() -> None:
    """And nothing says how many rows there are."""
    used = ["mdvis", "disea"]
    variance = {name: _near(np.var(ALL[name], ddof=1)) for name in used}
    assert _final("variance", used) == {"variance": variance}

    deviation = {name: _near(np.std(ALL[name], ddof=1)) for name in used}
    assert _final("stddev", used) == {"stddev": deviation}


def test_final_associations_agree_with_numpy() -> None:
    """With their signs."""
    used = ["mdvis", "disea", "lncoins"]
    matrix = np.array([ALL[name] for name in used])
    found = _final("covariance", used)
    assert set(found) == {"columns", "matrix"}
    np.testing.assert_allclose(_array(found), np.cov(matrix), rtol=1e-6)

    found = _final("correlation", used)
    np.testing.assert_allclose(_array(found), np.corrcoef(matrix), rtol=1e-6)
    assert _final("correlation", used[:2])["correlation"] == _near(
        np.corrcoef(matrix)[0, 1]
    )


def _array(result: Result) -> NDArray[np.float64]:
    matrix = result["matrix"]
    assert isinstance(matrix, list)
    return np.array(matrix, np.float64)


@pytest.mark.parametrize("used", [("lncoins",), ("lncoins", "physlm", "disea")])
def test_a_final_regression_agrees_with_numpy(used: tuple[str, ...]) -> None:
    """Coefficients, intercept and r2 alone."""
    target = ALL["mdvis"]
    design = np.column_stack([ALL[name] for name in used] + [np.ones_like(target)])
    solution, residual, *_ = np.linalg.lstsq(design, target, rcond=None)
    left = float(residual[0]) / float(((target - target.mean()) ** 2).sum())

    assert _final("linear-regression", used, target="mdvis") == {
        "coefficients": {
            name: _near(figure, 1e-5)
            for name, figure in zip(used, solution, strict=False)
        },
        "intercept": _near(solution[-1], 1e-5),
        "r2": _near(1 - left, 1e-5),
    }


ALONE: list[Table] = [{"a": [3.0], "b": [1.0], "t": [2.0]}]

CONSTANT: list[Table] = [
    {"a": [3.0, 3.0, 3.0, 3.0], "b": [1.0, 2.0, 4.0, 5.0], "t": [2.0, 1.0, 4.0, 1.0]}
]


@pytest.mark.parametrize("statistic", ["variance", "stddev"])
def test_the_spread_of_one_row_is_not_defined(statistic: str) -> None:
    """A secret flag says so, and the servers do not see it."""
    result = _final(statistic, ["a"], ALONE)

    assert result[statistic] == {"a": None}
    assert "fewer than 2 rows" in str(result["note"])


@pytest.mark.parametrize("statistic", ["variance", "stddev"])
def test_the_spread_of_a_constant_is_nought(statistic: str) -> None:
    """Exactly: its numerator is 0, whatever an iteration makes of 1 over its root."""
    assert _final(statistic, ["a"], CONSTANT) == {statistic: {"a": 0.0}}


def test_associations_of_one_row_or_a_constant_are_not_defined() -> None:
    """Null, with a note."""
    none = [[None, None], [None, None]]
    assert _final("covariance", ["a", "b"], ALONE)["matrix"] == none

    result = _final("correlation", ["a", "b"], CONSTANT)
    assert result["matrix"] == [[None, None], [None, 1.0]]
    assert "constant" in str(result["note"])


def test_a_regression_without_a_solution_is_not_defined() -> None:
    """One on a constant; a constant target has no r2."""
    result = _final("linear-regression", ["a", "b"], CONSTANT, target="t")
    assert result["coefficients"] == {"a": None, "b": None}
    assert result["intercept"] is None
    assert "depend on each other" in str(result["note"])

    result = _final("linear-regression", ["b"], CONSTANT, target="a")
    assert result["coefficients"] == {"b": _near(0.0)}
    assert result["intercept"] == _near(3.0)
    assert result["r2"] is None
    assert "target is constant" in str(result["note"])
