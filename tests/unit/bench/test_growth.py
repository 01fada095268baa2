"""Samples of growing realms become figures, and curves with their orders."""

import pytest

from bench.growth import CPU, CPU_FLOOR, SETUP, SETUP_FLOOR, Curve


@pytest.fixture
def curve() -> Curve:
    """Set-up that grows with the parties, CPU time with their square root."""
    made = Curve("parties")
    for count in (4, 16, 64):
        made.samples[SETUP][count] += [10.0 * count, 11.0 * count, 90.0 * count]
        made.samples[SETUP_FLOOR][count] += [1.0 * count]
        made.samples[CPU][count] += [count**0.5]
        made.samples[CPU_FLOOR][count] += [1.0]
    return made


def test_orders_are_fitted_to_medians(curve: Curve) -> None:
    """One slow sample does not bend a curve."""
    orders = {line.label: line.power.exponent for line in curve.panel().lines}

    assert orders[SETUP] == pytest.approx(1.0)
    assert orders[CPU] == pytest.approx(0.5)
    assert orders[CPU_FLOOR] == pytest.approx(0.0)


def test_each_point_stands_beside_its_own_floor(curve: Curve) -> None:
    """The floor of a large realm is not that of a small one."""
    ratios = {figure.name: figure.ratio for figure in curve.figures()}

    assert ratios["set-up, 4 parties"] == pytest.approx(11.0)
    assert ratios["set-up, 64 parties"] == pytest.approx(11.0)
    assert ratios["manager CPU a job, 64 parties"] == pytest.approx(8.0)
    assert len(ratios) == 6
