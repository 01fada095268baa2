"""The report shows what was measured, and changes a page between its marks only."""

import pytest

from bench import profile
from bench.fit import Power
from bench.measured import Better, Figure, Series
from bench.plot import Line, Panel
from bench.report import (
    BEGIN,
    END,
    budgets,
    markdown,
    orders,
    put,
    rows,
    significant,
    steps,
)

FIGURE = Figure(
    "transfer",
    "2 servers",
    "MB/s",
    Series.of([200.0, 100.0, 300.0]),
    (("bare TLS", Series.of([400.0])), ("bare TCP", Series.of([1600.0]))),
    Better.MORE,
)
PANEL = Panel("growth", "parties", "ms", (Line("set-up", ((1, 1),), Power(1, 0.5)),))


def test_each_floor_has_its_row() -> None:
    """A second floor is shown below, without a ratio of its own."""
    assert rows([FIGURE]) == [
        (
            "transfer",
            "2 servers",
            "200 MB/s",
            "100 to 300",
            "400 MB/s (bare TLS)",
            "0.50",
            "≥ 0.80: no",
        ),
        ("", "", "", "", "1,600 MB/s (bare TCP)", "", ""),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.000744, "0.000744"),
        (0.744, "0.744"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12_345.6, "12,346"),
    ],
)
def test_numbers_show_three_digits(value: float, expected: str) -> None:
    """More digits than are repeatable would pretend to a precision that is not."""
    assert significant(value) == expected


def test_orders_name_what_grows() -> None:
    """An exponent alone says nothing."""
    assert orders([PANEL]) == ["set-up: n^0.50 in the parties"]


def test_page_keeps_what_lies_outside_the_marks() -> None:
    """What a person wrote on the page survives the next measurement."""
    page = f"before\n{BEGIN}old{END}after\n"

    changed = put(page, "new\n")

    assert changed == f"before\n{BEGIN}\nnew\n\n{END}after\n"
    assert put(changed, "new\n") == changed


def test_page_without_marks_is_refused() -> None:
    """Figures are never written to a place that nobody chose."""
    with pytest.raises(ValueError, match="no place"):
        put("a page\n", "new\n")


def test_steps_are_those_of_set_ups() -> None:
    """A slow set-up shows which hop was slow; other figures have no steps."""
    details = {"requested": 2.0, "offered": 3.0, "started": 9.0, "ready": 20.0}
    figure = Figure("setup", "3x1 warm", "ms", Series.of([20.0]), details=details)

    assert steps([FIGURE, figure]) == [
        ("3x1 warm", "2.00 ms", "3.00 ms", "9.00 ms", "20.0 ms")
    ]


def test_markdown_holds_machine_figures_and_orders() -> None:
    """A figure without its machine and versions cannot be judged."""
    text = markdown([FIGURE], [PANEL], {"processor": "fast one"})

    assert "| processor | fast one |" in text
    assert "| transfer | 2 servers | 200 MB/s |" in text
    assert "- set-up: n^0.50 in the parties" in text


def test_a_budget_adds_up_all_processes_and_shares_them_among_cores() -> None:
    """A size that was not profiled, or not set up, has no row."""
    size = profile.SIZES[0]
    kinds = [
        Figure(profile.PART, profile.cpu_name(size, kind), "ms", Series.of([4.0]))
        for kind in profile.KINDS
    ]
    ready = Figure("setup", f"{size} warm", "ms", Series.of([9.0]))
    machine = {"cores": "2"}

    assert budgets([*kinds, ready], machine) == [
        (str(size), *["4.00"] * len(kinds), "24.0", "12.0", "9.00")
    ]
    assert budgets(kinds, machine) == budgets([ready, *kinds[1:]], machine) == []
