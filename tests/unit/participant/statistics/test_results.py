"""Results on real data and at the borders of what is defined."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from participant.columns import Missing
from participant.datasets.tables import columns
from participant.statistics import registry
from participant.statistics.base import Result
from participant.statistics.params import parse_params
from participant.statistics.registry import checked, names
from shared.errors import FailureCode, JobAbortedError, RefusalCode, RefusedError
from tests.unit.participant.datasets.whole import read_columns
from tests.unit.participant.statistics.rounds import Table, as_columns, compute

INSURERS = sorted((Path(__file__).parents[4] / "examples" / "insurers").glob("*.csv"))
NAMES = columns(INSURERS[0])
SOURCES = [read_columns(path, NAMES, Missing.REFUSE) for path in INSURERS]
ALL = {name: np.concatenate([source[name] for source in SOURCES]) for name in NAMES}
TOLERANCE = 1e-9


def _near(expected: object) -> object:
    return pytest.approx(expected, rel=TOLERANCE, abs=1e-13)


def _insurers(statistic: str, *used: str, **more: object) -> Result:
    return compute({"statistic": statistic, "columns": list(used)} | more, SOURCES)


@pytest.mark.parametrize(
    ("statistic", "clear"),
    [
        ("sum", np.sum),
        ("mean", np.mean),
        ("variance", lambda column: np.var(column, ddof=1)),
        ("stddev", lambda column: np.std(column, ddof=1)),
    ],
)
def test_each_column_alone_agrees_with_numpy(statistic: str, clear: object) -> None:
    """Of all three insurers together, with no insurer's rows seen by anybody."""
    assert callable(clear)
    result = _insurers(statistic, *NAMES)

    assert result["n"] == 20190
    assert result["sources"] == 3
    assert result[statistic] == _near({name: float(clear(ALL[name])) for name in NAMES})


def test_counts_and_histograms_agree_with_numpy() -> None:
    """To the last one: the last bin holds its upper edge."""
    edges = ["1", "2", "5", "10", "50"]
    numbers = [float(edge) for edge in edges]
    assert _insurers("count", "mdvis")["count"] == 20190

    result = _insurers("histogram", "mdvis", "disea", edges=edges)

    histogram = result["histogram"]
    assert isinstance(histogram, dict)
    for name in ("mdvis", "disea"):
        assert histogram[name] == {
            "below": int((ALL[name] < 1).sum()),
            "counts": np.histogram(ALL[name], numbers)[0].tolist(),
            "above": int((ALL[name] > 50).sum()),
        }
    assert result["edges"] == edges


def test_associations_agree_with_numpy() -> None:
    """Every two of ten columns."""
    table = np.array([ALL[name] for name in NAMES])

    assert np.array(_insurers("covariance", *NAMES)["matrix"]) == _near(np.cov(table))
    assert np.array(_insurers("correlation", *NAMES)["matrix"]) == _near(
        np.corrcoef(table)
    )


@pytest.mark.parametrize("statistic", ["covariance", "correlation"])
def test_two_columns_give_a_number_too(statistic: str) -> None:
    """Nobody wants to pick it out of a matrix."""
    result = _insurers(statistic, "mdvis", "disea")

    matrix = result["matrix"]
    assert isinstance(matrix, list)
    assert result[statistic] == matrix[0][1] == matrix[1][0]
    assert statistic not in _insurers(statistic, "mdvis", "disea", "lpi")


def _clear_regression(
    table: NDArray[np.float64], target: NDArray[np.float64]
) -> Result:
    """Return the regression by NumPy's QR decomposition."""
    rows, count = table.shape
    design = np.column_stack([np.ones(rows), table])
    q, r = np.linalg.qr(design)
    solution = np.linalg.solve(r, q.T @ target)
    residual = target - design @ solution
    variance = residual @ residual / (rows - count - 1)
    inverse = np.linalg.inv(r)
    errors = np.sqrt(variance * (inverse**2).sum(axis=1))
    spread = target - target.mean()
    return {
        "intercept": solution[0], "coefficients": solution[1:].tolist(),
        "intercept_standard_error": errors[0], "standard_errors": errors[1:].tolist(),
        "residual_standard_error": math.sqrt(variance),
        "r2": 1 - residual @ residual / (spread @ spread),
    }  # fmt: skip


