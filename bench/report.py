"""Figures as a table for people, as JSON for machines, and as a page of docs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from bench import aims, profile, setup
from bench.measured import Figure, Series
from bench.plot import Panel, svg

STEPS = ("set-up", *(moment.value for moment in setup.STEPS))
STEPS_SAID = """\
Medians, from the request on: until the manager has it, has offered it to all, has all
accepts and starts it, and knows of all links."""
SPENDINGS = ("one process", "CPU a job", *profile.COLUMNS)
SPENDINGS_SAID = f"""\
Single processes while jobs of {profile.SAMPLED_SIZE} go through them one after the
other: CPU time of a whole job, and of a hundred samples of their stacks how many had
each part on top. *{profile.DISK}* is waiting."""
BUDGETS = ("job", *profile.KINDS, "all", "all by cores", "set-up, warm")
BUDGETS_SAID = """\
CPU time of a whole warm job, in milliseconds: the processes of each kind together, all
of them, and that shared by the machine's cores; beside it how long the set-up takes,
which is what a job does until its links stand."""
HEADINGS = ("part", "figure", "median", "min to max", "floor", "ratio", "aim")
BEGIN, END = "<!-- bench: begin -->\n", "<!-- bench: end -->\n"
PAGE, PLOT = "performance.md", "growth.svg"


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
                aims.said(figure),
            )
        )
        found += [
            ("", "", "", "", _floor(each, figure.unit), "", "") for each in others
        ]
    return found


def steps(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    """Return when each step was reached of what has steps, one row a figure."""
    return [
        (
            figure.name,
            *(_number(figure.details[step], figure.unit) for step in STEPS[1:]),
        )
        for figure in figures
        if figure.part == setup.PART
    ]


def budgets(
    figures: Sequence[Figure], machine: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Return whose CPU time a job takes, one row a size that was profiled."""
    medians = {figure.name: figure.measured.median for figure in figures}
    found = []
    for size in profile.SIZES:
        parts = [
            medians.get(profile.cpu_name(size, kind), 0.0) for kind in profile.KINDS
        ]
        warm = medians.get(f"{size} warm")
        if all(parts) and warm is not None:
            by_cores = sum(parts) / int(machine["cores"])
            numbers = map(significant, (*parts, sum(parts), by_cores, warm))
            found.append((str(size), *numbers))
    return found


def spendings(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    """Return what processes spent their time on, one row a process."""
    return [
        (
            figure.name.removeprefix("CPU a job, "),
            _number(figure.measured.median, figure.unit),
            *(significant(figure.details[part]) for part in profile.COLUMNS),
        )
        for figure in figures
        if figure.part == profile.PART and figure.details
    ]


def orders(panels: Iterable[Panel]) -> list[str]:
    """Return the fitted order of each line of each plot, one sentence each."""
    return [
        f"{line.label}: n^{line.power.exponent:.2f} in the {panel.x_label}"
        for panel in panels
        for line in panel.lines
    ]


def table(figures: Iterable[Figure]) -> Table:
    """Return the figures as a table to print."""
    shown = Table(*HEADINGS)
    for column in shown.columns[2:]:
        column.justify = "right"
    for row in rows(figures):
        shown.add_row(*row)
    return shown


def to_json(
    figures: Sequence[Figure], panels: Sequence[Panel], machine: Mapping[str, str]
) -> dict[str, object]:
    """Return everything for machines."""
    return {
        "machine": dict(machine),
        "figures": [figure.to_json() for figure in figures],
        "orders": [
            {"of": line.label, "in": panel.x_label, "exponent": line.power.exponent}
            for panel in panels
            for line in panel.lines
        ],
    }


def markdown(
    figures: Sequence[Figure], panels: Sequence[Panel], machine: Mapping[str, str]
) -> str:
    """Return everything as the part of a page that lies between the marks."""
    lines = [
        "## Machine and versions",
        "",
        *_table(("", ""), machine.items()),
        "",
        "## Figures",
        "",
        *_table(HEADINGS, rows(figures)),
        "",
        "## Steps of a set-up",
        "",
        STEPS_SAID,
        "",
        *_table(STEPS, steps(figures)),
        "",
        "## Where the time goes",
        "",
        BUDGETS_SAID,
        "",
        *_table(BUDGETS, budgets(figures, machine)),
        "",
        "## What processes spend their time on",
        "",
        SPENDINGS_SAID,
        "",
        *_table(SPENDINGS, spendings(figures)),
        "",
        "## Growth",
        "",
        f"![time against size, both axes logarithmic]({PLOT})",
        "",
        "Fitted by least squares between the logarithms:",
        "",
        *(f"- {order}" for order in orders(panels)),
    ]
    return "\n".join(lines) + "\n"


def put(page: str, block: str) -> str:
    """Return a page with the block in place of what lies between its marks.

    Raises:
        ValueError: the page does not have both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for the figures")
    return f"{before}{begin}\n{block}\n{end}{after}"


def write_docs(
    folder: Path,
    figures: Sequence[Figure],
    panels: Sequence[Panel],
    machine: Mapping[str, str],
) -> None:
    """Write the figures into the page of docs, and the plot beside it."""
    page = folder / PAGE
    page.write_text(put(page.read_text(), markdown(figures, panels, machine)))
    (folder / PLOT).write_text(svg(panels))


def significant(value: float) -> str:
    """Return a number with three digits that count, never with an exponent."""
    if value == 0 or abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - two before the point
    while abs(value) < 10.0 ** (2 - digits):
        digits += 1
    return f"{value:.{digits}f}"


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    places = ["---"] * len(headings)
    return [
        f"| {' | '.join(headings)} |",
        f"|{'|'.join(places)}|",
        *(f"| {' | '.join(line)} |" for line in lines),
    ]


def _number(value: float, unit: str) -> str:
    return f"{significant(value)} {unit}"


def _range(series: Series) -> str:
    if len(series.values) == 1:
        return ""
    return f"{significant(series.lowest)} to {significant(series.highest)}"


def _floor(floor: tuple[str, Series | None], unit: str) -> str:
    name, series = floor
    return "" if series is None else f"{_number(series.median, unit)} ({name})"
