"""A report says where a figure is not what it should be."""

import pytest

from bench.aims import said
from bench.measured import Better, Figure, Series


def figure(part: str, name: str, value: float, better: Better = Better.LESS) -> Figure:
    """Return a figure whose floor is 1."""
    floors = (("floor", Series.of([1.0])),)
    return Figure(part, name, "ms", Series.of([value]), floors, better)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figure("setup", "3x1 warm", 1.5), "≤ 1.50: yes"),
        (figure("setup", "3x1 warm", 1.6), "≤ 1.50: no"),
        (figure("setup", "3x1 cold", 1.6), "≤ 2.00: yes"),
        (figure("envelopes", "sealed", 0.7, Better.MORE), "≥ 0.70: yes"),
        (figure("envelopes", "sealed", 0.6, Better.MORE), "≥ 0.70: no"),
        (figure("enrolment", "authentication", 15.1), "≤ 15 ms: no"),
        (figure("growth", "set-up, 5 parties", 9.0), ""),
    ],
)
def test_an_aim_stands_beside_its_figure(shown: Figure, expected: str) -> None:
    """Of a rate the bound is one from below."""
    assert said(shown) == expected