def test_a_regression_agrees_with_numpy() -> None:
    """The model of the data's own literature: visits on plan and health."""
    used = NAMES[1:]
    result = _insurers("linear-regression", *used, target="mdvis")
    for key in ("coefficients", "standard_errors"):
        named = result[key]
        assert isinstance(named, dict)
        assert list(named) == used
        result[key] = list(named.values())

    clear = _clear_regression(np.array([ALL[name] for name in used]).T, ALL["mdvis"])

    assert {key: result[key] for key in clear} == {
        key: _near(value) for key, value in clear.items()
    }
    assert result["degrees_of_freedom"] == 20190 - 10


def test_a_hard_regression_is_still_right() -> None:
    """Predictors that differ by a part in a million, far from zero (exact solution known)."""
    grid = np.arange(-8.0, 8.0)
    first = 2.0**20 + grid
    second = first + (grid**2) / 2.0**20
    target = 3 * first - 5 * second + 7
    table = {"a": first, "b": second, "t": target}

    result = compute(
        {"statistic": "linear-regression", "columns": ["a", "b"], "target": "t"},
        [table],
    )

    assert result["coefficients"] == {"a": _near(3.0), "b": _near(-5.0)}
    assert result["r2"] == 1.0
    assert result["residual_standard_error"] == _near(0.0)


def test_cancellation_does_not_hurt() -> None:
    """A small spread on a large offset: the textbook formula in float64 fails."""
    table = {"a": [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], "b": [1e15, 1.0, -1e15, 1.0]}

    assert compute({"statistic": "variance", "columns": ["a"]}, [table])[
        "variance"
    ] == {"a": 30.0}
    assert compute({"statistic": "sum", "columns": ["b"]}, [table])["sum"] == {"b": 2.0}


def test_one_row_has_no_spread() -> None:
    """Undefined is null with a note, not an error and not NaN."""
    table = {"a": [1.5], "b": [2.5]}
    for statistic in ("variance", "stddev"):
        result = compute({"statistic": statistic, "columns": ["a"]}, [table])

        assert result[statistic] == {"a": None}
        assert "fewer than 2 rows" in str(result["note"])
    for statistic in ("covariance", "correlation"):
        result = compute({"statistic": statistic, "columns": ["a", "b"]}, [table])

        assert result["matrix"] == [[None, None], [None, None]]
        assert "fewer than 2 rows" in str(result["note"])


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6 / 3])
@pytest.mark.parametrize("fixp", [4, 32])
def test_a_constant_column_has_no_correlation(constant: float, fixp: int) -> None:
    """Even where its sums are rounded: what is left of them is no spread."""
    table: Table = {"a": [1.0, 2.0, 4.0], "b": [constant] * 3}
    more: dict[str, object] = {"columns": ["a", "b"], "fixp": fixp}

    result = compute({"statistic": "correlation"} | more, [table, table])

    assert result["matrix"] == [[1.0, None], [None, None]]
    assert "'" not in str(result["note"])
    assert str(result["note"]).endswith(": b")
    assert compute({"statistic": "variance"} | more, [table])["variance"] == {
        "a": _near(7 / 3),
        "b": 0.0,
    }


