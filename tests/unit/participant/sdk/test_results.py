"""Results as objects: every statistic's, and files that are damaged."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from participant.columns import Columns
from participant.sdk.errors import (
    JobCancelledError,
    JobFailedError,
    JobRefusedError,
    ResultTimeoutError,
    failure_of,
)
from participant.sdk.reading import make_result
from participant.sdk.results import (
    Count,
    Histogram,
    LargestGroup,
    Matrix,
    PerColumn,
    Regression,
    Result,
)
from participant.service.local import Answer
from participant.service.summary import Phase
from participant.statistics.params import Params
from participant.statistics.registry import checked, names
from shared.codec import Value
from shared.errors import ConfigError, FailureCode

A = np.array([1.0, 2.0, 4.0, 8.0])
B = np.array([1.0, 0.0, 1.0, 3.0])


def answer_of(folder: Path, params: Params, figures: object) -> Answer:
    """Return a job's summary, with its result on disk."""
    path = folder / "result.json"
    path.write_text(json.dumps({"result": figures}))
    columns: list[Value] = list(params.columns)
    return {
        "id": "ab" * 16,
        "job": "J007",
        "statistic": params.statistic,
        "dataset": "visits",
        "columns": columns,
        "sources": 2,
        "servers": 3,
        "times_ms": {"offered": 3, "total": 9},
        "result": str(path),
    }


def of_sums(folder: Path, params: Params) -> Result:
    """Compute a statistic of sums from two sources' rows, and read its result."""
    statistic = checked(params)
    vectors = [
        statistic.prepare(Columns([{"a": A[half], "b": B[half]}]), params)
        for half in (slice(0, 2), slice(2, 4))
    ]
    totals = [int(left) + int(right) for left, right in zip(*vectors, strict=True)]
    return make_result(answer_of(folder, params, statistic.finish(totals, params)))


def test_what_every_result_has(tmp_path: Path) -> None:
    """Whose it is, of how many rows, and how long it took."""
    result = of_sums(tmp_path, Params("count", ("a",)))

    assert isinstance(result, Count)
    assert (result.job, result.id, result.dataset) == ("J007", "ab" * 16, "visits")
    assert (result.sources, result.servers, result.rows) == (2, 3, 4)
    assert (result.note, result.times_ms) == (None, {"offered": 3, "total": 9})
    assert json.loads(result.to_json()) == result.figures
    assert result.count == 4
    assert result.to_frame()["count"].tolist() == [4]


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("sum", [15, 5]),
        ("mean", [3.75, 1.25]),
        ("variance", [A.var(ddof=1), B.var(ddof=1)]),
        ("stddev", [A.std(ddof=1), B.std(ddof=1)]),
    ],
)
def test_a_figure_a_column(
    tmp_path: Path, statistic: str, expected: list[float]
) -> None:
    """By name, and as a frame with a row a column."""
    result = of_sums(tmp_path, Params(statistic, ("a", "b")))

    assert isinstance(result, PerColumn)
    assert [result["a"], result["b"]] == pytest.approx(expected)
    frame = result.to_frame()
    assert frame.index.tolist() == ["a", "b"]
    assert frame[statistic].tolist() == pytest.approx(expected)


def test_a_figure_for_every_two_columns(tmp_path: Path) -> None:
    """A NumPy matrix; what is not defined is NaN."""
    result = of_sums(tmp_path, Params("correlation", ("a", "b")))
    undefined = answer_of(
        tmp_path, Params("covariance", ("a", "b")), {"matrix": [[None] * 2] * 2}
    )

    assert isinstance(result, Matrix)
    assert result["a", "b"] == pytest.approx(np.corrcoef(A, B)[0, 1])
    assert result.to_frame().loc["b", "a"] == result["a", "b"]
    unknown = make_result(undefined)
    assert isinstance(unknown, Matrix)
    assert np.isnan(unknown.matrix).all()
    assert unknown.rows is None


def test_a_histogram(tmp_path: Path) -> None:
    """Whole numbers between edges that are floats; its frame holds every row."""
    result = of_sums(tmp_path, Params("histogram", ("a", "b"), edges=("1", "2", "4.5")))

    assert isinstance(result, Histogram)
    assert result.edges.tolist() == [1.0, 2.0, 4.5]
    assert (result.counts["a"].tolist(), result.counts["b"].tolist()) == (
        [1, 2],
        [2, 1],
    )
    assert (result.below["b"], result.above["a"]) == (1, 1)
    frame = result.to_frame()
    assert frame["a"].tolist() == [0, 1, 2, 1]
    assert [(each.left, each.right) for each in frame.index][1:3] == [(1, 2), (2, 4.5)]


