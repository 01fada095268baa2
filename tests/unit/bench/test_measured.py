"""Samples become figures: medians, extremes and ratios to the floor."""

import pytest

from bench.measured import Better, Figure, Series


def test_series_keeps_median_and_extremes() -> None:
    """The table shows how far samples lie apart, so noise is not taken for change."""
    series = Series.of([3.0, 1.0, 2.0, 9.0])

    assert series.median == 2.5
    assert (series.lowest, series.highest) == (1.0, 9.0)


def test_series_without_samples_is_refused() -> None:
    """A figure that nothing was measured for must not be printed."""
    with pytest.raises(ValueError, match="without samples"):
        Series.of([])


def test_ratio_is_to_the_first_floor() -> None:
    """Further floors are shown, but one alone is what the figure is judged by."""
    floors = (("tls", Series.of([4.0])), ("tcp", Series.of([8.0])))
    figure = Figure("transfer", "1", "MB/s", Series.of([2.0]), floors, Better.MORE)

    assert figure.ratio == 0.5


def test_figure_without_floor_has_no_ratio() -> None:
    """A worker of an engine has nothing to be compared with."""
    figure = Figure("memory", "worker", "MiB", Series.of([2.0]))

    assert figure.ratio is None


def test_json_keeps_every_sample() -> None:
    """Whoever doubts a median can look at what it was made of."""
    figure = Figure(
        "setup", "3x1 warm", "ms", Series.of([2.0, 4.0]), (("hops", Series.of([1.0])),)
    )

    found = figure.to_json()

    assert found["samples"] == [2.0, 4.0]
    assert found["ratio"] == 3.0
    assert found["better"] == "less"
