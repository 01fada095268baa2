"""The fitted order is that of the points."""

import pytest

from bench.fit import fit


def test_power_law_is_found_exactly() -> None:
    """Points that lie on a power give its exponent and its factor."""
    power = fit([(n, 3.0 * n**1.5) for n in (2.0, 5.0, 11.0, 40.0)])

    assert power.exponent == pytest.approx(1.5)
    assert power.factor == pytest.approx(3.0)
    assert power.at(4.0) == pytest.approx(24.0)


def test_what_does_not_grow_has_order_zero() -> None:
    """A cost that stays the same is reported as such."""
    power = fit([(10.0, 7.0), (100.0, 7.0), (1000.0, 7.0)])

    assert power.exponent == pytest.approx(0.0)
    assert power.at(500.0) == pytest.approx(7.0)
