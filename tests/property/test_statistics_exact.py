"""What is computed on shares is what exact arithmetic gives on the rows."""

import math
import secrets
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from participant.engines.additive import VALUE_BYTES, Additive
from participant.engines.base import Plan
from participant.statistics.exact import (
    ExactProducts,
    ExactSums,
    in_range,
    product_grid_bits,
    sum_grid_bits,
)
from shared.names import JobId
from tests.unit.participant.statistics.rounds import Table, compute

ORDINARY = st.one_of(
    st.integers(-1000, 1000).map(float),
    st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6),
    st.decimals(-1000, 1000, places=3).map(float),
)
EXTREME = st.floats(-(2.0**160), 2.0**160, allow_nan=False, allow_subnormal=True)
ROWS = st.lists(st.tuples(ORDINARY, ORDINARY), min_size=2, max_size=40)
FIXP = st.integers(4, 32)


def _rounded(value: Fraction, bits: int) -> int:
    return math.floor(value * (1 << bits) + Fraction(1, 2))


def _exact(cells: Sequence[float]) -> list[Fraction]:
    return [Fraction(cell) if abs(cell) >= 2.0**-400 else Fraction() for cell in cells]


@given(st.lists(EXTREME, min_size=1, max_size=30), st.integers(0, 30), FIXP)
def test_a_sum_is_the_exact_one_rounded_once(
    cells: list[float], cut: int, fixp: int
) -> None:
    """Whatever the cells' signs and magnitudes, and the parts that they come in."""
    sums = ExactSums(["a"])
    sums.add([np.array(cells[:cut])])
    sums.add([np.array(cells[cut:])])

    assert sums.encoded(fixp) == [
        _rounded(sum(_exact(cells), Fraction()), sum_grid_bits(fixp))
    ]


@given(
    st.lists(st.tuples(EXTREME, EXTREME), min_size=1, max_size=20),
    st.integers(1, 20),
    FIXP,
)
def test_products_are_the_exact_ones_rounded_once(
    rows: list[tuple[float, float]], cut: int, fixp: int
) -> None:
    """Beyond what a product of two float64 can hold."""
    columns = [in_range("a", np.array(cells)) for cells in zip(*rows, strict=True)]
    products = ExactProducts(2)
    products.add([column[:cut] for column in columns])
    products.add([column[cut:] for column in columns])
    exact = [_exact(cells) for cells in zip(*rows, strict=True)]

    assert products.encoded(fixp) == [
        [
            _rounded(
                sum((x * y for x, y in zip(a, b, strict=True)), Fraction()),
                product_grid_bits(fixp),
            )
            for b in exact
        ]
        for a in exact
    ]


def test_long_columns_are_as_exact_as_short_ones() -> None:
    """Over many chunks and the borders of the accumulators."""
    generator = np.random.default_rng(5)
    column = np.round(generator.normal(size=100_003) * 1e4, 3)
    other = generator.normal(size=100_003) * 10.0 ** generator.integers(
        -30, 30, 100_003
    )
    exact, exact_other = _exact(column.tolist()), _exact(other.tolist())

    sums, products = ExactSums(["a"]), ExactProducts(2)
    sums.add([other])
    products.add([column, other])

    assert sums.encoded(16) == [_rounded(_fsum(exact_other), sum_grid_bits(16))]
    assert products.encoded(16)[0][1] == _rounded(
        _fsum([x * y for x, y in zip(exact, exact_other, strict=True)]),
        product_grid_bits(16),
    )