@pytest.mark.parametrize(
    ("second", "culprit"),
    [
        ([2.5, 2.5, 2.5, 2.5, 2.5], "b"),
        ([3 * v + 0.1 for v in (0.1, 0.7, 1.9, 2.2, 3.3)], "b"),
        ([v / 3e5 for v in (0.1, 0.7, 1.9, 2.2, 3.3)], "b"),
    ],
)
@pytest.mark.parametrize("fixp", [4, 16, 32])
def test_predictors_that_depend_on_each_other_are_named(
    second: list[float], culprit: str, fixp: int
) -> None:
    """There is no single solution, and the user can leave one out."""
    table: Table = {"a": [0.1, 0.7, 1.9, 2.2, 3.3], "b": second, "t": [1, 2, 3, 5, 8]}

    result = compute(
        {
            "statistic": "linear-regression",
            "columns": ["a", "b"],
            "target": "t",
            "fixp": fixp,
        },
        [table, table],
    )

    assert result["intercept"] is None
    assert result["coefficients"] == {"a": None, "b": None}
    assert f"'{culprit}'" in str(result["note"])


def test_too_few_rows_for_a_regression_give_a_note() -> None:
    """Nothing, or a fit without errors."""
    request = {"statistic": "linear-regression", "columns": ["a", "b"], "target": "t"}
    result = compute(request, [{"a": [1, 2], "b": [1, 4], "t": [3, 5]}])
    assert result["coefficients"] == {"a": None, "b": None}
    assert "too few" in str(result["note"])

    result = compute(request, [{"a": [1, 2, 3], "b": [1, 4, 9], "t": [1, 2, 5]}])

    assert result["coefficients"] == {"a": -2.0, "b": 1.0}
    assert result["intercept"] == 2.0
    assert result["standard_errors"] == {"a": None, "b": None}
    assert "no standard errors" in str(result["note"])


def test_a_constant_target_has_no_r2() -> None:
    """There is nothing to explain."""
    result = compute(
        {"statistic": "linear-regression", "columns": ["a"], "target": "t"},
        [{"a": [1, 2, 3], "t": [0.1, 0.1, 0.1]}],
    )

    assert result["r2"] is None
    assert result["coefficients"] == {"a": _near(0.0)}
    assert "constant" in str(result["note"])


def test_results_are_json() -> None:
    """Without NaN, which JSON does not have."""
    for statistic in names():
        if "additive" not in registry.statistic(statistic).engines:
            continue  # test_secret.py looks at these
        more: dict[str, object] = (
            {"target": "disea"} if statistic == "linear-regression" else {}
        )
        more |= {"edges": ["0", "1"]} if statistic == "histogram" else {}

        assert json.loads(
            json.dumps(_insurers(statistic, "mdvis", "lpi", **more), allow_nan=False)
        )


def test_a_cell_beyond_the_range_is_refused() -> None:
    """Within it no job can overflow, so no refusal depends on a sum."""
    params = parse_params({"statistic": "variance", "columns": ["a"], "fixp": 32})
    with pytest.raises(RefusedError) as caught:
        checked(params).prepare(as_columns({"a": [1.0, -1.5e48]}), params)
    assert caught.value.code is RefusalCode.OVERFLOW
    assert "1.5" not in str(caught.value)

    largest = [2.0**160, -(2.0**160)]
    result = compute(
        {"statistic": "variance", "columns": ["a"], "fixp": 32}, [{"a": largest}]
    )

    assert result["variance"] == {"a": 2.0**321}


def test_cells_next_to_zero_count_as_zero() -> None:
    """Far below the grid of every request."""
    result = compute(
        {"statistic": "sum", "columns": ["a"]}, [{"a": [5e-324, 1e-130, 1.0]}]
    )

    assert result["sum"] == {"a": 1.0}


@pytest.mark.parametrize(
    "totals", [[], [1], [0, 5, 1, 1], [3, 2, 1, 1], [1, 5, 1, -1], [-1, 5, 1, 1]]
)
def test_totals_of_other_parties_making_are_an_error(totals: list[int]) -> None:
    """A wrong share gives random numbers: most of them show at the head."""
    params = parse_params({"statistic": "variance", "columns": ["a"]})
    with pytest.raises(JobAbortedError) as caught:
        checked(params).finish(totals, params)

    assert caught.value.code is FailureCode.ENGINE
