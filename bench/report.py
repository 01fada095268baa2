"""Figures as a table for people and as JSON for machines."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from bench.measured import Figure, Series

HEADINGS = ("part", "figure", "median", "min to max", "floor", "ratio")


def rows(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    """Return one row a figure, and one for each floor after the first."""
    found: list[tuple[str, ...]] = []
    for figure in figures:
        first, *others = figure.floors or (("", None),)
        ratio = figure.ratio
        found.append(
            (
                figure.part,
                figure.name,
                _number(figure.measured.median, figure.unit),
                _range(figure.measured),
                _floor(first, figure.unit),
                "" if ratio is None else f"{ratio:.2f}",
            )
        )
        found += [("", "", "", "", _floor(each, figure.unit), "") for each in others]
    return found


def table(figures: Iterable[Figure]) -> Table:
    """Return the figures as a table to print."""
    shown = Table(*HEADINGS)
    for column in shown.columns[2:]:
        column.justify = "right"
    for row in rows(figures):
        shown.add_row(*row)
    return shown


def markdown(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        f"| {' | '.join(HEADINGS)} |",
        "|---|---|--:|--:|--:|--:|",
        *(f"| {' | '.join(row)} |" for row in rows(figures)),
    ]
    return "\n".join(lines) + "\n"


def significant(value: float) -> str:
    """Return a number with three digits that count, and never an exponent."""
    if value == 0 or abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - two before the point
    while abs(value) < 10.0 ** (1 - digits):
        digits += 1
    return f"{value:.{digits}f}"


def _number(value: float, unit: str) -> str:
    return f"{significant(value)} {unit}"


def _range(series: Series) -> str:
    return f"{significant(series.lowest)} to {significant(series.highest)}"


def _floor(floor: tuple[str, Series | None], unit: str) -> str:
    name, series = floor
    return "" if series is None else f"{_number(series.median, unit)} ({name})"