def _fsum(values: Sequence[Fraction]) -> Fraction:
    """Return the sum; all denominators are powers of two."""
    bits = 1200
    return Fraction(
        sum(v.numerator * (1 << bits) // v.denominator for v in values), 1 << bits
    )


def _split(rows: list[tuple[float, float]], sources: int) -> list[Table]:
    """Return the rows dealt to so many sources, each with at least one."""
    parts = [rows[index::sources] for index in range(min(sources, len(rows)))]
    return [
        dict(zip("ab", map(list, zip(*part, strict=True)), strict=True))
        for part in parts
    ]


@given(ROWS, st.integers(1, 5), st.integers(2, 7), FIXP)
def test_a_secure_mean_and_variance_are_the_exact_ones(
    rows: list[tuple[float, float]], sources: int, servers: int, fixp: int
) -> None:
    """However the rows are split, whoever computes."""
    parts = _split(rows, sources)
    cells = [Fraction(first) for first, _ in rows]
    mean = sum(cells, Fraction()) / len(cells)
    variance = sum(((cell - mean) ** 2 for cell in cells), Fraction()) / (
        len(cells) - 1
    )
    request: dict[str, object] = {"columns": ["a"], "fixp": fixp}

    secure_mean = compute({"statistic": "mean"} | request, parts, servers)["mean"]
    secure_variance = compute({"statistic": "variance"} | request, parts, servers)[
        "variance"
    ]

    assert isinstance(secure_mean, dict)
    assert isinstance(secure_variance, dict)
    # Five sources round once each, to a grid 64 bits below the resolution.
    grid = 5 * 2.0 ** -(fixp + 64)
    assert math.isclose(secure_mean["a"], mean, rel_tol=1e-15, abs_tol=grid)
    bound = grid * (1 + 2 * max(abs(float(cell)) for cell in cells))
    assert math.isclose(
        secure_variance["a"], variance, rel_tol=1e-15, abs_tol=4 * bound
    )


@given(ROWS, st.integers(1, 5), st.integers(2, 7))
def test_splitting_does_not_change_a_result(
    rows: list[tuple[float, float]], sources: int, servers: int
) -> None:
    """One owner or five, two servers or seven."""
    request: dict[str, object] = {"columns": ["a", "b"], "fixp": 32}
    for statistic in ("count", "sum", "covariance"):
        together = compute({"statistic": statistic} | request, _split(rows, 1), 2)
        apart = compute(
            {"statistic": statistic} | request, _split(rows, sources), servers
        )

        np.testing.assert_allclose(
            _numbers(apart, statistic),
            _numbers(together, statistic),
            rtol=1e-15,
            atol=1e-15,
        )


def _numbers(result: dict[str, object], statistic: str) -> list[float]:
    """Return a result's numbers in a row."""
    value = result[statistic if statistic != "covariance" else "matrix"]
    if isinstance(value, dict):
        return list(value.values())
    return list(np.array(value, float).ravel())


@given(ROWS, st.integers(1, 5))
def test_correlations_stay_between_their_bounds(
    rows: list[tuple[float, float]], sources: int
) -> None:
    """And are undefined just where a column is constant."""
    result = compute(
        {"statistic": "correlation", "columns": ["a", "b"]}, _split(rows, sources)
    )

    constant = any(len(set(cells)) == 1 for cells in zip(*rows, strict=True))
    value = result["correlation"]
    assert (value is None) == constant
    assert value is None or (isinstance(value, float) and -1 <= value <= 1)


@given(
    ROWS,
    st.integers(1, 5),
    st.lists(st.integers(-2000, 2000), min_size=2, max_size=9, unique=True),
)
def test_histograms_lose_no_row(
    rows: list[tuple[float, float]], sources: int, edges: list[int]
) -> None:
    """Below, between and above add up, and agree with NumPy."""
    edges.sort()
    result = compute(
        {
            "statistic": "histogram",
            "columns": ["a"],
            "edges": [str(edge) for edge in edges],
        },
        _split(rows, sources),
    )

    cells = np.array([first for first, _ in rows])
    assert result["histogram"] == {
        "a": {
            "below": int((cells < edges[0]).sum()),
            "counts": np.histogram(cells, edges)[0].tolist(),
            "above": int((cells > edges[-1]).sum()),
        }
    }


@given(
    st.lists(st.integers(-(2**490), 2**490), min_size=1, max_size=5), st.integers(2, 7)
)
def test_all_servers_but_one_see_bytes_that_say_nothing(
    values: list[int], servers: int
) -> None:
    """With the hidden one uniform, the others fit every value equally well."""
    engine = Additive()
    plan = Plan(
        job=JobId(bytes(16)), parties=servers, party=None, sources=1,
        threshold=servers - 1, width=len(values),
    )  # fmt: skip
    masks = [secrets.token_bytes(len(values) * VALUE_BYTES) for _ in range(servers - 1)]
    drawn = iter(masks)
    blocks = engine.share(values, plan, lambda _: next(drawn))
    drawn = iter(masks)
    zeros = engine.share([0] * len(values), plan, lambda _: next(drawn))

    assert blocks[:-1] == zeros[:-1] == masks
    # The last block is the value plus a term that is uniform without any one mask.
    assert engine.reconstruct([*zeros[:-1], blocks[-1]], plan) == values
