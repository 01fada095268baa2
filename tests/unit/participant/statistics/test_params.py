"""Parameters of a request, and what each statistic takes."""

import pytest

from participant.columns import Missing
from participant.statistics.params import MAX_EDGES, Params, Reveal, parse_params
from participant.statistics.registry import checked, names, statistic
from shared import codec
from shared.errors import RefusalCode, RefusedError

FULL: dict[str, object] = {
    "statistic": "linear-regression", "columns": ["a", "b"], "target": "t",
    "fixp": 20, "missing": "drop",
}  # fmt: skip


def _refusal(mapping: dict[str, object]) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        checked(parse_params(mapping))
    assert caught.value.code is RefusalCode.PARAMETERS
    return caught.value


def test_parameters_travel_and_come_back() -> None:
    """In canonical msgpack, which has no floats."""
    histogram = {
        "statistic": "histogram",
        "columns": ["a"],
        "edges": ["-0.5", "1e3"],
        "fixp": 4,
        "missing": "refuse",
    }
    for mapping in (FULL, histogram):
        params = parse_params(mapping)

        assert params.to_mapping() == mapping
        assert codec.decode(codec.encode(params.to_mapping())) == mapping


def test_what_is_left_out_has_a_default() -> None:
    """The shortest request that makes sense."""
    params = parse_params({"statistic": "mean", "columns": ["a"]})

    assert params == Params("mean", ("a",), None, (), 16, Missing.REFUSE)


def test_all_columns_in_use_are_named_with_the_target() -> None:
    """These are what is read."""
    assert parse_params(FULL).used() == ("a", "b", "t")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": 1}, "unknown parameter 'more'"),
        ({"statistic": 1}, "'statistic'"),
        ({"statistic": "mode"}, "count, sum, mean"),
        ({"columns": "a"}, "'columns'"),
        ({"columns": None}, "'columns'"),
        ({"columns": [1]}, "'columns'"),
        ({"columns": ["a", "a"]}, "twice"),
        ({"columns": ["a", "t"]}, "twice"),
        ({"columns": ["a b"]}, "a column's name"),
        ({"columns": []}, "1 to 32 columns, not 0"),
        ({"columns": [f"c{i}" for i in range(33)]}, "at most 32"),
        ({"target": 1}, "'target'"),
        ({"target": None}, "needs a target"),
        ({"edges": ["1", "2"]}, "takes no edges"),
        ({"fixp": 3}, "4 to 32"),
        ({"fixp": 33}, "4 to 32"),
        ({"fixp": True}, "whole number"),
        ({"fixp": "8"}, "whole number"),
        ({"missing": "guess"}, "'drop' or 'refuse'"),
        ({"missing": None}, "'drop' or 'refuse'"),
        ({"q": "0.5"}, "takes no q"),
        ({"q": 1}, "'q'"),
        ({"by": "g"}, "takes no column to group by"),
        ({"groups": ["1", "2"]}, "takes no column to group by"),
        ({"groups": "1"}, "'groups'"),
        ({"groups": ["1"] * (MAX_EDGES + 1)}, "4096"),
        ({"by": "a"}, "twice"),
        ({"reveal": "all"}, "'sums' or 'final'"),
        ({"statistic": "mean", "target": None, "reveal": "final"}, "takes no reveal"),
        ({"columns": [f"c{i}" for i in range(9)], "reveal": "final"}, "1 to 8"),
    ],
)
def test_wrong_parameters_are_refused_with_the_bounds(
    change: dict[str, object], words: str
) -> None:
    """The user can put them right without looking anything up."""
    assert words in str(_refusal(FULL | change))


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ([], "needs edges"),
        (["1"], "at least 2"),
        (["1", "1"], "increase"),
        (["2", "1"], "increase"),
        (["0.1", "0.10000000000000000001"], "increase"),
        (["1", "x"], "decimal"),
        (["1", "inf"], "decimal"),
        (["1", "0x10"], "decimal"),
        (["1", ""], "decimal"),
        ([str(i) for i in range(MAX_EDGES + 1)], "4096"),
    ],
)
def test_wrong_edges_are_refused(edges: list[str], words: str) -> None:
    """Edges are public, so what is wrong with them may be said."""
    assert words in str(
        _refusal({"statistic": "histogram", "columns": ["a"], "edges": edges})
    )


