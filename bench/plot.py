"""Measured points and fitted powers as an SVG, both axes logarithmic."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from bench.fit import Power

WIDTH, HEIGHT = 480, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 28, 40, 132
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7a5195")
GRID, INK = "#dddddd", "#222222"
LEGEND_STEP = 18
TICKS = (1, 2, 5)
POINT_RADIUS = 3.5


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one thing, and the power that fits them."""

    label: str
    points: tuple[tuple[float, float], ...]
    power: Power


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with its axes; at most four lines."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


class _Axis:
    """A logarithmic axis from one pixel to another, with ticks at 1, 2 and 5."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = max(t for t in _ticks(min(values)) if t <= min(values))
        self._high = min(t for t in _ticks(max(values)) if t >= max(values))
        if self._low == self._high:
            self._high *= 2
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        share = math.log(value / self._low) / math.log(self._high / self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Return the values that the axis names."""
        decades = range(
            math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1
        )
        every = [step * 10.0**decade for decade in decades for step in TICKS]
        return [tick for tick in every if self._low <= tick <= self._high]


def svg(panels: Sequence[Panel]) -> str:
    """Return the panels side by side."""
    width = WIDTH * len(panels)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}"'
            f' width="{width}" height="{HEIGHT}" font-family="sans-serif"'
            f' font-size="12" fill="{INK}">'
        ),
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>',
    ]
    for index, panel in enumerate(panels):
        parts += [
            f'<g transform="translate({index * WIDTH} 0)">',
            *_panel(panel),
            "</g>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> Iterator[str]:
    points = [point for line in panel.lines for point in line.points]
    across = _Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = _Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    yield _text(LEFT, TOP - 18, panel.title, "font-size='14' font-weight='bold'")
    yield from _axes(panel, across, up)
    for number, (line, colour) in enumerate(zip(panel.lines, COLOURS, strict=False)):
        yield from _line(line, colour, across, up)
        below = HEIGHT - BOTTOM + 56 + number * LEGEND_STEP
        yield _dot(LEFT + 4, below - 4, colour)
        yield _text(LEFT + 16, below, f"{line.label}: n^{line.power.exponent:.2f}")


def _axes(panel: Panel, across: _Axis, up: _Axis) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in across.ticks():
        x = across.place(tick)
        yield _stroke(x, TOP, x, bottom, GRID)
        yield _text(x, bottom + 16, f"{tick:,g}", "text-anchor='middle'")
    for tick in up.ticks():
        y = up.place(tick)
        yield _stroke(LEFT, y, right, y, GRID)
        yield _text(LEFT - 6, y + 4, f"{tick:,g}", "text-anchor='end'")
    yield _stroke(LEFT, bottom, right, bottom, INK)
    yield _stroke(LEFT, TOP, LEFT, bottom, INK)
    yield _text((LEFT + right) / 2, bottom + 34, panel.x_label, "text-anchor='middle'")
    middle = (TOP + bottom) / 2
    yield _text(
        16,
        middle,
        panel.y_label,
        f"text-anchor='middle' transform='rotate(-90 16 {middle:.1f})'",
    )


def _line(line: Line, colour: str, across: _Axis, up: _Axis) -> Iterator[str]:
    """Draw the points, and the fitted power from the first to the last of them."""
    first, last = line.points[0][0], line.points[-1][0]
    yield _stroke(
        across.place(first),
        up.place(line.power.at(first)),
        across.place(last),
        up.place(line.power.at(last)),
        colour,
    )
    for x, y in line.points:
        yield _dot(across.place(x), up.place(y), colour)


def _ticks(near: float) -> list[float]:
    """Return the ticks around a value, one decade to both sides."""
    decade = math.floor(math.log10(near))
    return [s * 10.0**d for d in range(decade - 1, decade + 2) for s in TICKS]


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        f' stroke="{colour}"/>'
    )


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{POINT_RADIUS}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'