def test_a_regression(tmp_path: Path) -> None:
    """Of sums with standard errors, final without."""
    params = Params("linear-regression", ("a",), target="b")
    result = of_sums(tmp_path, params)
    slope, intercept = np.polyfit(A, B, 1)
    final = make_result(
        answer_of(
            tmp_path,
            params,
            {"intercept": 1.0, "coefficients": {"a": 2.0}, "r2": None, "note": "x"},
        )
    )

    assert isinstance(result, Regression)
    assert result.coefficients["a"] == pytest.approx(slope)
    assert result.intercept == pytest.approx(intercept)
    assert result.degrees_of_freedom == 2
    frame = result.to_frame()
    assert frame.index.tolist() == ["intercept", "a"]
    assert frame.loc["a", "standard error"] == result.standard_errors["a"]
    assert isinstance(final, Regression)
    assert (final.r2, final.degrees_of_freedom, final.note) == (None, None, "x")
    assert final.to_frame()["standard error"].isna().all()


def test_a_largest_group(tmp_path: Path) -> None:
    """The group is a number again."""
    params = Params("argmax", ("a",), by="b", groups=("0", "1.5"))
    result = make_result(
        answer_of(tmp_path, params, {"by": "b", "argmax": {"a": "1.5"}})
    )

    assert isinstance(result, LargestGroup)
    assert (result["a"], result.by) == (1.5, "b")
    assert result.to_frame().loc["a", "b"] == 1.5


@pytest.mark.parametrize("statistic", ["min", "max", "median", "quantile"])
def test_figures_that_are_not_defined_are_none(tmp_path: Path, statistic: str) -> None:
    """NaN in a frame."""
    params = Params(statistic, ("a",))
    result = make_result(answer_of(tmp_path, params, {statistic: {"a": None}}))

    assert isinstance(result, PerColumn)
    assert result["a"] is None
    assert result.to_frame()[statistic].isna().all()


@pytest.mark.parametrize("statistic", names())
@pytest.mark.parametrize("figures", [{}, [], 7, {"n": "x"}, {"n": True}])
def test_damage_is_told_and_no_traceback_shown(
    tmp_path: Path, statistic: str, figures: object
) -> None:
    """A file may be from another hand."""
    with pytest.raises(ConfigError, match="is damaged"):
        make_result(answer_of(tmp_path, Params(statistic, ("a",)), figures))


@pytest.mark.parametrize(
    ("statistic", "figures"),
    [
        ("count", {"count": 1.5}),
        ("mean", {"mean": {"a": "1"}}),
        ("mean", {"mean": {"a": True}}),
        ("covariance", {"matrix": [[1, 2]]}),
        ("covariance", {"matrix": [["x"]]}),
        (
            "histogram",
            {
                "edges": ["0"],
                "histogram": {"a": {"counts": [2.5], "below": 0, "above": 0}},
            },
        ),
        ("argmax", {"by": "b", "argmax": {"a": "most"}}),
    ],
)
def test_figures_of_other_types_are_damage(
    tmp_path: Path, statistic: str, figures: object
) -> None:
    """A count is whole, a figure a number."""
    with pytest.raises(ConfigError, match="is damaged"):
        make_result(answer_of(tmp_path, Params(statistic, ("a",)), figures))


def test_a_result_that_was_deleted_is_told(tmp_path: Path) -> None:
    """The job can be asked for again."""
    answer = answer_of(tmp_path, Params("count", ("a",)), {"count": 1})
    (tmp_path / "result.json").unlink()

    with pytest.raises(ConfigError, match="cannot read the result"):
        make_result(answer)


def test_frames_need_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    result = of_sums(tmp_path, Params("count", ("a",)))
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ConfigError, match="need pandas") as caught:
        result.to_frame()

    assert caught.value.hint == "run: pip install 'mpc-management[pandas]'"


@pytest.mark.parametrize(
    ("state", "code", "kind"),
    [
        ("failed", "deadline", JobFailedError),
        ("failed", "refused", JobRefusedError),
        ("cancelled", "cancelled", JobCancelledError),
        ("expired", "result_expired", JobFailedError),
    ],
)
def test_endings_are_errors(state: str, code: str, kind: type[JobFailedError]) -> None:
    """With code, party and phase, and one line that says it all."""
    error = failure_of(
        {
            "job": "J001",
            "state": state,
            "code": code,
            "party": "Liberty001",
            "reason": "why not",
            "phase": "computing",
        }
    )

    assert type(error) is kind
    assert (error.code, error.party) == (FailureCode(code), "Liberty001")
    assert (error.phase, error.job) == (Phase.COMPUTING, "J001")
    assert str(error) == (
        f"J001 {state} ({code}) at Liberty001 while the MPC servers compute: why not"
    )


def test_a_timeout_is_one_of_python_too() -> None:
    """Programs catch ``TimeoutError``; text and hint are ours."""
    error = ResultTimeoutError("not yet", "wait")

    assert isinstance(error, TimeoutError)
    assert (str(error), error.hint) == ("not yet", "wait")