def test_a_histogram_has_a_bounded_size() -> None:
    """Edges and columns multiply."""
    edges = [str(i) for i in range(MAX_EDGES)]
    columns = [f"c{i}" for i in range(4)]

    error = _refusal({"statistic": "histogram", "columns": columns, "edges": edges})

    assert "at most 16384" in str(error)
    fitting: dict[str, object] = {"columns": columns[:3], "edges": edges}
    params = parse_params({"statistic": "histogram"} | fitting)
    assert checked(params).width(params) == 2 + 3 * (MAX_EDGES + 1)


@pytest.mark.parametrize("name", ["covariance", "correlation"])
def test_associations_need_two_columns(name: str) -> None:
    """One column is associated with nothing."""
    assert "2 to 32 columns, not 1" in str(
        _refusal({"statistic": name, "columns": ["a"]})
    )


def test_a_target_is_for_regressions_only() -> None:
    """A parameter that is ignored would mislead."""
    assert "takes no target" in str(
        _refusal({"statistic": "mean", "columns": ["a"], "target": "t"})
    )


def test_a_statistic_checks_only_its_own_parameters() -> None:
    """Calling the wrong one is refused rather than served."""
    params = parse_params({"statistic": "mean", "columns": ["a"]})
    with pytest.raises(RefusedError, match="those of 'mean'"):
        statistic("sum").check(params)


def test_the_statistics_are_those_of_the_command_line() -> None:
    """Each says what the consumer learns and which engines serve it."""
    expected = (
        "count",
        "sum",
        "mean",
        "variance",
        "stddev",
        "covariance",
        "correlation",
        "histogram",
        "linear-regression",
        "min",
        "max",
        "median",
        "quantile",
        "argmax",
    )
    assert names() == expected

    for name in names():
        found = statistic(name)
        assert found.name == name
        is_of_sums = found.engines == {"additive"}
        assert is_of_sums == found.learns.startswith("the number of rows")
        assert is_of_sums or found.engines == {"mpyc"}
        assert 1 <= found.min_columns <= found.max_columns <= 32


@pytest.mark.parametrize("q", ["-0.1", "1.1", "2", "0.1234567", "1e-1", ".", "", "x"])
def test_wrong_quantiles_are_refused(q: str) -> None:
    """A decimal number from 0 to 1, of which every party reads the same."""
    assert "0 to 1 with at most 6 digits" in str(
        _refusal({"statistic": "quantile", "columns": ["a"], "q": q})
    )


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (["1"], "2 to 1024 groups, not 1"),
        (["1", "1.0"], "named twice"),
        (["1", "x"], "not a decimal number"),
        ([str(number) for number in range(1025)], "not 1025"),
    ],
)
def test_wrong_groups_are_refused(groups: list[str], words: str) -> None:
    """Groups are public, so what is wrong with them may be said."""
    request: dict[str, object] = {"columns": ["a"], "by": "g", "groups": groups}

    assert words in str(_refusal({"statistic": "argmax"} | request))


def test_every_parameter_travels_and_comes_back() -> None:
    """Those of searches and groups too."""
    base: dict[str, object] = {"columns": ["a"], "fixp": 16, "missing": "refuse"}
    for more in (
        {"statistic": "quantile", "q": "0.25"},
        {"statistic": "argmax", "by": "g", "groups": ["1", "-2.5"]},
        {"statistic": "variance", "reveal": "final"},
    ):
        params = parse_params(base | more)
        checked(params)

        assert params.to_mapping() == base | more


def test_final_figures_tell_the_consumer_less() -> None:
    """Another computation serves them, and another sentence stands in the offer."""
    for name in ("variance", "stddev", "covariance", "correlation"):
        final, sums = statistic(name, Reveal.FINAL), statistic(name)

        assert final.name == sums.name == name
        assert final.engines == {"mpyc"}
        assert "number of rows" not in final.learns
